"""How long a call takes when the endpoints are far."""

from __future__ import annotations

from collections.abc import Callable

from infra.local.demo.play import MODEL_ID
from infra.local.environment import Environment
from infra.local.lab import latency
from tests.lab.conftest import FIGURES

ROUND_TRIP_MILLISECONDS = 70


def test_calls_over_a_long_way_stay_near_the_floor(
    whole: Environment, record_property: Callable[[str, object], None]
) -> None:
    """With 35 ms each way, a hundred calls take less than half a second in the mean and a second at p95."""
    for path in ("tunnel-1", "tunnel-2"):
        whole.faults.slow(path, ROUND_TRIP_MILLISECONDS)
    seen = latency.measure(whole, whole.plane.network, MODEL_ID)
    record_property(FIGURES, f"35 ms each way: {seen}")
    assert seen.failed == 0
    assert seen.round_trip_seconds >= ROUND_TRIP_MILLISECONDS / 1000
    assert seen.mean_seconds < 0.5
    assert seen.p95_seconds < 1.0
