"""Reading a request's body: how much of it, how much of all of them, and for how long.

A body is kept whole until its answer begins, since it is signed and may be sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from proxy.messages import Refused
from proxy.refusals import too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

BODY_PAUSE_SECONDS = 30.0
"""A caller that sends nothing of its body for so long, and for half as long again at most, is told 408."""
BODY_SECONDS = 300.0
"""A body that is not whole by then is told 408, however steadily it dribbles."""


class CallerLeft(Exception):
    """The caller closed the connection before its request was whole."""


class Patience:
    """How long callers may pause in their bodies. Belongs to one event loop.

    One watch serves all that wait, so that a body which has come with its head costs no timer: setting one for
    each request cost more than signing it.
    """

    __slots__ = ("_late", "_loop", "_waiting", "_watch")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def next_part(self, receive: Receive) -> Message:
        """The next message of a request.

        Raises:
            Refused: 408, none came in time.
            CallerLeft: none will come.
        """
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._waiting[task] = loop.time()
        if self._watch is None:
            self._watch = loop.call_later(BODY_PAUSE_SECONDS / 2, self._look, loop)
        try:
            message = await receive()
        except asyncio.CancelledError:
            if task not in self._late or task.uncancel() > 0:
                raise
            raise too_slow() from None
        finally:
            self._waiting.pop(task, None)
            self._late.discard(task)
        if message["type"] == "http.disconnect":
            raise CallerLeft
        return message

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = None
        late_since = loop.time() - BODY_PAUSE_SECONDS
        for task, since in list(self._waiting.items()):
            if since <= late_since:
                del self._waiting[task]
                self._late.add(task)
                task.cancel()
        if self._waiting:
            self._watch = loop.call_later(BODY_PAUSE_SECONDS / 2, self._look, loop)


class HeldBodies:
    """The bodies in memory, of all requests together: each is kept until its answer, to be sent again.

    Small ones are not refused for the sake of large ones: only a body beyond `FREE_BYTES` counts.
    """

    FREE_BYTES = 64 * 1024

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0
        self.patience = Patience()

    def grow(self, size: int, by: int) -> int:
        """Note that a body grew to `size` by `by` bytes; how many of them count and are to be released.

        Raises:
            Refused: 503, there is no room for them.
        """
        counted = min(by, max(0, size - self.FREE_BYTES))
        if counted and self.held_bytes + counted > self._limit_bytes:
            message = "body: too many large bodies are being carried at this moment"
            retry = [(b"retry-after", b"1")]
            raise Refused(
                503, "ServiceUnavailableException", message, kind="BodyMemoryFull", headers=retry
            )
        self.held_bytes += counted
        return counted

    def release(self, counted: int) -> None:
        """The body is no longer needed."""
        self.held_bytes -= counted


@dataclass(slots=True)
class Body:
    """A request's body as far as it came, and what of it counts among the held."""

    held: HeldBodies
    counted: int = 0
    whole: bool = False

    async def read(self, receive: Receive, headers: dict[str, str], limit: int) -> bytes:
        """The whole body.

        Raises:
            Refused: it is too large, too slow, or there is no room for it.
            CallerLeft: it will never be whole.
        """
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        message = await self.held.patience.next_part(receive)
        body: bytes = message.get("body", b"")
        self.whole = not message.get("more_body", False)
        self._grow(len(body), len(body), limit)
        if self.whole:
            return body
        gathered = bytearray(body)
        late_at = asyncio.get_running_loop().time() + BODY_SECONDS
        while not self.whole:
            message = await self.held.patience.next_part(receive)
            self.whole = not message.get("more_body", False)
            if asyncio.get_running_loop().time() > late_at:
                raise too_slow()
            part = message.get("body", b"")
            gathered += part
            self._grow(len(gathered), len(part), limit)
        return bytes(gathered)

    def let_go(self) -> None:
        """Count it no longer."""
        self.held.release(self.counted)
        self.counted = 0

    def _grow(self, size: int, by: int, limit: int) -> None:
        if size > limit:
            raise too_large(limit)
        self.counted += self.held.grow(size, by)


def too_slow() -> Refused:
    """The refusal of a body that does not come."""
    return Refused(408, "ValidationException", "body: did not come in time")
