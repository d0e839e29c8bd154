"""A routing config that others deleted, overwrote or put back: on a simulated link, the real workflow."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from tests.simulation.playing import SWEEP, Play
from tests.simulation.world import World


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A link whose traffic an operator moved to tunnel-2, in generation 2."""
    found = Play(World(Policy()))
    found.attach(monkeypatch)
    found.ask("failover", to="tunnel-2")
    assert published(found) == (2, "tunnel-2")
    return found


def published(play: Play) -> tuple[int, str] | None:
    """Generation and active path of what can be read."""
    config = play.world.config if not play.world.spoilt else None
    return (config.generation, config.active_path) if config else None


def test_a_deleted_config_is_put_back_by_the_next_look(play: Play) -> None:
    """The path that was published last, under a generation above all that proxies may have seen."""
    play.world.config = None
    play.run(SWEEP)
    assert published(play) == (3, "tunnel-2")
    assert play.world.followed == play.world.config
    assert play.later(900)[-1] == "Done"
    assert play.active == "tunnel-2", "as much by hand as it was before"


def test_a_deleted_config_is_not_put_back_onto_a_dead_path(play: Play) -> None:
    """It is validated like any plan; another path is published instead."""
    play.world.config, play.world.alive["tunnel-2"] = None, False
    play.run(SWEEP)
    assert published(play) == (3, "tunnel-1")


def test_an_overwritten_config_is_left_alone_until_an_operator_restores_it(play: Play) -> None:
    """A routine look fails by name; the operator's restore publishes what was there before."""
    play.world.spoilt = True
    assert play.run(SWEEP)[-1] == "Failed"
    assert "twinspan restore" in play.told(EntryKind.OUTCOME)[-1].data["error"]
    assert play.world.spoilt
    assert play.ask("restore")[-1] == "Done"
    assert published(play) == (3, "tunnel-2")
    kinds = [e.kind for e in play.world.entries_ if e.execution == f"run-{play.started}"]
    assert [k for k in kinds if k in ("planned", "probed", "published", "verified")] == [
        "planned",
        "probed",
        "published",
        "verified",
    ]


def test_an_old_config_that_somebody_put_back_is_superseded(play: Play) -> None:
    """Proxies refuse the old generation; a restore ends above the newest one."""
    play.ask("failback")
    play.world.config = play.world.versions[1]
    play.ask("restore")
    assert published(play) == (4, "tunnel-1")


def test_a_newer_generation_of_a_stranger_is_outdone(play: Play) -> None:
    """Proxies may have adopted it, so the restored one is above it."""
    assert play.world.config is not None
    foreign = {"generation": 70, "active_path": "tunnel-1", "published_by": "a stranger"}
    play.world.config = replace(play.world.config, **foreign)
    play.ask("restore")
    assert published(play) == (71, "tunnel-2")


def test_an_ordinary_switch_after_an_old_config_came_back_only_grows_the_generation(
    play: Play,
) -> None:
    """What was published once is never published again under its number, whatever is stored now."""
    play.ask("failback")
    play.world.config = play.world.versions[0]
    play.ask("failover", to="tunnel-2")
    assert published(play) == (4, "tunnel-2")


def test_what_is_as_it_was_published_is_not_touched(play: Play) -> None:
    """A restore without need changes nothing."""
    before = play.world.config
    assert play.ask("restore")[-1] == "Done"
    assert play.world.config == before


def test_a_restore_may_name_a_generation_or_a_path(play: Play) -> None:
    """As it was at an earlier generation, the deployment's own among them, or on a path of choice."""
    play.world.spoilt = True
    play.ask("restore", to_generation=1)
    assert published(play) == (3, "tunnel-1")
    play.world.spoilt = True
    play.ask("restore", to="tunnel-2")
    assert published(play) == (4, "tunnel-2")


def test_a_run_that_dies_between_claim_and_publication_leaves_a_gap(play: Play) -> None:
    """Its number is never used by anybody else."""
    world = play.world
    for write in range(1, 60):
        world.config, world.writes, world.die_at = None, 0, write
        play.run(SWEEP)
        world.die_at = None
        play.later(3600)
        found = published(play)
        assert found is not None
        numbers = [version.generation for version in world.versions]
        assert numbers == sorted(set(numbers))


class TestRollback:
    """By hand, to what was active at an earlier generation: a plan like any other."""

    def test_a_dead_path_is_not_gone_back_to(self, play: Play) -> None:
        """The journal knows the generation; the path is observed all the same."""
        play.world.alive["tunnel-1"] = False
        before = play.world.config
        assert play.ask("rollback", to_generation=1)[-1] == "Escalated"
        assert play.world.config == before

    def test_routes_that_the_path_lacks_by_now_are_put_in_place_first(self, play: Play) -> None:
        """The plan holds them, and its inverse is stored before anything is applied."""
        routes = dict(play.world.routes)
        del play.world.routes["rtb-end-a", "10.0.0.0/16"]
        assert play.ask("rollback", to_generation=1)[-1] == "Done"
        assert published(play) == (3, "tunnel-1")
        assert play.world.routes == routes

    def test_without_those_routes_the_model_refuses_it(self, monkeypatch) -> None:
        """Where repair is left to people, nothing is published and nothing applied."""
        play = Play(World(Policy.model_validate({"drift_repair": "manual"})))
        play.attach(monkeypatch)
        play.ask("failover", to="tunnel-2")
        del play.world.routes["rtb-end-a", "10.0.0.0/16"]
        before, routes = play.world.config, dict(play.world.routes)
        assert play.ask("rollback", to_generation=1)[-1] == "Escalated"
        assert (play.world.config, play.world.routes) == (before, routes)

    def test_a_generation_that_never_was_is_refused_by_name(self, play: Play) -> None:
        """Neither the future nor a gap can be gone back to."""
        before = play.world.config
        assert play.ask("rollback", to_generation=9)[-1] == "Failed"
        assert "UnknownGeneration" in play.told(EntryKind.OUTCOME)[-1].data["error"]
        assert play.world.config == before
