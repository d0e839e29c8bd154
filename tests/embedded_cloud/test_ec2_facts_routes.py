"""EC2's VPC routes and interface endpoints in the embedded cloud."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models import ec2_backends

from infra.local.ec2_facts_endpoints import set_endpoint_state
from infra.local.sides import COMMERCIAL
from tests.embedded_cloud import twin_network
from tests.embedded_cloud.twin_network import ACCOUNT_ID, TwinNetwork


@pytest.fixture
def network() -> Iterator[TwinNetwork]:
    with mock_aws():
        yield twin_network.build()


def state(ec2: Any, table_id: str, destination: str) -> str:
    (table,) = ec2.describe_route_tables(RouteTableIds=[table_id])["RouteTables"]
    (found,) = [r for r in table["Routes"] if r.get("DestinationCidrBlock") == destination]
    return str(found["State"])


def test_route_to_a_stopped_router_is_a_black_hole(network: TwinNetwork) -> None:
    """A route to an interface is active while its instance runs, and a black hole otherwise."""
    zone = network.zones[0]
    where = (network.commercial, zone.endpoint_table_id, "10.0.0.0/16")
    assert state(*where) == "active"
    network.commercial.stop_instances(InstanceIds=[zone.router_id])
    assert state(*where) == "blackhole"
    network.commercial.start_instances(InstanceIds=[zone.router_id])
    assert state(*where) == "active"


def test_route_to_a_detached_transit_gateway_is_a_black_hole(network: TwinNetwork) -> None:
    """Without the VPC's attachment a route to the transit gateway leads nowhere."""
    where = (network.govcloud, network.function_table_id, "172.16.0.0/16")
    assert state(*where) == "active"
    network.govcloud.delete_transit_gateway_vpc_attachment(
        TransitGatewayAttachmentId=network.vpc_attachment_id
    )
    assert state(*where) == "blackhole"


def test_route_calls_answer_mistakes_as_aws_does(network: TwinNetwork) -> None:
    """Creating twice, replacing or deleting what is not there, and unusable targets are refused."""
    com, zone = network.commercial, network.zones[0]
    route = {
        "RouteTableId": zone.endpoint_table_id,
        "DestinationCidrBlock": "10.0.0.0/16",
        "NetworkInterfaceId": zone.router_interface_id,
    }
    absent = {"RouteTableId": zone.endpoint_table_id, "DestinationCidrBlock": "10.7.0.0/16"}
    mistakes = [
        ("RouteAlreadyExists", com.create_route, route),
        ("InvalidRoute.NotFound", com.delete_route, absent),
        (
            # AWS answers so, unlike for DeleteRoute.
            "InvalidParameterValue",
            com.replace_route,
            {**absent, "NetworkInterfaceId": zone.router_interface_id},
        ),
        ("MissingParameter", com.replace_route, absent),
        (
            "InvalidParameterCombination",
            com.replace_route,
            {**route, "TransitGatewayId": network.transit_gateway_id},
        ),
        (
            "InvalidNetworkInterfaceID.NotFound",
            com.replace_route,
            {**route, "NetworkInterfaceId": "eni-00000000000000000"},
        ),
        (
            "InvalidTransitGatewayID.NotFound",
            com.create_route,
            {**absent, "TransitGatewayId": network.transit_gateway_id},
        ),
    ]
    for code, call, parameters in mistakes:
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        assert caught.value.response["Error"]["Code"] == code


def test_dry_run_changes_nothing(network: TwinNetwork) -> None:
    """DryRun answers DryRunOperation with status 412, and the route is still there."""
    zone = network.zones[0]
    with pytest.raises(ClientError) as caught:
        network.commercial.delete_route(
            RouteTableId=zone.endpoint_table_id, DestinationCidrBlock="10.0.0.0/16", DryRun=True
        )
    assert caught.value.response["Error"]["Code"] == "DryRunOperation"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert state(network.commercial, zone.endpoint_table_id, "10.0.0.0/16") == "active"


def test_endpoint_has_addresses_and_names_per_zone(network: TwinNetwork) -> None:
    """An endpoint has an interface inside each subnet and AWS's regional and zonal DNS names."""
    com = network.commercial
    (endpoint,) = com.describe_vpc_endpoints()["VpcEndpoints"]
    interfaces = com.describe_network_interfaces(
        NetworkInterfaceIds=endpoint["NetworkInterfaceIds"]
    )["NetworkInterfaces"]
    assert {(i["SubnetId"], i["PrivateIpAddress"]) for i in interfaces} == {
        (network.zones[0].endpoint_subnet_id, "172.16.1.10"),
        (network.zones[1].endpoint_subnet_id, "172.16.3.10"),
    }
    assert {i["InterfaceType"] for i in interfaces} == {"vpc_endpoint"}
    names = [entry["DnsName"] for entry in endpoint["DnsEntries"]]
    regional = names[0]
    prefix, suffix = regional.split(".", 1)
    assert suffix == "bedrock-runtime.us-east-1.vpce.amazonaws.com"
    assert prefix.startswith(endpoint["VpcEndpointId"] + "-")
    assert names[1:3] == [f"{prefix}-us-east-1a.{suffix}", f"{prefix}-us-east-1b.{suffix}"]


def test_removing_a_subnet_removes_its_interface_and_name(network: TwinNetwork) -> None:
    """ModifyVpcEndpoint keeps interfaces and zonal names in step with the subnets."""
    com, (a, b) = network.commercial, network.zones
    com.modify_vpc_endpoint(
        VpcEndpointId=network.endpoint_id, RemoveSubnetIds=[a.endpoint_subnet_id]
    )
    (endpoint,) = com.describe_vpc_endpoints()["VpcEndpoints"]
    (interface,) = com.describe_network_interfaces(
        NetworkInterfaceIds=endpoint["NetworkInterfaceIds"]
    )["NetworkInterfaces"]
    assert interface["SubnetId"] == b.endpoint_subnet_id
    assert not any("us-east-1a" in entry["DnsName"] for entry in endpoint["DnsEntries"])


def test_failed_endpoint_says_why(network: TwinNetwork) -> None:
    """An endpoint put into a failed state shows state and last error, and none after recovery."""
    endpoint = ec2_backends[ACCOUNT_ID][COMMERCIAL.region].vpc_end_points[network.endpoint_id]
    set_endpoint_state(endpoint, "failed", "InternalError", "out of service")
    (shown,) = network.commercial.describe_vpc_endpoints()["VpcEndpoints"]
    assert shown["State"] == "failed"
    assert shown["LastError"] == {"Code": "InternalError", "Message": "out of service"}
    set_endpoint_state(endpoint, "available")
    (shown,) = network.commercial.describe_vpc_endpoints()["VpcEndpoints"]
    assert shown["State"] == "available"
    assert "LastError" not in shown
