"""Small worlds for tests: a link with two tunnels, seen in whatever state a test wants it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from control_plane.domain.decide import Decision, Situation, decide
from control_plane.domain.health import assess
from control_plane.domain.history import LinkHistory
from control_plane.domain.observation import (
    ObservedPath,
    ObservedRoute,
    ObservedTunnel,
    ProbeResult,
    TunnelStatus,
)
from control_plane.domain.policy import Policy
from control_plane.domain.signals import Intent
from control_plane.domain.topology import RequiredRoute, SideName, Topology

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def later(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def topology_document() -> dict[str, Any]:
    """The topology of the design, with made-up ids."""

    def path(number: int, zone: str) -> dict[str, Any]:
        return {
            "name": f"tunnel-{number}",
            "routing_method": "vpn",
            "endpoint_url": f"https://vpce-0{zone}.bedrock-runtime.us-east-1.vpce.amazonaws.com",
            "peer_networks": [f"172.16.{2 * number - 1}.0/24"],
            "vpn_connection_id": f"vpn-{number}",
            "vpc_endpoint_id": "vpce-0",
            "endpoint_subnet_id": f"subnet-c{zone}",
            "endpoint_address": f"172.16.{2 * number - 1}.10",
            "required_routes": [
                {
                    "side": "govcloud",
                    "table_kind": "vpc",
                    "table_id": "rtb-gov",
                    "destination": "172.16.0.0/16",
                    "target": "tgw-1",
                },
                {
                    "side": "commercial",
                    "table_kind": "vpc",
                    "table_id": f"rtb-c{zone}",
                    "destination": "10.0.0.0/16",
                    "target": f"eni-router-{zone}",
                },
            ],
        }

    return {
        "schema_version": 1,
        "link_id": "bedrock",
        "sides": {
            "govcloud": {
                "partition": "aws-us-gov",
                "region": "us-gov-west-1",
                "account_id": "111111111111",
                "vpc_id": "vpc-gov",
                "subnet_ids": ["subnet-ga", "subnet-gb"],
                "cidr": "10.0.0.0/16",
            },
            "commercial": {
                "partition": "aws",
                "region": "us-east-1",
                "account_id": "222222222222",
                "vpc_id": "vpc-com",
                "subnet_ids": ["subnet-ca", "subnet-cb"],
                "cidr": "172.16.0.0/16",
            },
        },
        "credentials_secret_id": "twinspan/bedrock/commercial",
        "paths": [path(1, "a"), path(2, "b")],
        "managed_route_tables": ["rtb-gov", "rtb-ca", "rtb-cb"],
    }


def topology() -> Topology:
    """The topology, parsed."""
    return Topology.model_validate(topology_document())


def tunnels(*up: bool) -> tuple[ObservedTunnel, ...]:
    """Tunnels in these states."""
    return tuple(
        ObservedTunnel(
            outside_ip=f"203.0.113.{index}",
            status=TunnelStatus.UP if state else TunnelStatus.DOWN,
        )
        for index, state in enumerate(up)
    )


def probe(path: str, passed: bool, latency_ms: float = 70.0) -> ProbeResult:
    """A probe that passed or failed."""
    return ProbeResult(
        path=path,
        attempts=2,
        answered=2 if passed else 0,
        required=2,
        median_latency_ms=latency_ms if passed else None,
        failures=() if passed else ("no answer within 2 s",),
    )


def route(path: str = "tunnel-1", target: str | None = "as required") -> ObservedRoute:
    """The commercial return route of a path, leading to `target`."""
    found = topology().path(path)
    assert found is not None
    required = next(r for r in found.required_routes if r.side is SideName.COMMERCIAL)
    return ObservedRoute(
        required=required,
        target=required.target if target == "as required" else target,
        state="active" if target else None,
    )


def required_route(path: str = "tunnel-1") -> RequiredRoute:
    """The commercial return route that a path requires."""
    return route(path).required


def seen(name: str, **differences: Any) -> ObservedPath:
    """A path in perfect health, save for the differences."""
    perfect: dict[str, Any] = {
        "connection_state": "available",
        "tunnels": tunnels(True, True),
        "endpoint_state": "available",
        "routes": (route(name),),
        "probe": probe(name, True),
    }
    return ObservedPath(name=name, **(perfect | differences))


def dead(name: str, **differences: Any) -> ObservedPath:
    """A path whose tunnels are both DOWN and which answers no probe."""
    return seen(name, tunnels=tunnels(False, False), probe=probe(name, False), **differences)


def gray(name: str) -> ObservedPath:
    """A path that telemetry calls UP and that carries nothing."""
    return seen(name, probe=probe(name, False))


@dataclass
class Link:
    """A link that is observed and decided upon in virtual time, without AWS."""

    policy: Policy = field(default_factory=Policy)
    active: str = "tunnel-1"
    history: LinkHistory = field(default_factory=LinkHistory)
    now: datetime = NOON
    topology: Topology = field(default_factory=topology)

    def decide(self, *paths: ObservedPath, intent: Intent | None = None, **more: Any) -> Decision:
        """Observe these paths (the others are perfect) and decide, remembering the observation."""
        topo = self.topology
        by_name = {path.name: path for path in paths}
        all_paths = [by_name.get(name) or seen(name) for name in topo.path_names]
        health = {path.name: assess(path, self.policy.latency) for path in all_paths}
        self.history = self.history.after_observation(
            {name: verdict.carries for name, verdict in health.items()},
            self.policy.hysteresis.failed_observations_to_fail,
            self.policy.hysteresis.healthy_observations_to_recover,
            self.now,
        )
        return decide(
            Situation(
                topology=topo,
                policy=self.policy,
                active_path=self.active,
                health=health,
                drifted=frozenset(path.name for path in all_paths if path.drift),
                history=self.history,
                now=self.now,
                intent=intent,
                **more,
            )
        )

    def pass_time(self, seconds: float) -> None:
        """Let virtual time go by."""
        self.now += timedelta(seconds=seconds)


def intent(kind: str = "failover", **fields: Any) -> Intent:
    """An operator's intent on the link."""
    return Intent.from_dict({"intent": kind, "link_id": "bedrock", **fields})
