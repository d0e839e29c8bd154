"""NeedsOperator: a rollback failed; hold the link and page."""

from __future__ import annotations

from control_plane.operations.conclude import call_operator
from control_plane.wiring import Control
from state_machine.contracts import NeedsOperator
from state_machine.runtime import step


@step(NeedsOperator)
def handler(control: Control, stuck: NeedsOperator) -> NeedsOperator:
    """The lease stays taken until an operator resolves it."""
    error = stuck.error
    call_operator(control, stuck.run, error.Error, error.message(), control.now())
    return stuck
