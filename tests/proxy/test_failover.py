from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from proxy.circuit_breaker import BreakerState
from tests.proxy.worlds import (
    ANSWER,
    IMPATIENT,
    Upstream,
    World,
    answer_probe,
    answer_then_reset,
    answer_well,
    answer_with,
    hang,
    http,
    reset_unanswered,
    run,
    world,
)


async def break_upstream(upstream: Upstream, fault: str) -> None:
    if fault == "refused":
        await upstream.refuse()
    elif fault == "blackhole":
        await upstream.blackhole()
    elif fault == "hang":
        upstream.behaviour = upstream.probe_behaviour = hang
        # A hung process answers nothing on connections that it took earlier either.
    elif fault == "reset":
        upstream.behaviour = upstream.probe_behaviour = reset_unanswered
    elif fault == "503":
        upstream.behaviour = upstream.probe_behaviour = answer_with(http(503, b"{}"))


async def breaker_state(w: World, path: str, wanted: BreakerState) -> None:
    """Wait, for a bounded time, until the path's breaker is in this state."""
    async with asyncio.timeout(10):
        while w.core.carrier.states[path].breaker.state is not wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("warm", [True, False], ids=["pooled", "cold"])
@pytest.mark.parametrize("fault", ["refused", "blackhole", "hang", "reset", "503"])
@run
async def test_no_call_fails_while_another_path_works(fault: str, warm: bool) -> None:
    """Whatever befalls the active path under twenty concurrent calls, each gets its answer by tunnel-2."""
    async with world(settings_changes=IMPATIENT) as w:
        if warm:
            await asyncio.gather(*(w.call() for _ in range(5)))
        await break_upstream(w.upstreams["tunnel-1"], fault)
        answers = await asyncio.gather(*(w.call() for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert {answer.tunnel for answer in answers} == {"tunnel-2"}
        assert {answer.json["served_by"] for answer in answers} == {"127.0.12.1"}
        await breaker_state(w, "tunnel-1", BreakerState.OPEN)
        before = w.calls("tunnel-1")
        after = [await w.call() for _ in range(5)]
        assert {answer.status for answer in after} == {200}
        assert w.calls("tunnel-1") == before, "an ejected path gets no caller's request"


@run
async def test_a_slow_model_is_not_a_dead_path() -> None:
    """While the path answers probes, the proxy waits for the model and sends the call once."""

    async def think(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
        while upstream.probes < 3:
            await asyncio.sleep(0.01)
        await answer_well(upstream, seen, writer)

    async with world(settings_changes=IMPATIENT) as w:
        w.upstreams["tunnel-1"].behaviour = think
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-1")
        assert w.calls("tunnel-1") == 1
        assert w.calls("tunnel-2") == 0


@pytest.mark.parametrize(
    "beginning",
    [
        b"H",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le",
        b"not http at all\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
@run
async def test_a_call_is_never_sent_again_after_a_byte(beginning: bytes) -> None:
    """Once a byte of an answer came, a break is told to the caller and no path sees the call again."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = answer_then_reset(beginning)
        answer = await w.call()
        assert answer.status == 502
        assert answer.json["__type"] == "AnswerBroke"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)
        following = await w.call()
        assert following.status == 200


@run
async def test_a_body_that_breaks_off_is_not_sent_again() -> None:
    """A break inside the body reaches the caller as a break, with no second call and no clean end."""
    async with world() as w:
        body = json.dumps(ANSWER).encode()
        half = http(200, body)[: -len(body) // 2]
        w.upstreams["tunnel-1"].behaviour = answer_then_reset(half)
        answer = await w.call()
        assert answer.status == 200
        assert answer.broke
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)


@run
async def test_a_caller_can_forbid_resending() -> None:
    """With `X-Twinspan-Resend: never`, a call that was written and not answered is told, not repeated."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = reset_unanswered
        answer = await w.call(X_Twinspan_Resend="never")
        assert answer.status == 502
        assert answer.json["__type"] == "NotResent"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)


@run
async def test_a_caller_who_forbids_resending_still_fails_over_unsent() -> None:
    """What was never written may go to another path whatever the caller says."""
    async with world() as w:
        await w.call(X_Twinspan_Resend="never")
        await w.upstreams["tunnel-1"].refuse()
        answer = await w.call(X_Twinspan_Resend="never")
        assert (answer.status, answer.tunnel) == (200, "tunnel-2")


@run
async def test_a_pooled_connection_closed_by_its_peer_costs_no_failover() -> None:
    """An upstream that closes idle connections is answered by a fresh one over the same path."""
    async with world() as w:
        await w.call()
        w.upstreams["tunnel-1"].reset_all()
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-1")
        assert w.core.carrier.states["tunnel-1"].breaker.state is BreakerState.CLOSED


@pytest.mark.parametrize("fault", ["refused", "hang", "blackhole"])
@run
async def test_when_every_path_is_dead_the_caller_is_told_so(fault: str) -> None:
    """With no working path the answer is 503, retryable, and names each path with its reason."""
    async with world(settings_changes=IMPATIENT) as w:
        for upstream in w.upstreams.values():
            await break_upstream(upstream, fault)
        answer = await w.call()
        assert answer.status == 503
        assert answer.headers["retry-after"].isdigit()
        assert answer.headers["x-amzn-errortype"] == "ServiceUnavailableException"
        assert answer.headers["x-tunnel-used"] == "none"
        assert answer.json["__type"] == "NoAllowedPath"
        assert [path["name"] for path in answer.json["paths"]] == ["tunnel-1", "tunnel-2"]
        assert all(path["reason"] for path in answer.json["paths"])


@run
async def test_an_open_breaker_never_refuses_a_path_that_works_again() -> None:
    """With every breaker open, the first call after a path has healed is carried by it."""
    async with world(settings_changes=IMPATIENT | {"ejection_seconds": 60}) as w:
        for upstream in w.upstreams.values():
            await upstream.refuse()
        assert (await w.call()).status == 503
        for path in w.upstreams:
            await breaker_state(w, path, BreakerState.OPEN)
        await w.upstreams["tunnel-2"].start()
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-2")


@run
async def test_a_healed_path_is_readmitted_by_a_probe() -> None:
    """After its ejection the active path is probed, tried and used again; nobody's call was the probe."""
    async with world(settings_changes=IMPATIENT | {"ejection_seconds": 0.05}, keep_house=True) as w:
        first = w.upstreams["tunnel-1"]
        await first.refuse()
        assert (await w.call()).tunnel == "tunnel-2"
        await breaker_state(w, "tunnel-1", BreakerState.OPEN)
        await first.start()
        await breaker_state(w, "tunnel-1", BreakerState.HALF_OPEN)
        answers = [await w.call() for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert answers[-1].tunnel == "tunnel-1"
        await breaker_state(w, "tunnel-1", BreakerState.CLOSED)


@run
async def test_a_503_is_passed_on_when_no_path_does_better() -> None:
    """When both paths answer 503, the caller gets the upstream's own 503, body and headers."""
    async with world() as w:
        body = b'{"message":"model is overloaded"}'
        for upstream in w.upstreams.values():
            upstream.behaviour = answer_with(http(503, body, "x-amzn-RequestId: abc"))
        answer = await w.call()
        assert (answer.status, answer.body) == (503, body)
        assert answer.headers["x-amzn-requestid"] == "abc"
        assert answer.tunnel == "tunnel-2"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 1)


@pytest.mark.parametrize("status", [400, 403, 404, 408, 424, 429, 500, 502, 504])
@run
async def test_what_the_upstream_says_is_passed_on_once(status: int) -> None:
    """Every other status is the upstream's answer: passed on as it is, never tried elsewhere."""
    async with world() as w:
        body = b'{"message":"no"}'
        w.upstreams["tunnel-1"].behaviour = answer_with(
            http(status, body, "x-amzn-ErrorType: ThrottlingException")
        )
        answer = await w.call()
        assert (answer.status, answer.body) == (status, body)
        assert answer.headers["x-amzn-errortype"] == "ThrottlingException"
        assert (w.calls("tunnel-1"), w.calls("tunnel-2")) == (1, 0)


@run
async def test_the_retry_budget_bounds_resends() -> None:
    """With the budget spent, a call that may have been inferred is told to its caller, not repeated."""
    changes = {"resend_budget_ratio": 0.0, "resend_budget_burst": 2}
    async with world(settings_changes=changes) as w:
        for upstream in w.upstreams.values():
            upstream.behaviour = reset_unanswered
        answers = [await w.call() for _ in range(4)]
        sent = w.calls("tunnel-1") + w.calls("tunnel-2")
        assert all(answer.status in (502, 503) for answer in answers)
        assert sent == 4 + 2
        assert answers[-1].json["__type"] == "NotResent"


@run
async def test_the_deadline_ends_a_call() -> None:
    """A model that does not answer within the caller's time gives 504, and the connection is dropped."""
    async with world(settings_changes=IMPATIENT) as w:
        w.upstreams["tunnel-1"].behaviour = hang
        answer = await w.call(X_Twinspan_Timeout_Seconds="0.1")
        assert answer.status == 504
        assert answer.json["__type"] == "OutOfTime"
        assert w.core.carrier.states["tunnel-1"].upstream.in_flight == 0
        assert w.calls("tunnel-2") == 0


@run
async def test_a_switch_drains_the_old_path() -> None:
    """After the active path changes, calls on the old one end in peace and its connections are closed."""
    async with world() as w:
        release = asyncio.Event()

        async def wait(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await answer_well(upstream, seen, writer)

        first = w.upstreams["tunnel-1"]
        await w.call()
        first.behaviour = wait
        under_way = asyncio.create_task(w.call())
        while w.calls("tunnel-1") < 2:
            await asyncio.sleep(0.01)
        await w.adopt("tunnel-2")
        assert (await w.call()).tunnel == "tunnel-2"
        release.set()
        answer = await under_way
        assert (answer.status, answer.tunnel) == (200, "tunnel-1")
        assert w.core.carrier.states["tunnel-1"].upstream.idle == 0


@run
async def test_an_excluded_path_is_never_used() -> None:
    """A path that the config excludes gets no call, even when it is the only one alive."""
    async with world() as w:
        await w.adopt("tunnel-1", excluded=("tunnel-2",))
        await w.upstreams["tunnel-1"].refuse()
        answer = await w.call()
        assert answer.status == 503
        assert {"name": "tunnel-2", "reason": "excluded"} in answer.json["paths"]
        assert w.upstreams["tunnel-2"].connections == 0


@run
async def test_the_internet_path_is_for_those_whom_policy_allows() -> None:
    """With both tunnels dead, only a data class that may use the internet is carried over it."""
    async with world("tunnel-1", "tunnel-2", "internet") as w:
        await w.adopt(data_classes={"default": ["vpn"], "public": ["vpn", "internet"]})
        for path in ("tunnel-1", "tunnel-2"):
            await w.upstreams[path].refuse()
        denied = await w.call()
        assert denied.status == 503
        assert w.upstreams["internet"].connections == 0
        carried = await w.call(X_Twinspan_Data_Class="public")
        assert carried.status == 200
        assert carried.headers["x-routing-method"] == "internet"
        assert carried.tunnel == "internet"


@run
async def test_a_peer_outside_the_paths_network_is_refused() -> None:
    """An endpoint that leads to an address not on its path gets no byte of the request."""
    async with world() as w:
        document = json.loads(w.publish())
        document["paths"][0]["peer_networks"] = ["127.0.99.0/24"]
        w.core.source.adopt(json.dumps(document))
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-2")
        assert w.upstreams["tunnel-1"].connections == 0


@run
async def test_a_config_cannot_widen_the_deployments_networks() -> None:
    """Peers outside the allowed networks are refused though the config calls them the path's own."""
    changes = {"allowed_networks": "127.0.12.0/24"}
    async with world(settings_changes=changes) as w:
        answer = await w.call()
        assert (answer.status, answer.tunnel) == (200, "tunnel-2")
        assert w.upstreams["tunnel-1"].connections == 0


@run
async def test_breaker_changes_are_reported_once() -> None:
    """A path's death under many calls gives one report that says which path, why, and what was in use."""
    async with world() as w:
        await w.upstreams["tunnel-1"].refuse()
        await asyncio.gather(*(w.call() for _ in range(20)))
        await breaker_state(w, "tunnel-1", BreakerState.OPEN)
        await w.core.reports.flush(5)
        (report,) = [one for one in w.reports.sent if one["path"] == "tunnel-1"]
        assert report["schema_version"] == 1
        assert (report["link_id"], report["state"]) == ("bedrock", "open")
        assert report["reason"] == "connect_refused"
        assert report["generation"] == 1


@run
async def test_a_newly_published_active_path_is_tried_at_once() -> None:
    """A breaker's ejection does not outlast the control plane's proof that the path works."""
    async with world(settings_changes={"ejection_seconds": 60}) as w:
        await w.upstreams["tunnel-1"].refuse()
        await w.call()
        await breaker_state(w, "tunnel-1", BreakerState.OPEN)
        await w.adopt("tunnel-2")
        await w.upstreams["tunnel-1"].start()
        await w.adopt("tunnel-1")
        assert (await w.call()).tunnel == "tunnel-1"


@run
async def test_bytes_that_nobody_asked_for_reach_nobody() -> None:
    """What an upstream sends after an answer is not taken for the next caller's answer."""
    forged = http(200, b'{"forged":true}')
    async with world() as w:
        first = w.upstreams["tunnel-1"]
        good = http(200, b'{"good":true}')
        first.behaviour = answer_with(good + forged)
        assert (await w.call()).json == {"good": True}
        first.behaviour = answer_with(good)
        assert (await w.call()).json == {"good": True}
        assert first.connections == 2


@pytest.mark.parametrize(
    "endless",
    [
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000,
    ],
)
@run
async def test_headers_that_never_end_are_cut_off(endless: bytes) -> None:
    """An upstream whose headers do not end within their limit is given up, in bounded memory."""
    async with world() as w:
        w.upstreams["tunnel-1"].behaviour = answer_with(endless)
        answer = await w.call()
        assert answer.status == 502
        assert w.calls("tunnel-2") == 0


@run
async def test_a_probe_answered_with_garbage_proves_nothing() -> None:
    """A path whose probe brings bytes that are no HTTP stays ejected."""
    async with world(settings_changes=IMPATIENT) as w:
        first = w.upstreams["tunnel-1"]
        first.behaviour = hang
        first.probe_behaviour = answer_with(b"SSH-2.0-OpenSSH\r\n")
        assert (await w.call()).tunnel == "tunnel-2"
        first.probe_behaviour = answer_probe
        assert w.core.carrier.states["tunnel-1"].breaker.state is BreakerState.OPEN
