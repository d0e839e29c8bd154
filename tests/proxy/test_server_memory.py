"""What callers can make the server hold: bodies, slow ones, and connections that do nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy import server
from proxy.messages import Refused
from proxy.server import Body, HeldBodies

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
    monkeypatch.setattr(server, "BODY_SECONDS", 0.05)
    assert asyncio.run(test(10**9)) == 408
