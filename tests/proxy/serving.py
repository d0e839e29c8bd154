"""The server's app on a real socket, in the test's own process, between upstreams that behave as told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from proxy.client_limits import GuardedProtocol
from proxy.core import Outside
from proxy.server import create_app
from tests.proxy.worlds import (
    ADDRESSES,
    Parameters,
    Reports,
    Rows,
    Secrets,
    Upstream,
    config_text,
    settings,
)


@dataclass
class Serving:
    """A listening server and what is around it."""

    port: int
    upstreams: dict[str, Upstream]
    rows: Rows
    state: ServerState

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        return sum(len(upstream.calls) for upstream in self.upstreams.values())

    async def exchange(self, *parts: bytes, ends: bool = False) -> bytes:
        """Send bytes as they are and read until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with contextlib.suppress(OSError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(0)
                if ends:
                    writer.write_eof()
            received = b""
            with contextlib.suppress(ConnectionError):
                while part := await asyncio.wait_for(reader.read(65536), 30):
                    received += part
            return received
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serving(**settings_changes: Any) -> AsyncIterator[Serving]:
    """Two paths, an AWS of plain objects, and the server on a port of its own; anonymous callers may come in."""
    upstreams = {name: Upstream(ADDRESSES[name]) for name in ("tunnel-1", "tunnel-2")}
    for upstream in upstreams.values():
        await upstream.start()
    parameters, rows = Parameters(), Rows()
    parameters.text = config_text(upstreams)
    changes = {"allow_anonymous": "true"} | settings_changes
    app = create_app(settings(**changes), Outside(parameters, Secrets(), Reports(), rows))
    incoming: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outgoing: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.ensure_future(app({"type": "lifespan"}, incoming.get, outgoing.put))
    incoming.put_nowait({"type": "lifespan.startup"})
    await outgoing.get()
    config = uvicorn.Config(app, lifespan="off", log_config=None, http=GuardedProtocol)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: GuardedProtocol(config, state, {}), "127.0.0.1", 0, backlog=512
    )
    try:
        port = listening.sockets[0].getsockname()[1]
        yield Serving(port, upstreams, rows, state)
    finally:
        listening.close()
        for connection in list(state.connections):
            connection.transport.abort()
        for upstream in upstreams.values():
            await upstream.close()
        if state.tasks:
            await asyncio.wait(state.tasks)
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await life
        await asyncio.sleep(0.01)  # transports close in the next turns of the loop


@contextlib.contextmanager
def serving_in_thread(
    **settings_changes: Any,
) -> Iterator[tuple[Serving, asyncio.AbstractEventLoop]]:
    """The same for clients that block: the server lives in another thread's event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = serving(**settings_changes)
    try:
        served = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(10)
        try:
            yield served, loop
        finally:
            leaving = context.__aexit__(None, None, None)
            asyncio.run_coroutine_threadsafe(leaving, loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
