"""A second copy of a silent call over another path: when it is sent, which answer counts, and what becomes of the other."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.circuit_breaker import BreakerState
from tests.proxy.test_failover import break_upstream, breaker_state
from tests.proxy.worlds import (
    ANSWER,
    Behaviour,
    Seen,
    Upstream,
    World,
    answer_well,
    answer_with,
    hang,
    http,
    reset_unanswered,
    run,
    world,
)

HEDGING: dict[str, Any] = {"hedge_after_seconds": 0.05}
ALL = {"default": ["vpn", "internet"]}


class Gate:
    """An upstream's behaviour that waits until it is opened; `asked` is set by the call that waits."""

    def __init__(self, then: Behaviour = answer_well, before: bytes = b"") -> None:
        self.asked, self.open = asyncio.Event(), asyncio.Event()
        self._then, self._before = then, before

    async def __call__(self, upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(self._before)
        self.asked.set()
        await self.open.wait()
        await self._then(upstream, seen, writer)


def metric(w: World, name: str) -> int:
    samples = {sample: value for sample, labels, value in w.core._samples() if not labels}
    return int(samples[f"twinspan_proxy_{name}_total"])


async def row(w: World) -> dict[str, Any]:
    await w.core.audit.flush(1.0)
    (found,) = w.rows.rows
    return found


def idle(w: World, path: str) -> tuple[int, int]:
    """Connections of a path that are in use and that wait for the next call."""
    upstream = w.core.carrier.states[path].upstream
    return upstream.in_flight, upstream.idle


@run
async def test_by_default_a_silent_call_is_waited_for() -> None:
    """Nobody pays twice who did not ask for it."""
    async with world() as w:
        gate = w.upstreams["tunnel-1"].behaviour = Gate()
        call = asyncio.create_task(w.call())
        await gate.asked.wait()
        await asyncio.sleep(0.2)
        gate.open.set()
        assert (await call).tunnel == "tunnel-1"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)
        assert metric(w, "hedged") == 0


@run
async def test_the_second_copys_answer_counts_if_it_comes_first() -> None:
    """The silent copy is given up with its connection; its path is blamed for nothing, and the row tells of it all."""
    async with world(settings_changes=HEDGING) as w:
        w.upstreams["tunnel-1"].behaviour = hang
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-2")
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 1)
        assert (idle(w, "tunnel-1"), idle(w, "tunnel-2")) == ((0, 0), (0, 1))
        first = w.core.carrier.states["tunnel-1"]
        assert (first.breaker.state, first.upstream.suspect) == (BreakerState.CLOSED, False)
        assert w.reports.sent == []
        assert (metric(w, "hedged"), metric(w, "hedges_won")) == (1, 1)
        told = await row(w)
        assert (told["hedged"], told["resent"]) == ({"BOOL": True}, {"BOOL": True})
        assert [end["S"] for end in told["attempts"]["L"]] == [
            "tunnel-2: answered",
            "tunnel-1: hedge_lost",
        ]


@run
async def test_the_first_copys_answer_counts_if_it_comes_first() -> None:
    """A model that only thought longer is heard, and the second copy is given up."""
    async with world(settings_changes=HEDGING) as w:
        first, second = Gate(), Gate()
        w.upstreams["tunnel-1"].behaviour, w.upstreams["tunnel-2"].behaviour = first, second
        call = asyncio.create_task(w.call())
        await second.asked.wait()
        first.open.set()
        assert (await call).tunnel == "tunnel-1"
        assert (idle(w, "tunnel-1"), idle(w, "tunnel-2")) == ((0, 1), (0, 0))
        assert (metric(w, "hedged"), metric(w, "hedges_won")) == (1, 0)
        assert w.core.carrier.states["tunnel-2"].breaker.state is BreakerState.CLOSED
        assert ("FailoverCount", 0) in {
            (name, value)
            for line in w.core.embedded_metrics()
            for name, value in json.loads(line).items()
            if name == "FailoverCount"
        }


@run
async def test_a_call_of_which_a_byte_was_answered_is_not_hedged() -> None:
    """Once anything came, the call is waited for, however long its answer takes."""
    async with world(settings_changes=HEDGING) as w:
        whole = http(200, b"{}")
        gate = Gate(answer_with(whole[3:]), before=whole[:3])
        w.upstreams["tunnel-1"].behaviour = gate
        call = asyncio.create_task(w.call())
        await gate.asked.wait()
        await asyncio.sleep(0.2)
        gate.open.set()
        assert ((await call).tunnel, w.calls("tunnel-2")) == ("tunnel-1", 0)


@pytest.mark.parametrize(
    "why", ["the caller", "the policy", "the settings", "the budget", "the breaker", "the class"]
)
@run
async def test_a_call_that_may_not_be_sent_again_is_not_hedged(why: str) -> None:
    """What forbids a resend forbids a hedge: caller, policy, settings and budget; and it wants a path in good order."""
    changes = HEDGING | {
        "the settings": {"resend": "false"},
        "the budget": {"resend_budget_ratio": 0, "resend_budget_burst": 0},
    }.get(why, {})
    async with world(settings_changes=changes) as w:
        if why == "the policy":
            await w.adopt(resend="never")
        if why == "the class":
            await w.adopt(excluded=("tunnel-2",))
        if why == "the breaker":
            await w.adopt("tunnel-2")
            await break_upstream(w.upstreams["tunnel-2"], "refused")
            await w.call()
            await breaker_state(w, "tunnel-2", BreakerState.OPEN)
            await w.adopt("tunnel-1")
        before = w.calls("tunnel-1")
        w.upstreams["tunnel-1"].behaviour = gate = Gate()
        headers = {"X_Twinspan_Resend": "never"} if why == "the caller" else {}
        call = asyncio.create_task(w.call(**headers))
        await gate.asked.wait()
        await asyncio.sleep(0.2)
        gate.open.set()
        assert (await call).tunnel == "tunnel-1"
        assert (w.calls("tunnel-1") - before, w.calls("tunnel-2")) == (1, 0)
        assert metric(w, "hedged") == 0


@run
async def test_a_call_is_hedged_once() -> None:
    """Two silent copies are all that there ever are; the third path is left alone until one of them dies."""
    async with world("tunnel-1", "tunnel-2", "internet", settings_changes=HEDGING) as w:
        await w.adopt(data_classes=ALL)
        for upstream in w.upstreams.values():
            upstream.behaviour = hang
        answer = await w.call(X_Twinspan_Timeout_Seconds="0.4")
        assert (answer.status, answer.json["__type"]) == (504, "OutOfTime")
        assert [w.calls(path) for path in w.upstreams] == [1, 1, 0]
        assert all(idle(w, path) == (0, 0) for path in w.upstreams)


@run
async def test_when_both_copies_die_the_call_goes_on_as_any_other() -> None:
    """Neither path is tried again, a third one is, and both are blamed."""
    async with world("tunnel-1", "tunnel-2", "internet", settings_changes=HEDGING) as w:
        await w.adopt(data_classes=ALL)
        first, second = Gate(reset_unanswered), Gate(reset_unanswered)
        w.upstreams["tunnel-1"].behaviour, w.upstreams["tunnel-2"].behaviour = first, second
        call = asyncio.create_task(w.call())
        await second.asked.wait()
        first.open.set()
        second.open.set()
        answer = await call
        assert (answer.status, answer.tunnel) == (200, "internet")
        assert [w.calls(path) for path in w.upstreams] == [1, 1, 1]
        failed = w.core.carrier.counters.attempts_failed
        assert failed == {("tunnel-1", "reset"): 1, ("tunnel-2", "reset"): 1}


@pytest.mark.parametrize("dies", ["tunnel-1", "tunnel-2"])
@run
async def test_when_one_copy_dies_the_other_is_waited_for(dies: str) -> None:
    """Whichever it is, its death is its path's, and the call is the other's."""
    async with world(settings_changes=HEDGING) as w:
        gates = {path: Gate() for path in w.upstreams}
        gates[dies] = Gate(reset_unanswered)
        for path, upstream in w.upstreams.items():
            upstream.behaviour = gates[path]
        (lives,) = set(gates) - {dies}
        call = asyncio.create_task(w.call())
        await gates["tunnel-2"].asked.wait()
        gates[dies].open.set()
        await asyncio.sleep(0.05)
        assert not call.done()
        gates[lives].open.set()
        assert (await call).tunnel == lives
        assert w.core.carrier.counters.attempts_failed == {(dies, "reset"): 1}


@pytest.mark.parametrize("both", [False, True])
@run
async def test_a_503_does_not_win(both: bool) -> None:
    """A refusal at the door is no answer while the other copy may bring one; two of them are the caller's."""
    async with world(settings_changes=HEDGING) as w:
        refusal = answer_with(http(503, b'{"message":"full"}'))
        gate = Gate(refusal if both else answer_well)
        w.upstreams["tunnel-1"].behaviour, w.upstreams["tunnel-2"].behaviour = gate, refusal
        call = asyncio.create_task(w.call())
        await gate.asked.wait()
        while not w.calls("tunnel-2"):
            await asyncio.sleep(0.01)
        gate.open.set()
        answer = await call
        if both:
            assert (answer.status, answer.json) == (503, {"message": "full"})
        else:
            assert (answer.status, answer.tunnel, answer.json["output"]) == (
                200,
                "tunnel-1",
                ANSWER["output"],
            )


@run
async def test_a_caller_who_leaves_takes_both_copies_along() -> None:
    """No copy is carried on for nobody."""
    async with world(settings_changes=HEDGING) as w:
        for upstream in w.upstreams.values():
            upstream.behaviour = hang
        call = asyncio.create_task(w.call())
        while not w.calls("tunnel-2"):
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert all(idle(w, path) == (0, 0) for path in w.upstreams)
        assert all(s.breaker.state is BreakerState.CLOSED for s in w.core.carrier.states.values())
