"""Apply: put the plan's route changes into effect."""

from __future__ import annotations

from control_plane.operations.switch import apply_routes
from control_plane.wiring import Control
from state_machine.contracts import Planned
from state_machine.runtime import step


@step(Planned)
def handler(control: Control, planned: Planned) -> Planned:
    """Each change is applied once, however often the state is retried."""
    apply_routes(control, planned.run, planned.the_plan())
    return planned.model_copy(update={"applied": True})
