"""Reject: record an input that could not be used."""

from __future__ import annotations

from control_plane.operations.begin import reject
from control_plane.wiring import Control
from state_machine.contracts import Rejected
from state_machine.runtime import step


@step(Rejected)
def handler(control: Control, rejected: Rejected) -> Rejected:
    """Journal the error's name and message; the execution then fails with them."""
    error = rejected.error
    reject(control, rejected.event, rejected.execution, error.Error, error.message(), control.now())
    return rejected
