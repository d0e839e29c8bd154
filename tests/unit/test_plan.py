"""Plans: the difference between what is required and what is there, and its exact inverse."""

from control_plane.domain.decide import Decision, DecisionKind
from control_plane.domain.plan import Plan, make_plan
from control_plane.domain.policy import Policy
from tests.builders import required_route, route, seen, topology

FAILOVER = Decision(DecisionKind.FAILOVER, ("test",), "tunnel-2")


def test_an_intact_target_needs_no_route_changes():
    """With every required route in place a failover only publishes."""
    plan = make_plan(topology(), Policy(), FAILOVER, seen("tunnel-2"), "tunnel-1", 7)
    assert plan.changes == ()
    assert plan.describe() == ["routing config: active path tunnel-1 → tunnel-2 (generation 7 → 8)"]


def test_a_missing_route_of_the_target_is_part_of_the_plan_and_its_inverse_deletes_it():
    """The inverse puts back exactly what was there: nothing."""
    broken = seen("tunnel-2", routes=(route("tunnel-2", None),))
    plan = make_plan(topology(), Policy(), FAILOVER, broken, "tunnel-1", 7)
    [change] = plan.changes
    wanted = required_route("tunnel-2").target
    assert (change.before, change.after) == (None, wanted)
    [inverse] = plan.inverse_changes()
    assert (inverse.before, inverse.after) == (wanted, None)


def test_with_manual_repair_a_plan_changes_no_routes():
    """What the policy reserves to people is in no plan."""
    broken = seen("tunnel-2", routes=(route("tunnel-2", None),))
    policy = Policy(drift_repair="manual")
    assert make_plan(topology(), policy, FAILOVER, broken, "tunnel-1", 7).changes == ()


def test_a_repair_moves_no_traffic():
    """A repair leaves the published path as it is."""
    repair = Decision(DecisionKind.REPAIR, ("drift",), "tunnel-2")
    broken = seen("tunnel-2", routes=(route("tunnel-2", "eni-elsewhere"),))
    plan = make_plan(topology(), Policy(), repair, broken, "tunnel-1", 7)
    assert not plan.publishes
    assert plan.changes[0].before == "eni-elsewhere"


def test_a_plan_survives_its_serialisation_with_the_same_id():
    """What is stored is what was planned."""
    broken = seen("tunnel-2", routes=(route("tunnel-2", None),))
    plan = make_plan(topology(), Policy(), FAILOVER, broken, "tunnel-1", 7)
    again = Plan.from_dict(plan.to_dict())
    assert again == plan
    assert again.plan_id == plan.plan_id
