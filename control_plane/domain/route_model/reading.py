"""From describe output to facts.

Solves: EC2's answers say the same thing in several places (an instance's interfaces, an address' interface, an
endpoint's interfaces) and may lack any of them. Each reader takes one kind, and whatever does not have the form that
EC2 gives it is an InvalidSnapshot naming the resource and the field. It does not guess facts that were not observed.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from control_plane.domain.route_model.addresses import (
    Address,
    Prefix,
    parse_address,
    parse_prefix,
)
from control_plane.domain.route_model.facts import (
    AclRule,
    Attachment,
    GroupRule,
    Instance,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Peering,
    PortRange,
    Route,
    RouteRank,
    RouteState,
    SecurityGroup,
    Subnet,
    TransitGateway,
    Vpc,
    VpcEndpoint,
    VpnConnection,
    VpnGateway,
)
from control_plane.domain.route_model.snapshot import InvalidSnapshot, Json, Snapshot
from control_plane.domain.route_model.tables import RouteTable

Fact = TypeVar("Fact")

_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "all": None, "-1": None}
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
_GONE = ("deleted", "terminated")


@dataclass
class Facts:
    """All facts of a snapshot, by id."""

    vpcs: dict[str, Vpc] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    interfaces: dict[str, NetworkInterface] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    # internet gateway → VPCs it is attached to
    internet_gateways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    egress_only_gateways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nat_gateways: dict[str, NatGateway] = field(default_factory=dict)
    vpn_gateways: dict[str, VpnGateway] = field(default_factory=dict)
    customer_gateways: dict[str, Address | None] = field(default_factory=dict)
    vpn_connections: dict[str, VpnConnection] = field(default_factory=dict)
    peerings: dict[str, Peering] = field(default_factory=dict)
    transit_gateways: dict[str, TransitGateway] = field(default_factory=dict)
    # (transit gateway, attachment) → that gateway's view of it
    attachments: dict[tuple[str, str], Attachment] = field(default_factory=dict)
    endpoints: dict[str, VpcEndpoint] = field(default_factory=dict)
    prefix_lists: dict[str, tuple[Prefix, ...]] = field(default_factory=dict)
    security_groups: dict[str, SecurityGroup] = field(default_factory=dict)
    acls: dict[str, NetworkAcl] = field(default_factory=dict)
    acl_of_subnet: dict[str, str] = field(default_factory=dict)
    default_acl: dict[str, str] = field(default_factory=dict)
    tables: dict[str, RouteTable] = field(default_factory=dict)
    main_table: dict[str, str] = field(default_factory=dict)
    table_of_subnet: dict[str, str] = field(default_factory=dict)
    # internet or virtual private gateway → its (edge) route table
    table_of_gateway: dict[str, str] = field(default_factory=dict)
    # transit gateway route table → attachments that propagate into it what no listing shows
    unlisted: dict[str, list[Attachment]] = field(default_factory=dict)
    # VPC → an internet gateway that its routes name
    routed_gateways: dict[str, str] = field(default_factory=dict)
    observed: frozenset[str] = frozenset()
    not_observed: tuple[str, ...] = ()


def read(snapshot: Snapshot) -> Facts:
    """Every fact of the snapshot; raises InvalidSnapshot naming the resource and the reason."""
    facts = Facts(observed=frozenset(snapshot.resources), not_observed=snapshot.not_observed)
    facts.vpcs = _each(snapshot, "Vpcs", "VpcId", _vpc)
    facts.subnets = _each(snapshot, "Subnets", "SubnetId", _subnet)
    _check_overlaps(facts)
    _prefix_lists(snapshot, facts)
    _interfaces(snapshot, facts)
    facts.internet_gateways = _each(
        snapshot, "InternetGateways", "InternetGatewayId", _attached_vpcs
    )
    facts.egress_only_gateways = _each(
        snapshot, "EgressOnlyInternetGateways", "EgressOnlyInternetGatewayId", _attached_vpcs
    )
    facts.nat_gateways = _each(snapshot, "NatGateways", "NatGatewayId", _nat_gateway)
    facts.vpn_gateways = _each(snapshot, "VpnGateways", "VpnGatewayId", _vpn_gateway)
    facts.customer_gateways = _each(
        snapshot, "CustomerGateways", "CustomerGatewayId", _customer_gateway
    )
    facts.vpn_connections = _each(snapshot, "VpnConnections", "VpnConnectionId", _vpn_connection)
    facts.peerings = _each(snapshot, "VpcPeeringConnections", "VpcPeeringConnectionId", _peering)
    _check_peerings(facts)
    facts.transit_gateways = _each(
        snapshot, "TransitGateways", "TransitGatewayId", _transit_gateway
    )
    facts.endpoints = _each(snapshot, "VpcEndpoints", "VpcEndpointId", _endpoint)
    facts.security_groups = _each(snapshot, "SecurityGroups", "GroupId", _security_group)
    _acls(snapshot, facts)
    _vpc_tables(snapshot, facts)
    _transit(snapshot, facts)
    return facts


def _each(
    snapshot: Snapshot, kind: str, key: str, reader: Callable[[Json], Fact]
) -> dict[str, Fact]:
    found: dict[str, Fact] = {}
    for item in snapshot.items(kind):
        if str(item.get("State", "")).lower() in _GONE:
            continue
        with _place(kind, item.get(key)):
            found[item[key]] = reader(item)
    return found


class _place:
    """Turns what a malformed item raises into an InvalidSnapshot that names it."""

    def __init__(self, kind: str, identity: object) -> None:
        self.kind, self.identity = kind, identity

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        place = f"{self.kind} {self.identity}" if self.identity else self.kind
        if isinstance(error, KeyError):
            raise InvalidSnapshot(place, f"has no {error.args[0]}") from None
        if isinstance(error, (TypeError, ValueError, AttributeError)):
            raise InvalidSnapshot(place, f"malformed: {error}") from None


def _vpc(item: Json) -> Vpc:
    cidrs = [item["CidrBlock"]] if item.get("CidrBlock") else []
    for association in item.get("CidrBlockAssociationSet") or []:
        if _state(association, "CidrBlockState") in ("associated", ""):
            cidrs.append(association["CidrBlock"])
    for association in item.get("Ipv6CidrBlockAssociationSet") or []:
        if _state(association, "Ipv6CidrBlockState") in ("associated", ""):
            cidrs.append(association["Ipv6CidrBlock"])
    return Vpc(item["VpcId"], tuple(dict.fromkeys(parse_prefix(cidr) for cidr in cidrs)))


def _state(item: Json, key: str) -> str:
    return str((item.get(key) or {}).get("State", "")).lower()


def _subnet(item: Json) -> Subnet:
    cidrs = [item["CidrBlock"]] if item.get("CidrBlock") else []
    for association in item.get("Ipv6CidrBlockAssociationSet") or []:
        if _state(association, "Ipv6CidrBlockState") in ("associated", ""):
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
        with _place("PrefixLists", item.get("PrefixListId")):
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
        with _place("Instances", item.get("InstanceId")):
            states[item["InstanceId"]] = (item.get("State") or {}).get("Name")
    for item in snapshot.items("NetworkInterfaces"):
        with _place("NetworkInterfaces", item.get("NetworkInterfaceId")):
            interface = _interface(item, states, facts.subnets)
            facts.interfaces[interface.id] = interface
            if interface.instance_id:
                device = (item.get("Attachment") or {}).get("DeviceIndex", 0)
                order.setdefault(interface.instance_id, []).append((device, interface.id))
    for item in snapshot.items("Instances"):
        instance_id = item["InstanceId"]
        with _place("Instances", instance_id):
            for shown in _shown_on_instance(item):
                device = (shown.get("Attachment") or {}).get("DeviceIndex", 0)
                if shown["NetworkInterfaceId"] in facts.interfaces:
                    continue
                interface = _interface(shown, states, facts.subnets)
                facts.interfaces[interface.id] = interface
                order.setdefault(instance_id, []).append((device, interface.id))
    for instance_id, state in states.items():
        if state not in _GONE:
            interfaces = tuple(name for _, name in sorted(order.get(instance_id, [])))
            facts.instances[instance_id] = Instance(instance_id, state, interfaces)
    for instance_id, devices in order.items():
        if instance_id not in states:
            interfaces = tuple(name for _, name in sorted(devices))
            facts.instances[instance_id] = Instance(instance_id, None, interfaces)
    _elastic_addresses(snapshot, facts)


def _shown_on_instance(item: Json) -> list[Json]:
    """An instance's interfaces as `describe_instances` shows them; older outputs have only an address."""
    if (item.get("State") or {}).get("Name") in _GONE:
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
        with _place("Addresses", item.get("PublicIp")):
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
        attachment["VpcId"]
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


def protocol_number(value: object) -> int | None:
    """A protocol as a number, None for all; raises ValueError when it is neither a name nor a number."""
    text = str(value).lower()
    if text in _PROTOCOLS:
        return _PROTOCOLS[text]
    number = int(text)
    if not 0 <= number <= 255:
        raise ValueError(f"{value!r} is no protocol number")
    return number


def _security_group(item: Json) -> SecurityGroup:
    return SecurityGroup(
        item["GroupId"],
        item.get("VpcId"),
        tuple(_group_rule(rule) for rule in item.get("IpPermissions") or []),
        tuple(_group_rule(rule) for rule in item.get("IpPermissionsEgress") or []),
    )


def _group_rule(rule: Json) -> GroupRule:
    protocol = protocol_number(rule["IpProtocol"])
    ports = None
    if rule.get("FromPort") is not None and protocol in (1, 6, 17, 58):
        ports = PortRange(int(rule["FromPort"]), int(rule["ToPort"]))
        if ports in (PortRange(-1, -1), PortRange(0, 65535)):
            ports = None
    return GroupRule(
        protocol,
        ports,
        (
            *(parse_prefix(one["CidrIp"]) for one in rule.get("IpRanges") or []),
            *(parse_prefix(one["CidrIpv6"]) for one in rule.get("Ipv6Ranges") or []),
        ),
        tuple(one["PrefixListId"] for one in rule.get("PrefixListIds") or []),
        tuple(one["GroupId"] for one in rule.get("UserIdGroupPairs") or []),
    )


def _acls(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("NetworkAcls"):
        with _place("NetworkAcls", item.get("NetworkAclId")):
            acl_id = item["NetworkAclId"]
            rules = [
                rule
                for entry in item.get("Entries") or []
                if (rule := _acl_rule(entry)) is not None
            ]
            rules.sort(key=lambda rule: rule.number)
            facts.acls[acl_id] = NetworkAcl(
                acl_id,
                tuple(rule for rule in rules if not rule.egress),
                tuple(rule for rule in rules if rule.egress),
            )
            for association in item.get("Associations") or []:
                facts.acl_of_subnet[association["SubnetId"]] = acl_id
            if item.get("IsDefault") is True:
                facts.default_acl[item["VpcId"]] = acl_id


def _acl_rule(entry: Json) -> AclRule | None:
    network = entry.get("CidrBlock") or entry.get("Ipv6CidrBlock")
    if not network:
        return None
    protocol = protocol_number(entry["Protocol"])
    ports = None
    if protocol in (6, 17) and entry.get("PortRange"):
        ports = PortRange(int(entry["PortRange"]["From"]), int(entry["PortRange"]["To"]))
    if protocol in (1, 58) and entry.get("IcmpTypeCode"):
        code = entry["IcmpTypeCode"]
        ports = PortRange(int(code.get("Type", -1)), int(code.get("Code", -1)))
    return AclRule(
        int(entry["RuleNumber"]),
        entry["Egress"] is True,
        str(entry["RuleAction"]).lower() == "allow",
        protocol,
        parse_prefix(network),
        ports,
    )


def _vpc_tables(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("RouteTables"):
        with _place("RouteTables", item.get("RouteTableId")):
            table = _vpc_table(item, facts)
            facts.tables[table.id] = table
            for association in item.get("Associations") or []:
                if _state(association, "AssociationState") not in ("", "associated", "associating"):
                    continue
                if association.get("SubnetId"):
                    facts.table_of_subnet[association["SubnetId"]] = table.id
                elif association.get("GatewayId"):
                    facts.table_of_gateway[association["GatewayId"]] = table.id
                elif association.get("Main"):
                    facts.main_table[item["VpcId"]] = table.id


def _vpc_table(item: Json, facts: Facts) -> RouteTable:
    table = RouteTable(
        item["RouteTableId"],
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


def _transit(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("TransitGatewayRouteTables"):
        if str(item.get("State", "available")).lower() in _GONE:
            continue
        with _place("TransitGatewayRouteTables", item.get("TransitGatewayRouteTableId")):
            table_id = item["TransitGatewayRouteTableId"]
            facts.tables[table_id] = RouteTable(
                table_id, transit_gateway_id=item.get("TransitGatewayId")
            )
    _attachments(snapshot, facts)
    _transit_routes(snapshot, facts)


def _attachments(snapshot: Snapshot, facts: Facts) -> None:
    associated: dict[tuple[str | None, str], str] = {}
    for item in snapshot.items("TransitGatewayRouteTableAssociations"):
        with _place("TransitGatewayRouteTableAssociations", item.get("TransitGatewayAttachmentId")):
            table_id = item["TransitGatewayRouteTableId"]
            if str(item.get("State", "associated")).lower() in ("associated", "associating"):
                associated[_table_owner(facts, table_id), item["TransitGatewayAttachmentId"]] = (
                    table_id
                )
    for item in snapshot.items("TransitGatewayAttachments"):
        with _place("TransitGatewayAttachments", item.get("TransitGatewayAttachmentId")):
            association = item.get("Association") or {}
            table_id = association.get("TransitGatewayRouteTableId")
            if str(association.get("State", "associated")).lower() != "associated":
                table_id = None
            _put_attachment(facts, item, associated, table_id, str(item["ResourceType"]).lower())
    # Emulators answer the calls about one type of attachment with attachments of every type.
    listed = {one.id: one.resource_type for one in facts.attachments.values()}
    for item in snapshot.items("TransitGatewayVpcAttachments"):
        with _place("TransitGatewayVpcAttachments", item.get("TransitGatewayAttachmentId")):
            if listed.get(item["TransitGatewayAttachmentId"], "vpc") != "vpc":
                continue
            described = {**item, "ResourceId": item["VpcId"]}
            _put_attachment(facts, described, associated, None, "vpc")
    for item in snapshot.items("TransitGatewayPeeringAttachments"):
        with _place("TransitGatewayPeeringAttachments", item.get("TransitGatewayAttachmentId")):
            if listed.get(item["TransitGatewayAttachmentId"], "peering") != "peering":
                continue
            first, second = item["RequesterTgwInfo"], item["AccepterTgwInfo"]
            far_id = item.get("AccepterTransitGatewayAttachmentId")
            for here, there, attachment_id in (
                (first, second, item["TransitGatewayAttachmentId"]),
                (second, first, far_id or item["TransitGatewayAttachmentId"]),
            ):
                described = {
                    "TransitGatewayAttachmentId": attachment_id,
                    "TransitGatewayId": here["TransitGatewayId"],
                    "ResourceId": there["TransitGatewayId"],
                    "State": item.get("State"),
                }
                _put_attachment(facts, described, associated, None, "peering")
    _vpn_attachments_without_listing(snapshot, facts, associated)
    _default_tables(snapshot, facts)


def _table_owner(facts: Facts, table_id: str) -> str | None:
    table = facts.tables.get(table_id)
    return table.transit_gateway_id if table else None


def _put_attachment(
    facts: Facts,
    item: Json,
    associated: dict[tuple[str | None, str], str],
    table_id: str | None,
    resource_type: str,
) -> None:
    attachment_id, gateway_id = item["TransitGatewayAttachmentId"], item["TransitGatewayId"]
    known = facts.attachments.get((gateway_id, attachment_id))
    table_id = (
        table_id
        or associated.get((gateway_id, attachment_id))
        or associated.get((None, attachment_id))
        or (known.table_id if known else None)
    )
    state = str(item.get("State") or (known.state if known else "available")).lower()
    options = item.get("Options") or {}
    subnets = tuple(item["SubnetIds"]) if item.get("SubnetIds") is not None else None
    facts.attachments[gateway_id, attachment_id] = Attachment(
        id=attachment_id,
        transit_gateway_id=gateway_id,
        resource_type="peering" if resource_type == "tgw-peering" else resource_type,
        resource_id=item.get("ResourceId") or (known.resource_id if known else None),
        state=state,
        table_id=table_id,
        subnet_ids=subnets if subnets is not None else (known.subnet_ids if known else None),
        appliance_mode=options.get("ApplianceModeSupport") == "enable"
        or (known is not None and known.appliance_mode),
        ipv6=options.get("Ipv6Support") == "enable" or (known is not None and known.ipv6),
        references_groups=options.get("SecurityGroupReferencingSupport", "enable") == "enable",
        created=str(item.get("CreationTime") or (known.created if known else "")),
    )


def _vpn_attachments_without_listing(
    snapshot: Snapshot, facts: Facts, associated: dict[tuple[str | None, str], str]
) -> None:
    """VPN connections over a transit gateway whose attachment only its tables' rows mention."""
    listed = {one.resource_id for one in facts.attachments.values() if one.resource_type == "vpn"}
    rows = [
        *snapshot.items("TransitGatewayRouteTableAssociations"),
        *snapshot.items("TransitGatewayRouteTablePropagations"),
    ]
    for route in snapshot.items("TransitGatewayRoutes"):
        rows += route.get("TransitGatewayAttachments") or []
    for item in rows:
        resource_id = item.get("ResourceId")
        connection = facts.vpn_connections.get(resource_id or "")
        if connection is None or resource_id in listed or not connection.transit_gateway_id:
            continue
        described = {**item, "TransitGatewayId": connection.transit_gateway_id}
        described["State"] = "available"
        _put_attachment(facts, described, associated, None, "vpn")


def _default_tables(snapshot: Snapshot, facts: Facts) -> None:
    """Associations by a gateway's defaults, where neither listing of associations was observed."""
    if (
        "TransitGatewayAttachments" in facts.observed
        or "TransitGatewayRouteTableAssociations" in facts.observed
    ):
        return
    defaults = _defaults(snapshot, "Association")
    for key, attachment in facts.attachments.items():
        table_id = defaults.get(attachment.transit_gateway_id)
        if attachment.table_id is None and table_id:
            facts.attachments[key] = replace(attachment, table_id=table_id)


def _defaults(snapshot: Snapshot, what: str) -> dict[str, str]:
    """Transit gateway → its default association or propagation route table, where that is enabled."""
    found: dict[str, str] = {}
    for item in snapshot.items("TransitGatewayRouteTables"):
        if item.get(f"Default{what}RouteTable") is True and item.get("TransitGatewayId"):
            found[item["TransitGatewayId"]] = item["TransitGatewayRouteTableId"]
    for item in snapshot.items("TransitGateways"):
        options = item.get("Options") or {}
        if options.get(f"DefaultRouteTable{what}") == "disable":
            found.pop(item["TransitGatewayId"], None)
        elif options.get(f"{what}DefaultRouteTableId"):
            found[item["TransitGatewayId"]] = options[f"{what}DefaultRouteTableId"]
    return found


_RANK_OF_RESOURCE = {
    "vpc": RouteRank.PROPAGATED_VPC,
    "direct-connect-gateway": RouteRank.PROPAGATED_DIRECT_CONNECT,
    "connect": RouteRank.PROPAGATED_CONNECT,
    "vpn": RouteRank.PROPAGATED_VPN,
    "peering": RouteRank.PROPAGATED_PEERING,
    "tgw-peering": RouteRank.PROPAGATED_PEERING,
}


def _transit_routes(snapshot: Snapshot, facts: Facts) -> None:
    listed: set[str] = set()
    for item in snapshot.items("TransitGatewayRoutes"):
        with _place("TransitGatewayRoutes", item.get("TransitGatewayRouteTableId")):
            table = _transit_table(facts, item["TransitGatewayRouteTableId"])
            state = str(item.get("State", "active")).lower()
            if state in ("deleting", "deleted", "pending"):
                continue
            propagated = str(item.get("Type", "static")).lower() == "propagated"
            rows = item.get("TransitGatewayAttachments") or []
            if item.get("TransitGatewayAttachmentId"):
                rows = [item]
            rank = RouteRank.STATIC
            if propagated:
                listed.add(table.id)
                kind = str(rows[0].get("ResourceType", "vpc")).lower() if rows else "vpc"
                rank = _RANK_OF_RESOURCE.get(kind, RouteRank.PROPAGATED_PEERING)
            elif item.get("PrefixListId"):
                rank = RouteRank.PREFIX_LIST
            table.add(
                Route(
                    table.id,
                    parse_prefix(item["DestinationCidrBlock"]),
                    tuple(row["TransitGatewayAttachmentId"] for row in rows),
                    rank,
                    RouteState.BLACKHOLE if state == "blackhole" else RouteState.ACTIVE,
                    item.get("PrefixListId"),
                )
            )
    _prefix_list_references(snapshot, facts)
    _derive_propagated(snapshot, facts, listed)


def _transit_table(facts: Facts, table_id: str) -> RouteTable:
    if table_id not in facts.tables:
        owner = next(
            (
                one.transit_gateway_id
                for one in facts.attachments.values()
                if one.table_id == table_id
            ),
            None,
        )
        facts.tables[table_id] = RouteTable(table_id, transit_gateway_id=owner)
    return facts.tables[table_id]


def _prefix_list_references(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("TransitGatewayPrefixListReferences"):
        with _place("TransitGatewayPrefixListReferences", item.get("PrefixListId")):
            table = _transit_table(facts, item["TransitGatewayRouteTableId"])
            blackhole = item.get("Blackhole") is True
            attachment = item.get("TransitGatewayAttachment") or {}
            targets = () if blackhole else (attachment["TransitGatewayAttachmentId"],)
            for prefix in facts.prefix_lists.get(item["PrefixListId"], ()):
                table.add(
                    Route(
                        table.id,
                        prefix,
                        targets,
                        RouteRank.PREFIX_LIST,
                        RouteState.BLACKHOLE if blackhole else RouteState.ACTIVE,
                        item["PrefixListId"],
                    )
                )


def _derive_propagated(snapshot: Snapshot, facts: Facts, listed: set[str]) -> None:
    """Routes that propagations imply, for attachments of which the table's listing shows none.

    Where two attachments propagate overlapping CIDRs, the one that was attached first has them (Transit Gateway
    guide, VPC attachments, "Limits"). What a BGP connection has taught is in no other answer than the search for
    routes: where a table shows no propagated route at all, that search was not made, and the attachment is kept as one
    that may lead anywhere.
    """
    rows: dict[str, list[Attachment]] = {}
    for table_id, attachment in _propagations(snapshot, facts):
        if attachment.usable:
            rows.setdefault(table_id, []).append(attachment)
    for table_id, attachments in rows.items():
        table = _transit_table(facts, table_id)
        taken = _Disjoint()
        shown: set[str] = set()
        for route in table.routes() if table_id in listed else ():
            if route.rank >= RouteRank.PROPAGATED_VPC:
                shown.update(route.targets)
            if route.rank is RouteRank.PROPAGATED_VPC:
                taken.take(route.prefix)
        vpns: dict[Prefix, list[str]] = {}
        for attachment in sorted(attachments, key=lambda one: (one.created, one.id)):
            if attachment.id in shown:
                continue
            if attachment.resource_type == "vpc":
                for cidr in _propagated_cidrs(facts, attachment, taken):
                    table.add(Route(table.id, cidr, (attachment.id,), RouteRank.PROPAGATED_VPC))
            elif attachment.resource_type == "vpn":
                connection = facts.vpn_connections.get(attachment.resource_id or "")
                for cidr in connection.static_routes if connection else ():
                    vpns.setdefault(cidr, []).append(attachment.id)
                if (connection is None or not connection.static_only) and table_id not in listed:
                    _unlisted(facts, table_id, attachment)
            elif attachment.resource_type != "peering" and table_id not in listed:
                _unlisted(facts, table_id, attachment)
        for cidr, targets in vpns.items():
            table.add(Route(table.id, cidr, tuple(targets), RouteRank.PROPAGATED_VPN))


def _propagated_cidrs(facts: Facts, attachment: Attachment, taken: _Disjoint) -> list[Prefix]:
    vpc = facts.vpcs.get(attachment.resource_id or "")
    if vpc is None:
        _note(facts, f"Vpcs {attachment.resource_id}")
        return []
    return [
        cidr for cidr in vpc.cidrs if (cidr.version == 4 or attachment.ipv6) and taken.take(cidr)
    ]


def _unlisted(facts: Facts, table_id: str, attachment: Attachment) -> None:
    facts.unlisted.setdefault(table_id, []).append(attachment)
    _note(facts, f"TransitGatewayRoutes learnt from {attachment.resource_id} in {table_id}")


@dataclass
class _Disjoint:
    """Networks of which no two overlap, in order."""

    spans: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, cidr: Prefix) -> bool:
        """Add the network, unless it overlaps one that is there."""
        span = (cidr.version, cidr.network, cidr.last.value)
        position = bisect(self.spans, span)
        for neighbour in self.spans[max(position - 1, 0) : position + 1]:
            if neighbour[0] == span[0] and neighbour[1] <= span[2] and span[1] <= neighbour[2]:
                return False
        self.spans.insert(position, span)
        return True


def _propagations(snapshot: Snapshot, facts: Facts) -> Iterable[tuple[str, Attachment]]:
    if "TransitGatewayRouteTablePropagations" not in facts.observed:
        defaults = _defaults(snapshot, "Propagation")
        for attachment in facts.attachments.values():
            table_id = defaults.get(attachment.transit_gateway_id)
            if table_id:
                yield table_id, attachment
        return
    for item in snapshot.items("TransitGatewayRouteTablePropagations"):
        with _place("TransitGatewayRouteTablePropagations", item.get("TransitGatewayAttachmentId")):
            table_id = item["TransitGatewayRouteTableId"]
            if str(item.get("State", "enabled")).lower() not in ("enabled", "enabling"):
                continue
            attachment_id = item["TransitGatewayAttachmentId"]
            found = find_attachment(facts, table_id, attachment_id) or Attachment(
                attachment_id,
                _table_owner(facts, table_id) or "",
                str(item.get("ResourceType", "vpc")).lower(),
                item.get("ResourceId"),
                "available",
                None,
            )
            facts.attachments.setdefault((found.transit_gateway_id, found.id), found)
            yield table_id, found


def find_attachment(facts: Facts, table_id: str, attachment_id: str) -> Attachment | None:
    """The view of an attachment that the owner of this route table has."""
    owner = _table_owner(facts, table_id)
    found = facts.attachments.get((owner or "", attachment_id))
    if found is None and owner is None:
        found = next((one for one in facts.attachments.values() if one.id == attachment_id), None)
    return found


def _note(facts: Facts, missing: str) -> None:
    if missing not in facts.not_observed:
        facts.not_observed = (*facts.not_observed, missing)


def read_target(route: dict[str, Any]) -> str | None:
    """The target of one item of `describe_route_tables`' `Routes`."""
    for key in _TARGET_KEYS:
        target = route.get(key)
        if target:
            return str(target)
    return None
