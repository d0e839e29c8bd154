"""Connection 1 goes wrong in every way that a real tunnel can, under steady traffic."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.environment import Environment
from infra.local.lab.outages import Scene
from infra.local.lab.report import BOUND_WHILE_DEGRADED, FAULT_CASES, FaultCase, play, scene

FATAL = [case for case in FAULT_CASES if case.is_fatal]
DEGRADED = [case for case in FAULT_CASES if not case.is_fatal]


@pytest.fixture(scope="module")
def stage(cloud: Environment) -> Iterator[Scene]:
    cloud.faults.heal("all")
    with scene(cloud) as stage:
        yield stage
    assert stage.watcher.failure is None
    assert stage.witness.lost == 0


@pytest.mark.parametrize("case", FATAL, ids=lambda case: case.name)
def test_a_dead_tunnel_costs_no_call_and_the_link_moves_and_returns(
    stage: Scene, case: FaultCase
) -> None:
    """No call fails, the control plane publishes the switch and after healing the return, and every label is true."""
    seen = play(stage, case)
    assert seen.calls > 100
    assert seen.failed_calls == 0, seen
    assert seen.first_success_seconds is not None
    assert seen.switched, seen
    assert seen.returned_to_preferred, seen
    assert seen.labels.checked == seen.calls
    assert seen.labels.truthful == seen.labels.checked, seen
    assert seen.labels.asymmetric == 0, seen


@pytest.mark.parametrize("case", DEGRADED, ids=lambda case: case.name)
def test_a_path_that_only_gets_worse_costs_next_to_no_call(stage: Scene, case: FaultCase) -> None:
    """Whether the link stays or moves, at most one call in a hundred fails, every label is true of the
    answer, and the link ends on its preferred path."""
    seen = play(stage, case)
    assert seen.calls > 100
    assert seen.failed_calls <= BOUND_WHILE_DEGRADED * seen.calls, seen
    assert seen.returned_to_preferred, seen
    assert seen.labels.checked == seen.calls - seen.failed_calls
    assert seen.labels.truthful == seen.labels.checked, seen
