"""AcquireLease: read what started the execution, and take the link's lease."""

from __future__ import annotations

from control_plane.operations.begin import begin
from control_plane.wiring import Control
from state_machine.contracts import Acquired, Start
from state_machine.runtime import measure, step


@step(Start)
def handler(control: Control, start: Start) -> Acquired:
    """Begin the run, hand the signal over to the lease's holder, or ignore it."""
    begun = begin(control, start.event, start.execution, start.approved_decision, control.now())
    if begun.detected_after is not None and begun.run is not None:
        measure(begun.run, "detect", begun.detected_after.total_seconds() * 1000)
    return Acquired(
        acts=begun.run is not None,
        reason=begun.reason,
        unfinished=begun.unfinished,
        run=begun.run,
    )
