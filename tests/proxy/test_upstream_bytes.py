"""What an upstream may put on the wire: nothing of it hurts the process, another call, or the truth of an answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy import lambda_handler, mvp
from proxy.connection import BARE_LIMIT_BYTES
from tests.proxy.serving import serving
from tests.proxy.test_client_bytes import GOOD, answers
from tests.proxy.worlds import (
    MODEL_ROUTE,
    Answer,
    Behaviour,
    Seen,
    Upstream,
    World,
    answer_well,
    answer_with,
    http,
    run,
    world,
)

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

NO_ANSWER = {
    "garbage": b"\x16\x03\x01 not HTTP\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "a status beyond HTTP's": b"HTTP/1.1 700 OK\r\nContent-Length: 0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "status 000": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "another version": b"HTTP/3.7 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a switch of protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "a length that is none": OK + b"Content-Length: two\r\n\r\n{}",
    "a length beyond 64 bits": OK + b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "length and chunked": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a NUL in a value": OK + b"X-A: b\0c\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a name": OK + b": b\r\nContent-Length: 2\r\n\r\n{}",
    "a space before the colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "a request": b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", NO_ANSWER)
@run
async def test_what_is_no_answer_is_told_as_such(name: str) -> None:
    """Garbage in an answer's place is 502 in the proxy's own words, never sent again, and the next call is served."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = closing(NO_ANSWER[name])
        answer = await w.call()
        assert answer.status == 502, answer.body
        assert answer.json["__type"] == "AnswerBroke"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)
        assert (await w.call()).status == 200


BROKEN_BODIES = {
    "a length that is too long": OK + b"Content-Length: 9\r\n\r\n{}",
    "a size that is no number": CHUNKED + b"2\r\n{}\r\nzz\r\n",
    "a size beyond 64 bits": CHUNKED + b"2\r\n{}\r\nfffffffffffffffff2\r\n",
    "a chunk that is longer": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "a NUL in a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nA: b\0c\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_BODIES)
@run
async def test_a_body_that_goes_wrong_is_no_whole_answer(name: str) -> None:
    """A body whose framing breaks ends as a break, over the wire too, and its connection serves nobody else."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = closing(BROKEN_BODIES[name])
        answer = await w.call()
        assert answer.broke or answer.status == 502, answer
        assert w.calls("tunnel-2") == 0
        assert w.core.carrier.states["tunnel-1"].upstream.idle == 0
    async with serving() as s:
        s.upstreams["tunnel-1"].behaviour = closing(BROKEN_BODIES[name])
        received = await s.exchange(GOOD)
        try:
            found = answers(received)
        except (AssertionError, ValueError):
            return  # the break shows in the framing: no reader takes it for a whole answer
        assert [status for status, _ in found] == [502]


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"),
    "a status line": (b"HTTP/1.1 200 ", b"x" * 1000),
    "a header": (OK + b"A: ", b"x" * 1000),
    "headers": (OK, b"A: bcd\r\n" * 100),
    "a trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nA: ", b"x" * 1000),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"A: bcd\r\n" * 100),
    "a chunk's extension": (CHUNKED + b"2\r\n{}\r\n2;", b"x" * 1000),
}


@pytest.mark.parametrize("name", ENDLESS)
@run
async def test_what_never_ends_is_given_up(name: str) -> None:
    """Head, trailers and extensions without end are given up within their limit; the next call is served."""
    beginning, more = ENDLESS[name]
    sent = 0
    gone = asyncio.Event()

    async def flood(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(beginning)
        try:
            while sent < 256 * BARE_LIMIT_BYTES:
                writer.write(more)
                sent += len(more)
                await writer.drain()
        finally:
            gone.set()

    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = flood
        answer = await w.call()
        assert answer.broke or answer.status == 502, answer.status
        await asyncio.wait_for(gone.wait(), 30)
        assert sent < 256 * BARE_LIMIT_BYTES
        assert w.calls("tunnel-2") == 0
        w.upstreams["tunnel-1"].behaviour = answer_well
        assert (await w.call()).status == 200


@run
async def test_an_answer_without_end_is_not_gathered() -> None:
    """Where an answer must be kept whole (the MVP's way), one without end is 502 and its connection is dropped."""
    before, mvp.WRAPPED_LIMIT_BYTES = mvp.WRAPPED_LIMIT_BYTES, 1024 * 1024
    gone = asyncio.Event()
    try:
        async with world() as w:
            w.upstreams["tunnel-1"].behaviour = endless_body(gone)
            answer = await w.call("/bedrock", b'{"modelId":"a","body":{}}')
            assert (answer.status, answer.json["__type"]) == (502, "AnswerTooLarge")
            await asyncio.wait_for(gone.wait(), 30)
            w.upstreams["tunnel-1"].behaviour = answer_well
            assert (await w.call("/bedrock", b'{"modelId":"a","body":{}}')).status == 200
    finally:
        mvp.WRAPPED_LIMIT_BYTES = before


def test_a_function_does_not_gather_an_answer_without_end() -> None:
    """The Lambda edge gives up an endless answer at the size that it could return, and tells so."""
    gone = asyncio.Event()

    @run
    async def test() -> None:
        async with world() as w:
            w.upstreams["tunnel-1"].behaviour = endless_body(gone)
            response = await w.core.handle(request_of(MODEL_ROUTE))
            answer = await lambda_handler._buffered(w.core, response, {})
            assert answer["statusCode"] == 502
            assert json.loads(answer["body"])["__type"] == "AnswerTooLarge"
            await asyncio.wait_for(gone.wait(), 30)
            assert w.core.carrier.states["tunnel-1"].upstream.in_flight == 0

    test()


def request_of(path: str) -> Any:
    from proxy.messages import Request

    return Request("POST", path, {}, b"{}", "10.0.1.7", "tester")


def endless_body(gone: asyncio.Event) -> Behaviour:
    async def behaviour(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(10_000):
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
        finally:
            gone.set()

    return behaviour


def closing(data: bytes) -> Behaviour:
    """Send these bytes and end the connection."""

    async def behaviour(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return behaviour


@pytest.mark.parametrize(
    "digits", ["9" * 10, "9" * 400, "9" * 5000, "0", "12", "1e3", "-1", "\xb2"]
)
@pytest.mark.parametrize(
    "header",
    [
        "X-Amzn-Bedrock-Input-Token-Count",
        "X-Amzn-Bedrock-Output-Token-Count",
        "X-Amzn-Bedrock-Invocation-Latency",
    ],
)
@run
async def test_numbers_that_are_none_are_passed_on_and_not_believed(
    header: str, digits: str
) -> None:
    """A count or a latency of absurd length costs no call, and no row that the table would refuse."""
    async with world() as w:
        body = b'{"no":"usage"}'
        answer_bytes = http(200, body).replace(
            b"\r\n\r\n", f"\r\n{header}: {digits}\r\n\r\n".encode("latin-1"), 1
        )
        w.upstreams["tunnel-1"].behaviour = answer_with(answer_bytes)
        answer = await w.call()
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers[header.lower()] == digits
        await w.core.audit.flush(5)
        (row,) = w.rows.rows
        for name in ("inputTokens", "outputTokens"):
            assert len(row.get(name, {"N": "0"})["N"]) <= 9


PIECES = st.sampled_from(
    [
        OK,
        CHUNKED,
        b"HTTP/1.1 103 Early\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 None\r\n",
        b"HTTP/1.1 304 Same\r\n",
        b"HTTP/1.1 503 Busy\r\n",
        b"HTTP/1.1 429 Slow\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 600 X\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
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
        b"Content-Type: application/vnd.amazon.eventstream\r\n",
        b"X-Tunnel-Used: forged\r\n",
        b"\xff\xfe",
    ]
)
ANSWERS = st.lists(st.lists(PIECES | st.binary(max_size=6), max_size=10), min_size=6, max_size=6)


@hypothesis_settings(max_examples=60, derandomize=True)
@given(ANSWERS)
def test_made_up_answers_do_no_harm(made_up: list[list[bytes]]) -> None:
    """Pieces of HTTP in any order give the caller an answer with true labels or an honest break, and harm no other call."""
    fuzz(made_up)


@pytest.mark.proof
@hypothesis_settings(max_examples=1500, derandomize=True)
@given(ANSWERS)
def test_made_up_answers_do_no_harm_at_length(made_up: list[list[bytes]]) -> None:
    """The same, 9,000 times."""
    fuzz(made_up)


def fuzz(made_up: list[list[bytes]]) -> None:
    left = [b"".join(pieces) for pieces in made_up]

    async def next_of_them(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        await closing(left.pop())(upstream, seen, writer)

    @run
    async def test() -> None:
        async with world() as w:
            number = len(left)
            w.upstreams["tunnel-1"].behaviour = next_of_them
            found = await asyncio.gather(*(honest(w) for _ in range(number)))
            for answer in found:
                assert answer.broke or answer.status != 500
            w.upstreams["tunnel-1"].behaviour = answer_well
            after = await w.call()
            assert (after.status, after.json["stopReason"]) == (200, "end_turn")
            for state in w.core.carrier.states.values():
                assert state.upstream.in_flight == 0

    test()


async def honest(w: World) -> Answer:
    """A call's answer, whose labels are the proxy's own and whose status an HTTP server can send."""
    answer = await w.call()
    assert 200 <= answer.status < 600
    assert answer.tunnel in ("tunnel-1", "tunnel-2", "none")
    if answer.tunnel == "none":
        assert answer.status in (502, 503), answer
        assert answer.json["__type"] in ("AnswerBroke", "NoAllowedPath")
    return answer
