"""Running the console on loopback until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from control_plane.console.app import Options, application
from control_plane.console.guard import Keys
from control_plane.errors import PermanentError
from control_plane.wiring import Control

ADDRESS = "127.0.0.1"


class PortTaken(PermanentError):
    """Something else listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} of {ADDRESS} is taken; choose another with --port, or 0 for any"
        )
        self.port = port


def serve(control: Control, options: Options, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` gets the address to open, which holds the key.

    Raises:
        PortTaken: before anything was served.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((ADDRESS, port))
        except OSError:
            raise PortTaken(port) from None
        listening.listen()
        keys = Keys(listening.getsockname()[1])
        app = application(control, options, keys)
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        ready(f"http://{ADDRESS}:{keys.port}/?key={keys.access}")
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends the streams of open pages first: they would keep it waiting."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.config.app.state.feed.close()  # type: ignore[union-attr]
        await super().shutdown(sockets)
