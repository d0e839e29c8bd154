"""Answers on their way back: which of an upstream's headers pass, what is said of their way, and bodies that are passed on as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Protocol

from proxy.audit_rows import RequestRecord
from proxy.carrier import Carried
from proxy.errors import BrokenAnswer
from proxy.event_stream import CONTENT_TYPE as EVENT_STREAM
from proxy.event_stream import FrameKeeper, exception_frame
from proxy.messages import Headers, StreamBroke
from proxy.tokens import TAIL_BYTES, last_said

# Hop-by-hop, or said by us: an upstream cannot put its own words into our labels.
_NOT_PASSED_BACK = frozenset(
    {
        b"alt-svc",
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"server",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-destination-partition",
        b"x-request-id",
        b"x-routing-generation",
        b"x-routing-method",
        b"x-source-partition",
        b"x-tunnel-used",
    }
)


def passed_back(upstream: Headers) -> tuple[Headers, bytes | None, bool]:
    """The headers that a caller gets, the body's length as it was said, and whether the body is an event stream."""
    headers: Headers = []
    length: bytes | None = None
    event_stream = False
    dropped = _NOT_PASSED_BACK
    for name, value in upstream:
        if name not in dropped:
            headers.append((name, value))
            if name == b"content-type":
                event_stream = value.startswith(EVENT_STREAM)
        elif name == b"content-length":
            length = value
        elif name == b"connection" and value.lower() not in (b"close", b"keep-alive"):
            named = {item.strip().lower() for item in value.split(b",")}
            dropped = dropped | named
    if dropped is not _NOT_PASSED_BACK:
        headers = [(name, value) for name, value in headers if name not in dropped]
    return headers, length, event_stream


@lru_cache(maxsize=64)
def labels(routing_method: str, path: str, generation: int) -> Headers:
    """The headers that say which path brought an answer. The list is shared: it is to be copied from, not changed."""
    return [
        (b"x-routing-method", routing_method.encode()),
        (b"x-tunnel-used", path.encode()),
        (b"x-routing-generation", str(generation).encode()),
        (b"x-source-partition", b"govcloud"),
        (b"x-destination-partition", b"commercial"),
    ]


class Audience(Protocol):
    """Who is told how a streamed answer ended."""

    def stream_broke(self, carried: Carried, error: BrokenAnswer) -> None:
        """It broke off while it was passed on."""

    def stream_over(self, record: RequestRecord, carried: Carried, tail: bytes) -> None:
        """It was passed on to its end, or given up."""


class StreamedBody:
    """An answer that is passed on as it comes. Iterate it to the end, or call `aclose`."""

    def __init__(
        self, audience: Audience, record: RequestRecord, carried: Carried, *, framed: bool
    ) -> None:
        self._audience = audience
        self._record = record
        self._carried = carried
        self._frames = FrameKeeper() if framed else None
        self._tail = b""
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            data = await self._next()
        except BaseException as error:
            self._end(type(error).__name__)
            raise
        if not data:
            self._end("")
            raise StopAsyncIteration
        self._record.response_bytes += len(data)
        return data

    async def aclose(self) -> None:
        """The caller left: give up what has not come."""
        self._end("caller left")

    async def _next(self) -> bytes:
        """The next bytes to pass on; none at the end.

        Raises:
            StreamBroke: the answer broke off and nothing can be said within it.
        """
        frames = self._frames
        try:
            while data := await self._carried.exchange.chunk():
                recent = self._tail + data if len(data) < TAIL_BYTES else data
                self._tail = recent[-TAIL_BYTES:]
                passed = data if frames is None else frames.feed(data)
                if passed:
                    return passed
        except BrokenAnswer as error:
            self._record.error = f"stream {error.reason}"
            self._audience.stream_broke(self._carried, error)
            if frames is None or not frames.at_boundary:
                raise StreamBroke(error.reason) from None
            self._end("")
            return exception_frame(
                "modelStreamErrorException", "The connection to the model broke off."
            )
        # The upstream may end in order inside a frame: its bytes are passed on, not judged.
        return frames.release() if frames is not None else b""

    def _end(self, why: str) -> None:
        if self._over:
            return
        self._over = True
        self._record.error = self._record.error or why
        self._carried.exchange.give_up()
        said = self._tail if self._frames is None else last_said(self._tail)
        self._audience.stream_over(self._record, self._carried, said)
