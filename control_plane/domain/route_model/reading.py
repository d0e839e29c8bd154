"""From describe output to facts.

Solves: EC2's answers say the same thing in several places (an instance's interfaces, an address' interface, an
endpoint's interfaces) and may lack any of them. Each reader takes one kind, and whatever does not have the form that
EC2 gives it is an InvalidSnapshot naming the resource and the field. It does not guess facts that were not observed.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from control_plane.domain.route_model.addresses import Address, Prefix, parse_address, parse_prefix
from control_plane.domain.route_model.facts import (
    Instance,
    NatGateway,
    NetworkInterface,
    Peering,
    Route,
    RouteRank,
    RouteState,
    Subnet,
    TransitGateway,
    Vpc,
    VpcEndpoint,
    VpnConnection,
    VpnGateway,
)
from control_plane.domain.route_model.observed import (
    GONE,
    Facts,
    checked,
    each,
    place,
    state_of,
    text,
)
from control_plane.domain.route_model.reading_filters import read_acls, security_group
from control_plane.domain.route_model.reading_transit import read_transit
from control_plane.domain.route_model.snapshot import InvalidSnapshot, Json, Snapshot
from control_plane.domain.route_model.tables import RouteTable

# Which key of a VPC route names its target. An interface comes before the instance that it is on.
_TARGET_KEYS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "NetworkInterfaceId",
    "InstanceId",
    "EgressOnlyInternetGatewayId",
    "VpcEndpointId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "CoreNetworkArn",
    "OdbNetworkArn",
)


_STATES = {str(state): state for state in RouteState}


def read(snapshot: Snapshot) -> Facts:
    """Every fact of the snapshot; raises InvalidSnapshot naming the resource and the reason."""
    facts = Facts(observed=frozenset(snapshot.resources), not_observed=snapshot.not_observed)
    facts.vpcs = each(snapshot, "Vpcs", "VpcId", _vpc)
    facts.subnets = each(snapshot, "Subnets", "SubnetId", _subnet)
    _check_overlaps(facts)
    _prefix_lists(snapshot, facts)
    _interfaces(snapshot, facts)
    facts.internet_gateways = each(
        snapshot, "InternetGateways", "InternetGatewayId", _attached_vpcs
    )
    facts.egress_only_gateways = each(
        snapshot, "EgressOnlyInternetGateways", "EgressOnlyInternetGatewayId", _attached_vpcs
    )
    facts.nat_gateways = each(snapshot, "NatGateways", "NatGatewayId", _nat_gateway)
    facts.vpn_gateways = each(snapshot, "VpnGateways", "VpnGatewayId", _vpn_gateway)
    facts.customer_gateways = each(
        snapshot, "CustomerGateways", "CustomerGatewayId", _customer_gateway
    )
    facts.vpn_connections = each(snapshot, "VpnConnections", "VpnConnectionId", _vpn_connection)
    facts.peerings = each(snapshot, "VpcPeeringConnections", "VpcPeeringConnectionId", _peering)
    _check_peerings(facts)
    facts.transit_gateways = each(snapshot, "TransitGateways", "TransitGatewayId", _transit_gateway)
    facts.endpoints = each(snapshot, "VpcEndpoints", "VpcEndpointId", _endpoint)
    facts.security_groups = each(snapshot, "SecurityGroups", "GroupId", security_group)
    read_acls(snapshot, facts)
    _vpc_tables(snapshot, facts)
    read_transit(snapshot, facts)
    return facts


def _vpc(item: Json) -> Vpc:
    cidrs = [item["CidrBlock"]] if item.get("CidrBlock") else []
    for association in item.get("CidrBlockAssociationSet") or []:
        if state_of(association, "CidrBlockState") in ("associated", ""):
            cidrs.append(association["CidrBlock"])
    for association in item.get("Ipv6CidrBlockAssociationSet") or []:
        if state_of(association, "Ipv6CidrBlockState") in ("associated", ""):
            cidrs.append(association["Ipv6CidrBlock"])
    return Vpc(item["VpcId"], tuple(dict.fromkeys(parse_prefix(cidr) for cidr in cidrs)))


def _subnet(item: Json) -> Subnet:
    cidrs = [item["CidrBlock"]] if item.get("CidrBlock") else []
    for association in item.get("Ipv6CidrBlockAssociationSet") or []:
        if state_of(association, "Ipv6CidrBlockState") in ("associated", ""):
            cidrs.append(association["Ipv6CidrBlock"])
    return Subnet(
        item["SubnetId"],
        item["VpcId"],
        item.get("AvailabilityZoneId") or item.get("AvailabilityZone"),
        tuple(parse_prefix(cidr) for cidr in cidrs),
        item.get("MapPublicIpOnLaunch") is True,
    )


def _check_overlaps(facts: Facts) -> None:
    """AWS refuses overlapping subnets in a VPC: where a snapshot shows them, it is wrong."""
    by_vpc: dict[str, list[tuple[Prefix, str]]] = {}
    for subnet in facts.subnets.values():
        for cidr in subnet.cidrs:
            by_vpc.setdefault(subnet.vpc_id, []).append((cidr, subnet.id))
    for vpc_id, cidrs in by_vpc.items():
        cidrs.sort()
        for (first, first_id), (second, second_id) in pairwise(cidrs):
            if first.overlaps(second):
                raise InvalidSnapshot(
                    f"Subnets {second_id}",
                    f"its CIDR {second} overlaps {first} of {first_id} in {vpc_id}",
                )


def _check_peerings(facts: Facts) -> None:
    """AWS refuses to peer VPCs with overlapping CIDRs (VPC peering guide, "Limitations")."""
    for peering in facts.peerings.values():
        ends = [facts.vpcs[vpc_id] for vpc_id in peering.vpc_ids if vpc_id in facts.vpcs]
        if peering.status != "active" or len(ends) < 2 or ends[0].id == ends[1].id:
            continue
        for first in ends[0].cidrs:
            for second in ends[1].cidrs:
                if first.version == 4 and first.overlaps(second):
                    raise InvalidSnapshot(
                        f"VpcPeeringConnections {peering.id}",
                        f"is active, but {first} of {ends[0].id} overlaps {second} of {ends[1].id}",
                    )


def _prefix_lists(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("PrefixLists"):
        with place("PrefixLists", item.get("PrefixListId")):
            cidrs = list(item.get("Cidrs") or [])
            cidrs += [entry["Cidr"] for entry in item.get("Entries") or []]
            if "Cidr" in item:
                cidrs.append(item["Cidr"])
            if cidrs or "Entries" in item or "Cidrs" in item:
                facts.prefix_lists[item["PrefixListId"]] = tuple(map(parse_prefix, cidrs))


def _interfaces(snapshot: Snapshot, facts: Facts) -> None:
    states: dict[str, str | None] = {}
    order: dict[str, list[tuple[int, str]]] = {}
    for item in snapshot.items("Instances"):
        with place("Instances", item.get("InstanceId")):
            states[item["InstanceId"]] = (item.get("State") or {}).get("Name")
    for item in snapshot.items("NetworkInterfaces"):
        with place("NetworkInterfaces", item.get("NetworkInterfaceId")):
            interface = _interface(item, states, facts.subnets)
            facts.interfaces[interface.id] = checked(interface)
            if interface.instance_id:
                device = (item.get("Attachment") or {}).get("DeviceIndex", 0)
                order.setdefault(interface.instance_id, []).append((device, interface.id))
    for item in snapshot.items("Instances"):
        instance_id = item["InstanceId"]
        with place("Instances", instance_id):
            for shown in _shown_on_instance(item):
                device = (shown.get("Attachment") or {}).get("DeviceIndex", 0)
                if shown["NetworkInterfaceId"] in facts.interfaces:
                    continue
                interface = _interface(shown, states, facts.subnets)
                facts.interfaces[interface.id] = checked(interface)
                order.setdefault(instance_id, []).append((device, interface.id))
    for instance_id, state in states.items():
        if state not in GONE:
            interfaces = tuple(name for _, name in sorted(order.get(instance_id, [])))
            facts.instances[instance_id] = Instance(instance_id, state, interfaces)
    for instance_id, devices in order.items():
        if instance_id not in states:
            interfaces = tuple(name for _, name in sorted(devices))
            facts.instances[instance_id] = Instance(instance_id, None, interfaces)
    _elastic_addresses(snapshot, facts)


def _shown_on_instance(item: Json) -> list[Json]:
    """An instance's interfaces as `describe_instances` shows them; older outputs have only an address."""
    if (item.get("State") or {}).get("Name") in GONE:
        return []
    base = {
        "VpcId": item.get("VpcId"),
        "SubnetId": item.get("SubnetId"),
        "_InstanceId": item["InstanceId"],
    }
    interfaces = item.get("NetworkInterfaces") or []
    if not interfaces and item.get("SubnetId") and item.get("PrivateIpAddress"):
        public = {"PublicIp": item["PublicIpAddress"]} if item.get("PublicIpAddress") else None
        return [
            {
                **base,
                "NetworkInterfaceId": item["InstanceId"],
                "PrivateIpAddress": item["PrivateIpAddress"],
                "Association": public,
                "Groups": item.get("SecurityGroups") or [],
                "SourceDestCheck": item.get("SourceDestCheck", True),
            }
        ]
    return [{**base, **interface} for interface in interfaces]


def _interface(
    item: Json, states: dict[str, str | None], subnets: dict[str, Subnet]
) -> NetworkInterface:
    vpc_id = item.get("VpcId")
    if not vpc_id and item.get("SubnetId") in subnets:
        vpc_id = subnets[item["SubnetId"]].vpc_id
    attachment = item.get("Attachment") or {}
    instance_id = attachment.get("InstanceId") or item.get("_InstanceId")
    addresses: list[Address] = []
    public: dict[Address, Address] = {}
    shown = list(item.get("PrivateIpAddresses") or [])
    if item.get("PrivateIpAddress"):
        main = {
            "PrivateIpAddress": item["PrivateIpAddress"],
            "Association": item.get("Association"),
        }
        shown.insert(0, main)
    for entry in shown:
        if not entry.get("PrivateIpAddress"):
            continue
        address = parse_address(entry["PrivateIpAddress"])
        addresses.append(address)
        public_ip = (entry.get("Association") or {}).get("PublicIp")
        if public_ip:
            public[address] = parse_address(public_ip)
    for entry in item.get("Ipv6Addresses") or []:
        addresses.append(parse_address(entry["Ipv6Address"] if isinstance(entry, dict) else entry))
    return NetworkInterface(
        id=item["NetworkInterfaceId"],
        vpc_id=vpc_id or "",
        subnet_id=item["SubnetId"],
        addresses=tuple(dict.fromkeys(addresses)),
        public=public,
        groups=tuple(group["GroupId"] for group in item.get("Groups") or []),
        source_dest_check=item.get("SourceDestCheck", True) is not False,
        instance_id=instance_id,
        kind=str(item.get("InterfaceType") or "interface"),
        dead=_why_dead(item, instance_id, states),
        denies_internet=item.get("DenyAllIgwTraffic") is True,
        prefixes=tuple(
            parse_prefix(entry[key])
            for listing, key in (("Ipv4Prefixes", "Ipv4Prefix"), ("Ipv6Prefixes", "Ipv6Prefix"))
            for entry in item.get(listing) or []
        ),
    )


def _why_dead(item: Json, instance_id: str | None, states: dict[str, str | None]) -> str | None:
    status = str(item.get("Status") or "in-use")
    if status == "available":
        return "it is attached to nothing"
    state = states.get(instance_id) if instance_id else None
    if state not in (None, "running"):
        return f"its instance {instance_id} is {state}"
    return None


def _elastic_addresses(snapshot: Snapshot, facts: Facts) -> None:
    """Elastic IPs, where `describe_addresses` knows an association that the interface does not show."""
    for item in snapshot.items("Addresses"):
        with place("Addresses", item.get("PublicIp")):
            interface = facts.interfaces.get(item.get("NetworkInterfaceId") or "")
            if interface is None and item.get("InstanceId"):
                instance = facts.instances.get(item["InstanceId"])
                if instance and instance.interface_ids:
                    interface = facts.interfaces[instance.interface_ids[0]]
            if interface is None or not interface.addresses:
                continue
            private = item.get("PrivateIpAddress")
            address = parse_address(private) if private else interface.addresses[0]
            if address not in interface.public:
                public = {**interface.public, address: parse_address(item["PublicIp"])}
                facts.interfaces[interface.id] = replace(interface, public=public)


def _attached_vpcs(item: Json) -> tuple[str, ...]:
    # An internet gateway's attachment says "available" where others say "attached".
    return tuple(
        str(attachment["VpcId"])
        for attachment in item.get("Attachments") or []
        if str(attachment.get("State", "attached")).lower() in ("available", "attached")
    )


def _nat_gateway(item: Json) -> NatGateway:
    addresses = item.get("NatGatewayAddresses") or []
    main = next(
        (one for one in addresses if one.get("IsPrimary")), addresses[0] if addresses else {}
    )
    return NatGateway(
        id=item["NatGatewayId"],
        vpc_id=item.get("VpcId"),
        subnet_id=item.get("SubnetId"),
        interface_id=main.get("NetworkInterfaceId"),
        address=parse_address(main["PrivateIp"]) if main.get("PrivateIp") else None,
        public_address=parse_address(main["PublicIp"]) if main.get("PublicIp") else None,
        is_public=item.get("ConnectivityType", "public") == "public",
        state=str(item.get("State", "available")).lower(),
    )


def _vpn_gateway(item: Json) -> VpnGateway:
    attached = [
        attachment["VpcId"]
        for attachment in item.get("VpcAttachments") or []
        if str(attachment.get("State", "attached")).lower() == "attached"
    ]
    return VpnGateway(item["VpnGatewayId"], attached[0] if attached else None)


def _customer_gateway(item: Json) -> Address | None:
    return parse_address(item["IpAddress"]) if item.get("IpAddress") else None


def _vpn_connection(item: Json) -> VpnConnection:
    telemetry = item.get("VgwTelemetry")
    options = item.get("Options") or {}
    up = [one for one in telemetry or [] if str(one["Status"]).upper() == "UP"]
    return VpnConnection(
        id=item["VpnConnectionId"],
        gateway_id=item.get("VpnGatewayId") or None,
        transit_gateway_id=item.get("TransitGatewayId") or None,
        customer_gateway_id=item.get("CustomerGatewayId") or None,
        static_only=options.get("StaticRoutesOnly") is True,
        static_routes=tuple(
            parse_prefix(route["DestinationCidrBlock"])
            for route in item.get("Routes") or []
            if str(route.get("State", "available")).lower() in ("available", "pending")
        ),
        tunnels_up=len(up) if telemetry else None,
        tunnels=len(telemetry or []),
        accepted_routes=(
            sum(int(one.get("AcceptedRouteCount") or 0) for one in up)
            if up and all("AcceptedRouteCount" in one for one in up)
            else None
        ),
        outside_addresses=tuple(
            parse_address(one["OutsideIpAddress"])
            for one in telemetry or []
            if one.get("OutsideIpAddress")
        ),
        state=str(item.get("State", "available")).lower(),
    )


def _peering(item: Json) -> Peering:
    ends = (item.get("RequesterVpcInfo") or {}, item.get("AccepterVpcInfo") or {})
    first, second = (
        tuple(parse_prefix(block[key]) for block in _peer_blocks(end) for key in block)
        for end in ends
    )
    return Peering(
        id=item["VpcPeeringConnectionId"],
        status=str((item.get("Status") or {}).get("Code", "active")).lower(),
        vpc_ids=(str(ends[0].get("VpcId")), str(ends[1].get("VpcId"))),
        regions=(ends[0].get("Region"), ends[1].get("Region")),
        cidrs=(first, second),
    )


def _peer_blocks(end: Json) -> list[Json]:
    shown = [{"CidrBlock": end["CidrBlock"]}] if end.get("CidrBlock") else []
    return [*shown, *(end.get("CidrBlockSet") or []), *(end.get("Ipv6CidrBlockSet") or [])]


def _transit_gateway(item: Json) -> TransitGateway:
    options = item.get("Options") or {}
    return TransitGateway(
        item["TransitGatewayId"],
        ecmp=options.get("VpnEcmpSupport", "enable") == "enable",
        references_groups=options.get("SecurityGroupReferencingSupport") == "enable",
    )


def _endpoint(item: Json) -> VpcEndpoint:
    return VpcEndpoint(
        id=item["VpcEndpointId"],
        kind=str(item.get("VpcEndpointType", "Gateway")),
        vpc_id=item.get("VpcId"),
        service=str(item.get("ServiceName", "")),
        state=str(item.get("State", "")),
        interface_ids=tuple(item.get("NetworkInterfaceIds") or ()),
        subnet_ids=tuple(item.get("SubnetIds") or ()),
    )


def _vpc_tables(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("RouteTables"):
        with place("RouteTables", item.get("RouteTableId")):
            table = _vpc_table(item, facts)
            facts.tables[table.id] = table
            for association in item.get("Associations") or []:
                if state_of(association, "AssociationState") not in (
                    "",
                    "associated",
                    "associating",
                ):
                    continue
                if association.get("SubnetId"):
                    facts.table_of_subnet[association["SubnetId"]] = table.id
                elif association.get("GatewayId"):
                    facts.table_of_gateway[association["GatewayId"]] = table.id
                elif association.get("Main"):
                    facts.main_table[item["VpcId"]] = table.id


def _vpc_table(item: Json, facts: Facts) -> RouteTable:
    table = RouteTable(
        text(item, "RouteTableId"),
        vpc_id=item.get("VpcId"),
        propagating=tuple(one["GatewayId"] for one in item.get("PropagatingVgws") or []),
    )
    for route in item.get("Routes") or []:
        target = read_target(route)
        state = _STATES.get(route.get("State", "active"))
        if state is None:
            raise ValueError(f"{route['State']!r} is no state of a route")
        origin = route.get("Origin")
        if target == "local":
            rank = RouteRank.LOCAL
        elif origin in ("EnableVgwRoutePropagation", "Advertisement"):
            rank = RouteRank.PROPAGATED_VPC
        elif origin == "CreateRouteTable":
            rank = RouteRank.LOCAL  # the local route, its target replaced by a middlebox
        else:
            rank = RouteRank.STATIC
        targets = (target,) if target else ()
        list_id = route.get("DestinationPrefixListId")
        if list_id:
            for prefix in facts.prefix_lists.get(list_id, ()):
                table.add(Route(table.id, prefix, targets, RouteRank.PREFIX_LIST, state, list_id))
            if list_id not in facts.prefix_lists:
                missing = f"PrefixLists entries of {list_id}"
                if missing not in facts.not_observed:
                    facts.not_observed = (*facts.not_observed, missing)
            continue
        destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock")
        if not destination:
            raise KeyError("DestinationCidrBlock in one of its routes")
        table.add(Route(table.id, parse_prefix(destination), targets, rank, state))
        if target is not None and target.startswith("igw-") and table.vpc_id:
            facts.routed_gateways.setdefault(table.vpc_id, target)
    vpc = facts.vpcs.get(item.get("VpcId") or "")
    for cidr in vpc.cidrs if vpc else ():
        # EC2 lists the local route; a trimmed snapshot may not, and no table can be without it.
        if not table.has_route(cidr):
            table.add(Route(table.id, cidr, ("local",), RouteRank.LOCAL))
    return table


def read_target(route: dict[str, Any]) -> str | None:
    """The target of one item of `describe_route_tables`' `Routes`."""
    for key in _TARGET_KEYS:
        target = route.get(key)
        if target:
            return str(target)
    return None
