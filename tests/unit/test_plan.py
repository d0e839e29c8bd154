"""Plans: the difference between what is required and what is there, and its exact inverse."""

import json
from dataclasses import fields, replace

import pytest

from control_plane.domain.decide import Decision, DecisionKind
from control_plane.domain.drill import DrillMove
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


@pytest.mark.parametrize("move", [None, *DrillMove])
def test_what_a_plan_means_for_a_drill_is_stored_with_it(move):
    """A run that settles another's plan knows whether it began or ended practice."""
    decision = replace(FAILOVER, drill=move)
    plan = make_plan(topology(), Policy(), decision, seen("tunnel-2"), "tunnel-1", 7)
    assert plan.drill is move
    stored = plan.to_dict()
    assert stored.get("drill") == (None if move is None else str(move))
    assert ("drill" in stored) is (move is not None)
    assert Plan.from_dict(stored) == plan


@pytest.mark.parametrize("drill", [None, *DrillMove])
def test_a_decision_survives_its_serialisation(drill):
    """What the journal holds is what was decided, down to the last word."""
    decision = Decision(
        DecisionKind.FAILOVER,
        ("tunnel-1 is FAILED",),
        "tunnel-2",
        passed_over={"tunnel-3": "quarantined"},
        touches_nothing=True,
        needs_approval=True,
        overridden=True,
        inputs={"mode": "observe"},
        would_change=("a passing probe",),
        warnings=("nothing is touched",),
        overrode=("hold-down",),
        drill=drill,
        drill_seconds=600.0,
    )
    stored = json.loads(json.dumps(decision.to_dict()))
    assert set(stored) == {field.name for field in fields(Decision)}
    assert Decision.from_dict(stored) == decision


def test_a_decision_stored_without_its_account_still_reads():
    """Journals of the first versions held less."""
    least = (
        "kind",
        "path",
        "reasons",
        "passed_over",
        "touches_nothing",
        "needs_approval",
        "overridden",
    )
    stored = {name: FAILOVER.to_dict()[name] for name in least}
    assert Decision.from_dict(stored) == FAILOVER


def test_a_decision_is_one_line_for_people():
    """Where to, and every reason."""
    repair = Decision(DecisionKind.REPAIR, ("one", "two"), "tunnel-1")
    assert repair.describe() == "Repair of tunnel-1: one; two"
    assert FAILOVER.describe() == "Failover to tunnel-2: test"
    assert Decision(DecisionKind.NO_CHANGE, ("well",)).describe() == "NoChange: well"


def test_a_plan_that_puts_a_publication_back_says_so():
    """There is nothing before it to tell of."""
    restore = Decision(DecisionKind.RESTORE, ("test",), "tunnel-2")
    plan = make_plan(topology(), Policy(), restore, seen("tunnel-2"), None, 7)
    assert plan.describe() == ["routing config: published anew, active path tunnel-2"]
