"""Recover: settle the plan that a crashed run left open, before looking at anything else."""

from __future__ import annotations

from control_plane.operations.switch import recover
from control_plane.wiring import Control
from state_machine.contracts import Acquired, Held
from state_machine.runtime import step


class Recovering(Acquired):
    """A run that has only just begun and found a plan left open."""


@step(Recovering)
def handler(control: Control, acquired: Recovering) -> Held:
    """Wholly new if the crashed run had published, otherwise wholly old."""
    assert acquired.run is not None, "the definition recovers only in a run that acts"
    recover(control, acquired.run, control.now())
    return Held(run=acquired.run)
