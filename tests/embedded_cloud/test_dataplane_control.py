"""Commands from another terminal, and children that do not outlive their parent."""

from __future__ import annotations

import configparser
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.local import control
from infra.local.__main__ import main
from infra.local.control import AlreadyUp, ControlError, ControlServer, UnsafeDirectory
from infra.local.faults import Faults, PathElements, UnknownTarget
from infra.local.tether import Child

SOON = 10.0


@pytest.fixture(autouse=True)
def _own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TWINSPAN_LOCAL_DIRECTORY", str(tmp_path / "run"))


@pytest.fixture
def server() -> Iterator[ControlServer]:
    faults = Faults(lambda: None)
    faults.set_paths({"tunnel-1": PathElements((("vpn-1", 1), ("vpn-1", 2)), "endpoint-1")})

    def cut(request: Mapping[str, Any]) -> None:
        faults.cut(request["target"])

    server = ControlServer(
        {
            "cut": cut,
            "env": lambda request: {
                "AWS_REGION": "us-gov-west-1",
                "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                "AWS_ACCESS_KEY_ID": f"LOCAL{request['side']}",
                "AWS_SECRET_ACCESS_KEY": "stand-in",
                "GREETING": "it's up",
            },
            "status": lambda request: {
                "generation": 3,
                "active_path": "tunnel-1",
                "paths": [],
                "faults": {name: str(fault) for name, fault in faults.in_force().items()},
            },
        }
    )
    server.start()
    yield server
    server.stop()


def test_commands_reach_the_cloud(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault named in another terminal is in force when the command returns, and is shown."""
    assert main(["cut", "tunnel-1"]) == 0
    assert control.send("status")["faults"] == {"tunnel-1": "cut"}
    assert "tunnel-1: cut" in capsys.readouterr().out


def test_environment_is_printed_for_a_shell(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`env` prints one export per variable, quoted so that a shell takes it back unchanged."""
    assert main(["env"]) == 0
    script = capsys.readouterr().out + 'printf "%s" "$GREETING"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == "it's up"


def test_both_sides_have_a_profile(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`deploy` and `doctor` reach each side by its profile, as they would on AWS; the file is nobody else's."""
    assert main(["env"]) == 0
    [line] = [one for one in capsys.readouterr().out.splitlines() if "AWS_CONFIG_FILE" in one]
    file = Path(line.partition("=")[2])
    profiles = configparser.ConfigParser()
    profiles.read_string(file.read_text())
    assert profiles["profile govcloud"]["aws_access_key_id"] == "LOCALgovcloud"
    assert profiles["profile commercial"]["aws_access_key_id"] == "LOCALcommercial"
    assert file.parent == control.socket_path().parent


def test_unknown_target_is_refused_with_the_known_ones(
    server: ControlServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped target exits with 2 and lists what can be broken; nothing is broken."""
    assert main(["cut", "tunnel-9"]) == 2
    error = capsys.readouterr().err
    assert "tunnel-9" in error
    assert "tunnel-1, tunnel-1:1, tunnel-1:2, endpoint-1" in error
    assert control.send("status")["faults"] == {}


def test_nothing_up_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a running cloud every command exits with 2 and says how to start one."""
    for command in (["env"], ["status"], ["heal", "tunnel-1"], ["down"]):
        assert main(command) == 2
        assert "python -m infra.local up" in capsys.readouterr().err


def test_one_cloud_at_a_time(server: ControlServer) -> None:
    """A second cloud is refused while one answers, and a socket left by a killed one is no obstacle."""
    with pytest.raises(AlreadyUp):
        ControlServer({}).start()
    server.stop()
    path = control.socket_path()
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r})",
        ],
        check=True,
    )
    assert path.exists()
    second = ControlServer({"ping": lambda request: "pong"})
    second.start()
    assert control.send("ping") == "pong"
    second.stop()
    assert not path.exists()


def test_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    """The socket is not put where other users could reach it."""
    (tmp_path / "run").mkdir(mode=0o755)
    (tmp_path / "run").chmod(0o755)
    with pytest.raises(UnsafeDirectory, match="chmod 700"):
        ControlServer({}).start()


def test_unknown_command_is_refused(server: ControlServer) -> None:
    """A command that the running cloud does not know is an error that names the known ones."""
    with pytest.raises(ControlError, match=r"'explode'.*cut"):
        control.send("explode")


def test_faults_are_named_by_their_shortest_target() -> None:
    """Both tunnels cut one by one show as the path; healing one leaves the other."""
    faults = Faults(lambda: None)
    faults.set_paths({"tunnel-1": PathElements((("vpn-1", 1), ("vpn-1", 2)), "endpoint-1")})
    faults.cut("tunnel-1:1")
    faults.cut("tunnel-1:2")
    assert list(faults.in_force()) == ["tunnel-1"]
    faults.heal("tunnel-1:1")
    assert list(faults.in_force()) == ["tunnel-1:2"]
    with pytest.raises(UnknownTarget):
        faults.heal("everything")
    faults.heal("all")
    assert faults.in_force() == {}


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + SOON
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_alive(pid)


def test_child_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the parent takes the child's whole process group along."""
    script = textwrap.dedent(
        """
        import os, sys, time
        from pathlib import Path
        from infra.local.tether import Child
        child = Child("http.server", ["0", "--bind", "127.0.0.1"], dict(os.environ), Path(sys.argv[1]))
        print(child.pid, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait(SOON)
    parent.stdout.close()
    assert eventually_gone(pid)


def test_stopped_child_is_gone(tmp_path: Path) -> None:
    """`stop` returns when the child has ended, and can be called again."""
    child = Child("http.server", ["0", "--bind", "127.0.0.1"], dict(os.environ), tmp_path / "log")
    assert child.exit_code is None
    child.stop()
    child.stop()
    assert child.exit_code is not None
    assert not is_alive(child.pid)
