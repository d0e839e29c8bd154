"""Running the product's workflow on a simulated link, one execution after another, in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.journal import Entry, EntryKind
from control_plane.operations import observe as observing
from state_machine import runtime
from tests.simulation import definition
from tests.simulation.world import LINK, Control, World

SWEEP = {
    "source": "twinspan.sweep",
    "detail-type": "Twinspan Sweep",
    "detail": {"link_id": LINK},
}


def report(path: str) -> dict[str, Any]:
    """A proxy's breaker opened on this path."""
    detail = {"link_id": LINK, "path": path, "state": "open", "reason": "no_response"}
    return {"source": "twinspan.proxy", "detail-type": "Twinspan Path Report", "detail": detail}


@dataclass
class Play:
    """A world, and the runs upon it."""

    world: World
    started: int = 0

    def attach(self, patch: pytest.MonkeyPatch) -> Control:
        """Have the steps work on this world."""
        control = Control(self.world)
        patch.setattr(runtime, "control", lambda: control)
        described = observing._Described
        patch.setattr(observing, "_describe", lambda *_: described(self.world.sides(), [], {}))
        return control

    def states(self, event: dict[str, Any]) -> Iterator[str]:
        """A run, state by state."""
        self.started += 1
        name = f"run-{self.started}"

        def enter(_state: str) -> None:
            self.world.running = name

        return definition.run(name, event, enter)

    def run(self, event: dict[str, Any]) -> list[str]:
        """A run from its start to its end: the states that it went through."""
        return list(self.states(event))

    def ask(self, intent: str, **fields: Any) -> list[str]:
        """An operator's intent."""
        return self.run({"intent": intent, "link_id": LINK, "requested_by": "a test", **fields})

    def later(self, seconds: float) -> list[str]:
        """Time passes, and a sweep comes."""
        self.world.now += timedelta(seconds=seconds)
        return self.run(SWEEP)

    def told(self, kind: EntryKind) -> list[Entry]:
        """Journal entries of one kind."""
        return [entry for entry in self.world.entries_ if entry.kind is kind]

    @property
    def active(self) -> str:
        """The published active path."""
        assert self.world.config is not None
        return self.world.config.active_path
