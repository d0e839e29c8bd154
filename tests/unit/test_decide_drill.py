"""Drills: when one may begin, and how it ends."""

import pytest

from control_plane.domain.decide import DecisionKind
from control_plane.domain.history import Drill, LinkHistory, Switch
from control_plane.domain.policy import (
    FlapDamping,
)
from tests.builders import (
    NOON,
    Link,
    dead,
    intent,
    later,
    seen,
    tunnels,
)


class TestDrill:
    """Practice, with a return that needs no asking."""

    DRILL = Drill(home="tunnel-1", away="tunnel-2", until=later(600))

    def drilling(self) -> Link:
        link = Link(active="tunnel-2", history=LinkHistory(drill=self.DRILL))
        by_hand = Switch(
            at=NOON, from_path="tunnel-1", to_path="tunnel-2", kind="Failover", by_hand=True
        )
        link.history = link.history.after_switch(by_hand, FlapDamping())
        return link

    def test_while_it_lasts_traffic_stays_and_afterwards_it_returns(self):
        """Although it was moved by hand, and although hold-down may still run."""
        link = self.drilling()
        during = link.decide()
        assert during.kind is DecisionKind.NO_CHANGE
        assert "a drill is going on: on tunnel-2 until 12:10:00Z" in during.passed_over["tunnel-1"]
        link.pass_time(600)
        ended = link.decide()
        assert (ended.kind, ended.path) == (DecisionKind.FAILBACK, "tunnel-1")
        assert "the drill on tunnel-2 ended" in ended.describe()

    def test_a_path_that_fails_during_a_drill_is_left_at_once(self):
        """Practice gives way to the real thing."""
        assert self.drilling().decide(dead("tunnel-2")).path == "tunnel-1"

    def test_a_drill_does_not_return_to_a_path_that_carries_nothing(self):
        """Better where it is than nowhere."""
        link = self.drilling()
        link.pass_time(600)
        assert link.decide(dead("tunnel-1")).kind is DecisionKind.NO_CHANGE

    @pytest.mark.parametrize(
        "unwell", [dead("tunnel-2"), seen("tunnel-1", tunnels=tunnels(True, False))]
    )
    def test_no_drill_begins_on_a_link_that_is_not_well(self, unwell):
        """Both ends of the move must be healthy."""
        decision = Link().decide(unwell, intent=intent("drill", to="tunnel-2"))
        assert decision.kind is DecisionKind.ESCALATE
        assert "a drill needs healthy paths" in decision.describe()

    def test_no_drill_begins_while_another_is_going_on(self):
        """One at a time."""
        link = self.drilling()
        decision = link.decide(intent=intent("drill", to="tunnel-1"))
        assert decision.kind is DecisionKind.ESCALATE
