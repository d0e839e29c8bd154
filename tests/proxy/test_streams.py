from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from proxy.event_stream import exception_frame
from proxy.messages import Request, Response
from tests.proxy.worlds import IMPATIENT, Upstream, World, hang, reset, run, world

STREAM_ROUTE = "/model/a.model/converse-stream"
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
FRAME = exception_frame("anything", "stands for one event")


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def frame(payload: bytes) -> bytes:
    """A frame as far as the proxy looks: its length in front."""
    return (16 + len(payload)).to_bytes(4, "big") + bytes(8) + payload + bytes(4)


class Script:
    """An upstream that sends pieces one at a time, each when the test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.writer: asyncio.StreamWriter | None = None
        self.gone = asyncio.Event()

    async def __call__(self, upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.write(HEAD)
        self.go.set()
        await upstream.closed.wait()

    def send(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)


async def open_stream(w: World) -> tuple[Script, Response]:
    script = Script()
    w.upstreams["tunnel-1"].behaviour = script
    request = Request("POST", STREAM_ROUTE, {}, b"{}", "10.0.1.7", "tester")
    response = await w.core.handle(request)
    assert not isinstance(response.body, bytes)
    return script, response


def events(data: bytes) -> list[str]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [event.to_response_dict()["headers"][":exception-type"] for event in buffer]


@run
async def test_events_pass_as_they_come_and_untouched() -> None:
    """Each event reaches the caller before the next is sent, byte for byte, and the end is clean."""
    async with world() as w:
        script, response = await open_stream(w)
        stream = response.body
        assert not isinstance(stream, bytes)
        received = b""
        for _ in range(3):
            script.send(chunk(FRAME))
            piece = await anext(stream)
            assert piece == FRAME
            received += piece
        script.send(b"0\r\n\r\n")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        assert row["responseBytes"] == {"N": str(len(received))}
        assert row["success"] == {"BOOL": True}
        assert w.core.carrier.states["tunnel-1"].upstream.idle == 1


@pytest.mark.parametrize("pieces", [1, 2, 7])
@run
async def test_tokens_of_an_invocations_stream_are_counted_from_its_end(pieces: int) -> None:
    """Bedrock's counts in the last part of a stream are recorded, not those of its beginning, however it arrives."""
    beginning = {"message": {"usage": {"input_tokens": 1, "output_tokens": 1}}}
    counts = {"cacheReadInputTokenCount": 9, "inputTokenCount": 7, "outputTokenCount": 126}
    said = [beginning, {"delta": "x"}, {"amazon-bedrock-invocationMetrics": counts}]
    parts = [base64.b64encode(json.dumps(part).encode()).decode() for part in said]
    stream = b"".join(frame(json.dumps({"bytes": part, "p": "abc"}).encode()) for part in parts)
    step = -(-len(stream) // pieces)

    async def send(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for begin in range(0, len(stream), step):
            writer.write(chunk(stream[begin : begin + step]))
            if pieces > 1:
                await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")

    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = send
        answer = await w.call("/model/a/invoke-with-response-stream")
        assert answer.body == stream
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        assert (row["inputTokens"], row["outputTokens"]) == ({"N": "7"}, {"N": "126"})


@pytest.mark.parametrize("cut", [0, 1, 20], ids=["between", "in-length", "in-frame"])
@run
async def test_a_stream_that_breaks_ends_with_an_error_event(cut: int) -> None:
    """After a break, wherever it falls, an SDK reads the whole events and then an exception."""
    async with world() as w:
        script, response = await open_stream(w)
        script.send(chunk(FRAME + FRAME[:cut]))
        stream = response.body
        assert not isinstance(stream, bytes)
        received = await anext(stream)
        assert script.writer is not None
        await asyncio.sleep(0.05)
        reset(script.writer)
        async for piece in stream:
            received += piece
        assert events(received) == ["anything", "modelStreamErrorException"]
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        assert row["success"] == {"BOOL": False}
        assert row["error"] == {"S": "stream reset_in_answer"}


@run
async def test_a_stream_on_a_dead_path_does_not_hang() -> None:
    """When the path dies in silence after the first event, probes find out and the stream is ended."""
    async with world(settings_changes=IMPATIENT) as w:
        script, response = await open_stream(w)
        script.send(chunk(FRAME))
        stream = response.body
        assert not isinstance(stream, bytes)
        received = await anext(stream)
        w.upstreams["tunnel-1"].probe_behaviour = hang
        async for piece in stream:
            received += piece
        assert events(received) == ["anything", "modelStreamErrorException"]
        assert w.calls("tunnel-2") == 0


@run
async def test_a_caller_who_leaves_frees_the_connection() -> None:
    """A stream that is given up leaves nothing in flight, and says so in the audit."""
    async with world() as w:
        script, response = await open_stream(w)
        script.send(chunk(FRAME))
        stream: Any = response.body
        await anext(stream)
        await stream.aclose()
        assert w.core.carrier.states["tunnel-1"].upstream.in_flight == 0
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        assert row["error"] == {"S": "caller left"}


@run
async def test_memory_is_bounded_when_the_caller_is_slow() -> None:
    """While nobody reads, the proxy takes only its buffer's worth from the upstream, then all arrives."""
    size = 8 * 1024 * 1024
    async with world() as w:

        async def flood(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                + f"Content-Length: {size}\r\n\r\n".encode()
            )
            for _ in range(size // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()

        w.upstreams["tunnel-1"].behaviour = flood
        request = Request("POST", STREAM_ROUTE, {}, b"{}", "10.0.1.7", "tester")
        response = await w.core.handle(request)
        assert not isinstance(response.body, bytes)
        (exchange,) = w.core.carrier.states["tunnel-1"].upstream._in_flight
        before = -1
        while exchange.buffered != before:
            before = exchange.buffered
            await asyncio.sleep(0.05)
        assert exchange.buffered < 1024 * 1024
        total = 0
        async for piece in response.body:
            total += len(piece)
        assert total == size


@run
async def test_a_body_without_a_length_ends_with_its_connection() -> None:
    """An HTTP/1.0-style answer that ends by closing is whole, and its connection is not pooled."""
    async with world() as w:

        async def until_close(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}")
            await writer.drain()
            writer.close()

        w.upstreams["tunnel-1"].behaviour = until_close
        answer = await w.call()
        assert (answer.status, answer.body, answer.broke) == (200, b"{}", False)
        assert w.core.carrier.states["tunnel-1"].upstream.idle == 0
