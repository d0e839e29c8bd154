"""The whole environment as a user runs it: it answers, follows commands, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.local import control

ROOT = Path(__file__).resolve().parents[2]
UP_SECONDS = 120.0
SOON = 15.0
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m infra.local up`, with its socket in a directory of its own."""
    directory = tmp_path_factory.mktemp("run")
    directory.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setenv("TWINSPAN_LOCAL_DIRECTORY", str(directory))
    log = directory / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "infra.local", "up"],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + UP_SECONDS
    while "Ctrl-C" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield process
    process.kill()
    process.wait(SOON)
    patch.undo()


def assert_runs(up: subprocess.Popen[bytes]) -> None:
    """Fails with what the environment said last if it has ended."""
    said = (control.socket_path().parent / "up.log").read_text()
    assert up.poll() is None, f"it ended with {up.returncode}: {said}"


def exports() -> dict[str, str]:
    answer: dict[str, str] = control.send("env")
    return answer


def ask(proxy_url: str) -> dict[str, Any]:
    client: Any = boto3.client("bedrock-runtime", endpoint_url=proxy_url)
    conversation = [{"role": "user", "content": [{"text": "hello"}]}]
    answer: dict[str, Any] = client.converse(modelId=MODEL, messages=conversation)
    return answer


def tunnel_used(answer: dict[str, Any]) -> str:
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-tunnel-used"])


def descendants(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(fields[1])
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown} - found
        found |= grown
    return found


def test_call_survives_a_cut_path(up: subprocess.Popen[bytes]) -> None:
    """A stock boto3 client gets its answer over tunnel-1, and over tunnel-2 right after a cut; the relays
    saw the bytes on the path that the answer names."""
    proxy_url = exports()["TWINSPAN_PROXY_URL"]
    assert tunnel_used(ask(proxy_url)) == "tunnel-1"
    control.send("cut", target="tunnel-1")
    before = {path["name"]: path["bytes_in"] for path in control.send("status")["paths"]}
    answer = ask(proxy_url)
    assert tunnel_used(answer) == "tunnel-2"
    assert answer["output"]["message"]["content"][0]["text"]
    after = {path["name"]: path["bytes_in"] for path in control.send("status")["paths"]}
    assert after["tunnel-2"] > before["tunnel-2"]
    assert after["tunnel-1"] == before["tunnel-1"]
    control.send("heal", target="all")
    assert control.send("status")["faults"] == {}


def test_heal_answers_when_the_path_carries_again(up: subprocess.Popen[bytes]) -> None:
    """What `heal` prints is how things are after it, not the outage that it ended."""
    assert_runs(up)
    control.send("cut", target="tunnel-2")
    eventually_down = time.monotonic() + 30
    while states("tunnel-2") != ("silent", {"DOWN"}):
        assert time.monotonic() < eventually_down
        time.sleep(0.1)
    control.send("heal", target="tunnel-2")
    assert states("tunnel-2") == ("open", {"UP"})


def states(name: str) -> tuple[str, set[str]]:
    """A path's mode, and what is said of its tunnels."""
    [path] = [one for one in control.send("status")["paths"] if one["name"] == name]
    return path["mode"], {tunnel["status"] for tunnel in path["tunnels"]}


def test_aws_tools_see_the_deployed_link(up: subprocess.Popen[bytes]) -> None:
    """The AWS CLI, given nothing but the printed variables, reads the published routing config."""
    assert_runs(up)
    command = ["ssm", "get-parameter", "--name", "/twinspan/bedrock/routing-config"]
    done = subprocess.run(
        [sys.executable, "-m", "awscli", *command, "--query", "Parameter.Version"],
        env={**os.environ, **exports()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert_runs(up)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_killed_environment_leaves_no_process(up: subprocess.Popen[bytes]) -> None:
    """After SIGKILL, the proxy and every function worker end by themselves."""
    assert_runs(up)
    children = descendants(up.pid)
    assert children
    up.send_signal(signal.SIGKILL)
    up.wait(SOON)
    deadline = time.monotonic() + SOON
    while left := {pid for pid in children if Path(f"/proc/{pid}/exe").exists()}:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
