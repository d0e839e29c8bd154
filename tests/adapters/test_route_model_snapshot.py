"""A live snapshot through EC2's own calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from control_plane.adapters.snapshot import describe_side
from control_plane.domain.route_model import Network, Snapshot
from control_plane.domain.route_model.snapshot import EXPECTED_KINDS


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stand-in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "stand-in")
    with mock_aws():
        yield boto3.client("ec2", region_name="us-gov-west-1")


def build(ec2: Any) -> dict[str, str]:
    """A VPC with a subnet and an interface, on a transit gateway that also has a VPN connection."""
    vpc = ec2.create_vpc(CidrBlock="10.50.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.50.1.0/24")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.50.1.9")
    gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ec2.create_transit_gateway_vpc_attachment(
        TransitGatewayId=gateway, VpcId=vpc, SubnetIds=[subnet]
    )
    customer = ec2.create_customer_gateway(Type="ipsec.1", PublicIp="198.18.0.1", BgpAsn=65001)
    connection = ec2.create_vpn_connection(
        Type="ipsec.1",
        CustomerGatewayId=customer["CustomerGateway"]["CustomerGatewayId"],
        TransitGatewayId=gateway,
    )["VpnConnection"]["VpnConnectionId"]
    return {
        "vpc": vpc,
        "subnet": subnet,
        "interface": interface["NetworkInterface"]["NetworkInterfaceId"],
        "gateway": gateway,
        "connection": connection,
    }


def test_a_described_side_is_json_without_secrets(ec2: Any) -> None:
    """What is stored as evidence serialises, and holds no pre-shared key."""
    build(ec2)
    text = json.dumps(describe_side(ec2))
    assert "pre_shared_key" not in text
    assert "PreSharedKey" not in text
    assert "CustomerGatewayConfiguration" not in text


def test_every_expected_kind_is_asked_for(ec2: Any) -> None:
    """Nothing that an answer may depend on is forgotten."""
    made = build(ec2)
    snapshot = Snapshot.from_describe({"govcloud": describe_side(ec2)})
    assert set(EXPECTED_KINDS) <= set(snapshot.resources) | set(snapshot.not_observed)
    assert snapshot.not_observed == ()
    network = Network.build(snapshot)
    assert made["vpc"] in network.facts.vpcs
    assert made["connection"] in network.facts.vpn_connections
    assert (made["gateway"],) == tuple(
        {one.transit_gateway_id for one in network.facts.attachments.values()}
    )


def test_pages_are_followed(ec2: Any) -> None:
    """More interfaces than fit on one page are all there."""
    made = build(ec2)
    for number in range(20, 60):
        ec2.create_network_interface(SubnetId=made["subnet"], PrivateIpAddress=f"10.50.1.{number}")
    side = describe_side(ec2)
    addresses = {one["PrivateIpAddress"] for one in side["NetworkInterfaces"]}
    assert {f"10.50.1.{number}" for number in range(20, 60)} <= addresses
