"""From describe output to what was seen of each path. Pure: the adapters fetch, this reads.

Works on the lists that EC2's `describe_*` calls return, one mapping per side.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from control_plane.domain.observation import (
    ObservedPath,
    ObservedRoute,
    ObservedTunnel,
    ProbeResult,
    TunnelStatus,
)
from control_plane.domain.topology import Path, RequiredRoute, SideName, TableKind, Topology

Describe = Mapping[str, Any]

# The keys under which a route names its target, as `describe_route_tables` returns them.
ROUTE_TARGET_KEYS = (
    "TransitGatewayId",
    "NetworkInterfaceId",
    "GatewayId",
    "NatGatewayId",
    "InstanceId",
    "VpcPeeringConnectionId",
    "EgressOnlyInternetGatewayId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
)


def see_paths(
    topology: Topology,
    sides: Mapping[SideName, Describe],
    probes: Mapping[str, ProbeResult],
    at: datetime | None = None,
) -> tuple[ObservedPath, ...]:
    """What was seen of each path. A side that is absent from `sides` was not observed.

    `at`: when the sides were described and the probes made, where the caller has a time for it.
    """
    return tuple(_see(path, sides, probes.get(path.name), at) for path in topology.paths)


def _see(
    path: Path,
    sides: Mapping[SideName, Describe],
    probe: ProbeResult | None,
    at: datetime | None,
) -> ObservedPath:
    connection = _find(sides.get(SideName.GOVCLOUD), "VpnConnections", path.vpn_connection_id)
    endpoint = _find(sides.get(SideName.COMMERCIAL), "VpcEndpoints", path.vpc_endpoint_id)
    error = (endpoint or {}).get("LastError") or {}
    return ObservedPath(
        name=path.name,
        described_at=at if sides else None,
        gateway_state=_gateway_state(sides.get(SideName.GOVCLOUD), connection),
        connection_state=connection.get("State") if connection else None,
        tunnels=_tunnels(connection) if connection else None,
        endpoint_state=endpoint.get("State") if endpoint else None,
        endpoint_error=error.get("Message"),
        routes=tuple(_route(route, sides) for route in path.required_routes if route.side in sides),
        probe=probe.model_copy(update={"taken_at": at}) if probe and at else probe,
    )


def _gateway_state(side: Describe | None, connection: Describe | None) -> str | None:
    """The state of the gateway that the connection hangs on; one that a *listed* kind lacks was deleted."""
    for key, kind in (("TransitGatewayId", "TransitGateways"), ("VpnGatewayId", "VpnGateways")):
        identifier = (connection or {}).get(key)
        if not identifier or side is None or kind not in side:
            continue
        for gateway in side[kind]:
            if gateway.get(key) == identifier:
                state = gateway.get("State")
                return str(state) if state else None
        return "deleted"
    return None


def _find(side: Describe | None, kind: str, identifier: str | None) -> Describe | None:
    """The item with this id; one that a *listed* kind lacks was deleted, which is also an answer."""
    if side is None or identifier is None or kind not in side:
        return None
    key = {"VpnConnections": "VpnConnectionId", "VpcEndpoints": "VpcEndpointId"}[kind]
    found = next((item for item in side[kind] if item.get(key) == identifier), None)
    return found if found is not None else {key: identifier, "State": "deleted"}


def _tunnels(connection: Describe) -> tuple[ObservedTunnel, ...] | None:
    telemetry = connection.get("VgwTelemetry")
    if telemetry is None:
        return None
    return tuple(
        ObservedTunnel(
            outside_ip=item["OutsideIpAddress"],
            status=TunnelStatus(item["Status"]),
            status_message=item.get("StatusMessage", ""),
            last_status_change=_moment(item.get("LastStatusChange")),
        )
        for item in telemetry
    )


def _moment(value: datetime | str | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _route(required: RequiredRoute, sides: Mapping[SideName, Describe]) -> ObservedRoute:
    side = sides[required.side]
    if required.table_kind is TableKind.TRANSIT_GATEWAY:
        found = _transit_gateway_route(side, required)
    else:
        found = _vpc_route(side, required)
    target, state = found or (None, None)
    return ObservedRoute(required=required, target=target, state=state)


def _vpc_route(side: Describe, required: RequiredRoute) -> tuple[str | None, str | None] | None:
    for table in side.get("RouteTables", ()):
        if table["RouteTableId"] != required.table_id:
            continue
        for route in table.get("Routes", ()):
            destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock")
            if destination == required.destination and not _propagated(route):
                return route_target(route), route.get("State")
    return None


def _transit_gateway_route(
    side: Describe, required: RequiredRoute
) -> tuple[str | None, str | None] | None:
    for route in side.get("TransitGatewayRoutes", ()):
        if (
            route.get("TransitGatewayRouteTableId") == required.table_id
            and route.get("DestinationCidrBlock") == required.destination
        ):
            attachments = route.get("TransitGatewayAttachments") or [{}]
            return attachments[0].get("TransitGatewayAttachmentId"), route.get("State")
    return None


def _propagated(route: Describe) -> bool:
    return bool(route.get("Origin") == "EnableVgwRoutePropagation")


def route_target(route: Describe) -> str | None:
    """The id that a VPC route leads to. An ENI route also shows its instance: the ENI is the target."""
    return next((str(route[key]) for key in ROUTE_TARGET_KEYS if route.get(key)), None)
