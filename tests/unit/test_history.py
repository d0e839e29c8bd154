"""The memory of a link: runs of looks, damping, alerts, drills."""

import json

import pytest

from control_plane.domain.drill import DrillOutcome
from control_plane.domain.health import assess
from control_plane.domain.history import Drill, LinkHistory, PathHistory, StandingQuarantine, Switch
from control_plane.domain.observation import BreakerState, ProxyReport
from control_plane.domain.policy import FlapDamping, Policy
from tests.builders import NOON, later, probe, seen

POLICY = Policy()
SLOW = seen("tunnel-1", probe=probe("tunnel-1", True, 2500))
LOSSY = seen(
    "tunnel-1",
    probe=probe("tunnel-1", True).model_copy(update={"attempts": 3, "answered": 2}),
)
UNSEEN = seen("tunnel-1", probe=None)


def after(looks, history=None):
    """The memory after these (seconds, path) looks."""
    history = history or LinkHistory()
    for seconds, path in looks:
        verdicts = {path.name: assess(path, POLICY.latency)}
        history = history.after_look(verdicts, POLICY, later(seconds))
    return history


def minutes(path, *numbers):
    return [(60 * number, path) for number in numbers]


class TestAlerts:
    """Latency above 2 s for ten minutes, more than a tenth of calls failing for two."""

    def test_ten_slow_minutes_raise_an_alert_and_nine_do_not(self):
        """The alert comes when the limit is reached, and names the path and since when."""
        nine = after(minutes(SLOW, *range(10)))
        assert nine.alerts(POLICY, later(540)) == ()
        [alert] = after(minutes(SLOW, 10), nine).alerts(POLICY, later(600))
        assert alert == "tunnel-1: latency above 2000 ms since 12:00:00Z"

    def test_one_quick_look_starts_the_ten_minutes_again(self):
        """Slow for ten minutes means without a break."""
        broken = after([*minutes(SLOW, *range(6)), (360, seen("tunnel-1")), *minutes(SLOW, 7, 11)])
        assert broken.alerts(POLICY, later(660)) == ()

    def test_a_look_that_saw_nothing_neither_ends_nor_prolongs(self):
        """Missing data is no recovery."""
        looks = [*minutes(SLOW, 0, 3, 6), (500, UNSEEN), (600, SLOW)]
        assert len(after(looks).alerts(POLICY, later(600))) == 1

    def test_looks_too_far_apart_are_not_in_a_row(self):
        """Nobody knows what was between two looks an hour apart."""
        assert after(minutes(SLOW, 0, 60)).alerts(POLICY, later(3600)) == ()

    def test_two_minutes_of_failing_calls_raise_an_alert(self):
        """A third of the calls failing is more than a tenth."""
        assert after(minutes(LOSSY, 0, 1)).alerts(POLICY, later(60)) == ()
        [alert] = after(minutes(LOSSY, 0, 1, 2)).alerts(POLICY, later(120))
        assert alert == "tunnel-1: more than 10% of calls fail since 12:00:00Z"


def test_health_is_stable_only_as_long_as_somebody_looks():
    """After a gap the time of being healthy counts from the first look after it."""
    history = after(minutes(seen("tunnel-1"), 0, 1, 60))
    assert history.path("tunnel-1").healthy_since == later(3600)
    assert history.path("tunnel-1").healthy_in_a_row == 1


def test_a_memory_survives_its_serialisation():
    """What is stored is what was remembered, verdict and report included."""
    history = after(minutes(SLOW, 0)).after_report(
        "tunnel-1", ProxyReport(state=BreakerState.OPEN, reported_at=NOON)
    )
    history = history.in_drill(Drill(home="tunnel-1", away="tunnel-2", until=later(60)))
    assert LinkHistory.model_validate_json(history.model_dump_json()) == history


def test_a_memory_of_an_earlier_version_still_parses():
    """Fields that were not there yet are blank."""
    old = {"paths": {"tunnel-1": {"failed_in_a_row": 1, "down": True}}, "switches": []}
    assert LinkHistory.model_validate(old).path("tunnel-1").down


def test_a_late_report_does_not_replace_a_newer_one():
    """Events come in any order; the newest word of a proxy counts."""
    newer = ProxyReport(state=BreakerState.CLOSED, reported_at=later(10))
    older = ProxyReport(state=BreakerState.OPEN, reported_at=NOON)
    history = LinkHistory().after_report("tunnel-1", newer).after_report("tunnel-1", older)
    assert history.path("tunnel-1").report == newer


class TestDamping:
    """When a suppressed path may be used again."""

    @pytest.mark.parametrize("penalty", [1600.0, 3000.0, 100000.0])
    def test_the_end_that_is_told_is_the_end_that_comes(self, penalty):
        """A path is suppressed right up to the moment that is given for it, and not after."""
        damping = FlapDamping()
        memory = PathHistory(penalty=penalty, penalty_at=NOON, suppressed_since=NOON)
        until = memory.suppressed_until(damping)
        assert until is not None
        seconds = (until - NOON).total_seconds()
        assert memory.suppressed(damping, later(seconds - 1))
        assert not memory.suppressed(damping, later(seconds + 1))

    def test_a_path_that_never_flapped_has_no_end_to_tell(self):
        """Nothing is suppressed that was not."""
        assert PathHistory().suppressed_until(FlapDamping()) is None


class TestDrill:
    """A drill ends with any switch that does not lead into it."""

    DRILL = Drill(home="tunnel-1", away="tunnel-2", until=later(600))

    def moved(self, to_path):
        switch = Switch(at=later(1), from_path="tunnel-1", to_path=to_path, kind="Failover")
        return LinkHistory(drill=self.DRILL).after_switch(switch, FlapDamping())

    def test_the_switch_into_the_drill_keeps_it(self):
        """Beginning is not ending."""
        assert self.moved("tunnel-2").drill == self.DRILL

    def test_a_switch_leaves_it_to_be_settled(self):
        """Where traffic went says that it is over; its outcome is recorded by whoever finds so."""
        drill = Drill(home="tunnel-1", away="tunnel-2", until=later(600), confirmed=True)
        left = drill.left(None, True, "Failback to tunnel-1")
        record = left.settled(None, later(60))
        assert record.outcome is DrillOutcome.ABORTED
        history = LinkHistory(drill=left).after_drill(record)
        assert history.drill is None
        assert history.drills.last == record
        assert history.drills.passed_at is None


class TestWhatStands:
    """Quarantines, drills and switches, as the link remembers them."""

    def test_a_quarantine_keeps_its_first_reason_until_it_is_resolved(self):
        """Each path says why and since when; resolving lifts all of them."""
        history = LinkHistory().quarantine(["tunnel-1"], "a route stuck", NOON)
        history = history.quarantine(["tunnel-1", "tunnel-2"], "another", later(5))
        assert history.quarantines == {
            "tunnel-1": StandingQuarantine(reason="a route stuck", since=NOON),
            "tunnel-2": StandingQuarantine(reason="another", since=later(5)),
        }
        assert history.resolved().quarantines == {}

    def test_trouble_disturbs_a_drill_that_is_going_on_and_nothing_else(self):
        """What came, and when, is why the drill ends."""
        drill = Drill(home="tunnel-1", away="tunnel-2", until=later(600))
        idle, practising = LinkHistory(), LinkHistory().in_drill(drill)
        assert practising.drill == drill
        assert idle.after_trouble("an alarm", later(5)) == idle
        assert practising.after_trouble(None, later(5)) == practising
        disturbed = practising.after_trouble("an alarm", later(5)).drill
        assert disturbed == drill.disturbed("an alarm", later(5))
        assert disturbed.disturbed_by == "an alarm"

    def test_a_switch_is_remembered_by_the_generation_that_it_published(self):
        """Whoever settles a dead run's plan must not count its switch twice."""
        made = Switch(
            at=NOON, from_path="tunnel-1", to_path="tunnel-2", kind="Failover", generation=7
        )
        history = LinkHistory(switches=(made,))
        assert history.remembers(7)
        assert not history.remembers(8)
        assert not LinkHistory().remembers(7)

    def test_setbacks_and_successes_are_each_paths_own(self):
        """One path's failure is not held against another."""
        history = LinkHistory().after_setback("tunnel-1", NOON).after_setback("tunnel-2", later(1))
        assert history.path("tunnel-1").set_back_at == NOON
        forgiven = history.after_success("tunnel-1")
        assert forgiven.path("tunnel-1").set_back_at is None
        assert forgiven.path("tunnel-2").set_back_at == later(1)

    def test_a_memory_survives_its_serialisation(self):
        """As JSON values, and back."""
        history = LinkHistory().after_setback("tunnel-1", NOON).quarantine(["tunnel-2"], "x", NOON)
        stored = json.loads(json.dumps(history.to_dict()))
        assert LinkHistory.model_validate(stored) == history
