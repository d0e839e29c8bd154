"""HTTPS in front of a plain HTTP server of this machine, since a stock client shows a bearer key over nothing else."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

from infra.local.lab.certificates import Authority

ADDRESS = "127.0.0.1"


@contextlib.contextmanager
def https(url: str, authority: Authority) -> Iterator[str]:
    """The URL under which `url` answers over TLS, with a certificate of this authority."""
    parts = urlsplit(url)
    context = authority.server_context([ADDRESS])

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as outside,
                socket.create_connection((str(parts.hostname), parts.port or 80)) as inside,
            ):
                onward = threading.Thread(target=_copy, args=(outside, inside), daemon=True)
                onward.start()
                _copy(inside, outside)
                onward.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server((ADDRESS, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://{ADDRESS}:{server.server_address[1]}{parts.path}"
        server.shutdown()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the source ends, then end both: HTTP needs no half-open connections."""
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
