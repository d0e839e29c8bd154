"""Commands to a running embedded cloud from another terminal, over a unix socket.

The socket lies in a directory that only its user can enter: `$TWINSPAN_LOCAL_DIRECTORY`, else
`$XDG_RUNTIME_DIR/twinspan-local`, else `twinspan-local-<uid>` in the temporary directory. One cloud at a
time has it. A request and its answer are one JSON object each, on a line:

    {"command": "cut", "target": "tunnel-1"}     {"ok": true, "result": …} | {"ok": false, "error": "…"}

Not guaranteed: nothing is queued; a command to a cloud that is still starting fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import stat
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Handler = Callable[[Mapping[str, Any]], Any]
"""Answers a request's fields with something that JSON can carry; a `ValueError` is told to the user."""

_DIRECTORY_VARIABLE = "TWINSPAN_LOCAL_DIRECTORY"
_TIMEOUT_SECONDS = 30.0
_LONGEST_LINE = 1 << 20


class ControlError(Exception):
    """A command that cannot be carried out; the text is for the user."""


class NothingIsUp(ControlError):
    """No embedded cloud answers on the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"no embedded cloud is up (nothing answers on {path}); "
            "start one with: python -m infra.local up"
        )


class AlreadyUp(ControlError):
    """Another embedded cloud has the socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"an embedded cloud is already up (it answers on {path}); "
            "stop it with: python -m infra.local down"
        )


class UnsafeDirectory(ControlError):
    """Somebody else could get at the socket."""


def socket_path() -> Path:
    """Where the socket is, for this user; nothing is created."""
    chosen = os.environ.get(_DIRECTORY_VARIABLE)
    if chosen:
        return Path(chosen) / "control.sock"
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime) / "twinspan-local" / "control.sock"
    return Path(tempfile.gettempdir()) / f"twinspan-local-{os.getuid()}" / "control.sock"


def send(command: str, **fields: Any) -> Any:
    """Carry out a command in the running cloud and return its result.

    Raises `NothingIsUp`, or `ControlError` with the cloud's own reason.
    """
    path = socket_path()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NothingIsUp(path) from None
        connection.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ControlError("the embedded cloud ended before it answered")
    answer = json.loads(line)
    if not answer["ok"]:
        raise ControlError(answer["error"])
    return answer["result"]


class ControlServer:
    """Serves commands until `stop()`. `handlers`: command → what it does."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = dict(handlers)
        self._path = socket_path()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Raises `AlreadyUp` or `UnsafeDirectory`."""
        self._own_directory()
        self._clear_stale_socket()
        self._server = _Server(str(self._path), self._handlers)
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="twinspan-control",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        self._path.unlink(missing_ok=True)

    def _own_directory(self) -> None:
        directory = self._path.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise UnsafeDirectory(f"{directory} is not a directory of yours")
        if found.st_mode & 0o077:
            raise UnsafeDirectory(f"{directory} is open to others: chmod 700 {directory}")

    def _clear_stale_socket(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self._path))
            except FileNotFoundError:
                return
            except ConnectionRefusedError:
                self._path.unlink(missing_ok=True)  # left by a cloud that was killed
                return
        raise AlreadyUp(self._path)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, handlers: Mapping[str, Handler]) -> None:
        self.handlers = handlers
        super().__init__(path, _Request)


class _Request(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        answer = self._answer(self.rfile.readline(_LONGEST_LINE))
        with contextlib.suppress(BrokenPipeError):  # the user did not wait
            self.wfile.write(json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = request.pop("command")
        except (ValueError, AttributeError, KeyError, TypeError):
            return {"ok": False, "error": "the request is not a JSON object with a command"}
        handler = self.server.handlers.get(command)
        if handler is None:
            known = ", ".join(sorted(self.server.handlers))
            return {"ok": False, "error": f"unknown command {command!r}; known: {known}"}
        try:
            return {"ok": True, "result": handler(request)}
        except (ValueError, KeyError, TypeError) as error:
            return {"ok": False, "error": str(error)}
