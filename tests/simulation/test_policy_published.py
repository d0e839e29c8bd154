"""A policy that was changed reaches the proxies: on a simulated link, the real workflow."""

from __future__ import annotations

import pytest

from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Mode, Policy, Resend
from tests.simulation.playing import SWEEP, Play
from tests.simulation.world import World

NARROW = {"allowed_models": ("Anthropic.*",), "resend": Resend.NEVER}


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A link that is well, in generation 1, under a policy that restricts nothing."""
    found = Play(World(Policy()))
    found.attach(monkeypatch)
    assert found.run(SWEEP)[-1] == "Done"
    assert found.world.publications == []
    return found


def kinds(play: Play) -> list[str]:
    run = f"run-{play.started}"
    return [str(entry.kind) for entry in play.world.entries_ if entry.execution == run]


def test_a_narrower_policy_is_published_by_the_next_look_and_once(play: Play) -> None:
    """The same path under the next generation, verified through the proxy; the look after that changes nothing, and
    neither hold-down nor the hour's switches know of it."""
    play.world.policy = Policy(version=2, **NARROW)
    assert play.run(SWEEP)[-1] == "Done"
    config = play.world.config
    assert config is not None
    assert (config.generation, config.active_path) == (2, "tunnel-1")
    assert (config.allowed_models, config.resend) == (("anthropic.*",), "never")
    assert config.reason == "Publish: policy version 2"
    assert play.world.followed == config
    assert kinds(play)[-3:] == ["published", "verified", "outcome"]
    assert play.told(EntryKind.OUTCOME)[-1].data["outcome"] == "published"
    assert play.world.history_.switches == ()
    play.run(SWEEP)
    assert play.world.config == config


def test_a_wider_policy_is_published_as_well(play: Play) -> None:
    """What was narrowed is lifted the same way, and the document is again one that older proxies read."""
    play.world.policy = Policy(version=2, **NARROW)
    play.run(SWEEP)
    play.world.policy = Policy(version=3)
    play.run(SWEEP)
    config = play.world.config
    assert config is not None
    assert (config.generation, config.allowed_models, config.resend) == (3, (), "allow")
    assert "resend" not in config.to_json()


def test_a_publication_that_callers_do_not_confirm_stays(play: Play) -> None:
    """It is told as rolled back, but the narrower policy is not taken from the proxies, and no path is blamed."""
    play.world.deaf_callers = True
    play.world.policy = Policy(version=2, **NARROW)
    play.run(SWEEP)
    config = play.world.config
    assert config is not None
    assert (config.generation, config.resend) == (2, "never")
    assert play.told(EntryKind.OUTCOME)[-1].data["outcome"] == "rolled-back"
    assert play.world.history_.path("tunnel-1").set_back_at is None


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.PAUSED])
def test_where_nothing_may_be_done_nothing_is_published(play: Play, mode: Mode) -> None:
    """Modes observe and paused hold for publications as for everything else."""
    play.world.policy = Policy(version=2, mode=mode, **NARROW)
    play.run(SWEEP)
    assert play.world.config is not None
    assert play.world.config.generation == 1


def test_a_failover_takes_the_policy_along(play: Play) -> None:
    """One publication moves traffic and tells proxies of the policy."""
    play.world.policy = Policy(version=2, **NARROW)
    play.world.alive["tunnel-1"] = False
    play.run(SWEEP)
    config = play.world.config
    assert config is not None
    assert (config.generation, config.active_path, config.resend) == (2, "tunnel-2", "never")
