"""What callers can make the server hold: bodies, slow ones, and connections that do nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy import request_bodies
from proxy.messages import Refused
from proxy.request_bodies import Body, CallerLeft, HeldBodies

MIB = 1024 * 1024


def sending(*parts: bytes, ends: bool = True) -> Any:
    """An ASGI receive that gives these parts."""
    left = list(parts)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        if not left:
            return {"type": "http.request", "body": b" ", "more_body": True}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or not ends}

    return receive


def test_large_bodies_share_a_bounded_memory_and_small_ones_pass() -> None:
    """With the memory for bodies full, another large one is told 503, a small one is read all the same."""

    async def test() -> None:
        held = HeldBodies(3 * MIB)
        first, second, small = Body(held), Body(held), Body(held)
        assert len(await first.read(sending(b"x" * MIB, b"x" * MIB), {}, 10 * MIB)) == 2 * MIB
        with pytest.raises(Refused) as refused:
            await second.read(sending(b"x" * MIB, b"x" * MIB), {}, 10 * MIB)
        assert refused.value.status == 503
        assert (b"retry-after", b"1") in refused.value.headers
        second.let_go()
        assert await small.read(sending(b"{}"), {}, 10 * MIB) == b"{}"
        first.let_go()
        small.let_go()
        assert held.held_bytes == 0
        assert len(await second.read(sending(b"x" * MIB, b"x" * MIB), {}, 10 * MIB)) == 2 * MIB

    asyncio.run(test())


def test_a_body_that_never_ends_is_cut_off_by_size_and_by_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Endless bytes end with 413 at the limit; a dribble below it ends with 408 however steady."""

    async def test(limit: int) -> int:
        with pytest.raises(Refused) as refused:
            await Body(HeldBodies(MIB)).read(sending(b"{", ends=False), {}, limit)
        return refused.value.status

    assert asyncio.run(test(1000)) == 413
    monkeypatch.setattr(request_bodies, "BODY_SECONDS", 0.05)
    assert asyncio.run(test(10**9)) == 408


def test_callers_who_pause_too_long_are_told_so_and_others_wait_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One watch for all: who sends nothing ends with 408, whoever goes on sending beside them is read whole."""
    monkeypatch.setattr(request_bodies, "BODY_PAUSE_SECONDS", 0.2)

    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def test() -> None:
        held = HeldBodies(MIB)

        async def slow_but_steady() -> bytes:
            parts = iter([b"a"] * 8)

            async def receive() -> dict[str, Any]:
                await asyncio.sleep(0.05)
                part = next(parts, None)
                return {"type": "http.request", "body": part or b"", "more_body": part is not None}

            return await Body(held).read(receive, {}, MIB)

        async def silent() -> int:
            with pytest.raises(Refused) as refused:
                await Body(held).read(never, {}, MIB)
            return refused.value.status

        ended = await asyncio.gather(silent(), slow_but_steady(), silent())
        assert ended == [408, b"a" * 8, 408]

    asyncio.run(test())


def test_a_cancelled_reader_is_cancelled_and_a_caller_who_left_is_known_to_have() -> None:
    """The watch swallows nobody else's cancellation, and a closed connection is no slow body."""

    async def test() -> None:
        async def left() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        held = HeldBodies(MIB)
        with pytest.raises(CallerLeft):
            await Body(held).read(left, {}, MIB)
        reading = asyncio.ensure_future(Body(held).read(asyncio.Event().wait, {}, MIB))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(test())
