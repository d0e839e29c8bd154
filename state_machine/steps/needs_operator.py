"""NeedsOperator: a rollback failed; hold the link and page."""

from __future__ import annotations

from control_plane.domain.plan import Plan
from control_plane.operations.operator import call_operator
from control_plane.wiring import Control
from state_machine.contracts import NeedsOperator
from state_machine.runtime import step


@step(NeedsOperator)
def handler(control: Control, stuck: NeedsOperator) -> NeedsOperator:
    """The lease stays taken until an operator resolves it."""
    error, plan = stuck.error, Plan.from_dict(stuck.plan) if stuck.plan else None
    call_operator(control, stuck.run, plan, error.Error, error.message(), control.now())
    return stuck
