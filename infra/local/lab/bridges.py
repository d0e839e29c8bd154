"""TCP connections between the machine and a namespace: the control channel, and the way to the proxy.

A bridge listens on one side and connects on the other; whatever comes is passed on unread. It is what a
VPC's interface endpoints are to the functions: their one way to the AWS APIs, and none to anything else.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from collections.abc import Callable

from infra.local.lab.namespaces import LabError, Namespaces

Address = tuple[str, int]
_LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 1 << 16
_SECONDS = 10.0


class Bridges:
    """The bridges of one lab, on a thread of their own; a context manager."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="lab-bridges", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Bridges:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._on_loop(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()

    def into(self, namespace: str, port: int) -> None:
        """Let a loopback port of the namespace lead to the same port of the machine's loopback."""
        listener = self._namespaces.listener(namespace, _LOOPBACK, port)
        self._bridge(
            listener,
            lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
            (_LOOPBACK, port),
        )

    def out_of(self, namespace: str, port: int) -> int:
        """Let a free loopback port of the machine lead to the namespace's; returns that port."""
        listener = socket.create_server((_LOOPBACK, 0), backlog=1024)
        found: int = listener.getsockname()[1]
        self._bridge(
            listener,
            lambda: self._namespaces.new_socket(namespace, socket.AF_INET, socket.SOCK_STREAM),
            (_LOOPBACK, port),
        )
        return found

    def _bridge(
        self, listener: socket.socket, new_socket: Callable[[], socket.socket], to: Address
    ) -> None:
        listener.setblocking(False)

        async def serve() -> None:
            async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.current_task()
                assert task is not None
                self._tasks.add(task)
                try:
                    await self._carry(reader, writer, new_socket, to)
                finally:
                    self._tasks.discard(task)

            self._servers.append(await asyncio.start_server(accepted, sock=listener))

        self._on_loop(serve)

    async def _carry(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        new_socket: Callable[[], socket.socket],
        to: Address,
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            onward = await loop.run_in_executor(None, new_socket)
        except LabError:
            writer.transport.abort()
            return
        onward.setblocking(False)
        try:
            onward.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(onward, to)
            far_reader, far_writer = await asyncio.open_connection(sock=onward)
        except (OSError, asyncio.CancelledError):
            onward.close()
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            for broken in (writer, far_writer):
                broken.transport.abort()
        finally:
            for ended in (writer, far_writer):
                ended.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _on_loop(self, work: Callable[[], object]) -> None:
        coroutine = work()
        assert asyncio.iscoroutine(coroutine)
        done: concurrent.futures.Future[None] = asyncio.run_coroutine_threadsafe(
            coroutine, self._loop
        )
        done.result(_SECONDS)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                asyncio.gather(*self._tasks, return_exceptions=True), _SECONDS / 2
            )
        await self._loop.shutdown_default_executor()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
