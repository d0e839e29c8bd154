"""The process that owns a lab's namespaces and daemons, so that none outlives the lab.

Run by path, standard library only. It obeys the lab over its standard input, one JSON object per line, and
answers each on standard output. When the input closes, because the lab stopped or because its process was
killed, it ends every daemon, removes every namespace and the lab's directory, and ends.

    {"op": "start", "name", "argv", "environment", "namespace", "log"}  →  {"pid"}
    {"op": "signal", "name", "signal"}     →  {}
    {"op": "stop", "name", "seconds"}      →  {"status"}      SIGTERM, then SIGKILL when time is up
    {"op": "status", "name"}               →  {"status"}      None while it runs
    {"op": "namespace", "name"}            →  {}              one that is to be removed at the end

`record.json` in the directory names the keeper, its daemons and its namespaces; from it `remove_leftovers`
cleans up after a keeper that was itself killed. A process is taken for one of them only if its start
time is the recorded one, since process ids are used again.

Not guaranteed: a daemon that starts processes of its own in another session is not followed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECORD = "record.json"
_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 2.0
_POLL_SECONDS = 0.01


class Keeper:
    """Daemons by name, and namespaces, of one lab."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._namespaces: list[str] = []
        self._write_record()

    def serve(self) -> None:
        """Obey until the input closes, then take everything down."""
        try:
            for line in sys.stdin:
                print(json.dumps(self._answer(json.loads(line))), flush=True)
        finally:
            self.end()

    def end(self) -> None:
        """End the daemons, remove namespaces and directory."""
        for daemon in self._daemons.values():
            with contextlib.suppress(ProcessLookupError):
                daemon.terminate()
        for daemon in self._daemons.values():
            _wait_or_kill(daemon, _STOP_SECONDS)
        for name in self._namespaces:
            _delete_namespace(name)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, **self._do(request)}
        except (OSError, KeyError) as error:
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["name"]
        match request["op"]:
            case "start":
                self._daemons[name] = _start(request)
                self._write_record()
                return {"pid": self._daemons[name].pid}
            case "signal":
                self._daemons[name].send_signal(request["signal"])
            case "stop":
                return {"status": _wait_or_kill(self._daemons[name], request["seconds"], ask=True)}
            case "status":
                return {"status": self._daemons[name].poll()}
            case "namespace":
                self._namespaces.append(name)
                self._write_record()
            case other:
                raise KeyError(other)
        return {}

    def _write_record(self) -> None:
        processes = [daemon.pid for daemon in self._daemons.values() if daemon.poll() is None]
        record = {
            "keeper": [os.getpid(), start_time(os.getpid())],
            "daemons": [[pid, start_time(pid)] for pid in processes],
            "namespaces": self._namespaces,
        }
        new = self._directory / f"{RECORD}.new"
        new.write_text(json.dumps(record))
        new.rename(self._directory / RECORD)


def remove_leftovers(labs: Path) -> list[str]:
    """Take down what labs in this directory left whose keeper is dead; returns the directories' names."""
    removed = []
    for directory in sorted(labs.glob("*")) if labs.is_dir() else []:
        try:
            record = json.loads((directory / RECORD).read_text())
        except (OSError, ValueError):
            continue  # another lab that is just beginning
        if _is_alive(*record["keeper"]):
            continue
        for pid, started in record["daemons"]:
            if _is_alive(pid, started):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for name in record["namespaces"]:
            _delete_namespace(name)
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(directory.name)
    return removed


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since the machine did; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _is_alive(pid: int, started: int | None) -> bool:
    return started is not None and start_time(pid) == started


def _start(request: dict[str, Any]) -> subprocess.Popen[bytes]:
    enter = ["nsenter", f"--net=/run/netns/{request['namespace']}", "--"]
    keeper = os.getpid()

    def end_with_the_keeper() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)

    with open(request["log"], "ab") as log:
        return subprocess.Popen(  # noqa: S603 - the lab's own daemons
            [*enter, *request["argv"]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **request["environment"]},
            start_new_session=True,  # the terminal's Ctrl-C is for the lab to handle
            preexec_fn=end_with_the_keeper,  # safe: this process has one thread
        )


def _wait_or_kill(daemon: subprocess.Popen[bytes], seconds: float, ask: bool = False) -> int | None:
    if ask and daemon.poll() is None:
        daemon.terminate()
    try:
        return daemon.wait(seconds)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()


def _delete_namespace(name: str) -> None:
    # A namespace may be busy for a moment after its last process.
    deadline = time.monotonic() + _STOP_SECONDS
    while os.path.exists(f"/run/netns/{name}") and time.monotonic() < deadline:
        command = ["ip", "netns", "delete", name]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:  # noqa: S603
            return
        time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    for stopping in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stopping, signal.SIG_IGN)  # the input's end is the one way to stop
    Keeper(Path(sys.argv[1])).serve()
