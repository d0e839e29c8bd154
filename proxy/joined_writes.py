"""An answer's head and body in one write.

uvicorn writes them one after the other: two system calls, two packets, and a client that is woken twice, which costs
a small call more than signing it. What is written within one turn of the event loop goes out together here, and
nothing waits for longer than that turn: a stream's head does not wait for its first bytes.
"""

from __future__ import annotations

import asyncio

COPY_LIMIT_BYTES = 64 * 1024
"""A larger body is not copied for the sake of its head."""


class JoinedWrites:
    """A transport as one request's answer uses it. Only its first write is held back."""

    __slots__ = ("_held", "_loop", "_opened", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""
        self._opened = False

    def write(self, data: bytes) -> None:
        """See asyncio."""
        if self._held:
            held, self._held = self._held, b""
            if len(data) <= COPY_LIMIT_BYTES:
                self._transport.write(held + data)
            else:
                self._transport.writelines((held, data))
        elif self._opened:
            self._transport.write(data)
        else:
            self._opened = True
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """See asyncio."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """See asyncio."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)
