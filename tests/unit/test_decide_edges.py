"""Where one side of a limit ends and the other begins, and what is told on either side of it."""

import pytest

from control_plane.domain.decide import DecisionKind
from control_plane.domain.history import Drill, LinkHistory, PathHistory, Switch
from control_plane.domain.limits import MaintenanceLimits
from control_plane.domain.observation import CanaryWindow, PendingMaintenance
from control_plane.domain.policy import (
    Failback,
    FlapDamping,
    Hysteresis,
    Pause,
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
    topology_document,
)

EAGER = Policy(hold_down_seconds=0, failback=Failback(stable_seconds=0))


def home_again(**memory) -> LinkHistory:
    """Traffic is away, and home has this memory."""
    return LinkHistory(paths={"tunnel-1": PathHistory(healthy_since=later(-9000), **memory)})


@pytest.mark.parametrize(
    ("seconds", "returns"), [(-3601, True), (-3600, False), (14399, False), (14400, True)]
)
def test_maintenance_bars_a_return_from_its_first_second_to_its_last(seconds, returns):
    """An hour before the date until four hours after it; the end itself is free."""
    link = Link(EAGER, active="tunnel-2", history=home_again())
    link.policy = EAGER.model_copy(update={"maintenance": MaintenanceLimits()})
    due = PendingMaintenance(outside_ip="203.0.113.0", due_at=later(-seconds))
    assert link.decide(seen("tunnel-1", maintenance=(due,))).acts is returns


@pytest.mark.parametrize(("age", "kind"), [(3599, "Escalate"), (3600, "Failover")])
def test_a_switch_counts_for_an_hour_and_no_longer(age, kind):
    """The limit per hour is of the last 3600 seconds, the oldest excluded when it is that old."""
    old = Switch(at=later(-age), from_path="tunnel-2", to_path="tunnel-1", kind="Failback")
    link = Link(Policy(maximum_switches_per_hour=1), history=LinkHistory(switches=(old,)))
    assert link.decide(dead("tunnel-1")).kind == kind


def test_observations_still_needed_are_counted_down():
    """What is told is how many are left, on the way down as on the way up."""
    link = Link(Policy(hysteresis=Hysteresis(failed_observations_to_fail=3)))
    assert "2 more failing observations of tunnel-1" in link.decide(gray("tunnel-1")).would_change
    link = Link(
        Policy(hysteresis=Hysteresis(healthy_observations_to_recover=3)),
        active="tunnel-2",
        history=LinkHistory(paths={"tunnel-1": PathHistory(down=True)}),
    )
    lifted = link.decide().would_change
    assert "tunnel-1: 2 more healthy observations of tunnel-1 in a row" in lifted


def test_an_intent_without_a_target_takes_the_first_other_path_that_was_not_refused():
    """Never the active one, never one that this run has found wanting."""
    assert Link().decide(intent=intent()).path == "tunnel-2"
    assert Link(active="tunnel-2").decide(intent=intent()).path == "tunnel-1"
    nowhere = Link().decide(intent=intent(), refused={"tunnel-2": "the model refuses it"})
    assert (nowhere.kind, nowhere.path) == (DecisionKind.ESCALATE, None)
    assert "there is no other path to move to" in nowhere.describe()
    assert nowhere.would_change == ("another intent",)


def test_a_rollback_to_a_generation_nobody_knows_is_escalated():
    """It says what is missing."""
    decision = Link().decide(intent=intent("rollback", to_generation=3))
    assert decision.kind is DecisionKind.ESCALATE
    assert "nobody knows what was active" in decision.describe()


def test_a_refused_intent_names_the_path_and_all_that_stands_in_its_way():
    """With the way to insist, only where insisting helps."""
    policy = Policy(quarantine=(Quarantine(path="tunnel-2", reason="x", until=later(60)),))
    refused = Link(policy).decide(dead("tunnel-2"), intent=intent(to="tunnel-2"))
    assert refused.path == "tunnel-2"
    assert len(refused.would_change) == 3
    assert refused.would_change[-1].startswith("the same intent with override")
    hopeless = Link(policy).decide(
        intent=intent(to="tunnel-2"), refused={"tunnel-2": "the model refuses it"}
    )
    assert not any("override" in text for text in hopeless.would_change)


def test_a_pause_by_the_mode_has_no_end_to_tell():
    """One by a pause document has."""
    until = Pause(reason="storm", until=later(60))
    for_ever = Policy(mode="paused", pause=until)
    assert "until" not in Link(for_ever).decide(dead("tunnel-1")).describe()
    assert "until 2026" in Link(Policy(pause=until)).decide(dead("tunnel-1")).describe()


def test_what_a_pause_held_back_keeps_its_account():
    """The paths passed over and the warnings are told as if it had been done."""
    decision = Link(Policy(mode="paused")).decide(dead("tunnel-1"), gray("tunnel-2"))
    acting = Link().decide(dead("tunnel-1"), gray("tunnel-2"))
    assert decision.passed_over == acting.passed_over
    assert set(acting.warnings) <= set(decision.warnings)


def test_a_path_refused_in_this_run_is_not_repaired_either():
    """Its routes were put right a moment ago, and it did not answer."""
    broken = seen("tunnel-1", routes=(route(target=None),), probe=probe("tunnel-1", False))
    decision = Link().decide(broken, refused={"tunnel-1": "probes fail"})
    assert (decision.kind, decision.path) == (DecisionKind.FAILOVER, "tunnel-2")


def test_a_link_without_another_path_says_so():
    """And one that has others says that none may take over."""
    document = topology_document()
    document["paths"] = document["paths"][:1]
    alone = Link(topology=Topology.model_validate(document))
    decision = alone.decide(dead("tunnel-1"))
    assert "this link has no other path" in decision.describe()
    assert "this link has one path: an outage of it has no way out" in decision.warnings
    both = Link().decide(dead("tunnel-1"), dead("tunnel-2"))
    assert "no other path may take over" in both.describe()


def test_leaving_a_lossy_path_for_home_is_a_failback():
    """And for a standby a failover."""
    lossy = CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=10, lost=3)
    home = Link(EAGER, active="tunnel-2").decide(seen("tunnel-2", canary=lossy))
    away = Link(EAGER).decide(seen("tunnel-1", canary=lossy))
    assert (home.kind, home.path) == (DecisionKind.FAILBACK, "tunnel-1")
    assert (away.kind, away.path) == (DecisionKind.FAILOVER, "tunnel-2")
    assert home.would_change == ("tunnel-2 answering faster, and losing fewer calls",)


def test_a_return_tells_since_when_home_has_been_well():
    """Where that is known."""
    link = Link(EAGER, active="tunnel-2", history=home_again())
    assert "tunnel-1 has been healthy since 09:30:00Z" in link.decide().reasons


def test_a_drill_bars_another_until_it_is_settled():
    """While it goes on its end is told; once traffic is back its outcome must be recorded first."""
    asked = intent("drill", to="tunnel-1")
    history = LinkHistory(drill=Drill(home="tunnel-1", away="tunnel-2", until=later(60)))
    during = Link(history=history, active="tunnel-2").decide(intent=asked, alarms=())
    assert "a drill is going on: on tunnel-2 until 12:01:00Z" in during.describe()
    back = Link(history=history).decide(intent=intent("drill", to="tunnel-2"), alarms=())
    assert "not settled yet" in back.describe()
    assert Link().decide(intent=intent("drill", to="tunnel-2"), alarms=()).acts


def test_the_account_names_intent_and_drill():
    """Who asked, and what practice is going on."""
    history = LinkHistory(drill=Drill(home="tunnel-1", away="tunnel-2", until=later(60)))
    inputs = Link(history=history).decide(intent=intent(requested_by="ops")).inputs
    assert inputs["drill"] == "on tunnel-2 until 12:01:00Z"
    assert inputs["intent"] == "failover by ops"
    suppressed = {"penalty": 3000.0, "penalty_at": NOON, "suppressed_since": NOON}
    history = LinkHistory(paths={"tunnel-2": PathHistory(**suppressed)})
    assert "suppressed" in Link(history=history).decide().inputs["path tunnel-2"]
    assert "suppressed" not in Link(history=history).decide().inputs["path tunnel-1"]


class TestDamping:
    """RFC 2439's limits, on either side."""

    DAMPING = FlapDamping(
        penalty_per_switch=1000, suppress_limit=2000, reuse_limit=500, maximum_suppress_seconds=600
    )

    def fail(self, history, seconds):
        switch = Switch(at=later(seconds), from_path="a", to_path="b", kind="Failover")
        return history.after_switch(switch, self.DAMPING, penalise="a")

    def test_suppression_begins_at_its_limit_and_not_below(self):
        """Two failures at once reach 2000; a second one later does not."""
        twice = self.fail(self.fail(LinkHistory(), 0), 0).path("a")
        assert twice.suppressed_since == NOON
        apart = self.fail(self.fail(LinkHistory(), 0), 60).path("a")
        assert apart.suppressed_since is None
        assert not apart.suppressed(self.DAMPING, later(60))

    def test_a_further_failure_does_not_begin_the_longest_time_anew(self):
        """While suppressed, the clock of `maximum_suppress_seconds` goes on."""
        thrice = self.fail(self.fail(self.fail(LinkHistory(), 0), 0), 30).path("a")
        assert thrice.suppressed_since == NOON

    def test_suppression_ends_with_the_longest_time_to_the_second(self):
        """Whatever the penalty still is."""
        memory = PathHistory(penalty=9e9, penalty_at=NOON, suppressed_since=NOON)
        assert memory.suppressed(self.DAMPING, later(599.9))
        assert not memory.suppressed(self.DAMPING, later(600))

    def test_suppression_ends_when_the_penalty_is_down_to_the_reuse_limit(self):
        """At the limit itself the path is free."""
        memory = PathHistory(penalty=500, penalty_at=NOON, suppressed_since=NOON)
        assert not memory.suppressed(self.DAMPING, NOON)
        assert memory.suppressed_until(self.DAMPING) == NOON
        over = PathHistory(penalty=501, penalty_at=NOON, suppressed_since=NOON)
        assert over.suppressed(self.DAMPING, NOON)

    def test_a_path_that_never_failed_has_no_penalty(self):
        """None at all."""
        assert PathHistory().penalty_now(self.DAMPING, NOON) == 0.0
        fresh = PathHistory(penalty=100.0, penalty_at=NOON)
        assert fresh.penalty_now(self.DAMPING, NOON) == 100.0
