"""The verdict at its limits, and each fact of it under each kind of verdict."""

import pytest

from control_plane.domain.changes import Change
from control_plane.domain.health import Health, PathHealth, assess, assess_all, remembered
from control_plane.domain.history import LinkHistory
from control_plane.domain.observation import (
    BreakerState,
    CanaryWindow,
    Observation,
    PendingMaintenance,
    ProxyReport,
)
from control_plane.domain.plan import Plan, make_plan
from control_plane.domain.policy import ErrorLimits, LatencyLimits, Policy, SourceAges
from control_plane.domain.topology import SideName, TableKind
from tests.builders import NOON, later, probe, route, seen, topology, tunnels
from tests.unit.test_plan import FAILOVER

LIMITS = LatencyLimits(warning_ms=1000, critical_ms=2000)


def verdict(**differences):
    return assess(seen("tunnel-1", **differences), LIMITS, ErrorLimits(), SourceAges(), NOON)


def window(lost, calls=10):
    return CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=calls, lost=lost)


def report(state, seconds):
    return ProxyReport(state=state, reported_at=later(seconds), reason="no_response")


@pytest.mark.parametrize(
    ("latency_ms", "sluggish", "too_slow", "word"),
    [
        (1000, False, False, None),
        (1001, True, False, "above the warning limit"),
        (2000, True, False, "above the warning limit"),
        (2001, True, True, "above 2000 ms"),
    ],
)
def test_latency_is_judged_above_its_limits_and_not_at_them(latency_ms, sluggish, too_slow, word):
    """A path at the limit is within it."""
    found = verdict(probe=probe("tunnel-1", True, latency_ms))
    assert (found.sluggish, found.too_slow) == (sluggish, too_slow)
    assert (word or "") in found.describe()
    assert (found.reasons == ()) is (word is None)


@pytest.mark.parametrize(("lost", "lossy"), [(1, False), (2, True)])
def test_a_window_at_the_recover_ratio_is_good_and_is_not_mentioned(lost, lossy):
    """One call of ten lost is the limit."""
    found = verdict(canary=window(lost))
    assert found.lossy is lossy
    assert bool(found.reasons) is lossy


@pytest.mark.parametrize(("lost", "health"), [(4, Health.DEGRADED), (5, Health.FAILED)])
def test_a_window_at_the_fail_ratio_fails_a_path_that_nothing_else_used(lost, health):
    """Half of the calls."""
    assert verdict(probe=None, canary=window(lost)).health is health


def test_the_facts_of_a_verdict_are_there_whatever_the_verdict():
    """Drift, maintenance and the share of failing calls, for a path that failed and for one that carries."""
    facts = {
        "routes": (route(target=None),),
        "maintenance": (PendingMaintenance(outside_ip="203.0.113.0", due_at=later(60)),),
    }
    failed = verdict(**facts, probe=probe("tunnel-1", False))
    degraded = verdict(**facts)
    for found, ratio in ((failed, 1.0), (degraded, 0.0)):
        assert found.path == "tunnel-1"
        assert found.drifted
        assert found.maintenance_due == later(60)
        assert found.error_ratio == ratio
    nothing = {"probe": None, "tunnels": None, "connection_state": None, "endpoint_state": None}
    unknown = verdict(maintenance=facts["maintenance"], **nothing)
    assert (unknown.path, unknown.health) == ("tunnel-1", Health.UNKNOWN)
    assert unknown.maintenance_due == later(60)
    assert verdict(routes=(route(),), probe=probe("tunnel-1", False)).drifted is False


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        ({"gateway_state": "deleted"}, "the gateway is deleted"),
        ({"connection_state": "deleting"}, "the VPN connection is deleting"),
        ({"endpoint_state": "failed"}, "the VPC endpoint is failed"),
        (
            {"endpoint_state": "failed", "endpoint_error": "no address is left"},
            "the VPC endpoint is failed (no address is left)",
        ),
    ],
)
def test_each_fault_is_told_in_the_words_of_its_source(difference, text):
    """With AWS's own explanation where there is one, and nothing where there is none."""
    assert text in verdict(**difference, probe=None).reasons
    assert f"{text}, yet calls get through" in verdict(**difference).reasons


@pytest.mark.parametrize("state", ["available", "Available", "MODIFYING"])
def test_a_working_gateway_is_one_however_it_is_spelled(state):
    """Casing is no fault."""
    assert verdict(gateway_state=state).health is Health.HEALTHY


def test_a_partial_endpoint_is_named_when_the_path_fails():
    """It may be what explains the failure."""
    failed = verdict(endpoint_state="partial", probe=probe("tunnel-1", False))
    assert "the VPC endpoint is partial" in failed.reasons
    available = verdict(probe=probe("tunnel-1", False))
    assert not any("endpoint" in reason for reason in available.reasons)


def test_lost_redundancy_counts_the_tunnels_that_are_down():
    """And a path without tunnels has lost none."""
    assert (
        "1 of 2 tunnels DOWN: redundancy is lost" in verdict(tunnels=tunnels(True, False)).reasons
    )
    all_down = verdict(tunnels=tunnels(False, False))
    assert not all_down.redundancy_lost
    assert not verdict(tunnels=None).redundancy_lost


class TestABreakerReport:
    """An open breaker, beside a probe that passes."""

    def test_a_probe_made_since_settles_it(self):
        """Also one of the same moment."""
        probed = probe("tunnel-1", True).model_copy(update={"taken_at": later(-5)})
        for seconds in (-6, -5):
            found = verdict(probe=probed, proxy=report(BreakerState.OPEN, seconds))
            assert found.health is Health.HEALTHY
            assert "a probe made since passes" in found.describe()

    def test_one_made_before_does_not(self):
        """The path is degraded, and nothing is claimed to have passed since."""
        probed = probe("tunnel-1", True).model_copy(update={"taken_at": later(-5)})
        found = verdict(probe=probed, proxy=report(BreakerState.OPEN, -4))
        assert found.health is Health.DEGRADED
        assert "made since" not in found.describe()

    def test_a_probe_without_a_time_settles_nothing(self):
        """Nor does one that failed."""
        undated = verdict(proxy=report(BreakerState.OPEN, -5))
        assert undated.health is Health.DEGRADED
        failed = probe("tunnel-1", False).model_copy(update={"taken_at": NOON})
        assert (
            "made since"
            not in verdict(probe=failed, proxy=report(BreakerState.OPEN, -5)).describe()
        )


def test_several_stale_sources_are_all_left_out():
    """One that is too old does not bring another back."""
    old = seen(
        "tunnel-1",
        probe=probe("tunnel-1", True).model_copy(update={"taken_at": later(-500)}),
        canary=CanaryWindow(begins_at=later(-600), ends_at=later(-500), calls=10, lost=10),
        proxy=report(BreakerState.OPEN, -500),
    )
    found = assess(old, LIMITS, ErrorLimits(), SourceAges(), NOON)
    assert found.health is Health.UNKNOWN
    assert len([reason for reason in found.reasons if "says nothing any more" in reason]) == 3


def test_a_link_is_judged_by_its_own_limits_and_its_own_clock():
    """Error limits, ages and the moment reach every path's verdict."""
    lossy = seen("tunnel-1", probe=None, canary=window(3))
    observation = Observation(link_id="bedrock", observed_at=NOON, paths=(lossy,))
    strict = Policy(errors=ErrorLimits(fail_ratio=0.3, recover_ratio=0.1))
    assert assess_all(observation, strict, NOON)["tunnel-1"].health is Health.FAILED
    assert assess_all(observation, Policy(), NOON)["tunnel-1"].health is Health.DEGRADED
    aged = assess_all(observation, Policy(), later(500))["tunnel-1"]
    assert "says nothing any more" in aged.describe()
    short = Policy(maximum_source_age=SourceAges(canary_seconds=10))
    assert assess_all(observation, short, later(20))["tunnel-1"].error_ratio is None


def test_an_unknown_path_keeps_the_others_from_being_forgotten():
    """One look that saw nothing of the first path still counts for the second."""
    history = LinkHistory().after_observation({"a": None, "b": False}, 1, 2, NOON)
    assert history.path("b").down
    assert history.path("a").known_at is None


def test_a_run_of_looks_begins_at_nothing():
    """After a failure the healthy ones are counted from none, and the other way round."""
    history = LinkHistory().after_observation({"a": False}, 1, 2, NOON)
    history = history.after_observation({"a": True}, 1, 2, NOON)
    assert (history.path("a").failed_in_a_row, history.path("a").healthy_in_a_row) == (0, 1)
    resumed = history.after_observation({"a": False}, 3, 2, NOON).path("a")
    assert resumed.resumed(60, later(60)).failed_in_a_row == 1, "a gap of just that long is none"
    assert resumed.resumed(60, later(61)).failed_in_a_row == 0


def test_a_change_and_its_inverse_tell_where_and_what():
    """Every field of it, read back from the journal too."""
    change = Change(
        SideName.COMMERCIAL, TableKind.VPC, "rtb-1", "10.0.0.0/16", before="eni-a", after=None
    )
    assert change.describe() == "commercial rtb-1 10.0.0.0/16: eni-a → none"
    assert change.inverse().describe() == "commercial rtb-1 10.0.0.0/16: none → eni-a"
    assert change.inverse().inverse() == change
    assert Change.from_dict(change.to_dict()) == change


def test_a_plan_names_its_link_its_target_and_every_route():
    """What is applied is what the topology requires, where it requires it."""
    broken = seen("tunnel-2", routes=(route("tunnel-2", "eni-other"),))
    plan = make_plan(topology(), Policy(), FAILOVER, broken, "tunnel-1", 7)
    [change] = plan.changes
    wanted = route("tunnel-2").required
    assert (plan.link_id, plan.target_path) == ("bedrock", "tunnel-2")
    assert (change.side, change.table_kind) == (wanted.side, wanted.table_kind)
    assert (change.table_id, change.destination) == (wanted.table_id, wanted.destination)
    assert (change.before, change.after) == ("eni-other", wanted.target)
    assert Plan.from_dict(plan.to_dict()) == plan


def test_a_path_whose_only_witness_is_a_closed_breaker_is_degraded():
    """A real call went through, and nobody else has looked."""
    closed = ProxyReport(state=BreakerState.CLOSED, reported_at=NOON)
    verdict = assess(seen("tunnel-1", probe=None, proxy=closed), LatencyLimits())
    assert verdict.health is Health.DEGRADED
    assert verdict.reasons == (
        "a proxy reported its breaker closed at 12:00:00Z, and nothing else used the path",
    )


def test_what_was_not_measured_is_not_slow():
    """Whatever the limit: answers without a latency say nothing of it."""
    strict = LatencyLimits(warning_ms=0.5, critical_ms=0.5)
    answered = probe("tunnel-1", True).model_copy(update={"median_latency_ms": None})
    verdict = assess(seen("tunnel-1", probe=answered), strict)
    assert (verdict.health, verdict.sluggish, verdict.too_slow) == (Health.HEALTHY, False, False)


def test_an_earlier_verdict_that_is_too_old_says_so_of_its_path():
    """It is UNKNOWN, and still known by its name."""
    earlier = {"tunnel-1": (PathHealth("tunnel-1", Health.HEALTHY, ()), NOON)}
    reason = "last seen HEALTHY 121 s ago, which is too long"
    assert remembered(earlier, SourceAges(), later(121)) == {
        "tunnel-1": PathHealth("tunnel-1", Health.UNKNOWN, (reason,))
    }
    assert remembered(earlier, SourceAges(), later(120))["tunnel-1"].health is Health.HEALTHY


def test_each_source_that_is_too_old_is_named_as_left_out():
    """In the order of the rule, with its age."""
    old = seen(
        "tunnel-1",
        probe=probe("tunnel-1", True).model_copy(update={"taken_at": NOON}),
        canary=window(0),
        proxy=report(BreakerState.OPEN, 0),
        described_at=NOON,
    )
    verdict = assess(old, LIMITS, now=later(301))
    assert verdict.health is Health.UNKNOWN
    assert verdict.reasons == tuple(
        f"the {source} is 301 s old and says nothing any more"
        for source in ("probe", "canary's window", "proxy's report", "description by EC2")
    )


def test_a_breaker_that_opened_before_the_probe_is_told_with_what_has_come_since():
    """One that opened after it is told alone."""
    passing = probe("tunnel-1", True).model_copy(update={"taken_at": NOON})
    told = [
        verdict(probe=passing, proxy=report(BreakerState.OPEN, seconds)).reasons
        for seconds in (-30, 5)
    ]
    assert [reasons[0].partition(" at ")[2] for reasons in told] == [
        "11:59:30Z (no_response), a probe made since passes",
        "12:00:05Z (no_response)",
    ]
