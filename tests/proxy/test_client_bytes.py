"""What a client may put on the wire: each request has one answer of a right status, and costs no other client anything."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy import client_limits, request_bodies, server
from proxy.client_limits import HEAD_LIMIT_BYTES, WAITING_LIMIT
from proxy.refusal_rows import STRANGERS_PER_SECOND
from tests.proxy.serving import Serving, serving
from tests.proxy.worlds import MODEL_ROUTE, Seen, Upstream, answer_well, hang, run

POST = f"POST {MODEL_ROUTE} HTTP/1.1\r\nHost: x\r\n".encode()
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
GOOD = POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
_STATUS_LINE = re.compile(rb"^HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", re.MULTILINE)


def answers(received: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each answer on a connection, read by their framing; anything else on it fails."""
    found: list[tuple[int, bytes]] = []
    while received:
        head, gap, rest = received.partition(b"\r\n\r\n")
        assert gap, head
        line = _STATUS_LINE.match(head + b"\r\n")
        assert line, head
        status = int(line[1])
        if status == 100:
            received = rest
            continue
        lower = head.lower()
        if b"\r\ntransfer-encoding: chunked" in lower:
            body = b""
            while True:
                size, _, rest = rest.partition(b"\r\n")
                length = int(size, 16)
                body, rest = body + rest[:length], rest[length + 2 :]
                if not length:
                    break
        else:
            declared = re.search(rb"\r\ncontent-length: (\d+)", lower)
            assert declared, head
            body, rest = rest[: int(declared[1])], rest[int(declared[1]) :]
            assert len(body) == int(declared[1])
        found.append((status, body))
        received = rest
    return found


async def assert_well(s: Serving) -> None:
    """Another client, on another connection, is served as ever."""
    ((status, body),) = answers(await s.exchange(GOOD))
    assert (status, b"pong" in body) == (200, True)


HOSTILE = {
    "garbage": b"garbage\r\n\r\n",
    "length and chunked": CHUNKED + b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a hexadecimal length": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a superscript length": POST + b"Content-Length: \xb2\r\n\r\n{}",
    "a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n{}",
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "a folded header": POST + b"X-A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{}",
    "a bare line feed": b"POST / HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}",
    "a bare carriage return": POST + b"X-A: b\rContent-Length: 2\r\n\r\n{}",
    "a NUL in a value": POST + b"X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in a name": POST + b"X\0A: b\r\nContent-Length: 2\r\n\r\n{}",
    "a NUL in the target": b"GET /health\0z HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a name": POST + b": b\r\nContent-Length: 2\r\n\r\n{}",
    "a space in a name": POST + b"X A: b\r\nContent-Length: 2\r\n\r\n{}",
    "no size of a chunk": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "a size that is no number": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a size with 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size beyond 64 bits": CHUNKED + b"fffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "another version": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "the second version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another method": b"BREW /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "a target that is no path": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes beyond ASCII in the target": b"GET /\xc3\xbc HTTP/1.1\r\nHost: x\r\n\r\n",
}


@run
async def test_what_is_no_request_is_told_once_and_sent_nowhere() -> None:
    """Smuggling, garbage and false lengths get one 400 and a closed connection; no upstream sees any of it."""
    async with serving() as s:
        for name, request in HOSTILE.items():
            found = answers(await s.exchange(request, ends=True))
            assert [status for status, _ in found] == [400], name
            assert s.calls == 0, name
        await assert_well(s)


@run
async def test_other_forms_of_a_request_are_understood() -> None:
    """HTTP/1.0, absolute targets, empty lines before, and offers to upgrade are answered as HTTP/1.1 wants."""
    forms = {
        b"GET /healthz HTTP/1.0\r\n\r\n": 200,
        b"GET http://elsewhere.example/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 200,
        b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 200,
        b"GET /healthz?a=b#c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 200,
        b"GET //elsewhere.example/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 404,
        b"GET http://elsewhere.example HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n": 400,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n": 200,
        CHUNKED + b"Connection: close\r\n\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\n\r\n": 200,
        POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}": 200,
        POST
        + b"Connection: close, Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n{}": 200,
    }
    async with serving() as s:
        for request, expected in forms.items():
            found = answers(await s.exchange(request))
            assert [status for status, _ in found] == [expected], request


@pytest.mark.parametrize("cut", [0, 1, 2, 100])
@run
async def test_an_offer_to_upgrade_is_answered_and_ends_the_connection(cut: int) -> None:
    """A client that offers h2c (Java's does so by itself) gets its answer, and is told to send nothing after it."""
    offer = (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"
    )
    request = POST + offer + b"Content-Length: 2\r\n\r\n{}"
    async with serving() as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(request[: len(request) - cut])
        await asyncio.sleep(0.05)
        writer.write(request[len(request) - cut :] + GOOD)
        received = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert [status for status, _ in answers(received)] == [200]
        assert b"\r\nconnection: close\r\n" in received
        assert s.calls == 1


@run
async def test_a_trailer_is_no_header() -> None:
    """What comes after a chunked body, in one piece with it, changes neither the caller nor the routing."""
    trailers = (
        b"0\r\nX-Twinspan-Data-Class: unheard-of\r\nAccept: a/b\r\nAuthorization: Bearer k\r\n\r\n"
    )
    async with serving() as s:
        found = answers(
            await s.exchange(CHUNKED + b"Connection: close\r\n\r\n2\r\n{}\r\n" + trailers)
        )
        assert [status for status, _ in found] == [200]
        (seen,) = s.upstreams["tunnel-1"].calls
        assert "accept" not in seen.headers


ENDLESS = {
    "a target": b"GET /",
    "a header's value": POST + b"A: ",
    "a header's name": POST + b"A",
    "a trailer's value": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nA: ",
    "a trailer's name": CHUNKED + b"\r\n2\r\n{}\r\n0\r\nA",
    "a chunk's extension": CHUNKED + b"\r\n2;",
}


@pytest.mark.parametrize("name", ENDLESS)
@run
async def test_what_never_ends_is_cut_off(name: str) -> None:
    """Head, trailers and chunk extensions without end are turned away with 431 within their limit, not remembered."""
    async with serving() as s:
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(ENDLESS[name])
        sent = 0
        while not writer.is_closing() and not reader.at_eof() and sent < 64 * HEAD_LIMIT_BYTES:
            writer.write(b"x" * 8192)
            sent += 8192
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        received = b""
        # The answer may be lost in the reset that unread bytes provoke.
        with contextlib.suppress(ConnectionError):
            received = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert sent < 64 * HEAD_LIMIT_BYTES
        assert received[:12] in (b"HTTP/1.1 431", b"")
        assert s.calls == 0
        await assert_well(s)


@run
async def test_many_trailers_are_cut_off_as_well() -> None:
    """Trailers that each end and are followed by the next are bounded like one that does not."""
    async with serving() as s:
        parts = [CHUNKED + b"\r\n2\r\n{}\r\n0\r\n", *[b"A: bcdefgh\r\n" * 700] * 20]
        received = await s.exchange(*parts)
        assert received[:12] in (b"HTTP/1.1 431", b"")
        assert s.calls == 0


@run
async def test_pipelined_requests_are_answered_in_their_order() -> None:
    """Requests that come together are answered one after the other, and a 401 with a body ends the connection."""
    plain = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving() as s:
        many = POST + b"Content-Length: 2\r\n\r\n{}" + plain * 3 + GOOD
        found = answers(await s.exchange(many))
        assert [status for status, _ in found] == [200] * 5
        assert [b"pong" in body for _, body in found] == [True, False, False, False, True]
    async with serving(allow_anonymous="false") as s:
        hidden = POST + b"Content-Length: 40\r\n\r\n" + plain
        assert [status for status, _ in answers(await s.exchange(hidden + plain))] == [401]


@run
async def test_what_follows_a_request_does_not_take_its_answer() -> None:
    """Garbage behind a whole request ends the connection after that request's own answer, and adds none."""
    async with serving() as s:
        whole = POST + b"Content-Length: 2\r\n\r\n{}"
        for after in (b"garbage\r\n\r\n", b"\0", POST + b"Content-Length: x\r\n\r\n"):
            found = answers(await s.exchange(whole + after))
            assert [(status, b"pong" in body) for status, body in found] == [(200, True)], after
        await assert_well(s)


@run
async def test_garbage_does_not_get_into_a_stream() -> None:
    """While an answer streams, nothing that the client sends is answered in the midst of it."""
    go = asyncio.Event()

    async def in_two_parts(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()
        await go.wait()
        writer.write(b"4\r\nfull\r\n0\r\n\r\n")
        await writer.drain()

    async with serving() as s:
        s.upstreams["tunnel-1"].behaviour = in_two_parts
        reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
        writer.write(POST + b"Content-Length: 2\r\n\r\n{}")
        received = await reader.readuntil(b"half")
        writer.write(b"garbage\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        go.set()
        received += await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert answers(received) == [(200, b"halffull")]


@run
async def test_the_beginning_of_a_next_request_does_not_end_the_first() -> None:
    """A model that takes longer than a head may is answered though the next request's head hangs behind it."""
    before, client_limits.HEAD_SECONDS = client_limits.HEAD_SECONDS, 0.05
    go = asyncio.Event()

    async def late(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer_well(upstream, seen, writer)

    try:
        async with serving() as s:
            s.upstreams["tunnel-1"].behaviour = late
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(POST + b"Content-Length: 2\r\n\r\n{}" + b"GET /health")
            await asyncio.sleep(0.3)
            go.set()
            received = await asyncio.wait_for(reader.read(), 30)
            writer.close()
            assert [status for status, _ in answers(received)] == [200, 408]
    finally:
        client_limits.HEAD_SECONDS = before


@run
async def test_requests_without_end_on_one_connection_are_bounded() -> None:
    """Thousands of requests behind one that waits are not all remembered; the connection ends with those that were."""
    plain = b"GET /healthz HTTP/1.1\r\n\r\n"
    async with serving() as s:
        s.upstreams["tunnel-1"].behaviour = hang
        writer = (await asyncio.open_connection("127.0.0.1", s.port))[1]
        writer.write(POST + b"Content-Length: 2\r\n\r\n{}" + plain * 5000)
        await writer.drain()
        while not s.calls:
            await asyncio.sleep(0.01)
        waiting = [len(connection.pipeline) for connection in s.state.connections]
        assert max(waiting) <= WAITING_LIMIT + 1
        writer.close()
    async with serving() as s:
        statuses = [status for status, _ in answers(await s.exchange(plain * 5000))]
        assert set(statuses[:-1]) == {200}
        assert len(statuses) <= WAITING_LIMIT + 2


@run
async def test_a_refusal_is_read_by_a_caller_who_is_still_sending() -> None:
    """413 and 401 reach a caller who sends all of a large body before it looks for an answer."""
    size = 4 * 1024 * 1024
    for changes, expected in (
        ({"body_limit_bytes": 1000}, 413),
        ({"allow_anonymous": "false"}, 401),
    ):
        async with serving(**changes) as s:
            reader, writer = await asyncio.open_connection("127.0.0.1", s.port)
            writer.write(POST + f"Content-Length: {size}\r\n\r\n".encode())
            for _ in range(size // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
            found = answers(await asyncio.wait_for(reader.read(), 30))
            assert [status for status, _ in found] == [expected]
            writer.close()


def test_an_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks for a stream and reads nothing of it does not hold the upstream's connection for ever."""
    monkeypatch.setattr(client_limits, "UNTAKEN_SECONDS", 0.5)
    gone = asyncio.Event()

    async def flood(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        finally:
            gone.set()

    @run
    async def test() -> None:
        async with serving() as s:
            s.upstreams["tunnel-1"].behaviour = flood
            with socket.create_connection(("127.0.0.1", s.port), 10) as unread:
                unread.sendall(POST + b"Content-Length: 2\r\n\r\n{}")
                await asyncio.wait_for(gone.wait(), 60)
            s.upstreams["tunnel-1"].behaviour = answer_well
            await assert_well(s)

    test()


@run
async def test_what_the_edge_refuses_is_recorded_in_bounds_and_counted_without() -> None:
    """A stranger's refusals have rows, a few a second; a flood of them is counted and fills no table."""
    async with serving(allow_anonymous="false") as s:
        for _ in range(30):
            assert answers(await s.exchange(GOOD))[0][0] == 401
        ((_, metrics),) = answers(await s.exchange(b"GET /metrics HTTP/1.0\r\n\r\n"))
        told = {
            name.partition(b"{")[0]: int(value)
            for name, value in (line.split() for line in metrics.splitlines() if line[:1] != b"#")
            if b"edge_refusals" in name
        }
        assert told[b"twinspan_proxy_edge_refusals_total"] == 30
        without = told[b"twinspan_proxy_edge_refusals_without_row_total"]
        async with asyncio.timeout(10):
            while len(s.rows.rows) < 30 - without:
                await asyncio.sleep(0.01)
        assert len(s.rows.rows) == 30 - without
        # At least those saved up; at most those, and what the seconds of these requests earned.
        assert STRANGERS_PER_SECOND <= 30 - without < 30
        row = s.rows.rows[0]
        assert (row["operation"], row["statusCode"], row["error"], row["caller"]) == (
            {"S": "turned-away"},
            {"N": "401"},
            {"S": "AccessDeniedException"},
            {"S": "anonymous"},
        )
        assert row["sourceIp"] == {"S": "127.0.0.1"}


def test_a_body_that_dribbles_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that stops, by length or by chunks, is told 408, once; the connection ends."""
    monkeypatch.setattr(request_bodies, "BODY_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(server, "LINGER_SECONDS", 0.1)

    @run
    async def test() -> None:
        async with serving() as s:
            for request in (POST + b"Content-Length: 9\r\n\r\n{", CHUNKED + b"\r\n9\r\n{"):
                found = answers(await s.exchange(request))
                assert [status for status, _ in found] == [408]
            assert s.calls == 0

    test()


# The alphabet of HTTP/1.1, so that mutations are near to requests.
PIECES = st.sampled_from(
    [
        POST,
        CHUNKED,
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"0\r\n\r\n",
        b"2\r\n{}\r\n",
        b"{}",
        b"Content-Length: 2\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 18446744073709551615\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"GET /healthz HTTP/1.1\r\n",
        b"GET http://a/healthz HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\xff\xfe",
    ]
)
REQUESTS = st.lists(PIECES | st.binary(max_size=6), min_size=1, max_size=12)


async def assert_each_is_answered_once(s: Serving, parts: list[bytes]) -> None:
    received = await s.exchange(*parts, ends=True)
    asked = b"".join(parts).count(b"HTTP/1.")
    found = answers(received)
    assert len(found) <= asked + 1, "an answer that nobody asked for"
    for status, _ in found:
        assert status in (200, 400, 404, 405, 408), (status, parts)


@hypothesis_settings(max_examples=50, derandomize=True)
@given(st.lists(REQUESTS, min_size=5, max_size=5))
def test_made_up_requests_do_no_harm(requests: list[list[bytes]]) -> None:
    """Pieces of HTTP in any order, cut anywhere, get well-formed answers, never more than asked, and no 5xx."""
    fuzz(requests)


@pytest.mark.proof
@hypothesis_settings(max_examples=1500, derandomize=True)
@given(st.lists(REQUESTS, min_size=5, max_size=5))
def test_made_up_requests_do_no_harm_at_length(requests: list[list[bytes]]) -> None:
    """The same, 7,500 times."""
    fuzz(requests)


def fuzz(requests: list[list[bytes]]) -> None:
    server_changes: dict[str, Any] = {"body_limit_bytes": 1000}

    @run
    async def test() -> None:
        async with serving(**server_changes) as s:
            await asyncio.gather(
                *(assert_each_is_answered_once(s, parts) for parts in requests), assert_well(s)
            )
            await assert_well(s)

    test()
