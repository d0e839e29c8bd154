"""ProbeTarget: the second proof, by real calls over the path that is about to be used."""

from __future__ import annotations

from control_plane.operations.choose import probe_target
from control_plane.operations.switch import abandon
from control_plane.wiring import Control
from state_machine.contracts import Planned
from state_machine.runtime import step


@step(Planned)
def handler(control: Control, planned: Planned) -> Planned:
    """A path that does not answer joins the run's `refused`; a plan of which nothing was applied is closed."""
    plan, run = planned.the_plan(), planned.run
    result = probe_target(control, run, plan, control.now())
    if result.passed or planned.the_decision().overridden:
        return planned.model_copy(update={"probe_passed": True})
    if not planned.applied:
        abandon(control, run, plan)
    refused = {**run.refused, plan.target_path: f"probes fail: {result.describe()}"}
    return planned.model_copy(update={"run": run.model_copy(update={"refused": refused})})
