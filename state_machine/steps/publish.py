"""Publish: make the target path the published one. This is the switch."""

from __future__ import annotations

from control_plane.operations.switch import publish
from control_plane.wiring import Control
from state_machine.contracts import Planned
from state_machine.runtime import step


@step(Planned)
def handler(control: Control, planned: Planned) -> Planned:
    """Publish the next generation of the routing config."""
    generation = publish(control, planned.run, planned.the_plan(), control.now())
    return planned.model_copy(update={"published_generation": generation})
