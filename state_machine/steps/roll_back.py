"""RollBack: undo the plan of this run, after something failed under way."""

from __future__ import annotations

from control_plane.operations.switch import roll_back
from control_plane.wiring import Control
from state_machine.contracts import Caught, Planned
from state_machine.runtime import step


class Undoing(Planned):
    """A plan that failed under way, with what failed it."""

    error: Caught


@step(Undoing)
def handler(control: Control, planned: Undoing) -> Planned:
    """Traffic goes back first, then the routes. A plan that was verified stays: only that answer was lost."""
    cause = planned.error.describe()
    undone = roll_back(control, planned.run, planned.the_plan(), cause, control.now())
    if undone.finished:
        return planned.model_copy(update={"verified": True, "error": None})
    return planned.model_copy(update={"rolled_back": True})
