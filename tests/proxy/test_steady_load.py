from __future__ import annotations

import asyncio
import itertools

import pytest

from proxy.circuit_breaker import BreakerState
from tests.proxy.test_failover import break_upstream, breaker_state
from tests.proxy.worlds import World, answer_probe, answer_well, run, world

PACE_SECONDS = 0.01


class SteadyCalls:
    """Calls at a steady pace, numbered in their request ids."""

    def __init__(self, w: World) -> None:
        self._w = w
        self._numbers = itertools.count(1)
        self._calls: list[asyncio.Task[int]] = []
        self._going = asyncio.create_task(self._go())
        self.last = 0

    async def end(self) -> list[int]:
        """Stop calling; the status of every call made."""
        self._going.cancel()
        await asyncio.wait([self._going])
        return await asyncio.gather(*self._calls)

    async def _go(self) -> None:
        while True:
            self.last = next(self._numbers)
            self._calls.append(asyncio.create_task(self._call(self.last)))
            await asyncio.sleep(PACE_SECONDS)

    async def _call(self, number: int) -> int:
        return (await self._w.call(x_request_id=str(number))).status


def met_the_fault(w: World, first: int, last: int) -> list[str]:
    """Request ids from `first` to `last` of calls that were tried on tunnel-1 and had to go on."""
    return [
        row["requestId"]["S"]
        for row in w.rows.rows
        if first <= int(row["requestId"]["S"]) <= last
        and any(
            attempt["S"].startswith("tunnel-1: ") and not attempt["S"].endswith("answered")
            for attempt in row["attempts"]["L"]
        )
    ]


@pytest.mark.proof
@pytest.mark.parametrize("fault", ["refused", "503", "hang", "blackhole"])
@run
async def test_under_steady_load_no_call_fails_and_an_ejected_path_holds_up_nobody(
    fault: str,
) -> None:
    """From fault to healing every call is answered; once the breaker has seen it at most one meets it."""
    async with world(keep_house=True) as w:
        tunnel = w.upstreams["tunnel-1"]
        calls = SteadyCalls(w)
        await asyncio.sleep(0.3)
        await break_upstream(tunnel, fault)
        await breaker_state(w, "tunnel-1", BreakerState.OPEN)
        seen_at = calls.last + 1
        # Longer than the first ejection and its repeat, so that probes fall into the fault.
        await asyncio.sleep(5)
        healed_at = calls.last
        tunnel.behaviour, tunnel.probe_behaviour = answer_well, answer_probe
        if fault in ("refused", "blackhole"):
            tunnel.clear_backlog()
            await tunnel.start()
        await breaker_state(w, "tunnel-1", BreakerState.CLOSED)
        back_at = calls.last + 1
        await asyncio.sleep(0.3)
        statuses = await calls.end()
        await w.core.audit.flush(10)
        assert set(statuses) == {200}
        assert len(met_the_fault(w, seen_at, healed_at)) <= 1
        after = [r for r in w.rows.rows if int(r["requestId"]["S"]) >= back_at]
        assert after
        assert {row["tunnelUsed"]["S"] for row in after} == {"tunnel-1"}
