"""Judging a path from what was seen of it.

The rule for sources that disagree, strongest first:

1. A fresh live probe. Failing, it fails the path whatever telemetry says (a tunnel can be UP and carry
   nothing). Passing, the path is at worst degraded: telemetry alone never fails a path just used.
2. Without a probe: a dead connection, an endpoint that is not available, all tunnels DOWN, or a missing
   required route fail the path.
3. Nothing observed is UNKNOWN. Missing data is not health.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from control_plane.domain.observation import ObservedPath, TunnelStatus
from control_plane.domain.policy import LatencyLimits

_PARTIAL = "partial"


class Health(StrEnum):
    """Our assessment of a path."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class PathHealth:
    """A verdict with its reasons, and whether drifted routes alone explain a failure."""

    path: str
    health: Health
    reasons: tuple[str, ...]
    drift_explains_failure: bool = False
    too_slow: bool = False

    @property
    def carries(self) -> bool:
        """Whether the path carries calls at all."""
        return self.health in (Health.HEALTHY, Health.DEGRADED)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.path} is {self.health}" + (
            f": {'; '.join(self.reasons)}" if self.reasons else ""
        )


def assess(seen: ObservedPath, latency: LatencyLimits) -> PathHealth:
    """Judge one path from one observation, by the rule at the head of this module."""
    faults = _hard_faults(seen)
    drift = [route.describe() for route in seen.drift]
    warnings = _warnings(seen, latency)
    too_slow = _median(seen) > latency.critical_ms

    if seen.probe is not None and not seen.probe.passed:
        return PathHealth(
            seen.name,
            Health.FAILED,
            (seen.probe.describe(), *faults, *drift, *_partial(seen)),
            drift_explains_failure=bool(drift) and not faults,
        )
    if seen.probe is not None:
        reasons = (*(f"{fault}, yet probes pass" for fault in faults), *drift, *warnings)
        degraded = bool(faults or drift) or too_slow or _redundancy_lost(seen)
        state = Health.DEGRADED if degraded else Health.HEALTHY
        return PathHealth(seen.name, state, reasons, too_slow=too_slow)
    if faults or drift:
        return PathHealth(
            seen.name, Health.FAILED, (*faults, *drift), drift_explains_failure=not faults
        )
    return PathHealth(seen.name, Health.UNKNOWN, ("no probe was made",))


def _hard_faults(seen: ObservedPath) -> list[str]:
    faults = []
    if seen.connection_state not in (None, "available", "modifying"):
        faults.append(f"the VPN connection is {seen.connection_state}")
    if seen.tunnels is not None and _up(seen) == 0:
        faults.append(f"all {len(seen.tunnels)} tunnels are DOWN")
    if seen.endpoint_state is not None and _endpoint_state(seen) not in ("available", _PARTIAL):
        faults.append(_endpoint_fault(seen))
    return faults


def _endpoint_state(seen: ObservedPath) -> str:
    return (seen.endpoint_state or "").lower()


def _endpoint_fault(seen: ObservedPath) -> str:
    detail = f" ({seen.endpoint_error})" if seen.endpoint_error else ""
    return f"the VPC endpoint is {seen.endpoint_state}{detail}"


def _partial(seen: ObservedPath) -> list[str]:
    """Some interfaces of the endpoint work; a probe tells whether this path's does."""
    return [_endpoint_fault(seen)] if _endpoint_state(seen) == _PARTIAL else []


def _warnings(seen: ObservedPath, latency: LatencyLimits) -> list[str]:
    warnings = _partial(seen)
    if _redundancy_lost(seen):
        total = len(seen.tunnels or ())
        warnings.append(f"{total - _up(seen)} of {total} tunnels DOWN: redundancy is lost")
    median = _median(seen)
    if median > latency.critical_ms:
        warnings.append(f"median latency {median:.0f} ms is above {latency.critical_ms:.0f} ms")
    elif median > latency.warning_ms:
        warnings.append(f"median latency {median:.0f} ms is above the warning limit")
    return warnings


def _up(seen: ObservedPath) -> int:
    return sum(tunnel.status is TunnelStatus.UP for tunnel in seen.tunnels or ())


def _redundancy_lost(seen: ObservedPath) -> bool:
    return seen.tunnels is not None and 0 < _up(seen) < len(seen.tunnels)


def _median(seen: ObservedPath) -> float:
    if seen.probe is None or seen.probe.median_latency_ms is None:
        return 0.0
    return seen.probe.median_latency_ms
