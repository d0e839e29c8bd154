"""What else a link remembers: drills and quarantines, setbacks, and where each memory ends."""

from control_plane.domain.drill import Drill
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.history import LinkHistory, PathHistory, StandingQuarantine, Switch
from control_plane.domain.observation import BreakerState, CanaryWindow, ProxyReport
from control_plane.domain.policy import FlapDamping, Hysteresis, Policy
from tests.builders import NOON, dead, later, seen
from tests.unit.test_history import LOSSY, POLICY, SLOW, UNSEEN, after, minutes

DRILL = Drill(home="tunnel-1", away="tunnel-2", until=later(600), began_at=NOON)
DAMPING = FlapDamping()
REMEMBERED = PathHistory(down=True, failed_in_a_row=3, penalty=900, penalty_at=NOON)


def moved(seconds: float, generation: int | None = None) -> Switch:
    return Switch(
        at=later(seconds),
        from_path="tunnel-1",
        to_path="tunnel-2",
        kind="Failover",
        generation=generation,
    )


class TestQuarantine:
    """What Twinspan takes out of use by itself, until an operator has looked."""

    def test_each_path_is_taken_out_with_the_reason_and_the_moment(self):
        """And says so in one line."""
        history = LinkHistory().quarantine(("tunnel-1", "tunnel-2"), "a test", NOON)
        expected = StandingQuarantine(reason="a test", since=NOON)
        assert history.quarantines == {"tunnel-1": expected, "tunnel-2": expected}
        assert expected.describe() == (
            "quarantined since 2026-03-01 12:00:00Z until an operator resolves it: a test"
        )

    def test_resolving_lifts_all_and_forgets_nothing_else(self):
        """The operator put the link right; its runs of looks go on."""
        memory = LinkHistory(paths={"tunnel-1": REMEMBERED}, drill=DRILL)
        assert memory.quarantine(("tunnel-1",), "a test", NOON).resolved() == memory


class TestDrill:
    """A drill is remembered from its beginning, and what disturbs it too."""

    def test_a_drill_that_began_is_remembered(self):
        """It is what makes traffic return unasked."""
        assert LinkHistory().in_drill(DRILL).drill == DRILL

    def test_trouble_of_which_nobody_knows_the_time_disturbs_a_drill(self):
        """Practice gives way when in doubt."""
        history = LinkHistory(drill=DRILL).after_trouble("an alarm", None)
        assert history.drill is not None
        assert history.drill.disturbed_by == "an alarm"

    def test_what_came_before_the_drill_does_not_disturb_it(self):
        """A late event tells of what was over when the drill began."""
        memory = LinkHistory(drill=DRILL)
        assert memory.after_trouble("an alarm", later(-1)) == memory


class TestSwitches:
    """An hour of switches, each known by the generation that it published."""

    def test_a_switch_is_forgotten_when_it_is_an_hour_old(self):
        """From then on it counts for nothing."""
        history = LinkHistory(switches=(moved(0), moved(1))).after_switch(moved(3600), DAMPING)
        assert [switch.at for switch in history.switches] == [later(1), later(3600)]

    def test_a_suppression_that_is_over_does_not_begin_again_with_the_next_failure(self):
        """One failure after a long calm is not flapping."""
        old = PathHistory(penalty=3000, penalty_at=NOON, suppressed_since=NOON)
        memory = LinkHistory(paths={"tunnel-1": old})
        failed = memory.after_switch(moved(7200), DAMPING, penalise="tunnel-1").path("tunnel-1")
        assert failed.suppressed_since is None
        flapping = memory.after_switch(moved(60), DAMPING, penalise="tunnel-1").path("tunnel-1")
        assert flapping.suppressed_since == NOON


class TestSetback:
    """A plan that was undone is held against its path for an hour, and nothing else changes."""

    MEMORY = LinkHistory(paths={"tunnel-1": REMEMBERED})

    def test_a_setback_keeps_what_else_is_known_of_the_path(self):
        """A path that is down stays down."""
        path = self.MEMORY.after_setback("tunnel-1", later(5)).path("tunnel-1")
        assert path == REMEMBERED.model_copy(update={"set_back_at": later(5)})

    def test_a_success_ends_the_setback_and_nothing_else(self):
        """The path's penalty is still its own."""
        set_back = self.MEMORY.after_setback("tunnel-1", later(5))
        assert set_back.after_success("tunnel-1") == self.MEMORY

    def test_it_is_forgotten_once_it_is_an_hour_old(self):
        """To the second."""
        path = PathHistory(set_back_at=NOON)
        assert path.set_back(later(3599)) == NOON
        assert path.set_back(later(3600)) is None


class TestRunsOfLooks:
    """What interrupts a run of healthy or failing looks, and what does not."""

    def test_a_failing_look_ends_a_healthy_run(self):
        """Recovering begins again from nothing."""
        looks = [*minutes(seen("tunnel-1"), 0, 1), *minutes(dead("tunnel-1"), 2)]
        failed = after(looks).path("tunnel-1")
        assert (failed.healthy_in_a_row, failed.failed_in_a_row) == (0, 1)
        assert after(minutes(seen("tunnel-1"), 3), after(looks)).path("tunnel-1").down

    def test_failing_looks_too_far_apart_are_not_in_a_row(self):
        """Each failing look tells when the path was last known, too."""
        patient = Policy(hysteresis=Hysteresis(failed_observations_to_fail=3))
        down = {"tunnel-1": PathHealth("tunnel-1", Health.FAILED, ("a test",))}
        history = LinkHistory()
        for seconds in (0, 250, 500):
            history = history.after_look(down, patient, later(seconds))
        assert history.path("tunnel-1").failed_in_a_row == 3
        again = history.after_look(down, patient, later(900))
        assert again.path("tunnel-1").failed_in_a_row == 1

    def test_a_look_that_saw_nothing_is_no_failure(self):
        """Missing data takes no path down, and ends no run."""
        history = after([*minutes(seen("tunnel-1"), 0, 1), *minutes(UNSEEN, 2)])
        path = history.path("tunnel-1")
        assert (path.healthy_in_a_row, path.failed_in_a_row, path.down) == (2, 0, False)
        assert path.known_at == later(60)

    def test_a_path_that_is_too_slow_is_not_on_its_way_back(self):
        """It carries, and its looks count towards nothing until it answers in time."""
        slow = after(minutes(SLOW, 0, 1)).path("tunnel-1")
        assert (slow.healthy_in_a_row, slow.healthy_since) == (0, None)
        quick = after([*minutes(SLOW, 0, 1), *minutes(seen("tunnel-1"), 2)]).path("tunnel-1")
        assert (quick.healthy_in_a_row, quick.healthy_since) == (1, later(120))

    def test_losing_calls_before_a_gap_says_nothing_of_what_was_in_it(self):
        """The alert counts from the first look after it."""
        assert after(minutes(LOSSY, 0, 60)).path("tunnel-1").erring_since == later(3600)

    def test_a_tenth_of_the_calls_is_not_more_than_a_tenth(self):
        """The limit itself raises no alert."""
        window = CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=10, lost=1)
        assert window.error_ratio == POLICY.errors.alert_ratio
        at_limit = seen("tunnel-1", canary=window)
        assert after(minutes(at_limit, 0, 1, 2)).path("tunnel-1").erring_since is None


def test_of_two_reports_of_one_moment_the_later_word_counts():
    """A breaker can change its mind within a second of the clock."""
    opened = ProxyReport(state=BreakerState.OPEN, reported_at=NOON)
    closed = ProxyReport(state=BreakerState.CLOSED, reported_at=NOON)
    history = LinkHistory().after_report("tunnel-1", opened).after_report("tunnel-1", closed)
    assert history.path("tunnel-1").report == closed


def test_a_suppression_without_a_penalty_has_no_end_to_tell():
    """A memory that lacks either half of it suppresses nothing."""
    path = PathHistory(suppressed_since=NOON)
    assert path.suppressed_until(DAMPING) is None
    assert not path.suppressed(DAMPING, later(1))
