"""Verify: confirm from the caller's side that the plan did what it was for."""

from __future__ import annotations

from control_plane.operations.switch import verify
from control_plane.wiring import Control
from state_machine.contracts import Planned
from state_machine.runtime import measure, step


@step(Planned)
def handler(control: Control, planned: Planned) -> Planned:
    """Fails with PublishedUnverified when too few calls confirm it."""
    generation = planned.published_generation or planned.generation
    confirmed = verify(control, planned.run, planned.the_plan(), generation, control.now())
    if confirmed.adopted_after is not None:
        measure(planned.run, "adopt", confirmed.adopted_after.total_seconds() * 1000)
    return planned.model_copy(update={"verified": True})
