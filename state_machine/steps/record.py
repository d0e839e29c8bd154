"""Record: the outcome, in the journal and to people."""

from __future__ import annotations

from control_plane.domain.decide import Decision
from control_plane.domain.plan import Plan
from control_plane.operations.conclude import outcome_of, record
from control_plane.operations.drills import settle_drill
from control_plane.operations.switch import abandon_unapplied
from control_plane.wiring import Control
from state_machine.contracts import Concluded, Concluding
from state_machine.runtime import step


@step(Concluding)
def handler(control: Control, ending: Concluding) -> Concluded:
    """Name the outcome and keep what approval or failure still need."""
    decision = Decision.from_dict(ending.decision) if ending.decision else None
    plan = Plan.from_dict(ending.plan) if ending.plan else None
    error = ending.error.describe() if ending.error else None
    outcome = outcome_of(
        decision, verified=ending.verified, rolled_back=ending.rolled_back, error=error
    )
    if error is not None and not ending.rolled_back:
        # The definition leads here with an error only from states before Apply; later ones roll back.
        abandon_unapplied(control, ending.run)
    record(control, ending.run, outcome, decision, plan, error, control.now())
    settle_drill(control, ending.run, error, control.now())
    return Concluded(run=ending.run, outcome=outcome, decision=ending.decision, error=ending.error)
