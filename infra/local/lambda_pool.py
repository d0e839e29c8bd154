"""Function workers: started through the fork server, reused while warm, bounded in number.

A worker is one execution environment of one version of one function. It serves one invocation at a time and
is reused until the function changes, it crashes, times out or has been idle for long.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local import lambda_worker
from infra.local.errors import WorkerStartFailed

INITIALISATION_LIMIT_SECONDS = 60.0
_DRAIN_SECONDS = 2.0
_PRELOADED = (
    "boto3",
    "botocore.auth",
    "botocore.httpsession",
    "pydantic",
    "networkx",
    "aws_lambda_powertools",
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.metrics",
    "aws_lambda_powertools.utilities.typing",
)
_WARM_SERVICES = (
    "dynamodb",
    "ec2",
    "events",
    "cloudwatch",
    "s3",
    "secretsmanager",
    "sns",
    "ssm",
    "stepfunctions",
)


class WorkerCrashed(Exception):
    """The worker's process ended. `status` is an exit code, or negative for a signal."""

    def __init__(self, status: int | None) -> None:
        self.status = status
        super().__init__(f"the worker ended with status {status}")


class WorkerTimedOut(Exception):
    """No answer within the function's timeout, or a test asked for that."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What decides whether a warm worker can serve a function: all that the process was started with."""

    function: tuple[str, str, str, str]  # account, region, name, version
    handler: str
    task_root: str
    environment: Mapping[str, str]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a function wrote, and when it arrived, in milliseconds since the epoch."""

    timestamp_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A worker's answer to one invocation. `kind` is `result` or `error`; `body` JSON.

    `ending`: the worker could not initialise and ends itself.
    """

    kind: str
    body: bytes
    max_memory_mb: int
    fault_fired: bool
    ending: bool


class Worker:
    """The runtime's end of one worker process."""

    def __init__(
        self, identifier: str, spec: WorkerSpec, control: socket.socket, output: int
    ) -> None:
        self.identifier = identifier
        self.spec = spec
        self.log_stream = (
            f"{time.strftime('%Y/%m/%d', time.gmtime())}/[{spec.function[3]}]{uuid.uuid4().hex}"
        )
        self.init_ms: float | None = None
        self.busy = True
        self.idle_since = time.monotonic()
        self._control = control
        self._lines: list[LogLine] = []
        self._drained = threading.Condition()
        self._ended_request: str | None = None
        self._output_closed = False
        self._exit_status: int | None = None
        self._exited = threading.Event()
        threading.Thread(
            target=self._read_output, args=(output,), name=f"output-{identifier}", daemon=True
        ).start()

    def wait_until_ready(self) -> None:
        """Wait for the handler to be loaded. Raises `WorkerCrashed` or `WorkerTimedOut`."""
        self._control.settimeout(INITIALISATION_LIMIT_SECONDS)
        self.init_ms = float(json.loads(self._read())["init_ms"])

    def exchange(self, head: Mapping[str, Any], event: str, timeout_seconds: float) -> Answer:
        """Send one invocation, return its answer. Raises `WorkerCrashed` or `WorkerTimedOut`."""
        self._control.settimeout(timeout_seconds)
        try:
            lambda_worker.write_frame(self._control, json.dumps(head).encode())
            lambda_worker.write_frame(self._control, event.encode())
        except TimeoutError as error:
            raise WorkerTimedOut from error
        except OSError as error:
            raise WorkerCrashed(self.wait_for_exit()) from error
        answer = json.loads(self._read())
        body = self._read()
        if answer["kind"] == "hung":
            raise WorkerTimedOut
        self._wait_for_output(head["request_id"])
        return Answer(
            kind=answer["kind"],
            body=body,
            max_memory_mb=answer["max_memory_kb"] // 1024,
            fault_fired=answer["fault_fired"],
            ending=answer["ending"],
        )

    def take_lines(self, *, ended: bool) -> list[LogLine]:
        """The lines since the last call; `ended`: the process is gone, wait for its last words."""
        with self._drained:
            if ended:
                self._drained.wait_for(lambda: self._output_closed, timeout=_DRAIN_SECONDS)
            lines, self._lines = self._lines, []
            return lines

    def wait_for_exit(self) -> int | None:
        self._exited.wait(_DRAIN_SECONDS)
        return self._exit_status

    def mark_exited(self, status: int | None) -> None:
        self._exit_status = status
        self._exited.set()

    def close(self) -> None:
        self._control.close()

    def _read(self) -> bytes:
        try:
            return lambda_worker.read_frame(self._control)
        except TimeoutError as error:
            raise WorkerTimedOut from error
        except (EOFError, OSError) as error:
            raise WorkerCrashed(self.wait_for_exit()) from error

    def _wait_for_output(self, request_id: str) -> None:
        with self._drained:
            self._drained.wait_for(
                lambda: self._ended_request == request_id or self._output_closed,
                timeout=_DRAIN_SECONDS,
            )

    def _read_output(self, descriptor: int) -> None:
        with open(descriptor, encoding="utf-8", errors="replace", newline="\n") as output:
            for raw in output:
                text = raw.rstrip("\n")
                before, marker, request_id = text.partition(lambda_worker.END_OF_OUTPUT)
                with self._drained:
                    if before or not marker:
                        self._lines.append(LogLine(int(time.time() * 1000), before))
                    if marker:
                        self._ended_request = request_id
                        self._drained.notify_all()
        with self._drained:
            self._output_closed = True
            self._drained.notify_all()


@dataclass(slots=True)
class _Pool:
    idle: list[Worker] = field(default_factory=list)
    total: int = 0


class WorkerPool:
    """All workers of a cloud. At most `workers_per_function` processes per function version."""

    def __init__(
        self,
        own_packages: Sequence[str],
        workers_per_function: int,
        idle_seconds: float,
        command: Sequence[str] = (),
    ) -> None:
        """`command` is put before the command that starts every function's process."""
        self._command = tuple(command)
        self._own_packages = tuple(own_packages)
        self._limit = workers_per_function
        self._idle_seconds = idle_seconds
        self._scratch = Path(tempfile.mkdtemp(prefix="twinspan-functions-"))
        self._changed = threading.Condition()
        self._pools: dict[tuple[str, str, str, str], _Pool] = defaultdict(_Pool)
        self._workers: dict[str, Worker] = {}
        self._names = itertools.count(1)
        self._send_lock = threading.Lock()
        self._code_lock = threading.Lock()
        self._connection: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._stopping = False

    # -- the fork server --------------------------------------------------------------------------

    def start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        settings = {
            "preload": _PRELOADED,
            "warm_services": _WARM_SERVICES,
            "scratch_directory": str(self._scratch),
        }
        program = Path(__file__).with_name("lambda_forkserver.py")
        with theirs:
            arguments = [str(program), str(theirs.fileno()), json.dumps(settings)]
            self._server = subprocess.Popen(  # noqa: S603 - our own program
                [*self._command, sys.executable, "-I", *arguments],
                env=_server_environment(),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the cloud to handle
            )
        self._connection = ours
        threading.Thread(
            target=self._read_notices, args=(ours,), name="twinspan-forkserver", daemon=True
        ).start()

    def stop(self) -> None:
        """End every worker and remove their code."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._connection is not None:
            self._connection.shutdown(socket.SHUT_RDWR)
        if self._server is not None:
            try:
                self._server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        if self._connection is not None:
            self._connection.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _read_notices(self, connection: socket.socket) -> None:
        while True:
            try:
                packet = connection.recv(1 << 16)
            except OSError:
                packet = b""
            if not packet:
                break
            notice = json.loads(packet)
            if notice["event"] == "exited":
                self._forget(notice["worker"], notice["status"])
        for identifier in list(self._workers):
            self._forget(identifier, None)

    def _forget(self, identifier: str, status: int | None) -> None:
        with self._changed:
            worker = self._workers.pop(identifier, None)
            if worker is None:
                return
            pool = self._pools[worker.spec.function]
            pool.total -= 1
            if worker in pool.idle:
                pool.idle.remove(worker)
            self._changed.notify_all()
            busy = worker.busy
        worker.mark_exited(status)
        if not busy:  # a busy worker is closed by the thread that reads from it
            worker.close()

    def _send(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        if self._connection is None or self._stopping:
            raise WorkerStartFailed("the embedded cloud is stopped")
        with self._send_lock:
            try:
                socket.send_fds(self._connection, [json.dumps(message).encode()], list(descriptors))
            except OSError as error:
                raise WorkerStartFailed(f"the fork server is gone: {error}") from error

    # -- workers ----------------------------------------------------------------------------------

    def acquire(self, spec: WorkerSpec) -> Worker:
        """A worker for `spec`: a warm one, a new one, or the next to become free.

        A new one is not ready yet. Raises `WorkerStartFailed` when none can start.
        """
        with self._changed:
            pool = self._pools[spec.function]
            while True:
                if self._stopping:
                    raise WorkerStartFailed("the embedded cloud is stopped")
                for outdated in [w for w in pool.idle if w.spec.fingerprint != spec.fingerprint]:
                    pool.idle.remove(outdated)
                    self._kill(outdated)
                if pool.idle:
                    worker = pool.idle.pop()
                    worker.busy = True
                    return worker
                if pool.total < self._limit:
                    pool.total += 1
                    break
                self._changed.wait()
        try:
            return self._start(spec)
        except WorkerStartFailed:
            with self._changed:
                pool.total -= 1
            raise

    def release(self, worker: Worker) -> None:
        """Keep a worker warm for the next invocation."""
        with self._changed:
            worker.idle_since = time.monotonic()
            worker.busy = False
            if worker.identifier in self._workers:
                self._pools[worker.spec.function].idle.append(worker)
            else:
                worker.close()
            self._changed.notify_all()

    def discard(self, worker: Worker) -> None:
        """End a worker with its children, and wait until it is gone."""
        self._kill(worker)
        worker.wait_for_exit()
        worker.close()

    def retire_idle(self) -> None:
        """End the workers that have been idle for longer than the limit."""
        now = time.monotonic()
        with self._changed:
            for pool in self._pools.values():
                for worker in [w for w in pool.idle if now - w.idle_since > self._idle_seconds]:
                    pool.idle.remove(worker)
                    self._kill(worker)

    def task_root(self, code: bytes) -> str:
        """The directory with the unpacked code, unpacked once per content."""
        root = self._scratch / hashlib.sha256(code).hexdigest()[:32]
        with self._code_lock:
            if not root.exists():
                unpacking = root.with_suffix(".part")
                with zipfile.ZipFile(io.BytesIO(code)) as archive:
                    archive.extractall(unpacking)
                unpacking.rename(root)
        return str(root)

    def _start(self, spec: WorkerSpec) -> Worker:
        ours, theirs = socket.socketpair()
        output_read, output_write = os.pipe()
        identifier = f"{spec.function[2]}-{next(self._names)}"
        worker = Worker(identifier, spec, ours, output_read)
        with self._changed:
            self._workers[identifier] = worker
        message = {
            "op": "spawn",
            "worker": identifier,
            "environment": {
                **spec.environment,
                "AWS_LAMBDA_LOG_STREAM_NAME": worker.log_stream,
            },
            "task_root": spec.task_root,
            "handler": spec.handler,
            "own_packages": self._own_packages,
        }
        try:
            self._send(message, [theirs.fileno(), output_write])
        except WorkerStartFailed:
            with self._changed:
                self._workers.pop(identifier, None)
            worker.mark_exited(None)
            worker.close()
            raise
        finally:
            theirs.close()
            os.close(output_write)
        return worker

    def _kill(self, worker: Worker) -> None:
        if worker.identifier in self._workers and not self._stopping:
            self._send({"op": "kill", "worker": worker.identifier})


def _server_environment() -> dict[str, str]:
    """Nothing of the caller's: a developer's own AWS profile must not reach a function."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
