"""The verdict on a path, source by source, and what happens when they disagree."""

import pytest

from control_plane.domain.health import Health, assess, remembered
from control_plane.domain.observation import (
    BreakerState,
    CanaryWindow,
    PendingMaintenance,
    ProxyReport,
)
from control_plane.domain.policy import ErrorLimits, LatencyLimits, Policy, SourceAges
from tests.builders import NOON, dead, later, probe, route, seen, tunnels

LIMITS = LatencyLimits()
NOBODY_TRIED = {"probe": None, "canary": None, "proxy": None}


def judge(path, seconds=0.0):
    """The verdict so many seconds after noon."""
    return assess(path, LIMITS, ErrorLimits(), SourceAges(), later(seconds))


def window(ends=0.0, **counts):
    return CanaryWindow(begins_at=later(ends - 60), ends_at=later(ends), **{"calls": 20, **counts})


def report(state, seconds=0.0):
    return ProxyReport(state=BreakerState(state), reported_at=later(seconds), reason="no_response")


def probed(seconds, passed=True):
    return probe("tunnel-1", passed).model_copy(update={"taken_at": later(seconds)})


@pytest.mark.parametrize(
    "fault",
    [
        {"gateway_state": "deleted"},
        {"connection_state": "deleted"},
        {"tunnels": tunnels(False, False)},
        {"endpoint_state": "failed"},
        {"endpoint_state": "Rejected"},
        {"routes": (route(target=None),)},
    ],
)
def test_each_fault_fails_an_unused_path_and_only_degrades_one_that_was_just_used(fault):
    """Telemetry never fails a path that a fresh probe went through, and says what it holds against it."""
    unused, used = judge(seen("tunnel-1", **fault, probe=None)), judge(seen("tunnel-1", **fault))
    assert unused.health is Health.FAILED
    assert used.health is Health.DEGRADED
    assert unused.reasons and used.reasons


@pytest.mark.parametrize("perfect", [seen("tunnel-1"), seen("tunnel-1", canary=window())])
def test_perfect_telemetry_does_not_save_a_path_whose_probe_fails(perfect):
    """A tunnel can be UP, and a canary have been content, over a path that carries nothing now."""
    verdict = judge(perfect.model_copy(update={"probe": probe("tunnel-1", False)}))
    assert verdict.health is Health.FAILED
    assert "0 of 2 probes answered" in verdict.describe()


def test_telemetry_alone_makes_nothing_healthy():
    """With all tunnels UP and nobody having tried, nothing is known."""
    assert judge(seen("tunnel-1", **NOBODY_TRIED)).health is Health.UNKNOWN


def test_one_tunnel_of_two_down_is_degraded_and_keeps_carrying():
    """Redundancy is lost, service is not."""
    verdict = judge(seen("tunnel-1", tunnels=tunnels(True, False)))
    assert (verdict.health, verdict.carries) == (Health.DEGRADED, True)
    assert verdict.redundancy_lost


def test_a_connection_without_any_telemetry_is_not_one_whose_tunnels_are_down():
    """An empty list of tunnels is nothing observed."""
    verdict = judge(seen("tunnel-1", tunnels=(), probe=None))
    assert verdict.health is Health.UNKNOWN


class TestCanary:
    """A window of many calls."""

    @pytest.mark.parametrize(
        ("counts", "health"),
        [
            ({}, Health.HEALTHY),
            ({"lost": 2}, Health.HEALTHY),
            ({"lost": 3}, Health.DEGRADED),
            ({"lost": 3, "tls_failures": 3, "server_errors": 3}, Health.DEGRADED),
            ({"lost": 4, "tls_failures": 3, "server_errors": 3}, Health.FAILED),
            ({"tls_failures": 20}, Health.FAILED),
        ],
    )
    def test_failing_and_recovering_have_thresholds_of_their_own(self, counts, health):
        """Half of the calls lost fails a path; to be healthy no more than a tenth may be."""
        assert judge(seen("tunnel-1", probe=None, canary=window(**counts))).health is health

    def test_a_lossy_window_degrades_a_path_whose_probe_got_through(self):
        """A gray failure shows in many calls before it shows in three."""
        verdict = judge(seen("tunnel-1", canary=window(lost=8)))
        assert (verdict.health, verdict.lossy) == (Health.DEGRADED, True)
        assert "40% of 20 canary calls failed (8 lost)" in verdict.describe()

    def test_its_latency_counts_where_no_probe_measured_one(self):
        """A slow window is a slow path."""
        slow = window(median_latency_ms=2500)
        assert judge(seen("tunnel-1", probe=None, canary=slow)).too_slow


class TestProxyReports:
    """What the proxies' breakers say."""

    def test_an_open_breaker_fails_a_path_that_nothing_else_used(self):
        """Real calls fail, whatever the tunnels look like."""
        verdict = judge(seen("tunnel-1", probe=None, proxy=report("open")))
        assert verdict.health is Health.FAILED

    def test_a_closed_breaker_keeps_telemetry_from_failing_the_path(self):
        """A real call went through; for want of a better witness the path is degraded."""
        path = seen("tunnel-1", probe=None, tunnels=tunnels(False, False), proxy=report("closed"))
        assert judge(path).health is Health.DEGRADED

    def test_a_half_open_breaker_says_nothing(self):
        """It is trying, and does not know yet."""
        path = seen("tunnel-1", probe=None, proxy=report("half_open"))
        assert judge(path).health is Health.UNKNOWN

    def test_a_report_after_the_probe_degrades_the_path(self):
        """Calls failed since we looked."""
        path = seen("tunnel-1", probe=probed(-20), proxy=report("open", -5))
        assert judge(path).health is Health.DEGRADED

    def test_a_report_before_the_probe_is_only_mentioned(self):
        """We looked since, and calls get through again."""
        verdict = judge(seen("tunnel-1", probe=probed(-5), proxy=report("open", -20)))
        assert verdict.health is Health.HEALTHY
        assert "a probe made since passes" in verdict.describe()


class TestStaleness:
    """A source that is older than the policy allows was not observed."""

    @pytest.mark.parametrize(
        ("fields", "limit", "fresh"),
        [
            ({"probe": probed(0, passed=False)}, 120, Health.FAILED),
            ({"probe": probed(0)}, 120, Health.HEALTHY),
            ({"probe": None, "canary": window(lost=20)}, 180, Health.FAILED),
            ({"probe": None, "proxy": report("open")}, 120, Health.FAILED),
            ({"probe": None, "tunnels": tunnels(False, False)}, 300, Health.FAILED),
        ],
    )
    def test_each_source_speaks_until_its_limit_and_not_a_second_longer(self, fields, limit, fresh):
        """At the limit the source still counts; past it nothing is known, and the verdict says why."""
        path = seen("tunnel-1", described_at=NOON, **fields)
        assert judge(path, limit).health is fresh
        stale = judge(path, limit + 1)
        assert stale.health is Health.UNKNOWN
        assert f"{limit + 1} s old and says nothing any more" in stale.describe()

    def test_without_a_moment_nothing_is_stale(self):
        """A caller that gives no time vouches for the observation's age."""
        assert assess(seen("tunnel-1", probe=probed(-9999)), LIMITS).health is Health.HEALTHY

    def test_a_source_from_the_future_counts(self):
        """Clocks differ a little; a report that is ahead of ours is no older for it."""
        assert judge(seen("tunnel-1", probe=probed(3))).health is Health.HEALTHY

    def test_a_remembered_verdict_expires_as_a_probe_does(self):
        """What was true at the last look is not true for ever."""
        verdicts = {"tunnel-1": (judge(seen("tunnel-1")), NOON)}
        ages = Policy().maximum_source_age
        assert remembered(verdicts, ages, later(120))["tunnel-1"].health is Health.HEALTHY
        assert remembered(verdicts, ages, later(121))["tunnel-1"].health is Health.UNKNOWN


class TestLatency:
    """Two limits: one to mention, one to leave for."""

    @pytest.mark.parametrize(
        ("latency_ms", "health", "sluggish", "too_slow"),
        [
            (1000, Health.HEALTHY, False, False),
            (1001, Health.HEALTHY, True, False),
            (2000, Health.HEALTHY, True, False),
            (2001, Health.DEGRADED, True, True),
        ],
    )
    def test_the_limits_themselves_are_still_allowed(self, latency_ms, health, sluggish, too_slow):
        """Above the warning limit a path is sluggish, above the critical one degraded."""
        verdict = judge(seen("tunnel-1", probe=probe("tunnel-1", True, latency_ms)))
        assert (verdict.health, verdict.sluggish, verdict.too_slow) == (health, sluggish, too_slow)


def test_pending_maintenance_is_a_warning_with_the_earliest_date():
    """A path whose tunnels are about to be replaced still carries."""
    pending = tuple(
        PendingMaintenance(outside_ip=f"203.0.113.{n}", due_at=later(seconds))
        for n, seconds in enumerate((7200, 3600))
    )
    verdict = judge(seen("tunnel-1", maintenance=pending))
    assert verdict.health is Health.HEALTHY
    assert verdict.maintenance_due == later(3600)
    assert "maintenance is pending on tunnel 203.0.113.0" in verdict.describe()


def test_drift_explains_a_failure_only_where_nothing_else_is_wrong():
    """With the tunnels DOWN as well, putting the route back would not help."""
    drifted = {"routes": (route(target=None),), "probe": probe("tunnel-1", False)}
    assert judge(seen("tunnel-1", **drifted)).drift_explains_failure
    assert not judge(dead("tunnel-1", routes=(route(target=None),))).drift_explains_failure
