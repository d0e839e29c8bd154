"""Judging a path from what was seen of it.

The rule for sources that disagree, strongest first. Each source counts only while it is younger than the
policy's limit for it; an older one was, for the verdict, not observed, and the reasons say so.

1. **A live probe.** Failing, it fails the path whatever anything else says: a tunnel can be UP and carry
   nothing. Passing, the path carries: the rest can make it degraded, never failed.
2. **A canary's window**, where there is no probe: many calls, but older ones. At `fail_ratio` and above the
   path has failed; below, it carries. Beside a passing probe a bad window makes the path degraded.
3. **A proxy's breaker**, where there is neither: open, the path has failed; closed, a real call went
   through, and the path carries, degraded for want of a better witness. A report that is older than a
   passing probe is mentioned only.
4. **Telemetry and descriptions** (gateway, connection, tunnels, endpoint, required routes) fail a path only
   where nothing used it lately. They never make one healthy: a route table says `active` to a dead tunnel.
5. **Nothing** is UNKNOWN. Missing data is not health.

Lost redundancy (one tunnel of two DOWN) and pending maintenance are warnings: they move no traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from control_plane.domain.limits import ErrorLimits, SourceAges
from control_plane.domain.observation import BreakerState, Observation, ObservedPath, TunnelStatus
from control_plane.domain.policy import LatencyLimits, Policy

_PARTIAL = "partial"
_WORKING = frozenset({"available", "modifying", "attached"})
_ERRORS, _AGES = ErrorLimits(), SourceAges()


class Health(StrEnum):
    """Our assessment of a path."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class PathHealth:
    """A verdict with its reasons.

    `drifted`: a required route is not as it should be; `drift_explains_failure`: that alone accounts for it.
    `too_slow`, `lossy`: it carries, but
    badly enough to be left for a healthy path. `sluggish`: latency above the warning limit.
    `error_ratio`: share of calls without a usable answer, 0 to 1; None where nothing was called.
    `maintenance_due`: the earliest date of a tunnel's announced replacement.
    """

    path: str
    health: Health
    reasons: tuple[str, ...]
    drift_explains_failure: bool = False
    drifted: bool = False
    too_slow: bool = False
    lossy: bool = False
    sluggish: bool = False
    redundancy_lost: bool = False
    maintenance_due: datetime | None = None
    error_ratio: float | None = None

    @property
    def carries(self) -> bool:
        """Whether the path carries calls at all."""
        return self.health in _CARRYING

    def describe(self) -> str:
        """One line for people."""
        return f"{self.path} is {self.health}" + (
            f": {'; '.join(self.reasons)}" if self.reasons else ""
        )


_CARRYING = frozenset({Health.HEALTHY, Health.DEGRADED})


def assess(
    seen: ObservedPath,
    latency: LatencyLimits,
    errors: ErrorLimits = _ERRORS,
    ages: SourceAges = _AGES,
    now: datetime | None = None,
) -> PathHealth:
    """Judge one path by the rule at the head of this module.

    With `now`, sources older than `ages` allows are left out; a source without a time of its own is as
    old as the observation, which the caller vouches for.
    """
    fresh, stale = (seen, ()) if now is None else _without_stale(seen, ages, now)
    faults = _hard_faults(fresh)
    drift = tuple(route.describe() for route in fresh.drift)
    carries, said = _use(fresh, errors)
    ratio = _error_ratio(fresh)
    due = min((m.due_at for m in fresh.maintenance or () if m.due_at), default=None)
    if carries is None and not (faults or drift):
        nothing = (*said, *stale) or ("no probe was made",)
        return PathHealth(seen.name, Health.UNKNOWN, nothing, maintenance_due=due)
    if not carries:
        return PathHealth(
            seen.name,
            Health.FAILED,
            (*said, *faults, *drift, *_partial(fresh), *stale),
            drift_explains_failure=bool(drift) and not faults,
            drifted=bool(drift),
            maintenance_due=due,
            error_ratio=ratio,
        )
    median_ms = _median(fresh)
    too_slow = median_ms > latency.critical_ms
    lossy = fresh.canary is not None and fresh.canary.error_ratio > errors.recover_ratio
    redundancy_lost = _redundancy_lost(fresh)
    suspect = fresh.probe is None and fresh.canary is None
    degraded = (
        suspect or lossy or too_slow or redundancy_lost or bool(faults or drift) or _doubted(fresh)
    )
    doubts = tuple(f"{fault}, yet calls get through" for fault in faults)
    return PathHealth(
        seen.name,
        Health.DEGRADED if degraded else Health.HEALTHY,
        (*doubts, *said, *drift, *_warnings(fresh, latency), *stale),
        drifted=bool(drift),
        too_slow=too_slow,
        lossy=lossy,
        sluggish=median_ms > latency.warning_ms,
        redundancy_lost=redundancy_lost,
        maintenance_due=due,
        error_ratio=ratio,
    )


def assess_all(
    observation: Observation, policy: Policy, now: datetime | None = None
) -> dict[str, PathHealth]:
    """The verdict on each observed path, under this policy's limits."""
    return {
        path.name: assess(path, policy.latency, policy.errors, policy.maximum_source_age, now)
        for path in observation.paths
    }


def remembered(
    verdicts: Mapping[str, tuple[PathHealth, datetime]], ages: SourceAges, now: datetime
) -> dict[str, PathHealth]:
    """Earlier verdicts as they stand now: older than a probe may be, one says nothing any more."""
    found = {}
    for name, (verdict, at) in verdicts.items():
        age_seconds = (now - at).total_seconds()
        if age_seconds > ages.probe_seconds:
            reason = f"last seen {verdict.health} {age_seconds:.0f} s ago, which is too long"
            verdict = PathHealth(name, Health.UNKNOWN, (reason,))
        found[name] = verdict
    return found


def _without_stale(
    seen: ObservedPath, ages: SourceAges, now: datetime
) -> tuple[ObservedPath, tuple[str, ...]]:
    """The path without what is too old to say anything, and a line on each source left out."""
    left_out: dict[str, None] = {}
    reasons = []
    probed_at = seen.probe.taken_at if seen.probe else None
    canary_at = seen.canary.ends_at if seen.canary else None
    reported_at = seen.proxy.reported_at if seen.proxy else None
    sources: tuple[tuple[str, datetime | None, float, tuple[str, ...]], ...] = (
        ("probe", probed_at, ages.probe_seconds, ("probe",)),
        ("canary's window", canary_at, ages.canary_seconds, ("canary",)),
        ("proxy's report", reported_at, ages.proxy_report_seconds, ("proxy",)),
        ("description by EC2", seen.described_at, ages.telemetry_seconds, _DESCRIBED),
    )
    for source, at, limit_seconds, fields in sources:
        if at is None:
            continue
        age_seconds = (now - at).total_seconds()
        if age_seconds > limit_seconds:
            left_out |= dict.fromkeys(fields)
            reasons.append(f"the {source} is {age_seconds:.0f} s old and says nothing any more")
    if not left_out:
        return seen, ()
    return seen.model_copy(update=left_out), tuple(reasons)


_DESCRIBED = (
    "gateway_state",
    "connection_state",
    "tunnels",
    "endpoint_state",
    "endpoint_error",
    "routes",
    "maintenance",
)


def _use(seen: ObservedPath, errors: ErrorLimits) -> tuple[bool | None, tuple[str, ...]]:
    """Whether calls get through, by the strongest witness; None where nobody tried. And what they say."""
    canary, proxy = seen.canary, seen.proxy
    bad_window = canary is not None and canary.error_ratio > errors.recover_ratio
    said = [canary.describe()] if canary is not None and bad_window else []
    if proxy is not None and proxy.state is not BreakerState.CLOSED:
        said.append(proxy.describe() + (", a probe made since passes" if _overtaken(seen) else ""))
    if seen.probe is not None:
        passed = seen.probe.passed
        return passed, tuple(said) if passed else (seen.probe.describe(), *said)
    if canary is not None:
        return canary.error_ratio < errors.fail_ratio, tuple(said)
    if proxy is None or proxy.state is BreakerState.HALF_OPEN:
        return None, tuple(said)
    if proxy.state is BreakerState.OPEN:
        return False, tuple(said)
    return True, (f"{proxy.describe()}, and nothing else used the path",)


def _overtaken(seen: ObservedPath) -> bool:
    """Whether a passing probe is newer than the proxy's report."""
    probe, proxy = seen.probe, seen.proxy
    if probe is None or proxy is None or not probe.passed or probe.taken_at is None:
        return False
    return probe.taken_at >= proxy.reported_at


def _doubted(seen: ObservedPath) -> bool:
    """Whether a proxy has found the path wanting since it was last seen to work."""
    breaker_open = seen.proxy is not None and seen.proxy.state is BreakerState.OPEN
    return breaker_open and not _overtaken(seen)


def _hard_faults(seen: ObservedPath) -> list[str]:
    faults = []
    if seen.gateway_state is not None and seen.gateway_state.lower() not in _WORKING:
        faults.append(f"the gateway is {seen.gateway_state}")
    if seen.connection_state is not None and seen.connection_state.lower() not in _WORKING:
        faults.append(f"the VPN connection is {seen.connection_state}")
    if seen.tunnels and _up(seen) == 0:
        faults.append(f"all {len(seen.tunnels)} tunnels are DOWN")
    if seen.endpoint_state is not None and _endpoint_state(seen) not in ("available", _PARTIAL):
        faults.append(_endpoint_fault(seen))
    return faults


def _endpoint_state(seen: ObservedPath) -> str:
    return (seen.endpoint_state or "").lower()


def _endpoint_fault(seen: ObservedPath) -> str:
    detail = f" ({seen.endpoint_error})" if seen.endpoint_error else ""
    return f"the VPC endpoint is {seen.endpoint_state}{detail}"


def _partial(seen: ObservedPath) -> tuple[str, ...]:
    """Some interfaces of the endpoint work; a probe tells whether this path's does."""
    return (_endpoint_fault(seen),) if _endpoint_state(seen) == _PARTIAL else ()


def _warnings(seen: ObservedPath, latency: LatencyLimits) -> list[str]:
    warnings = list(_partial(seen))
    if _redundancy_lost(seen):
        total = len(seen.tunnels or ())
        warnings.append(f"{total - _up(seen)} of {total} tunnels DOWN: redundancy is lost")
    median = _median(seen)
    if median > latency.critical_ms:
        warnings.append(f"median latency {median:.0f} ms is above {latency.critical_ms:.0f} ms")
    elif median > latency.warning_ms:
        warnings.append(f"median latency {median:.0f} ms is above the warning limit")
    warnings += [pending.describe() for pending in seen.maintenance or ()]
    return warnings


def _up(seen: ObservedPath) -> int:
    return sum(tunnel.status is TunnelStatus.UP for tunnel in seen.tunnels or ())


def _redundancy_lost(seen: ObservedPath) -> bool:
    return seen.tunnels is not None and 0 < _up(seen) < len(seen.tunnels)


def _median(seen: ObservedPath) -> float:
    """The probe's median latency in ms, else the canary's; 0 where neither measured one."""
    for source in (seen.probe, seen.canary):
        if source is not None and source.median_latency_ms is not None:
            return source.median_latency_ms
    return 0.0


def _error_ratio(seen: ObservedPath) -> float | None:
    if seen.canary is not None:
        return seen.canary.error_ratio
    if seen.probe is not None and seen.probe.attempts:
        return 1 - seen.probe.answered / seen.probe.attempts
    return None
