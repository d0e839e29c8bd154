"""Glance: look at a batch of links without probing, and name those that need a run."""

from __future__ import annotations

from control_plane.operations.sweep import glance
from control_plane.wiring import Control
from state_machine.contracts import Batch, Glanced, NeedOfLink
from state_machine.runtime import step


@step(Batch)
def handler(control: Control, batch: Batch) -> Glanced:
    """A fleet that is well leaves `needs` empty."""
    found = glance(control, batch.links, control.now())
    needs = tuple(
        NeedOfLink(**dict(need.registration), reasons=tuple(shortened(need.reasons)))
        for need in found
    )
    return Glanced(links=len(batch.links), needs=needs)


def shortened(reasons: tuple[str, ...]) -> list[str]:
    """The first few, cut: a payload has a limit, and the run will find out for itself."""
    return [reason[:300] for reason in reasons[:5]]
