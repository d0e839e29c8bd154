"""A link that waits for a person: how it is held, with this or that service down, and how it is let go."""

from __future__ import annotations

import pytest

from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from control_plane.operations.operator import resolve
from tests.simulation.playing import SWEEP, Play
from tests.simulation.world import Control, World

ROUTE = ("rtb-end-b", "10.0.0.0/16")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A link on tunnel-1; its standby has lost its return route."""
    found = Play(World(Policy()))
    found.attach(monkeypatch)
    del found.world.routes[ROUTE]
    return found


def fail(play: Play, *down: str) -> list[str]:
    """A failover whose route change cannot be undone, since somebody else changed the route meanwhile."""
    states = []
    for state in play.states({"intent": "failover", "to": "tunnel-2", "link_id": "bedrock"}):
        states.append(state)
        if state == "Apply":
            play.world.gray["tunnel-2"] = True
        if state == "TargetDoesNotAnswer":
            play.world.routes[ROUTE] = "eni-of-a-stranger"
        if state == "RollBack":
            play.world.down = set(down)
    play.world.down = set()
    return states


def test_the_link_is_held_and_people_are_told(play: Play) -> None:
    """Lease, both paths of the plan, page and journal say the same; nothing acts any more."""
    assert fail(play)[-1] == "OperatorNeeded"
    world = play.world
    assert "RollbackIncomplete" in world.lease["kept_because"]
    assert set(world.history_.quarantines) == {"tunnel-1", "tunnel-2"}
    assert "[bedrock] NEEDS OPERATOR" in world.letters
    [entry] = play.told(EntryKind.NEEDS_OPERATOR)
    assert entry.data["failed"] == []
    world.alive["tunnel-1"] = False
    before = (world.config, dict(world.routes))
    assert play.later(3600)[-1] == "NothingToDo"
    assert (world.config, world.routes) == before


@pytest.mark.parametrize("service", ["lease", "history", "sns", "journal"])
def test_one_service_that_is_down_keeps_none_of_the_others_from_happening(
    play: Play, service: str
) -> None:
    """The link is held by what is left, and no sweep acts on it."""
    fail(play, service)
    world = play.world
    assert ("kept_because" in world.lease) is (service != "lease")
    assert bool(world.history_.quarantines) is (service != "history")
    assert ("[bedrock] NEEDS OPERATOR" in world.letters) is (service != "sns")
    entries = play.told(EntryKind.NEEDS_OPERATOR)
    assert len(entries) == (service != "journal")
    if entries and service != "journal":
        assert bool(entries[0].data["failed"])
    before = (world.config, dict(world.routes))
    play.later(3600)
    assert (world.config, world.routes) == before


def test_a_resolved_link_is_looked_after_again(play: Play) -> None:
    """The journal says by whom and why; what the failed plan changed is undone once more, or left."""
    fail(play)
    world = play.world
    world.routes.pop(ROUTE)
    control = Control(world)
    assert resolve(control, "bedrock", "j.doe", "removed by hand", world.now, leave_plan=False)  # type: ignore[arg-type]
    [entry] = play.told(EntryKind.RESOLVED)
    assert (entry.data["by"], entry.data["reason"]) == ("j.doe", "removed by hand")
    assert set(entry.data["quarantines"]) == {"tunnel-1", "tunnel-2"}
    assert not world.history_.quarantines
    assert "holder" not in world.lease
    assert "Recover" in play.run(SWEEP)
    assert world.open_plan("bedrock") is None


def test_a_plan_that_can_never_be_undone_is_left_when_a_person_says_so(play: Play) -> None:
    """Otherwise the next run would end with a person again, for ever."""
    fail(play)
    world, control = play.world, Control(play.world)
    resolve(control, "bedrock", "j.doe", "a try", world.now, leave_plan=False)  # type: ignore[arg-type]
    assert play.run(SWEEP)[-1] == "OperatorNeeded"
    resolve(control, "bedrock", "j.doe", "leave it", world.now, leave_plan=True)  # type: ignore[arg-type]
    assert "OperatorNeeded" not in play.run(SWEEP)
    assert world.open_plan("bedrock") is None


def test_there_is_nothing_to_resolve_on_a_link_that_waits_for_nobody(play: Play) -> None:
    """Nothing is written."""
    control = Control(play.world)
    assert not resolve(control, "bedrock", "j.doe", "a try", play.world.now, leave_plan=False)  # type: ignore[arg-type]
    assert play.world.entries_ == []
