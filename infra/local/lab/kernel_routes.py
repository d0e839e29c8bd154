"""EC2's route tables as kernel routes: what the emulated cloud says is what the namespaces do.

The functions' and the endpoints' subnets have the routes of their VPC route tables, and the gateway the
static routes of the transit gateway's; what BGP brings to the gateway is BIRD's business. A route whose
target is gone is a black hole here as there.

Not guaranteed: propagation of VPN attachments that is switched off in a transit gateway route table is not
followed; security groups and network ACLs are not carried over.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moto.ec2.models import EC2Backend

from infra.local.ec2_facts_transit_gateway import effective_routes
from infra.local.ec2_facts_vpn import network_of
from infra.local.lab.namespaces import Namespaces
from infra.local.lab.network import STATIC_METRIC, VPC_ROUTER

Routes = Mapping[ipaddress.IPv4Network, str]
"""By destination: what `ip route add` takes after it."""

_BLACK_HOLE = "blackhole"


def vpc_routes(backend: EC2Backend, subnet_id: str, source: str) -> Routes:
    """The routes of a subnet, but for the VPC's local one. `source` is the address to send from.

    A route to anything but a transit gateway or a network interface is left out: the lab has no internet,
    so there is nothing that it could lead to.
    """
    table = _table_of(backend, subnet_id)
    found: dict[ipaddress.IPv4Network, str] = {}
    for route in list(table.routes) if table is not None else ():
        if route.destination_cidr_block is None or route.local:
            continue
        hop = _hop(route)
        if hop is not None:
            suffix = f" src {source}" if hop is not _BLACK_HOLE else ""
            found[network_of(route.destination_cidr_block)] = hop + suffix
    return found


def transit_routes(
    backend: EC2Backend,
    vpc_id: str,
    connection_hop: Mapping[str, str],
) -> Routes:
    """The gateway's routes that are not BGP's. `connection_hop`: by VPN connection, what leads into it."""
    found: dict[ipaddress.IPv4Network, str] = {}
    for table in list(backend.transit_gateways_route_tables.values()):
        for route in effective_routes(table):
            attachment = route.attachments[0] if route.attachments else None
            if attachment is None:
                found[route.destination] = _BLACK_HOLE
            elif attachment.resource_type == "vpc":
                if attachment.resource_id == vpc_id:
                    found[route.destination] = "dev vpc0 scope link"
            elif route.type == "static":
                found[route.destination] = connection_hop.get(attachment.resource_id, _BLACK_HOLE)
    return found


class KernelRoutes:
    """Keeps the routes of namespaces as they are wanted."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces
        self._installed: dict[str, dict[ipaddress.IPv4Network, str]] = {}

    def match(self, namespace: str, wanted: Routes) -> bool:
        """Make a namespace's routes as wanted, and no others of ours; returns whether any changed."""
        installed = self._installed.setdefault(namespace, {})
        commands = list(_changes(installed, wanted))
        if commands:
            self._namespaces.ip(namespace, commands)
            self._installed[namespace] = dict(wanted)
        return bool(commands)


def _changes(installed: Routes, wanted: Routes) -> Iterator[str]:
    for network in installed:
        if installed[network] != wanted.get(network):
            yield f"route del {_spelled(network, installed[network])}"
    for network in wanted:
        if installed.get(network) != wanted[network]:
            yield f"route add {_spelled(network, wanted[network])}"


def _spelled(network: ipaddress.IPv4Network, hop: str) -> str:
    kind, target = (hop, "") if hop is _BLACK_HOLE else ("unicast", hop)
    return f"{kind} {network} {target} metric {STATIC_METRIC}"


def _hop(route: Any) -> str | None:
    if route.state != "active":
        return _BLACK_HOLE
    if route.transit_gateway is not None:
        return f"via {VPC_ROUTER} dev eni0 onlink"
    interface = route.interface or (route.instance and route.instance.nics[0])
    if interface is not None:
        return f"via {interface.private_ip_address} dev eni0 onlink"
    return None


def _table_of(backend: EC2Backend, subnet_id: str) -> Any:
    subnet = backend.get_subnet(subnet_id)
    tables = [t for t in list(backend.route_tables.values()) if t.vpc_id == subnet.vpc_id]
    explicit: Sequence[Any] = [t for t in tables if subnet_id in t._associations.values()]
    main: Sequence[Any] = [t for t in tables if t.main_association_id]
    return next(iter((*explicit, *main)), None)
