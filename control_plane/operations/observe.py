"""Looking at a link: both sides' resources, a live probe of every path, and the memory of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.snapshot import describe_side
from control_plane.domain.health import Health, PathHealth, assess
from control_plane.domain.observation import Observation
from control_plane.domain.policy import Policy
from control_plane.domain.seen import see_paths
from control_plane.domain.topology import SideName, Topology
from control_plane.errors import AwsRefused, AwsUnavailable
from control_plane.operations.run import Run
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
    published = control.documents.routing_config(run.link_id)

    credential = control.credential(topology)
    sessions = control.sessions(topology, credential)
    with ThreadPoolExecutor(max_workers=2) as pool:
        reading = pool.submit(_describe_sides, sessions, topology)
        probes = control.prober(topology).probe_all(topology.paths, policy.probe)
        sides, not_observed = reading.result()

    observation = Observation(
        link_id=run.link_id,
        observed_at=now,
        paths=see_paths(topology, sides, probes),
        snapshot_ref=control.evidence.put({str(name): side for name, side in sides.items()}),
        not_observed=tuple(not_observed),
    )
    reference = control.evidence.put(observation.to_dict())
    health = assess_all(observation, policy)
    _remember(control, run, policy, health, now)
    return Looked(
        observation,
        reference,
        health,
        active_path=published.active_path if published else None,
        generation=published.generation if published else 0,
    )


def assess_all(observation: Observation, policy: Policy) -> dict[str, PathHealth]:
    """The verdict on each path."""
    return {path.name: assess(path, policy.latency) for path in observation.paths}


def _describe_sides(
    sessions: Mapping[SideName, AwsSession], topology: Topology
) -> tuple[dict[SideName, dict[str, Any]], list[str]]:
    sides: dict[SideName, dict[str, Any]] = {}
    not_observed: list[str] = []
    for name, session in sessions.items():
        try:
            sides[name] = describe_side(session.client("ec2"))
        except (AwsUnavailable, AwsRefused) as error:
            not_observed.append(f"{name}: {error}")
    return sides, not_observed


def _remember(
    control: Control, run: Run, policy: Policy, health: dict[str, PathHealth], now: datetime
) -> None:
    verdicts = {
        name: None if verdict.health is Health.UNKNOWN else verdict.carries
        for name, verdict in health.items()
    }
    history = control.state.history(run.link_id).after_observation(
        verdicts,
        policy.hysteresis.failed_observations_to_fail,
        policy.hysteresis.healthy_observations_to_recover,
        now,
    )
    control.state.save_history(run.link_id, history, run.held())
