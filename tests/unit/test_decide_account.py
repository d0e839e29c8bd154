"""The account that a decision gives of itself."""

from dataclasses import replace

from control_plane.domain.decide import Decision, DecisionKind, Published
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.policy import (
    FlapDamping,
    Policy,
    Quarantine,
)
from tests.builders import (
    NOON,
    Link,
    dead,
    later,
)
from tests.unit.situations import situation


class TestAccount:
    """A decision accounts for itself."""

    def test_the_inputs_that_mattered_are_named(self):
        """Mode, hold-down, quarantine, suppression and every path's health."""
        policy = Policy(quarantine=(Quarantine(path="tunnel-2", reason="x", until=later(60)),))
        link = Link(policy)
        switch = Switch(at=later(-10), from_path="tunnel-2", to_path="tunnel-1", kind="Failback")
        link.history = link.history.after_switch(switch, FlapDamping())
        inputs = link.decide(published=Published("tunnel-1", 7)).inputs
        assert inputs["mode"] == "automatic"
        assert inputs["generation"] == "7"
        assert inputs["switches this hour"] == "1 of 6"
        assert inputs["hold-down"] == "until 12:04:50Z"
        assert inputs["path tunnel-2"] == "tunnel-2 is HEALTHY, quarantined"

    def test_every_obstacle_is_named_and_what_would_lift_it(self):
        """Not only the first thing in the way."""
        link = Link(active="tunnel-2")
        switch = Switch(at=NOON, from_path="tunnel-1", to_path="tunnel-2", kind="Failover")
        link.history = link.history.after_switch(switch, FlapDamping())
        decision = link.decide()
        assert "not yet for 600 s" in decision.passed_over["tunnel-1"]
        assert "hold-down until 12:05:00Z" in decision.passed_over["tunnel-1"]
        assert "tunnel-1: time: the hold-down ends at 12:05:00Z" in decision.would_change

    def test_a_standby_that_could_not_take_over_is_warned_of(self):
        """Redundancy that is gone is told of before it is needed."""
        warnings = Link().decide(dead("tunnel-2")).warnings
        assert any("no standby may take over now" in warning for warning in warnings)
        assert any("standby tunnel-2 is FAILED" in warning for warning in warnings)
        assert Link().decide().warnings == ()

    def test_an_alert_that_is_due_is_part_of_the_account(self):
        """Ten slow minutes are told of with every decision."""
        link = Link()
        memory = PathHistory(slow_since=later(-600))
        link.history = LinkHistory(paths={"tunnel-2": memory})
        [warning] = [w for w in link.decide().warnings if w.startswith("alert")]
        assert "tunnel-2: latency above 2000 ms" in warning

    def test_a_decision_stored_without_its_account_still_reads(self):
        """Approvals that were waiting when the account was introduced."""
        old = {
            "kind": "Failover",
            "path": "tunnel-2",
            "reasons": ["x"],
            "passed_over": {},
            "touches_nothing": False,
            "needs_approval": True,
            "overridden": False,
        }
        assert Decision.from_dict(old).inputs == {}


def test_a_decision_in_one_line_names_its_path_only_where_something_is_done_to_it():
    """To it, of it, or not at all."""
    reasons = ("one", "another")
    lines = [Decision(kind, reasons, "tunnel-2").describe() for kind in DecisionKind]
    assert lines == [
        "NoChange: one; another",
        "Failover to tunnel-2: one; another",
        "Failback to tunnel-2: one; another",
        "Rollback to tunnel-2: one; another",
        "Restore to tunnel-2: one; another",
        "Repair of tunnel-2: one; another",
        "Publish: one; another",
        "Escalate: one; another",
    ]


def test_a_path_that_was_not_looked_at_is_unknown():
    """It is told of by its name."""
    unseen = replace(situation(), health={}).health_of("tunnel-2")
    assert unseen == PathHealth("tunnel-2", Health.UNKNOWN, ("not observed",))
