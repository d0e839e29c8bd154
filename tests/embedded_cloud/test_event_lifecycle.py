"""The life of an embedded cloud: it begins empty, leaves nothing behind, and refuses a second one."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import moto
import pytest
from moto import mock_aws
from moto.core.config import default_user_config

from infra.local import extensions
from infra.local.errors import CloudAlreadyRunning, UnsupportedMotoVersion
from infra.local.server import EmbeddedCloud
from tests.embedded_cloud.conftest import Workbench, eventually

REPOSITORY = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_clouds_in_sequence_begin_empty() -> None:
    """A second cloud in the same process knows nothing of the first."""
    for _ in range(2):
        with EmbeddedCloud(timers=False) as cloud:
            bench = Workbench(cloud)
            function = bench.function("def handler(event, context): return 1")
            listed = cloud.client("lambda").list_functions()["Functions"]
            assert [f["FunctionArn"] for f in listed] == [function]
            assert cloud.client("lambda").invoke(FunctionName=function)["Payload"].read() == b"1"


def test_stopping_restores_the_process() -> None:
    """Environment, moto's settings, logging and threads are after a cloud as they were before it."""
    environment = dict(os.environ)
    settings = {key: dict(value) for key, value in default_user_config.items()}  # type: ignore[call-overload]
    level = logging.getLogger("werkzeug").level
    threads = set(threading.enumerate())
    with EmbeddedCloud() as cloud:
        Workbench(cloud).function("def handler(event, context): return 1")
    assert dict(os.environ) == environment
    assert default_user_config == settings
    assert logging.getLogger("werkzeug").level == level
    eventually(lambda: set(threading.enumerate()) <= threads)


def test_sides_are_different_accounts() -> None:
    """The access key decides the account, and an unknown key opens the GovCloud one."""
    with EmbeddedCloud(timers=False) as cloud:
        import boto3

        stranger = boto3.client(
            "sts",
            endpoint_url=cloud.endpoint_url,
            region_name="us-gov-west-1",
            aws_access_key_id="A" * 20,
            aws_secret_access_key="x",
        )
        accounts = [
            client.get_caller_identity()["Arn"].split(":")[1:5:3]
            for client in (cloud.client("sts"), cloud.client("sts", "commercial"), stranger)
        ]
    assert accounts == [
        ["aws-us-gov", "111111111111"],
        ["aws", "222222222222"],
        ["aws-us-gov", "111111111111"],
    ]


def test_only_one_cloud_runs_at_a_time() -> None:
    """A second cloud, or mock_aws, would wipe the running one's state: both are refused."""
    with EmbeddedCloud(timers=False) as cloud:
        cloud.client("ssm").put_parameter(Name="/kept", Value="kept", Type="String")
        with pytest.raises(CloudAlreadyRunning):
            EmbeddedCloud(timers=False).start()
        with pytest.raises(CloudAlreadyRunning), mock_aws():
            pass
        kept = cloud.client("ssm").get_parameter(Name="/kept")["Parameter"]["Value"]
        assert kept == "kept"


def test_mock_aws_works_without_a_cloud() -> None:
    """With the extensions installed and no cloud running, moto behaves as it always does."""
    extensions.install()
    import boto3

    with mock_aws():
        answer = boto3.client("sts", region_name="us-east-1").get_caller_identity()
    assert answer["Account"] == "123456789012"


def test_unsupported_moto_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of moto is an error that names both, instead of patches that miss."""
    monkeypatch.setattr(extensions, "_installed", False)
    monkeypatch.setattr(moto, "__version__", "6.0.0")
    with pytest.raises(UnsupportedMotoVersion, match=r"6\.0\.0.*5\.2\.5"):
        extensions.install()


def test_port_in_use_is_an_error() -> None:
    """A port that is taken is reported when the cloud starts, and nothing stays behind."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises((OSError, SystemExit)):
            EmbeddedCloud(port=taken.getsockname()[1], timers=False).start()
    with EmbeddedCloud(timers=False):
        pass


def test_killing_the_cloud_leaves_no_process_behind(tmp_path: Path) -> None:
    """After SIGKILL of the cloud's process, workers, their children and the fork server end."""
    program = textwrap.dedent(
        """
        import json, os, sys, time
        from infra.local.server import EmbeddedCloud
        from tests.embedded_cloud.conftest import Workbench

        with EmbeddedCloud(timers=False) as cloud:
            function = Workbench(cloud).function(
                '''
                import os, subprocess, sys
                def handler(event, context):
                    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                    return [os.getppid(), os.getpid(), child.pid]
                '''
            )
            answer = cloud.client("lambda").invoke(FunctionName=function)["Payload"].read().decode()
            print(answer, flush=True)
            time.sleep(600)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        started = [int(pid) for pid in process.stdout.readline().strip("[]\n ").split(",")]
    assert len(started) == 3
    assert all(is_alive(pid) for pid in started)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    eventually(lambda: not any(is_alive(pid) for pid in started))


def test_stopping_ends_running_invocations() -> None:
    """A function that is still running when the cloud stops is ended with it."""
    with EmbeddedCloud(timers=False) as cloud:
        function = Workbench(cloud).function(
            """
            import os, pathlib, time

            def handler(event, context):
                pathlib.Path(event["file"]).write_text(str(os.getpid()))
                time.sleep(600)
            """,
            timeout_seconds=900,
        )
        file = Path(f"/tmp/twinspan-test-{os.getpid()}-{time.monotonic_ns()}")
        cloud.client("lambda").invoke(
            FunctionName=function, InvocationType="Event", Payload=f'{{"file": "{file}"}}'
        )
        eventually(lambda: file.exists() and file.read_text() != "")
        pid = int(file.read_text())
        file.unlink()
    eventually(lambda: not is_alive(pid))
