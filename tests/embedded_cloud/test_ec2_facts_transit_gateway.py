"""EC2's description of transit gateways in the embedded cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models import ec2_backends

from infra.local.ec2_facts_vpn import TunnelStatus, tunnels_of
from infra.local.sides import GOVCLOUD
from tests.embedded_cloud import twin_network
from tests.embedded_cloud.twin_network import ACCOUNT_ID, TwinNetwork

ALL = [{"Name": "state", "Values": ["active", "blackhole"]}]


@pytest.fixture
def network() -> Iterator[TwinNetwork]:
    with mock_aws():
        yield twin_network.build()


def report(network: TwinNetwork, zone: int, status: TunnelStatus) -> None:
    backend = ec2_backends[ACCOUNT_ID][GOVCLOUD.region]
    for tunnel in tunnels_of(backend.vpn_connections[network.zones[zone].connection_id]):
        tunnel.report(status)


def routes(network: TwinNetwork, filters: Any = None) -> dict[str, tuple[str, str, list[str]]]:
    found = network.govcloud.search_transit_gateway_routes(
        TransitGatewayRouteTableId=network.transit_table_id, Filters=filters or ALL
    )["Routes"]
    return {
        route["DestinationCidrBlock"]: (
            route["Type"],
            route["State"],
            [a["ResourceId"] for a in route.get("TransitGatewayAttachments", [])],
        )
        for route in found
    }


def test_bgp_routes_follow_the_tunnels(network: TwinNetwork) -> None:
    """A connection's prefixes are propagated while a tunnel of it is UP, and withdrawn when none is."""
    vpc = network.govcloud.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.0.0.0/16"]}])
    own = {"10.0.0.0/16": ("propagated", "active", [vpc["Vpcs"][0]["VpcId"]])}
    a, b = (zone.connection_id for zone in network.zones)
    assert routes(network) == own
    report(network, 0, TunnelStatus.UP)
    report(network, 1, TunnelStatus.UP)
    assert routes(network) == own | {
        "172.16.1.0/24": ("propagated", "active", [a]),
        "172.16.3.0/24": ("propagated", "active", [b]),
        "172.16.0.0/16": ("propagated", "active", [a, b]),
    }
    report(network, 0, TunnelStatus.DOWN)
    assert routes(network) == own | {
        "172.16.3.0/24": ("propagated", "active", [b]),
        "172.16.0.0/16": ("propagated", "active", [b]),
    }


def test_static_route_masks_a_propagated_one_until_deleted(network: TwinNetwork) -> None:
    """Create, replace and delete of a static route; the propagated one shows again afterwards."""
    report(network, 0, TunnelStatus.UP)
    a, b = network.zones
    where: dict[str, Any] = {
        "TransitGatewayRouteTableId": network.transit_table_id,
        "DestinationCidrBlock": "172.16.1.0/24",
    }
    ec2 = network.govcloud
    ec2.create_transit_gateway_route(**where, TransitGatewayAttachmentId=b.attachment_id)
    assert routes(network)["172.16.1.0/24"] == ("static", "active", [b.connection_id])
    ec2.replace_transit_gateway_route(**where, TransitGatewayAttachmentId=a.attachment_id)
    assert routes(network)["172.16.1.0/24"] == ("static", "active", [a.connection_id])
    ec2.replace_transit_gateway_route(**where, Blackhole=True)
    assert routes(network)["172.16.1.0/24"] == ("static", "blackhole", [])
    ec2.delete_transit_gateway_route(**where)
    assert routes(network)["172.16.1.0/24"] == ("propagated", "active", [a.connection_id])


def test_route_to_a_deleted_connection_is_a_black_hole(network: TwinNetwork) -> None:
    """A static route stays when its VPN connection is deleted, as a black hole without attachment."""
    a, _ = network.zones
    network.govcloud.create_transit_gateway_route(
        TransitGatewayRouteTableId=network.transit_table_id,
        DestinationCidrBlock="172.16.9.0/24",
        TransitGatewayAttachmentId=a.attachment_id,
    )
    network.govcloud.delete_vpn_connection(VpnConnectionId=a.connection_id)
    assert routes(network)["172.16.9.0/24"] == ("static", "blackhole", [])


def test_searching_routes(network: TwinNetwork) -> None:
    """SearchTransitGatewayRoutes honours AWS's filters; an unknown one is refused."""
    report(network, 0, TunnelStatus.UP)
    report(network, 1, TunnelStatus.UP)

    def found(name: str, value: str) -> set[str]:
        return set(routes(network, [{"Name": name, "Values": [value]}]))

    assert found("type", "static") == set()
    assert found("route-search.exact-match", "172.16.0.0/16") == {"172.16.0.0/16"}
    assert found("route-search.longest-prefix-match", "172.16.1.10/32") == {"172.16.1.0/24"}
    assert found("route-search.subnet-of-match", "172.16.0.0/16") == {
        "172.16.0.0/16",
        "172.16.1.0/24",
        "172.16.3.0/24",
    }
    assert found("attachment.resource-type", "vpc") == {"10.0.0.0/16"}
    with pytest.raises(ClientError, match="'colour'"):
        found("colour", "blue")


def test_associations_and_propagations_are_listed(network: TwinNetwork) -> None:
    """A table lists the attachments that use it and those that propagate into it; each shows its table."""
    ec2, table = network.govcloud, network.transit_table_id
    attachments = {network.vpc_attachment_id, *(zone.attachment_id for zone in network.zones)}
    associations = ec2.get_transit_gateway_route_table_associations(
        TransitGatewayRouteTableId=table
    )["Associations"]
    propagations = ec2.get_transit_gateway_route_table_propagations(
        TransitGatewayRouteTableId=table
    )["TransitGatewayRouteTablePropagations"]
    for listed in (associations, propagations):
        assert {entry["TransitGatewayAttachmentId"] for entry in listed} == attachments
    for attachment in ec2.describe_transit_gateway_attachments()["TransitGatewayAttachments"]:
        assert attachment["Association"] == {
            "TransitGatewayRouteTableId": table,
            "State": "associated",
        }


def test_errors_of_the_api(network: TwinNetwork) -> None:
    """Mistakes are answered with AWS's error codes, not with success and not with a server error."""
    ec2, table = network.govcloud, network.transit_table_id
    attachment = network.zones[0].attachment_id
    route = {
        "TransitGatewayRouteTableId": table,
        "DestinationCidrBlock": "172.16.8.0/24",
        "TransitGatewayAttachmentId": attachment,
    }
    ec2.create_transit_gateway_route(**route)
    mistakes = [
        ("RouteAlreadyExists", ec2.create_transit_gateway_route, route),
        (
            "InvalidRoute.NotFound",
            ec2.replace_transit_gateway_route,
            {**route, "DestinationCidrBlock": "172.16.7.0/24"},
        ),
        (
            "InvalidRoute.NotFound",
            ec2.delete_transit_gateway_route,
            {"TransitGatewayRouteTableId": table, "DestinationCidrBlock": "172.16.7.0/24"},
        ),
        (
            "InvalidRouteTableID.NotFound",
            ec2.create_transit_gateway_route,
            {**route, "TransitGatewayRouteTableId": "tgw-rtb-0000000000000000"},
        ),
        (
            "InvalidTransitGatewayAttachmentID.NotFound",
            ec2.replace_transit_gateway_route,
            {**route, "TransitGatewayAttachmentId": "tgw-attach-0000000000000000"},
        ),
        (
            "Resource.AlreadyAssociated",
            ec2.associate_transit_gateway_route_table,
            {"TransitGatewayRouteTableId": table, "TransitGatewayAttachmentId": attachment},
        ),
        (
            "TransitGatewayRouteTablePropagation.Duplicate",
            ec2.enable_transit_gateway_route_table_propagation,
            {"TransitGatewayRouteTableId": table, "TransitGatewayAttachmentId": attachment},
        ),
    ]
    for code, call, parameters in mistakes:
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        assert caught.value.response["Error"]["Code"] == code


def test_new_attachments_join_the_default_table_unless_told_not_to(network: TwinNetwork) -> None:
    """The gateway's options decide whether an attachment is associated and propagated by default."""
    ec2 = network.govcloud
    gateway = ec2.create_transit_gateway()["TransitGateway"]
    vpc = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.0.0/24")["Subnet"]["SubnetId"]
    ec2.create_transit_gateway_vpc_attachment(
        TransitGatewayId=gateway["TransitGatewayId"], VpcId=vpc, SubnetIds=[subnet]
    )
    found = ec2.search_transit_gateway_routes(
        TransitGatewayRouteTableId=gateway["Options"]["PropagationDefaultRouteTableId"],
        Filters=ALL,
    )["Routes"]
    assert [route["DestinationCidrBlock"] for route in found] == ["10.9.0.0/16"]
    default = ec2.describe_transit_gateways(TransitGatewayIds=[network.transit_gateway_id])
    unused = default["TransitGateways"][0]["Options"]["AssociationDefaultRouteTableId"]
    listed = ec2.get_transit_gateway_route_table_associations(TransitGatewayRouteTableId=unused)
    assert listed["Associations"] == []
