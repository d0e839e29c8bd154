"""Drills from their beginning to their end: the real workflow on a simulated link, in virtual time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from control_plane.domain.drill import DrillMemory, DrillOutcome
from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from tests.simulation.playing import SWEEP, Play, report
from tests.simulation.world import Killed, World

DAY = 86400.0


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A link that has been well for an hour, with a drill a month that lasts ten minutes."""
    schedule = {"automation": "automatic", "every_days": 30, "duration_seconds": 600}
    found = Play(World(Policy.model_validate({"drill": schedule})))
    found.attach(monkeypatch)
    found.run(SWEEP)
    world, an_hour_ago = found.world, found.world.now - timedelta(hours=1)
    paths = {
        name: memory.model_copy(update={"healthy_since": an_hour_ago})
        for name, memory in world.history_.paths.items()
    }
    drills = DrillMemory(passed_at=world.now)
    world.history_ = world.history_.model_copy(update={"paths": paths, "drills": drills})
    return found


def outcomes(play: Play) -> list[tuple[str, str]]:
    """(outcome, path) of every drill in the journal."""
    return [(e.data["outcome"], e.data["away"]) for e in play.told(EntryKind.DRILL)]


def test_a_drill_by_hand_goes_away_and_comes_back_by_itself(play: Play) -> None:
    """It passes when its time is over, and the memory and the journal say so."""
    play.ask("drill", to="tunnel-2", duration_seconds=120)
    assert play.active == "tunnel-2"
    play.later(60)
    assert play.active == "tunnel-2"
    assert outcomes(play) == []
    play.later(60)
    assert play.active == "tunnel-1"
    assert outcomes(play) == [("passed", "tunnel-2")]
    memory = play.world.history_
    assert memory.drill is None
    assert memory.drills.passed_at == play.world.now
    assert memory.path("tunnel-1").penalty == memory.path("tunnel-2").penalty == 0
    assert "[bedrock] drill passed" in play.world.letters


def test_the_schedule_drills_a_link_that_is_well_once_it_is_due(play: Play) -> None:
    """Not before, and not again for as long as the schedule says."""
    play.later(28 * DAY)
    assert play.active == "tunnel-1"
    play.world.now += timedelta(days=2)
    for _ in range(12):
        play.later(60)
    assert play.active == "tunnel-2"
    for _ in range(12):
        play.later(60)
    assert (play.active, outcomes(play)) == ("tunnel-1", [("passed", "tunnel-2")])
    for _ in range(40):
        play.later(DAY / 2)
    assert outcomes(play) == [("passed", "tunnel-2")]


@pytest.mark.parametrize("ringing", [True, False])
def test_an_alarm_keeps_a_drill_from_beginning(play: Play, ringing: bool) -> None:
    """By hand as by the schedule; nothing is moved."""
    play.world.in_alarm = ringing
    states = play.ask("drill")
    assert play.active == ("tunnel-1" if ringing else "tunnel-2")
    assert (states[-1] == "Escalated") is ringing


def test_something_real_breaks_a_drill_off(play: Play) -> None:
    """Traffic is home at once, long before the drill's end, and the journal says what it was."""
    play.ask("drill", duration_seconds=3600)
    play.world.now += timedelta(seconds=30)
    play.run(report("tunnel-2"))
    assert play.active == "tunnel-1"
    [entry] = play.told(EntryKind.DRILL)
    assert entry.data["outcome"] == "aborted"
    assert "breaker open on tunnel-2" in entry.data["why"]
    assert play.world.history_.drills.passed_at != play.world.now


def test_a_signal_that_comes_while_the_drill_begins_is_not_forgotten(play: Play) -> None:
    """It is left with the run that holds the lease, which breaks the drill off itself."""
    run = play.states({"intent": "drill", "link_id": "bedrock", "duration_seconds": 3600})
    for state in run:
        if state == "Publish":
            break
    play.run(report("tunnel-1"))
    play.world.running = "run-2"
    for _ in run:
        pass
    assert play.active == "tunnel-1"
    assert outcomes(play) == [("aborted", "tunnel-2")]


def test_a_drill_waits_abroad_while_home_carries_nothing(play: Play) -> None:
    """Neither its end nor something real sends traffic to a path that is dead."""
    play.ask("drill", duration_seconds=120)
    play.world.alive["tunnel-1"] = False
    play.run(report("tunnel-1"))
    play.later(300)
    assert play.active == "tunnel-2"
    play.world.alive["tunnel-1"] = True
    play.later(60)
    assert play.active == "tunnel-1"
    assert outcomes(play) == [("aborted", "tunnel-2")]


def test_a_practice_path_that_fails_has_failed_the_drill(play: Play) -> None:
    """Traffic escapes as from any path."""
    play.ask("drill", duration_seconds=3600)
    play.world.alive["tunnel-2"] = False
    play.later(60)
    play.later(60)
    assert play.active == "tunnel-1"
    assert outcomes(play) == [("failed", "tunnel-2")]


def test_a_drill_whose_switch_is_not_proved_has_failed_and_is_tried_on_another_day(
    play: Play,
) -> None:
    """A path that does not answer the probe is found out without any traffic being moved."""
    run = play.states({"intent": "drill", "link_id": "bedrock", "duration_seconds": 3600})
    for state in run:
        if state == "Plan":
            play.world.gray["tunnel-2"] = True
    assert play.active == "tunnel-1"
    [entry] = play.told(EntryKind.DRILL)
    assert entry.data["outcome"] == "failed"
    assert "probes fail" in entry.data["why"]
    play.world.gray["tunnel-2"] = False
    assert not play.world.history_.drills.is_due(play.world.policy.drill, play.world.now)


def test_an_operator_who_moves_traffic_ends_the_drill(play: Play) -> None:
    """What people ask for goes before practice."""
    play.ask("drill", duration_seconds=3600)
    play.ask("failback")
    assert play.active == "tunnel-1"
    assert outcomes(play) == [("aborted", "tunnel-2")]


def test_no_drill_begins_during_another(play: Play) -> None:
    """One at a time: the second is refused, and the first goes on."""
    play.ask("drill", duration_seconds=3600)
    before = play.world.history_.drill
    assert play.ask("drill", to="tunnel-1")[-1] == "Escalated"
    assert play.world.history_.drill == before


@pytest.mark.parametrize("write", range(1, 60, 6))
def test_a_drill_is_settled_whatever_dies_when_it_begins(play: Play, write: int) -> None:
    """Killed before or after any write, it ends at home, with its outcome in journal and memory."""
    world = play.world
    world.writes, world.die_at = 0, write
    try:
        play.ask("drill", duration_seconds=120)
    except Killed:
        raise AssertionError("a step's death ends the step, not the definition") from None
    world.die_at = None
    begun = any(e.execution == "run-2" for e in play.told(EntryKind.PLANNED))
    for _ in range(12):
        play.later(60)
    assert play.active == "tunnel-1"
    assert world.history_.drill is None
    assert world.open_plan("bedrock") is None
    assert bool(outcomes(play)) is begun or world.history_.drills.last is None
    recorded = world.history_.drills.last
    assert recorded is None or recorded.outcome in set(DrillOutcome)


def test_a_sweep_during_a_drill_does_not_break_it_off(play: Play) -> None:
    """Nor does a recovery: only what stopped working does."""
    play.ask("drill", duration_seconds=3600)
    closed = report("tunnel-2")
    closed["detail"]["state"] = "closed"
    play.run(closed)
    play.run(SWEEP)
    assert play.active == "tunnel-2"
    drill = play.world.history_.drill
    assert drill is not None
    assert drill.confirmed
    assert drill.disturbed_by is None
