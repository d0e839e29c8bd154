"""Putting a publication back, and whose turn it is when something was tried in vain."""

import pytest

from control_plane.domain.decide import DecisionKind, decide
from control_plane.domain.policy import Policy
from control_plane.domain.situation import Situation
from tests.builders import NOON, Link, dead, intent, later, seen
from tests.unit.situations import (
    DOWN,
    FIRST,
    GONE,
    REPLACED,
    SECOND,
    SETTLED,
    remembering,
    routeless,
    situation,
)


def chosen(one: Situation) -> tuple[DecisionKind, str | None]:
    decision = decide(one)
    return decision.kind, decision.path


class TestWhatSomebodyElseWrote:
    """An operator asks for the publication that Twinspan made last."""

    FOREIGN = {"intact": False, "rollback_path": SECOND}

    def test_the_last_path_is_put_back_although_it_is_the_active_one(self):
        """What is published is not Twinspan's, whatever path it names."""
        foreign = {**self.FOREIGN, "rollback_path": FIRST}
        assert chosen(situation(intent=intent("restore"), **foreign)) == ("Restore", FIRST)

    def test_the_last_path_is_put_back_before_the_preferred_one(self):
        """A restore is no failback."""
        assert chosen(situation(intent=intent("restore"), **self.FOREIGN)) == ("Restore", SECOND)

    def test_where_the_last_path_carries_nothing_another_takes_over(self):
        """The link needs a publication that works."""
        lost = situation(dead(SECOND), intent=intent("restore"), **self.FOREIGN)
        assert chosen(lost) == ("Restore", FIRST)

    def test_where_the_last_path_was_put_back_in_vain_another_has_its_turn(self):
        """And gives it back once that was undone later."""
        once = SETTLED.after_setback(SECOND, later(-120))
        asked = {"intent": intent("restore"), **self.FOREIGN}
        assert chosen(situation(history=once, **asked)) == ("Restore", FIRST)
        twice = once.after_setback(FIRST, later(-60))
        assert chosen(situation(history=twice, **asked)) == ("Restore", SECOND)

    @pytest.mark.parametrize(
        "by_name", [{"to": SECOND}, {"to_generation": 6}, {"override": True, "reason": "a test"}]
    )
    def test_a_path_that_was_asked_for_by_name_is_taken_or_nothing_is(self, by_name):
        """Whoever names it, or insists, does not get another."""
        dead_end = situation(dead(SECOND), intent=intent("restore", **by_name), **self.FOREIGN)
        kind, path = chosen(dead_end)
        assert path == SECOND
        assert kind == ("Restore" if by_name.get("override") else "Escalate")

    def test_a_path_by_name_is_put_back_rather_than_the_last_one(self):
        """The name counts for more."""
        named = intent("restore", to=FIRST)
        assert chosen(situation(intent=named, **self.FOREIGN)) == ("Restore", FIRST)

    def test_what_is_intact_needs_no_restore(self):
        """It says what Twinspan said."""
        intact = situation(intent=intent("restore"), rollback_path=FIRST)
        assert chosen(intact) == ("NoChange", None)

    def test_only_a_restore_writes_what_is_published_already(self):
        """Somebody else's publication is no reason to publish for a failover or a failback."""
        for kind in ("failover", "failback"):
            asked = intent(kind, to=FIRST)
            assert chosen(situation(intent=asked, **self.FOREIGN)) == ("NoChange", None)


class TestNothingIsPublished:
    """Twinspan puts it back without being asked."""

    def test_what_was_last_comes_first(self):
        """Traffic stays where it was."""
        assert chosen(situation(active_path=None, rollback_path=SECOND)) == ("Restore", SECOND)

    def test_where_nobody_knows_what_was_last_the_preferred_path_is_published(self):
        """It carries."""
        assert chosen(situation(active_path=None)) == ("Restore", FIRST)

    def test_any_path_may_take_over_the_one_that_was_looked_at_included(self):
        """What is published counts for nothing: both are seen as ways out."""
        lost = situation(dead(SECOND), active_path=None, rollback_path=SECOND)
        assert chosen(lost) == ("Restore", FIRST)

    def test_where_nothing_may_be_published_people_are_asked(self):
        """A restore that would not work is no restore."""
        lost = situation(dead(FIRST), dead(SECOND), active_path=None, rollback_path=SECOND)
        assert chosen(lost) == ("Escalate", None)


class TestTurns:
    """Of several ways out, the one that was tried in vain comes last."""

    def test_a_preferred_path_waits_for_its_turn(self):
        """Until what came instead was undone, too."""
        gone = {"active_path": GONE}
        assert chosen(situation(**gone)) == ("Failback", FIRST)
        once = SETTLED.after_setback(FIRST, later(-120))
        assert chosen(situation(history=once, **gone)) == ("Failover", SECOND)
        twice = once.after_setback(SECOND, later(-60))
        assert chosen(situation(history=twice, **gone)) == ("Failback", FIRST)

    def test_a_path_that_is_about_to_be_replaced_comes_after_one_that_is_not(self):
        """Both carry; one of them not for long."""
        replaced = situation(seen(FIRST, maintenance=(REPLACED,)), active_path=GONE)
        assert chosen(replaced) == ("Failover", SECOND)

    def test_at_equal_times_the_active_path_is_repaired(self):
        """Both were undone at the same moment: a repair moves no traffic."""
        tied = remembering(first=DOWN).after_setback(FIRST, NOON).after_setback(SECOND, NOON)
        assert chosen(situation(routeless(FIRST), history=tied)) == ("Repair", FIRST)


class TestDrillSeconds:
    """Only a drill says how long it lasts."""

    def test_a_failover_lasts(self):
        """Until somebody asks for a failback."""
        for asked in (intent(to=SECOND), intent(to=SECOND, override=True, reason="a test")):
            decision = decide(situation(intent=asked))
            assert (decision.drill, decision.drill_seconds) == (None, None)

    @pytest.mark.parametrize("more", [{}, {"override": True, "reason": "a test"}])
    def test_a_drill_by_hand_lasts_as_long_as_was_asked_for_or_as_the_policy_says(self, more):
        """With an override as without."""
        alarms = ("an alarm",) if more else ()
        for seconds, expected in ((300, 300), (None, 600)):
            asked = intent("drill", to=SECOND, duration_seconds=seconds, **more)
            decision = decide(situation(intent=asked, alarms=alarms))
            assert (decision.kind, decision.drill) == ("Failover", "begin")
            assert decision.drill_seconds == expected


def test_a_drill_that_is_due_and_cannot_begin_is_told_of_with_its_path():
    """Whoever waits for practice finds what keeps it."""
    link = Link(Policy(drill={"automation": "automatic"}))
    decision = link.decide(alarms=("an alarm",), routine=True)
    [(path, why)] = decision.passed_over.items()
    assert path == SECOND
    assert why.startswith("no drill: in ALARM: an alarm")


def test_a_path_that_several_things_bar_is_passed_over_for_all_of_them():
    """Lifting one of them would not be enough."""
    barred = Policy(quarantine=({"path": SECOND, "reason": "a test", "until": later(60)},))
    lost = situation(dead(FIRST), dead(SECOND), policy=barred, history=remembering(first=DOWN))
    why = decide(lost).passed_over[SECOND]
    assert why.startswith(
        "quarantined until 2026-03-01 12:01:00Z: a test; tunnel-2 is FAILED: 0 of 2 probes answered"
    )
