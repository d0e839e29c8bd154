"""Does a subnet have any way to or from the internet?

The question is not about one address: a table may send only some public prefix out. So every public destination that any
table on the way tells apart is tried, as if the subnet's hosts had public addresses, with all tunnels up and no filters: what
is left is what routing alone guarantees. A way out through a site beyond a VPN connection is not the model's to see.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from control_plane.domain.route_model.addresses import Address, Prefix, is_internet_routed
from control_plane.domain.route_model.facts import PortRange, Subnet
from control_plane.domain.route_model.filters import CLIENT_PORTS, TCP, Packet
from control_plane.domain.route_model.ground import INTERNET, Carry, Place
from control_plane.domain.route_model.lookups import Lookups
from control_plane.domain.route_model.question import SOMEWHERE
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.traces import Hop, Outcome
from control_plane.domain.route_model.walk import Walk


@dataclass(frozen=True, slots=True)
class Exposure:
    """One way between a subnet and the internet, by the gateway that it crosses."""

    subnet_id: str
    direction: str
    gateway: str
    message: str


def exposures_of_subnet(network: Lookups, subnet_id: str) -> list[Exposure]:
    """All ways of one subnet, at most one per direction and gateway."""
    subnet = network.facts.subnets[subnet_id]
    if not network.topology.may_reach_internet(subnet.vpc_id) and not _routes_to_internet(
        network, subnet
    ):
        return []
    found: dict[tuple[str, str], Exposure] = {}
    for exposure in (*_ways_out(network, subnet), *_ways_in(network, subnet)):
        found.setdefault((exposure.direction, exposure.gateway), exposure)
    return list(found.values())


def _routes_to_internet(network: Lookups, subnet: Subnet) -> bool:
    """Whether the subnet's own table names an internet gateway, attached or not."""
    table = network.table_of_subnet(subnet.id)
    return table is not None and any("igw-" in (route.target or "") for route in table.routes())


def _ways_out(network: Lookups, subnet: Subnet) -> Iterator[Exposure]:
    for cidr in subnet.cidrs:
        source = cidr.sample_host
        tried: set[Address] = set()
        tables: set[str] = set()
        waiting = [SOMEWHERE[cidr.version]]
        while waiting:
            target = waiting.pop()
            if target in tried:
                continue
            tried.add(target)
            walk = Walk(network, filters_on=False, tunnels_up=True, stand_in=source)
            port = PortRange(443, 443)
            packet = Packet(source, target, TCP, CLIENT_PORTS, port)
            carry = Carry(assumed_public=(subnet.vpc_id, source))
            for path in walk.follow(Place("subnet", subnet.id), packet, carry):
                seen = {hop.route.table_id for hop in path.hops if hop.route}
                seen |= {stop.blocker.id for stop in path.stops}
                own = network.table_of_subnet(subnet.id)
                seen |= {own.id} if own else set()
                for table_id in seen - tables:
                    table = network.table(table_id)
                    if table is not None:
                        tables.add(table_id)
                        waiting += _public_samples(table, cidr.version)
                gateway = _gateway(path.hops)
                left = path.outcome is Outcome.EXITS_TO_INTERNET or (
                    gateway is not None and any(hop.kind == INTERNET for hop in path.hops)
                )
                if left and gateway is not None:
                    yield Exposure(
                        subnet.id,
                        "to",
                        gateway.id,
                        _out_message(subnet, target, path.hops, gateway),
                    )


def _gateway(hops: tuple[Hop, ...]) -> Hop | None:
    return next((hop for hop in hops if hop.kind.endswith("internet-gateway")), None)


def _out_message(subnet: Subnet, target: Address, hops: tuple[Hop, ...], gateway: Hop) -> str:
    routes = [str(hop.route) for hop in hops if hop.route]
    way = ", then ".join(routes)
    return f"{subnet.id} has a way to the internet ({target}) by {gateway.id}: {way}"


def _public_samples(table: RouteTable, version: int) -> Iterator[Address]:
    """For each destination of a table, public addresses that fall under it."""
    for route in table.routes():
        if route.prefix.version == version:
            yield from _samples(route.prefix)


def _samples(prefix: Prefix) -> Iterator[Address]:
    for address in (prefix.first, prefix.sample_host, prefix.last):
        if is_internet_routed(address):
            yield address


def _ways_in(network: Lookups, subnet: Subnet) -> Iterator[Exposure]:
    for interface_id in network.index.interfaces_of_subnet.get(subnet.id, ()):
        interface = network.facts.interfaces[interface_id]
        targets = [*interface.public.values()]
        targets += [
            one for one in interface.addresses if one.version == 6 and is_internet_routed(one)
        ]
        for target in targets:
            walk = Walk(network, filters_on=False, tunnels_up=True)
            packet = Packet(
                SOMEWHERE[target.version], target, TCP, CLIENT_PORTS, PortRange(443, 443)
            )
            for path in walk.follow(Place(INTERNET, INTERNET), packet, Carry()):
                gateway = _gateway(path.hops)
                if path.outcome is Outcome.DELIVERED and gateway is not None:
                    yield Exposure(
                        subnet.id,
                        "from",
                        gateway.id,
                        f"the internet reaches {interface.id} in {subnet.id} at {target} by {gateway.id}",
                    )
