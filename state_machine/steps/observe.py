"""Observe: look at both sides and probe every path."""

from __future__ import annotations

from pydantic import ConfigDict

from control_plane.operations.observe import observe
from control_plane.wiring import Control
from state_machine.contracts import Held, Observed
from state_machine.runtime import step


class Observing(Held):
    """A run; what earlier states left beside it is no longer true, and is dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore")


@step(Observing)
def handler(control: Control, held: Observing) -> Observed:
    """Store the observation and pass its reference on."""
    looked = observe(control, held.run, control.now())
    return Observed(
        run=held.run,
        observation_ref=looked.reference,
        health={name: verdict.describe() for name, verdict in looked.health.items()},
        active_path=looked.active_path,
        generation=looked.generation,
    )
