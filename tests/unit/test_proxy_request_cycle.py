"""Answers leave in as few writes as they can, none is late for it, and connections that wait are closed in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.client_limits import GuardedProtocol
from proxy.request_cycle import COPY_LIMIT_BYTES, TARGET_REMEMBERED_BYTES, parsed_target

REQUEST = b"POST /model/a%3A0/converse?x=1 HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
KEEP_ALIVE_SECONDS = 10
App = Callable[[Any, Any, Any], Coroutine[Any, Any, None]]


class Noting(asyncio.Transport):
    """A transport that notes what is done to it."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[Any] = []

    def write(self, data: Any) -> None:
        self.done.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.done.append(tuple(list_of_data))

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


def answering(*parts: bytes, length: int | None = None, more: Any = ()) -> App:
    """An application that answers with these parts, announcing `length` if it is given."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = list(more)
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            await send({"type": "http.response.body", "body": part, "more_body": not last})

    return app


def connected(app: App) -> tuple[GuardedProtocol, Noting]:
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, timeout_keep_alive=KEEP_ALIVE_SECONDS
    )
    config.load()
    protocol, transport = GuardedProtocol(config, ServerState(), {}), Noting()
    protocol.connection_made(transport)
    return protocol, transport


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def exchange(app: App, request: bytes = REQUEST) -> list[Any]:
    """What one request made the server do to its connection."""

    async def test() -> list[Any]:
        protocol, transport = connected(app)
        protocol.data_received(request)
        await settled()
        protocol.connection_lost(None)
        return transport.done

    return [what for what in asyncio.run(test()) if what != "closed"]


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LARGE = b"x" * (COPY_LIMIT_BYTES + 1)


@pytest.mark.parametrize(
    ("app", "done"),
    [
        (answering(b"body", length=4), [HEAD + b"body"]),
        (
            answering(LARGE, length=len(LARGE)),
            [(HEAD.replace(b"4", str(len(LARGE)).encode()), LARGE)],
        ),
        (answering(b"", b"bo", b"dy", length=4), [HEAD, b"", b"bo", b"dy"]),
        (answering(b"", b"body", b""), [CHUNKED, b"", b"4\r\nbody\r\n", b"0\r\n\r\n"]),
    ],
    ids=["a small answer", "a large answer", "parts of a known length", "a stream"],
)
def test_what_is_known_leaves_together_and_in_order(app: App, done: list[Any]) -> None:
    """A whole answer is one write; a head leaves with the first part of its body, be it an empty one."""
    assert exchange(app) == done


def test_a_head_is_answered_without_a_body() -> None:
    """The length is that of the body which a GET would have brought."""
    asked = b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n"
    assert exchange(answering(b"body", length=4), asked) == [HEAD]


@pytest.mark.parametrize("app", [answering(b"bod", length=4), answering(b"bodys", length=4)])
def test_an_answer_of_another_length_than_announced_is_not_passed_off_as_whole(app: App) -> None:
    """Its connection ends, so that nobody takes what comes next for its rest."""

    async def test() -> None:
        protocol, transport = connected(app)
        protocol.data_received(REQUEST)
        await settled()
        assert transport.done[-1] == "closed"
        assert transport.done[0] == HEAD

    asyncio.run(test())


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nset-cookie: b", b"a\rset-cookie: b"])
def test_no_header_brings_another_with_it(value: bytes) -> None:
    """A line break in a value is a fault of ours, never a header of somebody else's making."""
    [answer, *_] = exchange(answering(b"body", length=4, more=[(b"x-label", value)]))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


@pytest.mark.parametrize(
    "app", [answering(b"body", length=4), answering(b"body", length=4, more=[(b"connection", b"close")])]
)  # fmt: skip
def test_a_connection_that_is_to_end_ends_and_says_so(app: App) -> None:
    """Whether the caller or the application wants it."""

    async def test() -> None:
        protocol, transport = connected(app)
        protocol.data_received(REQUEST.replace(b"host: x", b"host: x\r\nconnection: close"))
        await settled()
        head, closed = transport.done
        assert head.lower().count(b"connection: close") == 1
        assert closed == "closed"

    asyncio.run(test())


class Timers:
    """A loop whose time is told, and that rings one timer of a protocol's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(loop, "time", lambda: self.now)

    def pass_by(self, seconds: float, protocol: GuardedProtocol) -> None:
        """Let time pass, and the keep-alive timer ring if it is due by then."""
        self.now += seconds
        timer = protocol.timeout_keep_alive_task
        if timer is not None and timer.when() <= self.now:
            timer.cancel()
            protocol.timeout_keep_alive_handler()


def test_only_a_connection_that_was_idle_for_long_enough_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request gives it the whole time anew; one under way keeps it open."""

    async def test() -> None:
        protocol, transport = connected(answering(b"body", length=4))
        timers = Timers(asyncio.get_running_loop(), monkeypatch)
        for _ in range(3):
            protocol.data_received(REQUEST)
            await settled()
            timers.pass_by(KEEP_ALIVE_SECONDS - 1, protocol)
        protocol.data_received(REQUEST[:20])
        timers.pass_by(KEEP_ALIVE_SECONDS + 1, protocol)
        assert not transport.is_closing(), "it is used"
        protocol.data_received(REQUEST[20:])
        await settled()
        timers.pass_by(KEEP_ALIVE_SECONDS - 1, protocol)
        assert not transport.is_closing(), "its time is not over"
        timers.pass_by(1, protocol)
        assert transport.is_closing()
        protocol.connection_lost(None)
        assert protocol.timeout_keep_alive_task is None

    asyncio.run(test())


def test_a_target_is_the_same_whether_it_is_remembered_or_not() -> None:
    """As it was sent, decoded, and its query; a long one is not kept in memory."""
    target = b"/model/a%3A0/converse?x=1"
    assert parsed_target(target) == parsed_target(target)
    assert parsed_target(target) == (b"/model/a%3A0/converse", "/model/a:0/converse", b"x=1")
    long = b"/" + b"a" * TARGET_REMEMBERED_BYTES
    assert parsed_target(long) == (long, long.decode(), b"")
