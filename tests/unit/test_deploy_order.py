"""Which phases of a deployment a failure undoes, and in which order."""

from __future__ import annotations

import pytest

from infra.deploy import PHASES
from infra.deploy.runner import to_undo


@pytest.mark.parametrize(
    ("failing_phase", "begun", "everything", "undone"),
    [
        ("routers", PHASES[1:5], False, ["routers"]),
        ("routers", PHASES[1:5], True, ["routers", "credential", "govcloud", "commercial"]),
        ("commercial", PHASES[1:], False, [*reversed(PHASES[1:])]),
        ("govcloud", PHASES[1:], False, ["documents", "routers", "credential", "govcloud"]),
        ("artifacts", (), False, []),
    ],
)
def test_what_depends_on_a_phase_goes_first(
    failing_phase: str, begun: tuple[str, ...], everything: bool, undone: list[str]
) -> None:
    """Of the phases that were begun, those that need the failing one are undone before it."""
    assert [phase.name for phase in to_undo(failing_phase, begun, everything)] == undone
