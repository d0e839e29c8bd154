"""A small language for networks and questions, so that a test reads as the AWS rule that it keeps.

`Cloud` writes describe output in EC2's own form. `assert_reachable`, `assert_outcome`, `assert_blackhole`,
`assert_no_internet` ask the model.
"""

from __future__ import annotations

from typing import Any

from control_plane.domain.route_model import Network, Outcome, Snapshot, Trace
from control_plane.domain.route_model.snapshot import EXPECTED_KINDS

OPEN_GROUP = "sg-open"
TARGETS = {
    "igw": "GatewayId",
    "vgw": "GatewayId",
    "local": "GatewayId",
    "vpce": "GatewayId",
    "nat": "NatGatewayId",
    "tgw": "TransitGatewayId",
    "pcx": "VpcPeeringConnectionId",
    "eni": "NetworkInterfaceId",
    "i": "InstanceId",
    "eigw": "EgressOnlyInternetGatewayId",
    "lgw": "LocalGatewayId",
}


def route(
    destination: str, target: str, *, origin: str = "CreateRoute", state: str = "active"
) -> dict[str, Any]:
    """One item of a route table's `Routes`."""
    key = "DestinationCidrBlock"
    if destination.startswith("pl-"):
        key = "DestinationPrefixListId"
    elif ":" in destination:
        key = "DestinationIpv6CidrBlock"
    if target == "local":
        origin = "CreateRouteTable"
    return {
        key: destination,
        TARGETS[target.split("-")[0]]: target,
        "Origin": origin,
        "State": state,
    }


def propagated(destination: str, target: str) -> dict[str, Any]:
    """A route that a virtual private gateway propagates."""
    return route(destination, target, origin="EnableVgwRoutePropagation")


def rule(protocol: str, ports: tuple[int, int] | None, *peers: str) -> dict[str, Any]:
    """One `IpPermissions` item; peers are CIDRs, groups or prefix lists."""
    item: dict[str, Any] = {
        "IpProtocol": protocol,
        "IpRanges": [{"CidrIp": one} for one in peers if "/" in one and ":" not in one],
        "Ipv6Ranges": [{"CidrIpv6": one} for one in peers if ":" in one],
        "UserIdGroupPairs": [{"GroupId": one} for one in peers if one.startswith("sg-")],
        "PrefixListIds": [{"PrefixListId": one} for one in peers if one.startswith("pl-")],
    }
    if ports:
        item |= {"FromPort": ports[0], "ToPort": ports[1]}
    return item


ANYTHING = rule("-1", None, "0.0.0.0/0", "::/0")


class Cloud:
    """Describe output under construction. Every kind counts as observed unless `forget`-ten."""

    def __init__(self) -> None:
        self.data: dict[str, list[dict[str, Any]]] = {kind: [] for kind in EXPECTED_KINDS}
        self.vpc_of: dict[str, str] = {}
        self.group(OPEN_GROUP, inbound=[ANYTHING], outbound=[ANYTHING])

    def forget(self, *kinds: str) -> Cloud:
        for kind in kinds:
            del self.data[kind]
        return self

    def network(self) -> Network:
        return Network.build(Snapshot.from_describe(self.data))

    def vpc(self, vpc_id: str, *cidrs: str) -> Cloud:
        self.data["Vpcs"].append(
            {
                "VpcId": vpc_id,
                "CidrBlock": cidrs[0],
                "CidrBlockAssociationSet": [
                    {"CidrBlock": one, "CidrBlockState": {"State": "associated"}}
                    for one in cidrs
                    if ":" not in one
                ],
                "Ipv6CidrBlockAssociationSet": [
                    {"Ipv6CidrBlock": one, "Ipv6CidrBlockState": {"State": "associated"}}
                    for one in cidrs
                    if ":" in one
                ],
            }
        )
        return self

    def subnet(
        self, subnet_id: str, vpc_id: str, cidr: str, *more: str, zone: str = "az1"
    ) -> Cloud:
        self.vpc_of[subnet_id] = vpc_id
        self.data["Subnets"].append(
            {
                "SubnetId": subnet_id,
                "VpcId": vpc_id,
                "CidrBlock": cidr,
                "AvailabilityZoneId": zone,
                "Ipv6CidrBlockAssociationSet": [
                    {"Ipv6CidrBlock": one, "Ipv6CidrBlockState": {"State": "associated"}}
                    for one in more
                ],
            }
        )
        return self

    def interface(
        self,
        interface_id: str,
        subnet_id: str,
        *addresses: str,
        public: str | None = None,
        groups: tuple[str, ...] = (OPEN_GROUP,),
        check: bool = True,
        instance: str | None = None,
        kind: str = "interface",
        status: str = "in-use",
        **more: Any,
    ) -> Cloud:
        item: dict[str, Any] = {
            "NetworkInterfaceId": interface_id,
            "SubnetId": subnet_id,
            "VpcId": self.vpc_of[subnet_id],
            "PrivateIpAddresses": [
                {"PrivateIpAddress": one, "Primary": index == 0}
                for index, one in enumerate(addresses)
                if ":" not in one
            ],
            "Ipv6Addresses": [{"Ipv6Address": one} for one in addresses if ":" in one],
            "Groups": [{"GroupId": one} for one in groups],
            "SourceDestCheck": check,
            "InterfaceType": kind,
            "Status": status,
            **more,
        }
        if public:
            item["PrivateIpAddresses"][0]["Association"] = {"PublicIp": public}
            item["Association"] = {"PublicIp": public}
        if item["PrivateIpAddresses"]:
            item["PrivateIpAddress"] = item["PrivateIpAddresses"][0]["PrivateIpAddress"]
        if instance:
            item["Attachment"] = {"InstanceId": instance, "DeviceIndex": more.get("device", 0)}
            known = [one["InstanceId"] for one in self.data["Instances"]]
            if instance not in known:
                self.instance(instance)
        self.data["NetworkInterfaces"].append(item)
        return self

    def instance(self, instance_id: str, state: str = "running") -> Cloud:
        self.data["Instances"].append({"InstanceId": instance_id, "State": {"Name": state}})
        return self

    def table(
        self,
        table_id: str,
        vpc_id: str,
        *routes: dict[str, Any],
        subnets: tuple[str, ...] = (),
        gateways: tuple[str, ...] = (),
        main: bool = False,
        propagating: tuple[str, ...] = (),
    ) -> Cloud:
        cidrs: list[dict[str, Any]] = []
        for vpc in self.data["Vpcs"]:
            if vpc["VpcId"] == vpc_id:
                listed = vpc["CidrBlockAssociationSet"] + vpc["Ipv6CidrBlockAssociationSet"]
                cidrs = [
                    route(one.get("CidrBlock") or one["Ipv6CidrBlock"], "local") for one in listed
                ]
        given = {
            one.get("DestinationCidrBlock") or one.get("DestinationIpv6CidrBlock") for one in routes
        }
        local = [
            one
            for one in cidrs
            if (one.get("DestinationCidrBlock") or one.get("DestinationIpv6CidrBlock")) not in given
        ]
        associations: list[dict[str, Any]] = [{"Main": False, "SubnetId": one} for one in subnets]
        associations += [{"Main": False, "GatewayId": one} for one in gateways]
        if main:
            associations.append({"Main": True})
        self.data["RouteTables"].append(
            {
                "RouteTableId": table_id,
                "VpcId": vpc_id,
                "Associations": associations,
                "PropagatingVgws": [{"GatewayId": one} for one in propagating],
                "Routes": [*local, *routes],
            }
        )
        return self

    def internet_gateway(self, gateway_id: str, *vpc_ids: str) -> Cloud:
        self.data["InternetGateways"].append(
            {
                "InternetGatewayId": gateway_id,
                "Attachments": [{"VpcId": one, "State": "available"} for one in vpc_ids],
            }
        )
        return self

    def egress_only(self, gateway_id: str, vpc_id: str) -> Cloud:
        self.data.setdefault("EgressOnlyInternetGateways", []).append(
            {
                "EgressOnlyInternetGatewayId": gateway_id,
                "Attachments": [{"VpcId": vpc_id, "State": "attached"}],
            }
        )
        return self

    def nat(
        self,
        nat_id: str,
        subnet_id: str,
        private: str,
        public: str | None,
        state: str = "available",
    ) -> Cloud:
        interface_id = f"eni-of-{nat_id}"
        self.interface(
            interface_id,
            subnet_id,
            private,
            public=public,
            groups=(),
            check=False,
            kind="nat_gateway",
        )
        address = {"NetworkInterfaceId": interface_id, "PrivateIp": private}
        if public:
            address["PublicIp"] = public
        self.data["NatGateways"].append(
            {
                "NatGatewayId": nat_id,
                "SubnetId": subnet_id,
                "VpcId": self.vpc_of[subnet_id],
                "State": state,
                "ConnectivityType": "public" if public else "private",
                "NatGatewayAddresses": [address],
            }
        )
        return self

    def vpn_gateway(self, gateway_id: str, vpc_id: str | None) -> Cloud:
        attachments = [{"VpcId": vpc_id, "State": "attached"}] if vpc_id else []
        self.data["VpnGateways"].append({"VpnGatewayId": gateway_id, "VpcAttachments": attachments})
        return self

    def vpn(
        self,
        vpn_id: str,
        gateway: str,
        *,
        customer: str = "203.0.113.1",
        static: tuple[str, ...] = (),
        up: int = 2,
        accepted: int = 1,
    ) -> Cloud:
        """A VPN connection on `vgw-…` or `tgw-…`; with static routes, or by BGP when there are none."""
        self.data["CustomerGateways"].append(
            {"CustomerGatewayId": f"cgw-of-{vpn_id}", "IpAddress": customer, "State": "available"}
        )
        self.data["VpnConnections"].append(
            {
                "VpnConnectionId": vpn_id,
                "State": "available",
                "CustomerGatewayId": f"cgw-of-{vpn_id}",
                "VpnGatewayId" if gateway.startswith("vgw") else "TransitGatewayId": gateway,
                "Options": {"StaticRoutesOnly": bool(static)},
                "Routes": [{"DestinationCidrBlock": one, "State": "available"} for one in static],
                "VgwTelemetry": [
                    {
                        "OutsideIpAddress": f"192.0.2.{100 + index}",
                        "Status": "UP" if index < up else "DOWN",
                        "AcceptedRouteCount": accepted,
                    }
                    for index in range(2)
                ],
            }
        )
        return self

    def transit_gateway(self, gateway_id: str, *table_ids: str, **options: str) -> Cloud:
        self.data["TransitGateways"].append(
            {"TransitGatewayId": gateway_id, "Options": {"VpnEcmpSupport": "enable", **options}}
        )
        for table_id in table_ids:
            self.data["TransitGatewayRouteTables"].append(
                {
                    "TransitGatewayRouteTableId": table_id,
                    "TransitGatewayId": gateway_id,
                    "State": "available",
                }
            )
        return self

    def attach(
        self,
        attachment_id: str,
        gateway_id: str,
        resource_id: str,
        table: str | None,
        *,
        subnets: tuple[str, ...] | None = None,
        propagates_to: tuple[str, ...] = (),
        state: str = "available",
        appliance_mode: bool = False,
        created: str = "2024-01-01",
    ) -> Cloud:
        kind = {"vpc": "vpc", "vpn": "vpn", "tgw": "peering", "dxgw": "direct-connect-gateway"}[
            resource_id.split("-")[0]
        ]
        item: dict[str, Any] = {
            "TransitGatewayAttachmentId": attachment_id,
            "TransitGatewayId": gateway_id,
            "ResourceType": kind,
            "ResourceId": resource_id,
            "State": state,
            "CreationTime": created,
        }
        if table:
            item["Association"] = {"TransitGatewayRouteTableId": table, "State": "associated"}
        self.data["TransitGatewayAttachments"].append(item)
        if kind == "vpc" and subnets is not None:
            self.data["TransitGatewayVpcAttachments"].append(
                {
                    "TransitGatewayAttachmentId": attachment_id,
                    "TransitGatewayId": gateway_id,
                    "VpcId": resource_id,
                    "SubnetIds": list(subnets),
                    "State": state,
                    "Options": {
                        "ApplianceModeSupport": "enable" if appliance_mode else "disable",
                        "Ipv6Support": "enable",
                    },
                }
            )
        for table_id in propagates_to:
            self.data["TransitGatewayRouteTablePropagations"].append(
                {
                    "TransitGatewayRouteTableId": table_id,
                    "TransitGatewayAttachmentId": attachment_id,
                    "ResourceId": resource_id,
                    "ResourceType": kind,
                    "State": "enabled",
                }
            )
        return self

    def transit_route(
        self,
        table_id: str,
        destination: str,
        *attachments: str,
        kind: str = "static",
        resource: str = "vpc",
        state: str = "active",
    ) -> Cloud:
        """A listed transit gateway route; no attachment for a blackhole."""
        self.data["TransitGatewayRoutes"].append(
            {
                "TransitGatewayRouteTableId": table_id,
                "DestinationCidrBlock": destination,
                "Type": kind,
                "State": state if attachments else "blackhole",
                "TransitGatewayAttachments": [
                    {"TransitGatewayAttachmentId": one, "ResourceType": resource}
                    for one in attachments
                ],
            }
        )
        return self

    def peering(
        self, peering_id: str, requester: str, accepter: str, status: str = "active"
    ) -> Cloud:
        self.data["VpcPeeringConnections"].append(
            {
                "VpcPeeringConnectionId": peering_id,
                "RequesterVpcInfo": {"VpcId": requester, "Region": "us-east-1"},
                "AccepterVpcInfo": {"VpcId": accepter, "Region": "us-east-1"},
                "Status": {"Code": status},
            }
        )
        return self

    def endpoint(
        self,
        endpoint_id: str,
        vpc_id: str,
        kind: str,
        *interfaces: str,
        subnets: tuple[str, ...] = (),
        state: str = "available",
    ) -> Cloud:
        self.data["VpcEndpoints"].append(
            {
                "VpcEndpointId": endpoint_id,
                "VpcId": vpc_id,
                "VpcEndpointType": kind,
                "ServiceName": "com.amazonaws.us-east-1.s3",
                "State": state,
                "NetworkInterfaceIds": list(interfaces),
                "SubnetIds": list(subnets),
            }
        )
        return self

    def prefix_list(self, list_id: str, *cidrs: str) -> Cloud:
        self.data["PrefixLists"].append(
            {"PrefixListId": list_id, "Entries": [{"Cidr": one} for one in cidrs]}
        )
        return self

    def group(
        self,
        group_id: str,
        *,
        inbound: list[dict[str, Any]] | None = None,
        outbound: list[dict[str, Any]] | None = None,
    ) -> Cloud:
        self.data["SecurityGroups"].append(
            {
                "GroupId": group_id,
                "IpPermissions": inbound or [],
                "IpPermissionsEgress": [ANYTHING] if outbound is None else outbound,
            }
        )
        return self

    def acl(
        self,
        acl_id: str,
        vpc_id: str,
        *entries: tuple[Any, ...],
        subnets: tuple[str, ...] = (),
        default: bool = False,
    ) -> Cloud:
        """Entries: (number, "in"|"out", "allow"|"deny", protocol, cidr, (from, to) or None)."""
        rows = []
        for number, way, action, protocol, cidr, ports in entries:
            row: dict[str, Any] = {
                "RuleNumber": number,
                "Egress": way == "out",
                "RuleAction": action,
                "Protocol": protocol,
                "CidrBlock" if ":" not in cidr else "Ipv6CidrBlock": cidr,
            }
            if ports:
                row["PortRange"] = {"From": ports[0], "To": ports[1]}
            rows.append(row)
        for way in (True, False):
            rows.append(
                {
                    "RuleNumber": 32767,
                    "Egress": way,
                    "RuleAction": "deny",
                    "Protocol": "-1",
                    "CidrBlock": "0.0.0.0/0",
                }
            )
        self.data["NetworkAcls"].append(
            {
                "NetworkAclId": acl_id,
                "VpcId": vpc_id,
                "IsDefault": default,
                "Entries": rows,
                "Associations": [{"SubnetId": one} for one in subnets],
            }
        )
        return self


def outcome_of(network: Network, source: str, destination: str, **how: Any) -> str:
    return str(network.trace(source, destination, **how).outcome)


def assert_outcome(
    network: Network, source: str, destination: str, outcome: str, **how: Any
) -> Trace:
    trace = network.trace(source, destination, **how)
    assert trace.outcome == Outcome(outcome), trace.describe()
    if not trace.outcome.arrives:
        assert trace.blocked_by, trace.describe()
    return trace


def assert_reachable(network: Network, source: str, destination: str, **how: Any) -> Trace:
    trace = network.trace(source, destination, **how)
    assert trace.delivered_both_ways, trace.describe()
    assert trace.blocked_by == ()
    return trace


def assert_blackhole(network: Network, source: str, destination: str, **how: Any) -> Trace:
    return assert_outcome(network, source, destination, "BLACKHOLE", **how)


def assert_no_internet(network: Network, *ids: str) -> None:
    found = network.isolation_violations(ids)
    assert not found, [one.message for one in found]


def assert_passes(trace: Trace, *ids: str) -> None:
    """The ids appear among the hops in this order."""
    hops = iter(hop.id for hop in trace.hops)
    for wanted in ids:
        assert wanted in hops, f"{wanted} is not where it should be:\n{trace.describe()}"
