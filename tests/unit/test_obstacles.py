"""What stands in the way of a move, how it is lifted, and what an override may pass."""

from control_plane.domain.history import LinkHistory
from control_plane.domain.obstacles import Move, Obstacle, first_obstacle, obstacles
from control_plane.domain.policy import Policy, Quarantine
from tests.builders import later, probe, seen
from tests.unit.situations import GONE, SECOND, SETTLED, over_the_internet, situation

QUARANTINE = Quarantine(path=SECOND, reason="a test", until=later(600))
STANDING = SETTLED.quarantine((SECOND,), "a route could not be put back", later(-60))


class TestWhatNoOverridePasses:
    """Two things that cannot work, and one that the policy forbids outright."""

    def test_a_path_that_the_link_does_not_have(self):
        """There is nowhere to go, and nothing else to say of it."""
        [only] = obstacles(situation(), GONE, Move.ASKED)
        assert only == Obstacle("not a path of this link", "a topology that has it", passable=False)

    def test_a_routing_method_that_no_data_class_may_use(self):
        """Only another policy opens it."""
        [only] = obstacles(situation(topology=over_the_internet()), SECOND, Move.ASKED)
        assert only == Obstacle(
            "the policy lets no data class use internet",
            "a policy with a data class that may use internet",
            passable=False,
        )

    def test_a_path_that_was_refused_in_this_run(self):
        """Asking again proves nothing new."""
        refused = situation(refused={SECOND: "the route model refuses it"})
        [only] = obstacles(refused, SECOND, Move.ASKED)
        assert only == Obstacle(
            "the route model refuses it", "a proof and a probe that pass", passable=False
        )


def test_a_standing_quarantine_bars_its_path_and_no_other():
    """An operator who insists may pass it, knowing the reason."""
    barred = situation(history=STANDING)
    assert list(obstacles(barred, SECOND, Move.ASKED)) == [
        Obstacle(
            "quarantined since 2026-03-01 11:59:00Z until an operator resolves it: "
            "a route could not be put back",
            "an operator's `twinspan resolve`",
            passable=True,
        )
    ]
    assert first_obstacle(barred, "tunnel-1", Move.ASKED) is None


def test_the_gravest_obstacle_comes_first():
    """What the policy says of a path comes before what Twinspan found."""
    barred = situation(history=STANDING, policy=Policy(quarantine=(QUARANTINE,)))
    texts = [obstacle.text for obstacle in obstacles(barred, SECOND, Move.ASKED)]
    assert [text.split(" ")[1] for text in texts] == ["until", "since"]


def test_a_sluggish_path_is_good_enough_where_the_active_one_is_no_better():
    """Home is as slow as the standby: staying gains nothing."""
    slow = [seen(name, probe=probe(name, True, 1500)) for name in ("tunnel-1", SECOND)]
    both = situation(*slow, active_path=SECOND)
    assert first_obstacle(both, "tunnel-1", Move.RETURN) is None
    home_only = situation(slow[0], active_path=SECOND)
    found = first_obstacle(home_only, "tunnel-1", Move.RETURN)
    assert found is not None
    assert found.text == "slower than 1000 ms, which the active path is not"


def test_nothing_stands_in_the_way_of_a_link_without_a_memory():
    """An escape needs no history."""
    assert first_obstacle(situation(history=LinkHistory()), SECOND, Move.ESCAPE) is None
