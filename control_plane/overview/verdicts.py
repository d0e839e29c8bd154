"""What the console says of each path's health: the worse of the last look's verdict and what is seen now.

A look of the workflow has probed, so while it is fresh it counts; but a tunnel can go down a second later, which
EC2 says before the next look does. The newer source alone would show a path as well whose packets vanish while
its tunnels are UP. The rules themselves are the domain's.
"""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.adapters.path_metrics import Measured
from control_plane.domain.health import Health, PathHealth, assess, remembered
from control_plane.domain.observation import CanaryWindow, ObservedPath, TunnelStatus
from control_plane.domain.situation import Situation
from control_plane.overview.reading import Reading

_SEVERITY = {Health.UNKNOWN: 0, Health.HEALTHY: 1, Health.DEGRADED: 2, Health.FAILED: 3}


def judge(reading: Reading) -> dict[str, PathHealth]:
    """Path → verdict, with the reasons of whichever source is worse; of two equal ones the newer."""
    policy, now = reading.policy, reading.read_at
    looks = {
        name: (memory.verdict, memory.seen_at)
        for name, memory in reading.history.paths.items()
        if memory.verdict is not None and memory.seen_at is not None
    }
    earlier = remembered(looks, policy.maximum_source_age, now)
    found = {}
    for path in reading.seen:
        seen = path.model_copy(
            update={
                "described_at": now,
                "canary": _still_true(window(reading.metrics.get(path.name, ())), path),
                "proxy": reading.history.path(path.name).report,
            }
        )
        live = assess(seen, policy.latency, policy.errors, policy.maximum_source_age, now)
        last = earlier.get(path.name)
        found[path.name] = last if last is not None and _worse(last, live) else live
    return found


def situation(reading: Reading, health: dict[str, PathHealth]) -> Situation:
    """The link as decisions see it."""
    return Situation(
        topology=reading.topology,
        policy=reading.policy,
        active_path=reading.published.active_path if reading.published else None,
        health=health,
        drifted=frozenset(name for name, verdict in health.items() if verdict.drifted),
        history=reading.history,
        now=reading.read_at,
        published=reading.published,
    )


def window(measured: Sequence[Measured]) -> CanaryWindow | None:
    """The newest period as a canary's window: each run is one call, lost when the run did not pass."""
    if not measured:
        return None
    newest = measured[-1]
    return CanaryWindow(
        begins_at=newest.at,
        ends_at=newest.at,
        # A run that ended between the two statistics is in the later one alone.
        calls=max(newest.runs, newest.passed),
        lost=max(0, newest.runs - newest.passed),
        median_latency_ms=newest.latency_ms,
    )


def _still_true(canary: CanaryWindow | None, path: ObservedPath) -> CanaryWindow | None:
    """The window, unless a tunnel went down since: calls from before cannot vouch for what is now."""
    if canary is None:
        return None
    changes = [
        tunnel.last_status_change
        for tunnel in path.tunnels or ()
        if tunnel.status is TunnelStatus.DOWN and tunnel.last_status_change is not None
    ]
    return None if any(at > canary.ends_at for at in changes) else canary


def _worse(last: PathHealth, live: PathHealth) -> bool:
    return _SEVERITY[last.health] > _SEVERITY[live.health]
