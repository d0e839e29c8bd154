"""Looking at a link: both sides' resources, a live probe of every path, and the memory of it.

What proxies said of a path is remembered from the signals that brought it here. A canary's window is not
read back from its metrics: a look probes for itself, and alarms watch the window.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.maintenance import pending_maintenance
from control_plane.adapters.snapshot import describe_side
from control_plane.domain.health import PathHealth, assess_all
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import EntryKind
from control_plane.domain.observation import (
    BreakerState,
    Observation,
    PendingMaintenance,
    ProxyReport,
)
from control_plane.domain.policy import Policy
from control_plane.domain.seen import see_paths
from control_plane.domain.signals import Signal, SignalKind
from control_plane.domain.topology import SideName, Topology
from control_plane.errors import AwsRefused, AwsUnavailable
from control_plane.operations.published import config_for
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control


@dataclass(frozen=True, slots=True)
class Looked:
    """An observation with its reference, the verdicts drawn from it, and what is published."""

    observation: Observation
    reference: str
    health: dict[str, PathHealth]
    active_path: str | None
    generation: int


def observe(control: Control, run: Run, now: datetime) -> Looked:
    """Look at the link and remember what was seen.

    A side that cannot be read is listed in `not_observed`, and the look goes on: probes may still say
    enough to escape a failed path's telemetry, though never enough to prove a switch.

    Raises:
        LeaseLost: another run took over.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    control.leases.renew(run.held(), policy.lease_seconds, now)
    published = config_for(control, run)

    credential = control.credential(topology)
    sessions = control.sessions(topology, credential)
    with ThreadPoolExecutor(max_workers=2) as pool:
        reading = pool.submit(_describe, sessions, topology)
        probes = control.prober(topology).probe_all(topology.paths, policy.probe)
        described = reading.result()

    before = control.state.history(run.link_id)
    occurred_at = run.signal.occurred_at if run.signal.trouble else None
    history = _with_report(before, run.signal).after_trouble(run.trouble, occurred_at)
    paths = tuple(
        path.model_copy(
            update={
                "proxy": history.path(path.name).report,
                "maintenance": described.maintenance.get(path.name),
            }
        )
        for path in see_paths(topology, described.sides, probes, now)
    )
    observation = Observation(
        link_id=run.link_id,
        observed_at=now,
        paths=paths,
        snapshot_ref=control.evidence.put(
            {str(name): side for name, side in described.sides.items()}
        ),
        not_observed=tuple(described.not_observed),
    )
    reference = control.evidence.put(observation.to_dict())
    health = assess_all(observation, policy, now)
    history = history.after_look(health, policy, now)
    _tell(control, run, newly_raised(before, history, policy, now), now)
    control.state.save_history(run.link_id, history, run.held())
    return Looked(
        observation,
        reference,
        health,
        active_path=published.active_path if published else None,
        generation=published.generation if published else 0,
    )


def reported(signal: Signal) -> ProxyReport | None:
    """What a proxy said of its breaker, if that is what the signal is about."""
    said = _BREAKER.search(signal.about) if signal.kind is SignalKind.PATH_REPORT else None
    if said is None or signal.occurred_at is None:
        return None
    return ProxyReport(
        state=BreakerState(said["state"]),
        reported_at=signal.occurred_at,
        reason=(said["reason"] or "")[:200],
    )


def newly_raised(
    before: LinkHistory, after: LinkHistory, policy: Policy, now: datetime
) -> tuple[str, ...]:
    """Alerts that the memory before this look did not hold yet, so that each is told once."""
    looks = [memory.seen_at for memory in before.paths.values() if memory.seen_at is not None]
    known = before.alerts(policy, max(looks)) if looks else ()
    return tuple(alert for alert in after.alerts(policy, now) if alert not in known)


# A VPN connection's description shows its pre-shared keys, so the commercial credential may not ask for them; the
# link's own connections are all GovCloud's.
_NOT_ASKED = {SideName.COMMERCIAL: frozenset({"VpnConnections"})}
_BREAKER = re.compile(r"\bbreaker (?P<state>open|half_open|closed)\b[^:]*(?::\s*(?P<reason>.*))?")


@dataclass(frozen=True, slots=True)
class _Described:
    """What EC2 said; `maintenance` by path."""

    sides: dict[SideName, dict[str, Any]]
    not_observed: list[str]
    maintenance: dict[str, tuple[PendingMaintenance, ...] | None]


def _describe(sessions: Mapping[SideName, AwsSession], topology: Topology) -> _Described:
    sides, not_observed = _describe_sides(sessions, topology)
    maintenance = {
        path.name: pending_maintenance(
            sessions[SideName.GOVCLOUD].client("ec2"),
            path.vpn_connection_id,
            [tunnel.outside_ip for tunnel in path_seen.tunnels or ()],
        )
        for path, path_seen in zip(topology.paths, see_paths(topology, sides, {}), strict=True)
        if path.vpn_connection_id is not None and path_seen.tunnels
    }
    return _Described(sides, not_observed, maintenance)


def _describe_sides(
    sessions: Mapping[SideName, AwsSession], topology: Topology
) -> tuple[dict[SideName, dict[str, Any]], list[str]]:
    sides: dict[SideName, dict[str, Any]] = {}
    not_observed: list[str] = []
    for name, session in sessions.items():
        try:
            sides[name] = describe_side(session.client("ec2"), not_asked=_NOT_ASKED.get(name, ()))
        except (AwsUnavailable, AwsRefused) as error:
            not_observed.append(f"{name}: {error}")
    return sides, not_observed


def _with_report(history: LinkHistory, signal: Signal) -> LinkHistory:
    report = reported(signal)
    if report is None or signal.path is None:
        return history
    return history.after_report(signal.path, report)


def _tell(control: Control, run: Run, alerts: tuple[str, ...], now: datetime) -> None:
    """Send and journal alerts before they are remembered: a crash in between repeats, and loses none.

    A letter that cannot be sent is journaled as such and does not keep the link from being looked after.
    """
    if not alerts:
        return
    data = {"seen": "; ".join(alerts)}
    try:
        control.notifier.send(f"[{run.link_id}] alert", "\n".join(alerts) + "\n")
    except (AwsUnavailable, AwsRefused) as error:
        data["not_sent"] = str(error)
    journal(control, run, EntryKind.OBSERVED, data, now)
