"""Whether a packet gets from the GovCloud functions to a commercial endpoint and back.

A hop-by-hop walk over the emulated EC2 state, written to be obviously right rather than general: it is
the embedded cloud's own truth, and shares nothing with the product's route model, so that the two can
disagree.

    functions subnet → its VPC route table → transit gateway → its route table → VPN connection
      → edge router → endpoint subnet → its VPC route table → edge router → its VPN connection
      → transit gateway → its route table → functions subnet

An endpoint that exists but has failed is reached all the same: whether it answers is not routing.

Not guaranteed: security groups, network ACLs and endpoint policies are not looked at; a flow takes one
of several equal-cost connections by a fixed hash; IPv4 only.
"""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moto.ec2.models import EC2Backend

from infra.local.ec2_facts_transit_gateway import effective_routes
from infra.local.ec2_facts_vpn import edge_router_of, network_of, routes_learned_over

Carries = Callable[[Any], bool]
"""Whether a VPN connection (moto's object) really carries packets now."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a path leads: an endpoint's interface in one subnet, and who sends to it."""

    source_subnet_ids: tuple[str, ...]
    vpc_endpoint_id: str
    endpoint_subnet_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The walk's outcome. `reason` says where a packet was lost; it is empty when none is.

    `outbound`, `inbound`: the VPN connection each way took, as far as the walk came.
    """

    delivered: bool
    outbound: str | None = None
    inbound: str | None = None
    reason: str = ""


class _Lost(Exception):
    """A packet went no further, for the reason given."""


def walk_to_endpoint(
    destination: Destination, govcloud: EC2Backend, commercial: EC2Backend, carries: Carries
) -> Verdict:
    """Walk from every source subnet and back. The first one whose packets are lost decides: a path
    that serves only one zone's functions is not whole."""
    if not destination.source_subnet_ids:
        raise ValueError("source_subnet_ids must not be empty")
    verdict = Verdict(delivered=False)
    for subnet_id in destination.source_subnet_ids:
        verdict = _walk_from(subnet_id, destination, govcloud, commercial, carries)
        if not verdict.delivered:
            return verdict
    return verdict


def walk_to_internet(source_subnet_ids: tuple[str, ...], govcloud: EC2Backend) -> Verdict:
    """Whether the functions' subnets have a way to the public internet: a NAT or internet gateway."""
    for subnet_id in source_subnet_ids:
        try:
            route = _vpc_route(govcloud, subnet_id, ipaddress.IPv4Address("192.0.2.1"))
        except _Lost as lost:
            return Verdict(delivered=False, reason=str(lost))
        if route.nat_gateway is None and not _is_internet_gateway(route.gateway):
            return Verdict(
                delivered=False,
                reason=f"{route.route_table.id} sends internet traffic to no NAT or internet gateway",
            )
    return Verdict(delivered=bool(source_subnet_ids))


def _walk_from(
    subnet_id: str,
    destination: Destination,
    govcloud: EC2Backend,
    commercial: EC2Backend,
    carries: Carries,
) -> Verdict:
    outbound: str | None = None
    inbound: str | None = None
    try:
        source = _subnet(govcloud, subnet_id)
        interface = _endpoint_interface(commercial, destination)
        address = ipaddress.IPv4Address(interface.private_ip_address)
        connection = _connection_towards(govcloud, source, address)
        outbound = connection.id
        _cross(connection, carries)
        _out_of_router(connection, interface)

        source_address = next(network_of(source.cidr_block).hosts())
        returning = _router_connection(commercial, govcloud, interface, source_address, carries)
        inbound = returning.id
        _deliver_to(govcloud, returning, source, source_address)
    except _Lost as lost:
        return Verdict(delivered=False, outbound=outbound, inbound=inbound, reason=str(lost))
    return Verdict(delivered=True, outbound=outbound, inbound=inbound)


def _subnet(backend: EC2Backend, subnet_id: str) -> Any:
    for zone in list(backend.subnets.values()):
        if subnet_id in zone:
            return zone[subnet_id]
    raise _Lost(f"{subnet_id} does not exist")


def _endpoint_interface(backend: EC2Backend, destination: Destination) -> Any:
    endpoint = backend.vpc_end_points.get(destination.vpc_endpoint_id)
    if endpoint is None or endpoint.state == "deleted":
        raise _Lost(f"{destination.vpc_endpoint_id} does not exist")
    for interface_id in endpoint.network_interface_ids:
        interface = backend.enis.get(interface_id)
        if interface is not None and interface.subnet.id == destination.endpoint_subnet_id:
            return interface
    raise _Lost(f"{endpoint.id} has no interface in {destination.endpoint_subnet_id}")


def _vpc_route(backend: EC2Backend, subnet_id: str, address: ipaddress.IPv4Address) -> Any:
    """The route that the subnet's table picks: the longest prefix, even if it is a black hole."""
    subnet = _subnet(backend, subnet_id)
    tables = [
        table for table in list(backend.route_tables.values()) if table.vpc_id == subnet.vpc_id
    ]
    explicit = [table for table in tables if subnet_id in table._associations.values()]
    main = [table for table in tables if table.main_association_id]
    if not explicit and not main:
        raise _Lost(f"{subnet_id} has no route table")
    table = (explicit or main)[0]
    matching = [
        route
        for route in table.routes
        if route.destination_cidr_block and address in network_of(route.destination_cidr_block)
    ]
    if not matching:
        raise _Lost(f"{table.id} of {subnet_id} has no route to {address}")
    route = max(
        matching,
        key=lambda route: network_of(str(route.destination_cidr_block)).prefixlen,
    )
    if route.state != "active":
        raise _Lost(f"{table.id}: the route {route.destination_cidr_block} is a {route.state}")
    return route


def _connection_towards(backend: EC2Backend, source: Any, address: ipaddress.IPv4Address) -> Any:
    route = _vpc_route(backend, source.id, address)
    if route.transit_gateway is not None:
        attachment = _vpc_attachment(backend, route.transit_gateway.id, source)
        onward = _transit_route(backend, attachment, address)
        if onward.resource_type != "vpn":
            raise _Lost(
                f"the transit gateway sends {address} to {onward.resource_id}, not to a VPN"
            )
        return backend.vpn_connections[onward.resource_id]
    if route.gateway is not None and route.gateway.id in backend.vpn_gateways:
        return _virtual_gateway_choice(backend, route.gateway.id, address)
    raise _Lost(f"{route.route_table.id} sends {address} to neither a transit nor a VPN gateway")


def _vpc_attachment(backend: EC2Backend, gateway_id: str, subnet: Any) -> Any:
    """The VPC's attachment, if it has a subnet in the zone of `subnet`: others are out of reach."""
    for attachment in list(backend.transit_gateway_attachments.values()):
        if (
            attachment.resource_type == "vpc"
            and attachment.resource_id == subnet.vpc_id
            and attachment.transit_gateway_id == gateway_id
            and attachment.state == "available"
        ):
            zones = {
                _subnet(backend, subnet_id).availability_zone
                for subnet_id in attachment.subnet_ids  # type: ignore[attr-defined]
            }
            if subnet.availability_zone not in zones:
                raise _Lost(f"{attachment.id} has no subnet in {subnet.availability_zone}")
            return attachment
    raise _Lost(f"{subnet.vpc_id} is not attached to {gateway_id}")


def _transit_route(backend: EC2Backend, attachment: Any, address: ipaddress.IPv4Address) -> Any:
    """The attachment that the transit gateway forwards to for what comes in by `attachment`."""
    association = attachment.association
    if association is None:
        raise _Lost(f"{attachment.id} is associated with no transit gateway route table")
    table = backend.transit_gateways_route_tables[association["TransitGatewayRouteTableId"]]
    matching = [route for route in effective_routes(table) if address in route.destination]
    if not matching:
        raise _Lost(f"{table.id} has no route to {address}")
    route = max(matching, key=lambda route: route.destination.prefixlen)
    if route.state != "active" or not route.attachments:
        raise _Lost(f"{table.id}: the route {route.destination} is a {route.state}")
    # A real flow hash has the ports in it; one choice per address keeps a path on one connection.
    choice = zlib.crc32(f"{attachment.id} {address}".encode()) % len(route.attachments)
    return route.attachments[choice]


def _virtual_gateway_choice(
    backend: EC2Backend, gateway_id: str, address: ipaddress.IPv4Address
) -> Any:
    best: tuple[int, Any] | None = None
    for connection in list(backend.vpn_connections.values()):
        if connection.vpn_gateway_id != gateway_id:
            continue
        for network in routes_learned_over(connection):
            if address in network and (best is None or network.prefixlen > best[0]):
                best = (network.prefixlen, connection)
    if best is None:
        raise _Lost(f"{gateway_id} has learned no route to {address}")
    return best[1]


def _cross(connection: Any, carries: Carries) -> None:
    if connection.state != "available":
        raise _Lost(f"{connection.id} is {connection.state}")
    if not carries(connection):
        raise _Lost(f"{connection.id} carries no packets")


def _out_of_router(connection: Any, interface: Any) -> None:
    """From the router behind the connection to the endpoint, which lives in the router's own VPC."""
    router = edge_router_of(connection)
    if router is None or not router.is_running:
        raise _Lost(f"no running router behind {connection.id}")
    if not router.forwards:
        raise _Lost(f"the source/destination check of {router.network_interface.id} is on")
    if router.network_interface.subnet.vpc_id != interface.subnet.vpc_id:
        raise _Lost(f"{router.instance.id} is not in the VPC of {interface.id}")


def _router_connection(
    commercial: EC2Backend,
    govcloud: EC2Backend,
    interface: Any,
    source: ipaddress.IPv4Address,
    carries: Carries,
) -> Any:
    """The connection by which the answer leaves the commercial VPC."""
    route = _vpc_route(commercial, interface.subnet.id, source)
    target = route.interface or (route.instance and route.instance.nics[0])
    if target is None:
        raise _Lost(f"{route.route_table.id} sends {source} to no router")
    reasons = []
    for connection in list(govcloud.vpn_connections.values()):
        router = edge_router_of(connection)
        if router is None or target.instance is None or router.instance.id != target.instance.id:
            continue
        if not router.forwards:
            raise _Lost(f"the source/destination check of {target.id} is on")
        try:
            _cross(connection, carries)
        except _Lost as lost:
            reasons.append(str(lost))
            continue
        return connection
    raise _Lost("; ".join(reasons) or f"{target.id} belongs to no customer gateway's router")


def _deliver_to(
    backend: EC2Backend, connection: Any, source: Any, address: ipaddress.IPv4Address
) -> None:
    if connection.transit_gateway_id is None:
        gateway = backend.vpn_gateways[connection.vpn_gateway_id]
        attached = gateway.attachments.get(source.vpc_id)
        if attached is None or attached.state != "attached":
            raise _Lost(f"{gateway.id} is not attached to {source.vpc_id}")
        return
    arrivals = [
        attachment
        for attachment in list(backend.transit_gateway_attachments.values())
        if attachment.resource_id == connection.id and attachment.state == "available"
    ]
    if not arrivals:
        raise _Lost(f"{connection.id} is attached to no transit gateway")
    onward = _transit_route(backend, arrivals[0], address)
    if onward.resource_id != source.vpc_id:
        raise _Lost(f"the transit gateway sends {address} to {onward.resource_id}")
    _vpc_attachment(backend, connection.transit_gateway_id, source)


def _is_internet_gateway(gateway: Any) -> bool:
    return gateway is not None and gateway.id.startswith("igw-")
