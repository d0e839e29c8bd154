"""Small charts as SVG coordinates: one series on a fixed window of time, with gaps where nothing was measured.

Pure. What a chart shows is also said in a sentence, for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from control_plane.adapters.path_metrics import Measured

WIDTH, HEIGHT = 300.0, 56.0
_FULL_SCALE_STEPS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000)


@dataclass(frozen=True, slots=True)
class Bar:
    """One period's share of failed runs."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Charts:
    """A path's latency as lines and dots, its failures as bars; sizes are those of the drawing."""

    lines: tuple[str, ...]
    last: tuple[float, float] | None
    top_ms: int
    limit_y: float | None
    bars: tuple[Bar, ...]
    latency_text: str
    errors_text: str
    width: float = WIDTH
    height: float = HEIGHT


def draw(
    measured: Sequence[Measured],
    now: datetime,
    periods: int,
    period_seconds: int,
    warning_ms: float,
) -> Charts:
    """The charts of one path over the last `periods` periods."""
    begins = now.timestamp() - periods * period_seconds

    def x_of(one: Measured) -> float:
        return round((one.at.timestamp() - begins) / (periods * period_seconds) * WIDTH, 1)

    latencies = [one.latency_ms for one in measured if one.latency_ms is not None]
    top = next((s for s in _FULL_SCALE_STEPS if s >= max(latencies, default=0) * 1.1), 60000)
    lines: list[list[str]] = [[]]
    last = None
    previous: Measured | None = None
    for one in measured:
        gap = previous is None or (one.at - previous.at).total_seconds() > 2.5 * period_seconds
        if one.latency_ms is None or gap:
            lines.append([])
        if one.latency_ms is not None:
            last = (x_of(one), round(HEIGHT - one.latency_ms / top * HEIGHT, 1))
            lines[-1].append(f"{last[0]},{last[1]}")
        previous = one
    width = WIDTH / periods
    bars = tuple(
        Bar(
            x_of(one),
            round(HEIGHT * one.passed / one.runs, 1),
            round(width * 0.8, 1),
            round(HEIGHT * (1 - one.passed / one.runs), 1),
        )
        for one in measured
        if one.passed < one.runs
    )
    runs, passed = sum(one.runs for one in measured), sum(one.passed for one in measured)
    return Charts(
        lines=tuple(" ".join(points) for points in lines if points),
        last=last,
        top_ms=top,
        limit_y=round(HEIGHT - warning_ms / top * HEIGHT, 1) if warning_ms <= top else None,
        bars=bars,
        latency_text=(
            f"last {latencies[-1]:.0f} ms, highest {max(latencies):.0f} ms"
            if latencies
            else "nothing measured"
        ),
        errors_text=f"{runs - passed} of {runs} failed" if runs else "no canary run",
    )
