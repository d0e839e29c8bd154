"""Look-ups over the facts by something else than their ids: what a walk asks at every hop.

Building costs one pass over the facts; each look-up costs the same whatever the network's size. A plan's changed tables
lie over the observed ones, and every index is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from control_plane.domain.route_model.addresses import (
    Address,
    Prefix,
    PrefixMap,
    is_internet_routed,
    parse_prefix,
)
from control_plane.domain.route_model.facts import (
    Attachment,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Subnet,
    VpnConnection,
)
from control_plane.domain.route_model.observed import Facts
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.topology import Topology


@dataclass
class Lookups:
    """The facts, the route tables as a plan would leave them, and indexes over both."""

    facts: Facts
    changed_tables: Mapping[str, RouteTable] = field(default_factory=dict)
    index: Index = field(default_factory=lambda: Index())

    def with_tables(self, tables: Mapping[str, RouteTable]) -> Self:
        """This network with some route tables replaced; everything else is shared."""
        return replace(self, changed_tables={**self.changed_tables, **tables})

    # -- look-ups that the walk makes -----------------------------------------------------------------------------

    def table(self, table_id: str | None) -> RouteTable | None:
        """A route table, as changed if it is."""
        if table_id is None:
            return None
        return self.changed_tables.get(table_id) or self.facts.tables.get(table_id)

    def table_of_subnet(self, subnet_id: str) -> RouteTable | None:
        """The table of a subnet: its own, or its VPC's main one."""
        facts = self.facts
        table_id = facts.table_of_subnet.get(subnet_id)
        if table_id is None:
            subnet = facts.subnets.get(subnet_id)
            table_id = facts.main_table.get(subnet.vpc_id) if subnet else None
        return self.table(table_id)

    def table_of_gateway(self, gateway_id: str) -> RouteTable | None:
        """The route table associated with an internet or virtual private gateway, if any."""
        return self.table(self.facts.table_of_gateway.get(gateway_id))

    def subnet_at(self, vpc_id: str, address: Address) -> Subnet | None:
        """The subnet of this VPC that holds the address."""
        subnets = self.index.subnets.get(vpc_id)
        return subnets.longest(address) if subnets else None

    def interface_at(self, vpc_id: str, address: Address) -> NetworkInterface | None:
        """The interface of this VPC that has the address."""
        interface_id = self.index.interfaces.get((vpc_id, address))
        if interface_id is None:
            delegated = self.index.delegated.get(vpc_id)
            interface_id = delegated.longest(address) if delegated else None
        return self.facts.interfaces[interface_id] if interface_id else None

    def acl_of(self, subnet_id: str) -> NetworkAcl | None:
        """A subnet's network ACL: its own, or its VPC's default one."""
        facts = self.facts
        acl_id = facts.acl_of_subnet.get(subnet_id)
        if acl_id is None:
            subnet = facts.subnets.get(subnet_id)
            acl_id = facts.default_acl.get(subnet.vpc_id) if subnet else None
        return facts.acls.get(acl_id) if acl_id else None

    def owner_of_public(self, address: Address) -> tuple[str, Address] | None:
        """The VPC and the address in it that internet traffic for this address is for."""
        return self.index.public.get(address)

    def knows_public(self, address: Address) -> bool:
        """Whether an address of the internet is one of this network's."""
        return address in self.index.public or address in self.index.outside

    def internet_gateway_of(self, vpc_id: str) -> str | None:
        """The internet gateway of a VPC, or else its egress-only one."""
        return self.index.internet_gateway.get(vpc_id)

    @property
    def nat_of_interface(self) -> Mapping[str, NatGateway]:
        """NAT gateways by their interface."""
        return self.index.nat_of_interface

    @property
    def endpoint_of_interface(self) -> Mapping[str, str]:
        """Interface endpoints by their interfaces."""
        return self.index.endpoint_of_interface

    @property
    def attachments_of_vpc(self) -> Mapping[tuple[str, str], Sequence[Attachment]]:
        """Attachments by (transit gateway, VPC)."""
        return self.index.attachments_of_vpc

    @property
    def attachment_of_connection(self) -> Mapping[str, Attachment]:
        """Transit gateway attachments by VPN connection."""
        return self.index.attachment_of_connection

    @property
    def connections_of_gateway(self) -> Mapping[str, Sequence[VpnConnection]]:
        """VPN connections by virtual private gateway."""
        return self.index.connections_of_gateway

    @property
    def connection_of_outside_address(self) -> Mapping[Address, str]:
        """VPN connections by AWS's tunnel addresses."""
        return self.index.outside

    @property
    def tables_of_transit_gateway(self) -> Mapping[str, Sequence[str]]:
        """Route tables by transit gateway."""
        return self.index.tables_of_transit_gateway

    @property
    def associations_observed(self) -> bool:
        """Whether "associated with nothing" is an observation and not a gap."""
        observed = self.facts.observed
        return (
            "TransitGatewayAttachments" in observed
            or "TransitGatewayRouteTableAssociations" in observed
        )

    def knows_transit_gateway(self, gateway_id: str) -> bool:
        """Whether anything is known to be attached to it."""
        return gateway_id in self.index.attachments_of_gateway

    def router_of_connection(self, connection: VpnConnection) -> NetworkInterface | None:
        """The interface whose address is this connection's customer gateway, wherever it is."""
        address = self.facts.customer_gateways.get(connection.customer_gateway_id or "")
        if address is None:
            return None
        interface_id = self.index.interface_of_public.get(address)
        return self.facts.interfaces[interface_id] if interface_id else None

    def connections_of_router(self, interface: NetworkInterface) -> Sequence[VpnConnection]:
        """The VPN connections whose customer gateway is an address of this interface or its instance."""
        key = interface.instance_id or interface.id
        return self.index.connections_of_router.get(key, ())

    def far_end(self, attachment: Attachment) -> Attachment | None:
        """The other transit gateway's view of a peering attachment."""
        far_id = attachment.resource_id
        if far_id is None:
            return None
        found = self.facts.attachments.get((far_id, attachment.id))
        if found is not None:
            return found
        return next(
            (
                one
                for one in self.index.attachments_of_gateway.get(far_id, ())
                if one.resource_type == "peering"
                and one.resource_id == attachment.transit_gateway_id
            ),
            None,
        )

    def peers_of(self, vpc_id: str) -> Sequence[str]:
        """The VPCs that this one is actively peered with."""
        return self.index.peers.get(vpc_id, ())

    @property
    def topology(self) -> Topology:
        """What is connected to what. Made when first asked for; routes have no part in it."""
        if self.index.topology is None:
            routers = [
                (connection, router.vpc_id)
                for connection in self.facts.vpn_connections.values()
                if (router := self.router_of_connection(connection)) is not None
            ]
            self.index.topology = Topology.of(self.facts, routers)
        return self.index.topology

    # -- what an explanation may propose ---------------------------------------------------------------------------

    def natural_prefix(
        self, destination: Address, matched: Prefix | None, replaces: bool
    ) -> Prefix:
        """The prefix that an engineer would route: the destination's VPC or subnet, everything, or the one host.

        It must win over the route that is `matched` now; `replaces`: that route is useless and can make room.
        """
        if matched is not None and replaces:
            return matched
        candidates: list[Prefix] = []
        for vpc_id in self.index.vpcs_at(destination):
            subnet = self.subnet_at(vpc_id, destination)
            cidrs = (*self.facts.vpcs[vpc_id].cidrs, *(subnet.cidrs if subnet else ()))
            candidates += [cidr for cidr in cidrs if cidr.holds(destination)]
        if is_internet_routed(destination) and not candidates:
            candidates.append(parse_prefix("0.0.0.0/0" if destination.version == 4 else "::/0"))
        if matched is not None:
            candidates = [one for one in candidates if one.length >= matched.length]
        bits = 32 if destination.version == 4 else 128
        host = Prefix(destination.version, destination.value, bits)
        return min(candidates, key=lambda one: one.length, default=host)

    def targets_for(self, vpc_id: str, destination: Address) -> list[str]:
        """What a route of this VPC could target so as to lead towards a destination."""
        facts, index = self.facts, self.index
        targets = [*index.transit_gateways_of_vpc.get(vpc_id, ())]
        targets += index.vpn_gateway_of_vpc.get(vpc_id, ())
        for peering_id in index.peerings_of_vpc.get(vpc_id, ()):
            far = facts.vpcs.get(facts.peerings[peering_id].other_end(vpc_id) or "")
            if far is not None and any(cidr.holds(destination) for cidr in far.cidrs):
                targets.append(peering_id)
        targets += index.routers_of_vpc.get(vpc_id, ())
        if is_internet_routed(destination):
            gateway = index.internet_gateway.get(vpc_id)
            targets += [gateway] if gateway else []
            targets += index.nat_gateways_of_vpc.get(vpc_id, ())
        return targets

    def attachments_for(self, gateway_id: str, destination: Address) -> list[Attachment]:
        """The attachments of a transit gateway that could lead to a destination."""
        homes = self.index.vpcs_at(destination)
        found: list[Attachment] = []
        for vpc_id in homes:
            found += self.index.attachments_of_vpc.get((gateway_id, vpc_id), ())
        found += self.index.outward_attachments.get(gateway_id, ())
        return found


@dataclass
class Index:
    """What is looked up by something else than its id. Built once, shared by all what-ifs."""

    topology: Topology | None = None
    subnets_of_table: dict[str, list[str]] = field(default_factory=dict)
    subnets: dict[str, PrefixMap[Subnet]] = field(default_factory=dict)
    vpcs: PrefixMap[list[str]] = field(default_factory=PrefixMap)
    interfaces: dict[tuple[str, Address], str] = field(default_factory=dict)
    interfaces_by_address: dict[Address, list[str]] = field(default_factory=dict)
    interfaces_of_subnet: dict[str, list[str]] = field(default_factory=dict)
    delegated: dict[str, PrefixMap[str]] = field(default_factory=dict)
    public: dict[Address, tuple[str, Address]] = field(default_factory=dict)
    interface_of_public: dict[Address, str] = field(default_factory=dict)
    outside: dict[Address, str] = field(default_factory=dict)
    internet_gateway: dict[str, str] = field(default_factory=dict)
    nat_of_interface: dict[str, NatGateway] = field(default_factory=dict)
    nat_gateways_of_vpc: dict[str, list[str]] = field(default_factory=dict)
    endpoint_of_interface: dict[str, str] = field(default_factory=dict)
    attachments_of_vpc: dict[tuple[str, str], list[Attachment]] = field(default_factory=dict)
    attachments_of_gateway: dict[str, list[Attachment]] = field(default_factory=dict)
    # those of a transit gateway that do not lead into a VPC
    outward_attachments: dict[str, list[Attachment]] = field(default_factory=dict)
    attachment_of_connection: dict[str, Attachment] = field(default_factory=dict)
    transit_gateways_of_vpc: dict[str, list[str]] = field(default_factory=dict)
    tables_of_transit_gateway: dict[str, list[str]] = field(default_factory=dict)
    connections_of_gateway: dict[str, list[VpnConnection]] = field(default_factory=dict)
    vpn_gateway_of_vpc: dict[str, list[str]] = field(default_factory=dict)
    connections_of_router: dict[str, list[VpnConnection]] = field(default_factory=dict)
    routers_of_vpc: dict[str, list[str]] = field(default_factory=dict)
    peers: dict[str, list[str]] = field(default_factory=dict)
    peerings_of_vpc: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Facts) -> Index:
        """Index all facts."""
        index = cls()
        for fill in (
            index._fill_vpcs,
            index._fill_interfaces,
            index._fill_internet,
            index._fill_transit,
            index._fill_vpn,
        ):
            fill(facts)
        return index

    def vpcs_at(self, address: Address) -> list[str]:
        """All VPCs with a CIDR that holds the address."""
        found: dict[str, None] = {}
        for vpc_ids in self.vpcs.matches(address):
            found.update(dict.fromkeys(vpc_ids))
        return list(found)

    def _fill_vpcs(self, facts: Facts) -> None:
        for vpc in facts.vpcs.values():
            for cidr in vpc.cidrs:
                known = self.vpcs.get(cidr)
                if known is None:
                    self.vpcs[cidr] = [vpc.id]
                else:
                    known.append(vpc.id)
        for subnet in facts.subnets.values():
            of_vpc = self.subnets.setdefault(subnet.vpc_id, PrefixMap())
            for cidr in subnet.cidrs:
                of_vpc[cidr] = subnet
            table_id = facts.table_of_subnet.get(subnet.id) or facts.main_table.get(subnet.vpc_id)
            if table_id:
                self.subnets_of_table.setdefault(table_id, []).append(subnet.id)
        for peering in facts.peerings.values():
            for near, far in (peering.vpc_ids, peering.vpc_ids[::-1]):
                self.peerings_of_vpc.setdefault(near, []).append(peering.id)
                if peering.status == "active":
                    self.peers.setdefault(near, []).append(far)

    def _fill_interfaces(self, facts: Facts) -> None:
        for interface in facts.interfaces.values():
            self.interfaces_of_subnet.setdefault(interface.subnet_id, []).append(interface.id)
            for address in interface.addresses:
                self.interfaces[interface.vpc_id, address] = interface.id
                self.interfaces_by_address.setdefault(address, []).append(interface.id)
                if address.version == 6 and is_internet_routed(address):
                    self.public[address] = (interface.vpc_id, address)
            for private, public in interface.public.items():
                self.public[public] = (interface.vpc_id, private)
                self.interface_of_public[public] = interface.id
            for prefix in interface.prefixes:
                self.delegated.setdefault(interface.vpc_id, PrefixMap())[prefix] = interface.id
        for endpoint in facts.endpoints.values():
            for interface_id in endpoint.interface_ids:
                self.endpoint_of_interface[interface_id] = endpoint.id

    def _fill_internet(self, facts: Facts) -> None:
        for gateways in (facts.egress_only_gateways, facts.internet_gateways):
            for gateway_id, vpc_ids in gateways.items():
                for vpc_id in vpc_ids:
                    self.internet_gateway[vpc_id] = gateway_id
        if "InternetGateways" not in facts.observed:
            # Which gateway a VPC has still shows in its routes.
            for vpc_id, gateway_id in facts.routed_gateways.items():
                self.internet_gateway.setdefault(vpc_id, gateway_id)
        for nat in facts.nat_gateways.values():
            if nat.interface_id:
                self.nat_of_interface[nat.interface_id] = nat
            if nat.vpc_id:
                self.nat_gateways_of_vpc.setdefault(nat.vpc_id, []).append(nat.id)
            if nat.address is None or nat.subnet_id not in facts.subnets:
                continue
            vpc_id = facts.subnets[nat.subnet_id].vpc_id
            known = self.interfaces.get((vpc_id, nat.address))
            if known is None:
                # Its interface was not observed: the gateway's own description has all that matters.
                interface_id = nat.interface_id or nat.id
                public = {nat.address: nat.public_address} if nat.public_address else {}
                facts.interfaces[interface_id] = NetworkInterface(
                    interface_id, vpc_id, nat.subnet_id, (nat.address,), public, kind="nat_gateway"
                )
                self.interfaces[vpc_id, nat.address] = known = interface_id
                if nat.public_address:
                    self.public[nat.public_address] = (vpc_id, nat.address)
            self.nat_of_interface[known] = nat

    def _fill_transit(self, facts: Facts) -> None:
        for attachment in facts.attachments.values():
            gateway_id = attachment.transit_gateway_id
            self.attachments_of_gateway.setdefault(gateway_id, []).append(attachment)
            resource_id = attachment.resource_id or ""
            if attachment.resource_type == "vpc":
                key = (gateway_id, resource_id)
                self.attachments_of_vpc.setdefault(key, []).append(attachment)
                if attachment.usable:
                    self.transit_gateways_of_vpc.setdefault(resource_id, []).append(gateway_id)
                continue
            self.outward_attachments.setdefault(gateway_id, []).append(attachment)
            if attachment.resource_type == "vpn":
                self.attachment_of_connection[resource_id] = attachment
        for table in facts.tables.values():
            if table.transit_gateway_id:
                self.tables_of_transit_gateway.setdefault(table.transit_gateway_id, []).append(
                    table.id
                )

    def _fill_vpn(self, facts: Facts) -> None:
        for gateway in facts.vpn_gateways.values():
            if gateway.vpc_id:
                self.vpn_gateway_of_vpc.setdefault(gateway.vpc_id, []).append(gateway.id)
        addresses: dict[Address, list[str]] = {}
        for gateway_id, address in facts.customer_gateways.items():
            if address is not None:
                addresses.setdefault(address, []).append(gateway_id)
        # A VPN over Direct Connect has a private customer gateway address.
        for address in addresses:
            owners = self.interfaces_by_address.get(address, [])
            if len(owners) == 1 and address not in self.interface_of_public:
                self.interface_of_public[address] = owners[0]
        for connection in facts.vpn_connections.values():
            if connection.gateway_id:
                self.connections_of_gateway.setdefault(connection.gateway_id, []).append(connection)
            for outside in connection.outside_addresses:
                self.outside[outside] = connection.id
            customer = facts.customer_gateways.get(connection.customer_gateway_id or "")
            router_id = self.interface_of_public.get(customer) if customer else None
            if router_id is None:
                continue
            router = facts.interfaces[router_id]
            key = router.instance_id or router.id
            self.connections_of_router.setdefault(key, []).append(connection)
            routers = self.routers_of_vpc.setdefault(router.vpc_id, [])
            if router_id not in routers:
                routers.append(router_id)
