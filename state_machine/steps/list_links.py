"""ListLinks: every link of this account and region, in batches."""

from __future__ import annotations

from control_plane.operations.sweep import batches
from control_plane.wiring import Control
from state_machine.contracts import Batch, Batches, Sweeping
from state_machine.runtime import step


@step(Sweeping)
def handler(control: Control, sweeping: Sweeping) -> Batches:
    """What each batch holds is all that a glance needs to know of a link."""
    found = batches(control)
    return Batches(
        execution=sweeping.execution,
        batches=tuple(Batch(execution=sweeping.execution, links=tuple(links)) for links in found),
    )
