"""Paths take turns: what was tried in vain does not keep what was not tried from its chance."""

import pytest

from control_plane.domain.decide import DecisionKind
from control_plane.domain.policy import Policy
from tests.builders import Link, dead, probe, route, seen


def routeless(name):
    """A path that answers nothing, and has lost its return route."""
    return seen(name, routes=(route(name, None),), probe=probe(name, False))


class TestBothPathsLostTheirRoutes:
    """Either could be repaired; behind one of them nothing answers even so, and nobody can know which."""

    link: Link

    @pytest.fixture(autouse=True)
    def _both_routeless(self):
        self.link = Link()

    def undo(self, path):
        """The plan for this path was applied, nothing answered, and it was undone."""
        self.link.history = self.link.history.after_setback(path, self.link.now)
        self.link.pass_time(60)

    def look(self):
        decision = self.link.decide(routeless("tunnel-1"), routeless("tunnel-2"))
        return decision.kind, decision.path

    def test_the_active_path_is_repaired_first(self):
        """Repairing it moves no traffic."""
        assert self.look() == (DecisionKind.REPAIR, "tunnel-1")

    def test_after_a_repair_in_vain_the_other_path_is_tried(self):
        """A repair that did not help is not repeated for ever."""
        self.undo("tunnel-1")
        assert self.look() == (DecisionKind.FAILOVER, "tunnel-2")

    def test_after_both_in_vain_each_gets_another_turn(self):
        """The one whose failure is longest ago comes next."""
        self.undo("tunnel-1")
        self.undo("tunnel-2")
        assert self.look() == (DecisionKind.REPAIR, "tunnel-1")
        self.undo("tunnel-1")
        assert self.look() == (DecisionKind.FAILOVER, "tunnel-2")

    def test_the_reason_names_what_was_undone(self):
        """Whoever reads why the other path was taken finds why this one was not."""
        self.undo("tunnel-1")
        decision = self.link.decide(routeless("tunnel-1"), routeless("tunnel-2"))
        assert "a plan for tunnel-1 was undone at 12:00:00Z" in decision.describe()

    def test_a_repair_in_vain_is_tried_again_where_there_is_no_other_way(self):
        """Without a second way out, trying again is all there is."""
        self.undo("tunnel-1")
        decision = self.link.decide(routeless("tunnel-1"), dead("tunnel-2"))
        assert (decision.kind, decision.path) == (DecisionKind.REPAIR, "tunnel-1")

    def test_an_hour_later_nothing_is_held_against_a_path(self):
        """A setback is forgotten after an hour."""
        self.undo("tunnel-1")
        self.link.pass_time(3600)
        assert self.look() == (DecisionKind.REPAIR, "tunnel-1")

    def test_a_plan_that_was_verified_ends_the_memory(self):
        """What has worked since is a first choice again."""
        self.undo("tunnel-1")
        self.link.history = self.link.history.after_success("tunnel-1")
        assert self.look() == (DecisionKind.REPAIR, "tunnel-1")


def test_a_standby_whose_repair_was_undone_rests_for_the_hold_down():
    """Routes that nothing depends on are not written and withdrawn every minute."""
    link = Link(Policy(hold_down_seconds=300))
    link.history = link.history.after_setback("tunnel-2", link.now)
    link.pass_time(299)
    resting = link.decide(routeless("tunnel-2"))
    assert resting.kind is DecisionKind.NO_CHANGE
    assert "its routes are tried again at 12:05:00Z" in resting.describe()
    link.pass_time(1)
    again = link.decide(routeless("tunnel-2"))
    assert (again.kind, again.path) == (DecisionKind.REPAIR, "tunnel-2")
