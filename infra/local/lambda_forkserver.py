"""Forks function workers from one small process that has the third-party packages imported already.

Importing boto3, pydantic and the rest takes longer than most functions run. This process imports them
once and forks; a worker then only imports the function's own code. It is run by file path, isolated
(`python -I`), standard library only, and has no threads, so that forking is safe.

No process outlives the embedded cloud: the cloud's end closes the socket, whereupon this process kills every
worker with its children, removes the scratch directory and ends; and should this process be killed itself,
the kernel kills the workers (`PR_SET_PDEATHSIG`). Linux only, for that and for `SOCK_SEQPACKET`.

Messages, one JSON object per packet:

    cloud → server   {"op": "spawn", "worker", "environment", "task_root", "handler", "own_packages"}
                     with two descriptors: control socket, output pipe
                     {"op": "kill", "worker"}
    server → cloud   {"event": "started", "worker", "pid"} , {"event": "exited", "worker", "status"}
                     status as `os.waitstatus_to_exitcode` gives it: negative for a signal
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKET_BYTES = 1 << 17
_PR_SET_PDEATHSIG = 1
_PARENT_CHECK_SECONDS = 1.0


def main(arguments: list[str]) -> None:
    """`arguments`: the connection's descriptor, and the settings as JSON."""
    connection = socket.socket(fileno=int(arguments[0]))
    settings = json.loads(arguments[1])
    parent = os.getppid()
    worker_module = _load_module("lambda_worker")
    _preload(settings["preload"], settings["warm_services"])
    gc.collect()
    gc.freeze()  # keeps the shared pages of the imports shared after the fork
    server = ForkServer(connection, worker_module, parent)
    try:
        server.serve()
    finally:
        server.kill_all()
        shutil.rmtree(settings["scratch_directory"], ignore_errors=True)


def _load_module(name: str) -> ModuleType:
    """A neighbour of this file, by its path."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"_{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _preload(modules: list[str], services: list[str]) -> None:
    for name in modules:
        with contextlib.suppress(
            ModuleNotFoundError
        ):  # a function that needs it will say so itself
            importlib.import_module(name)
    if services and "boto3" in sys.modules:
        boto3 = sys.modules["boto3"]
        _load_module("botocore_models").keep_parsed()
        boto3.setup_default_session()
        for service in services:  # leaves the parsed service models behind for every worker
            boto3.client(
                service,
                region_name="us-gov-west-1",
                aws_access_key_id="warm",
                aws_secret_access_key="warm",  # noqa: S106 - opens nothing
            )


class ForkServer:
    """Forks workers on request and tells how they ended."""

    def __init__(self, connection: socket.socket, worker_module: ModuleType, parent: int) -> None:
        self._connection = connection
        self._worker_module = worker_module
        self._parent = parent
        self._workers: dict[int, str] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Serve until the cloud is gone."""
        while os.getppid() == self._parent:
            watched: list[socket.socket | int] = [self._connection, self._wake_read]
            readable, _, _ = select.select(watched, [], [], _PARENT_CHECK_SECONDS)
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            self._reap()
            if self._connection in readable and not self._receive():
                return

    def kill_all(self) -> None:
        for pid in list(self._workers):
            _kill_group(pid)
        deadline = time.monotonic() + 2
        while self._workers and time.monotonic() < deadline:
            self._reap(report=False)
            time.sleep(0.01)

    def _receive(self) -> bool:
        packet, descriptors, _, _ = socket.recv_fds(self._connection, _PACKET_BYTES, 2)
        if not packet:
            return False
        message = json.loads(packet)
        if message["op"] == "spawn":
            self._spawn(message, *descriptors)
        elif message["op"] == "kill":
            for pid, worker in self._workers.items():
                if worker == message["worker"]:
                    _kill_group(pid)
        return True

    def _spawn(self, spec: Mapping[str, Any], control: int, output: int) -> None:
        server_pid = os.getpid()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self._become_worker(server_pid, spec, control, output)
                status = 0
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
            except BaseException:  # noqa: BLE001 - nothing may return into the server's own loop
                sys.excepthook(*sys.exc_info())
            finally:
                with contextlib.suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(status & 0xFF)
        os.close(control)
        os.close(output)
        self._workers[pid] = spec["worker"]
        self._send({"event": "started", "worker": spec["worker"], "pid": pid})

    def _become_worker(
        self, server_pid: int, spec: Mapping[str, Any], control: int, output: int
    ) -> None:
        os.setsid()  # its own group, so that a kill reaches its children too
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server_pid:
            return
        self._connection.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(spec["environment"])
        time.tzset()
        warnings.resetwarnings()
        gc.unfreeze()
        self._worker_module.serve(socket.socket(fileno=control), spec)

    def _reap(self, *, report: bool = True) -> None:
        while self._workers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            worker = self._workers.pop(pid, None)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # what a worker started does not outlive it
            if worker is not None and report:
                code = os.waitstatus_to_exitcode(status)
                self._send({"event": "exited", "worker": worker, "status": code})

    def _send(self, message: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the cloud is gone: the next receive says so
            self._connection.send(json.dumps(message).encode())


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):  # the group does not exist before the child's setsid
        with contextlib.suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
