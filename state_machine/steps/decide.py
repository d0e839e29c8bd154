"""Decide: choose what to do on the stored observation."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from control_plane.operations.choose import choose
from control_plane.wiring import Control
from state_machine.contracts import Decided, Observed
from state_machine.runtime import step


class Deciding(Observed):
    """An observation; a plan that was refused a moment ago may lie beside it, and is dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@step(Deciding)
def handler(control: Control, seen: Deciding) -> Decided:
    """Name the action that the definition branches on."""
    decision = choose(control, seen.run, seen.observation_ref, seen.active_path, control.now())
    action: Literal["act", "approve", "none"] = "none"
    if decision.acts:
        action = "approve" if decision.needs_approval else "act"
    return Decided(**dict(seen), decision=decision.to_dict(), action=action)
