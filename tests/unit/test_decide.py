"""The decision, case by case."""

from datetime import timedelta

import pytest

from control_plane.domain.decide import DecisionKind, Situation, decide
from control_plane.domain.health import assess
from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.observation import CanaryWindow
from control_plane.domain.policy import (
    Failback,
    FlapDamping,
    Hysteresis,
    LatencyLimits,
    Policy,
    Quarantine,
)
from control_plane.domain.topology import Topology
from tests.builders import (
    NOON,
    Link,
    dead,
    gray,
    intent,
    later,
    probe,
    route,
    seen,
    topology,
    tunnels,
)


def test_a_healthy_link_is_left_alone():
    """Nothing is done to a link whose preferred path is active and healthy."""
    assert Link().decide().kind is DecisionKind.NO_CHANGE


@pytest.mark.parametrize("failure", [dead("tunnel-1"), gray("tunnel-1")])
def test_a_failed_active_path_is_left_for_the_healthy_standby(failure):
    """Whether telemetry admits it or not, a path that carries nothing is left."""
    decision = Link().decide(failure)
    assert (decision.kind, decision.path) == (DecisionKind.FAILOVER, "tunnel-2")


def test_one_tunnel_of_two_down_warns_and_does_not_switch():
    """Lost redundancy is not lost service."""
    decision = Link().decide(seen("tunnel-1", tunnels=tunnels(True, False)))
    assert decision.kind is DecisionKind.NO_CHANGE
    assert "redundancy is lost" in decision.describe()


def test_telemetry_alone_does_not_fail_a_path_that_a_probe_just_used():
    """A fresh answer outranks DOWN telemetry."""
    decision = Link().decide(seen("tunnel-1", tunnels=tunnels(False, False)))
    assert decision.kind is DecisionKind.NO_CHANGE


def test_missing_data_moves_no_traffic():
    """UNKNOWN is not FAILED."""
    unseen = seen("tunnel-1", probe=None, tunnels=None, connection_state=None, endpoint_state=None)
    assert Link().decide(unseen).kind is DecisionKind.NO_CHANGE


def test_a_deleted_required_route_is_put_back_in_place():
    """When drift alone explains the failure, the route is repaired and traffic stays."""
    broken = seen("tunnel-1", routes=(route(target=None),), probe=probe("tunnel-1", False))
    decision = Link().decide(broken)
    assert (decision.kind, decision.path) == (DecisionKind.REPAIR, "tunnel-1")


def test_drift_on_the_standby_is_repaired_before_it_is_needed():
    """A standby that lost its route is repaired while the active path is well."""
    broken = seen("tunnel-2", routes=(route("tunnel-2", None),), probe=probe("tunnel-2", False))
    decision = Link().decide(broken)
    assert (decision.kind, decision.path) == (DecisionKind.REPAIR, "tunnel-2")


def test_with_manual_repair_drift_is_reported_and_left():
    """The policy may reserve route changes to people."""
    link = Link(Policy(drift_repair="manual"))
    broken = seen("tunnel-2", routes=(route("tunnel-2", None),), probe=probe("tunnel-2", False))
    decision = link.decide(broken)
    assert decision.kind is DecisionKind.NO_CHANGE
    assert "leaves repair to an operator" in decision.describe()


def test_both_paths_down_is_escalated_with_a_reason_for_each():
    """When nothing helps, every path's reason is named."""
    decision = Link().decide(dead("tunnel-1"), dead("tunnel-2"))
    assert decision.kind is DecisionKind.ESCALATE
    assert "tunnel-2 is FAILED" in decision.passed_over["tunnel-2"]


def test_a_path_refused_in_this_run_is_passed_over():
    """What the model or a probe refused is not chosen again."""
    decision = Link().decide(dead("tunnel-1"), refused={"tunnel-2": "the route model refuses it"})
    assert decision.kind is DecisionKind.ESCALATE
    assert decision.passed_over["tunnel-2"] == "the route model refuses it"


def test_failing_takes_as_many_observations_as_the_policy_says():
    """One bad look is not enough when the policy asks for two."""
    link = Link(Policy(hysteresis=Hysteresis(failed_observations_to_fail=2)))
    assert link.decide(dead("tunnel-1")).kind is DecisionKind.NO_CHANGE
    assert link.decide(dead("tunnel-1")).kind is DecisionKind.FAILOVER


class TestGoingHome:
    """Failback: slower than failing over, on purpose."""

    policy = Policy(
        hold_down_seconds=300,
        failback=Failback(stable_seconds=60),
        hysteresis=Hysteresis(healthy_observations_to_recover=2),
    )

    def switched(self) -> Link:
        link = Link(self.policy)
        link.decide(dead("tunnel-1"))
        link.active = "tunnel-2"
        link.history = link.history.after_switch(
            Switch(at=NOON, from_path="tunnel-1", to_path="tunnel-2", kind="Failover"),
            self.policy.flap_damping,
            penalise="tunnel-1",
        )
        return link

    def test_traffic_returns_once_stable_and_past_the_hold_down(self):
        """All of recovery, stability and hold-down must have passed."""
        link = self.switched()
        for seconds, expected in [
            (10, "1 of 2 healthy observations"),
            (10, "not yet for 60 s"),
            (100, "hold-down until"),
        ]:
            link.pass_time(seconds)
            decision = link.decide()
            assert decision.kind is DecisionKind.NO_CHANGE
            assert expected in decision.passed_over["tunnel-1"]
        link.pass_time(300)
        decision = link.decide()
        assert (decision.kind, decision.path) == (DecisionKind.FAILBACK, "tunnel-1")

    def test_one_failing_look_starts_the_wait_again(self):
        """Stability is counted from the last failure."""
        link = self.switched()
        link.pass_time(400)
        link.decide()
        link.decide(dead("tunnel-1"))
        link.pass_time(30)
        link.decide()
        assert link.decide().kind is DecisionKind.NO_CHANGE

    def test_an_operator_may_keep_failback_to_themselves(self):
        """With manual failback, traffic stays until asked."""
        link = self.switched()
        link.policy = self.policy.model_copy(
            update={"failback": Failback(automation="manual", stable_seconds=0)}
        )
        link.pass_time(1000)
        link.decide()
        assert link.decide().kind is DecisionKind.NO_CHANGE
        assert link.decide(intent=intent("failback")).kind is DecisionKind.FAILBACK

    def test_traffic_that_was_moved_by_hand_stays_until_asked(self):
        """An operator's failover is not undone behind their back, but a failing path is still left."""
        link = self.switched()
        by_hand = Switch(
            at=later(1), from_path="tunnel-1", to_path="tunnel-2", kind="Failover", by_hand=True
        )
        link.history = link.history.after_switch(by_hand, FlapDamping())
        link.pass_time(2000)
        link.decide()
        assert "moved here by hand" in link.decide().passed_over["tunnel-1"]
        assert link.decide(intent=intent("failback")).kind is DecisionKind.FAILBACK
        assert link.decide(dead("tunnel-2")).path == "tunnel-1"

    def test_a_flapping_path_is_suppressed_until_its_penalty_decays(self):
        """After two failures in quick succession home stays away, then comes back."""
        link = self.switched()
        damping = FlapDamping()
        again = Switch(at=later(1), from_path="tunnel-1", to_path="tunnel-2", kind="Failover")
        link.history = link.history.after_switch(again, damping, penalise="tunnel-1")
        link.pass_time(500)
        link.decide()
        link.pass_time(100)
        assert "suppressed for flapping" in link.decide().passed_over["tunnel-1"]
        link.pass_time(damping.maximum_suppress_seconds)
        assert link.decide().kind is DecisionKind.FAILBACK


def test_hold_down_does_not_keep_traffic_on_a_dead_path():
    """Escaping from a failed path does not wait."""
    link = Link(active="tunnel-2")
    switch = Switch(at=NOON, from_path="tunnel-1", to_path="tunnel-2", kind="Failover")
    link.history = link.history.after_switch(switch, FlapDamping())
    decision = link.decide(dead("tunnel-2"))
    assert decision.path == "tunnel-1"


def test_switches_within_an_hour_are_bounded():
    """Under any flapping, the policy's limit of switches holds."""
    link = Link(Policy(maximum_switches_per_hour=2))
    for second in (0, 10):
        switch = Switch(at=later(second), from_path="tunnel-1", to_path="tunnel-2", kind="Failover")
        link.history = link.history.after_switch(switch, FlapDamping())
    decision = link.decide(dead("tunnel-1"))
    assert decision.kind is DecisionKind.ESCALATE
    assert "the policy's limit" in decision.passed_over["tunnel-2"]


class TestPolicyModes:
    """What each mode lets happen."""

    def test_paused_does_nothing_and_says_what_it_would_have_done(self):
        """A paused link is only watched."""
        decision = Link(Policy(mode="paused")).decide(dead("tunnel-1"))
        assert decision.kind is DecisionKind.NO_CHANGE
        assert "would have chosen Failover to tunnel-2" in decision.describe()

    def test_observe_decides_and_touches_nothing(self):
        """Observe-only makes a plan that is not applied."""
        decision = Link(Policy(mode="observe")).decide(dead("tunnel-1"))
        assert decision.acts and decision.touches_nothing

    def test_approve_asks_for_automatic_action_but_not_for_an_operators_own(self):
        """A person who asks has already approved."""
        link = Link(Policy(mode="approve"))
        assert link.decide(dead("tunnel-1")).needs_approval
        assert not link.decide(intent=intent(to="tunnel-2")).needs_approval

    def test_a_dry_run_touches_nothing(self):
        """A dry run is planned and not applied."""
        assert Link().decide(intent=intent(to="tunnel-2", dry_run=True)).touches_nothing


class TestQuarantine:
    """A path taken out of use by an operator."""

    policy = Policy(
        quarantine=(Quarantine(path="tunnel-2", reason="carrier work", until=later(60)),)
    )

    def test_a_quarantined_standby_is_not_used(self):
        """Quarantine holds even when the active path fails."""
        decision = Link(self.policy).decide(dead("tunnel-1"))
        assert decision.kind is DecisionKind.ESCALATE
        assert "carrier work" in decision.passed_over["tunnel-2"]

    def test_a_quarantined_active_path_is_left(self):
        """Quarantining the active path moves traffic off it."""
        decision = Link(self.policy, active="tunnel-2").decide()
        assert decision.path == "tunnel-1"

    def test_quarantine_expires(self):
        """After its expiry the path is as any other."""
        link = Link(self.policy)
        link.pass_time(61)
        assert link.decide(dead("tunnel-1")).path == "tunnel-2"


class TestIntents:
    """What an operator asks for."""

    def test_a_manual_failover_goes_where_it_is_told(self):
        """The named path is the target."""
        decision = Link().decide(intent=intent(to="tunnel-2", reason="maintenance"))
        assert (decision.kind, decision.path) == (DecisionKind.FAILOVER, "tunnel-2")

    def test_a_manual_failover_to_a_dead_path_is_refused(self):
        """Asking nicely does not make a dead path alive."""
        decision = Link().decide(dead("tunnel-2"), intent=intent(to="tunnel-2"))
        assert decision.kind is DecisionKind.ESCALATE

    def test_an_override_is_obeyed_and_marked(self):
        """An override passes every limit, and the decision says so."""
        decision = Link().decide(
            dead("tunnel-2"), intent=intent(to="tunnel-2", override=True, reason="vendor says so")
        )
        assert decision.kind is DecisionKind.FAILOVER
        assert decision.overridden

    def test_asking_for_the_active_path_changes_nothing(self):
        """A failover to where traffic already is needs no plan."""
        assert Link().decide(intent=intent(to="tunnel-1")).kind is DecisionKind.NO_CHANGE

    def test_reconcile_is_an_ordinary_look(self):
        """Reconcile decides as a sweep would."""
        assert Link().decide(dead("tunnel-1"), intent=intent("reconcile")).path == "tunnel-2"


def test_a_critically_slow_active_path_is_left_after_the_hold_down():
    """Latency moves traffic, though not in haste."""
    slow = seen("tunnel-1", probe=probe("tunnel-1", True, latency_ms=2500))
    link = Link()
    switch = Switch(
        at=NOON - timedelta(seconds=10), from_path="tunnel-2", to_path="tunnel-1", kind="Failback"
    )
    link.history = link.history.after_switch(switch, FlapDamping())
    assert link.decide(slow).kind is DecisionKind.NO_CHANGE
    link.pass_time(300)
    assert link.decide(slow).path == "tunnel-2"


class TestDegradedActivePath:
    """Carrying badly is a reason to leave, once nothing speaks for patience."""

    LOSSY = CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=10, lost=3)

    def test_a_lossy_active_path_is_left_for_a_healthy_one(self):
        """Three calls of ten lost is a gray failure."""
        decision = Link().decide(seen("tunnel-1", canary=self.LOSSY))
        assert (decision.kind, decision.path) == (DecisionKind.FAILOVER, "tunnel-2")

    def test_it_is_not_left_for_one_that_is_no_better(self):
        """Out of the rain into the eaves."""
        both = [seen(name, canary=self.LOSSY) for name in ("tunnel-1", "tunnel-2")]
        assert Link().decide(*both).kind is DecisionKind.NO_CHANGE

    def test_traffic_does_not_return_to_a_path_that_is_still_sluggish(self):
        """What was left above two seconds is returned to below one."""
        link = Link(Policy(failback=Failback(stable_seconds=0)), active="tunnel-2")
        link.decide()
        sluggish = link.decide(seen("tunnel-1", probe=probe("tunnel-1", True, 1500)))
        assert "slower than 1000 ms" in sluggish.passed_over["tunnel-1"]
        assert link.decide().kind is DecisionKind.FAILBACK


def test_an_active_path_that_policy_forbids_is_left():
    """When the internet is closed to all data classes, traffic leaves it."""
    document = topology().model_dump(mode="json")
    document["paths"][0]["routing_method"] = "internet"
    history = LinkHistory()
    decision = decide(
        Situation(
            topology=Topology.model_validate(document),
            policy=Policy(),
            active_path="tunnel-1",
            health={name: assess(seen(name), LatencyLimits()) for name in topology().path_names},
            drifted=frozenset(),
            history=history,
            now=NOON,
        )
    )
    assert (decision.kind, decision.path) == (DecisionKind.FAILOVER, "tunnel-2")


class TestThreePaths:
    """Order among several standbys."""

    @staticmethod
    def decide(active, *failed, policy=None, **looks):
        policy = policy or Policy(failback=Failback(stable_seconds=0))
        document = topology().model_dump(mode="json")
        document["paths"].append(document["paths"][1] | {"name": "tunnel-3"})
        link = Topology.model_validate(document)
        health, paths = {}, {}
        for name in link.path_names:
            like = (dead if name in failed else seen)("tunnel-2").model_copy(update={"name": name})
            look = looks.get(name.replace("-", "_"), like)
            health[name] = assess(look, policy.latency)
            paths[name] = PathHistory(down=name in failed)
        history = LinkHistory(paths=paths)
        return decide(Situation(link, policy, active, health, frozenset(), history, NOON))

    def test_an_escape_takes_the_most_preferred_that_carries(self):
        """The second before the third."""
        assert self.decide("tunnel-1", "tunnel-1").path == "tunnel-2"

    def test_health_comes_before_order(self):
        """A healthy third before a degraded second, and the reason is told."""
        degraded = seen("tunnel-2", tunnels=tunnels(True, False))
        decision = self.decide("tunnel-1", "tunnel-1", tunnel_2=degraded)
        assert decision.path == "tunnel-3"
        assert "tunnel-3 comes first" in decision.passed_over["tunnel-2"]

    def test_traffic_climbs_back_to_the_best_path_that_is_well(self):
        """With the first dead the second is still better than the third."""
        decision = self.decide("tunnel-3", "tunnel-1")
        assert (decision.kind, decision.path) == (DecisionKind.FAILBACK, "tunnel-2")
        assert "tunnel-1 is FAILED" in decision.passed_over["tunnel-1"]
