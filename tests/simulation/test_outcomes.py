"""What is journaled and told of how runs end, however often they end alike."""

from __future__ import annotations

import pytest

from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from control_plane.overview import timeline
from tests.simulation.playing import SWEEP, Play
from tests.simulation.world import World


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A link that is left at once when it fails, and returned to by hand."""
    policy = Policy.model_validate(
        {
            "hold_down_seconds": 0,
            "failback": {"automation": "manual"},
            "maximum_switches_per_hour": 60,
        }
    )
    found = Play(World(policy))
    found.attach(monkeypatch)
    return found


def outcomes(play: Play) -> list[str]:
    return [entry.data["outcome"] for entry in play.told(EntryKind.OUTCOME)]


def test_each_switch_that_a_sweep_makes_is_recorded_and_told(play: Play) -> None:
    """A second outage is news, though it ends as the first one did."""
    for lost, safe in (
        ("tunnel-1", "tunnel-2"),
        ("tunnel-2", "tunnel-1"),
        ("tunnel-1", "tunnel-2"),
    ):
        play.world.alive |= {lost: False, safe: True}
        play.later(3600)
        assert play.active == safe
    assert outcomes(play) == ["switched"] * 3
    assert len(play.world.letters) == 3
    assert [item.word for item in timeline.items(reversed(play.world.entries_))] == ["switched"] * 3


def test_a_trouble_that_lasts_is_told_once(play: Play) -> None:
    """Every sweep finds that no path carries; people are told when it begins."""
    play.world.alive |= {"tunnel-1": False, "tunnel-2": False}
    for _ in range(5):
        play.later(60)
    assert outcomes(play) == ["escalated"]
    assert play.world.letters.count("[bedrock] escalated") == 1
    play.world.alive |= {"tunnel-1": True, "tunnel-2": True}
    play.later(60)
    play.run(SWEEP)
    assert outcomes(play) == ["escalated"], (
        "a routine look that found nothing to do leaves no entry"
    )
