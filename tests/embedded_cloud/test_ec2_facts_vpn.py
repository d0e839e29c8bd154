"""EC2's description of VPN connections in the embedded cloud."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.ec2.models import ec2_backends

from infra.local import ec2_facts
from infra.local.ec2_facts_vpn import TunnelStatus, tunnels_of
from tests.embedded_cloud.twin_network import ACCOUNT_ID

REGION = "us-gov-west-1"


@pytest.fixture
def ec2() -> Iterator[Any]:
    ec2_facts.install()
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


@pytest.fixture
def gateway_id(ec2: Any) -> str:
    return str(ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"])


def connect(ec2: Any, gateway_id: str, **options: Any) -> dict[str, Any]:
    customer = ec2.create_customer_gateway(Type="ipsec.1", BgpAsn=65001, PublicIp="192.0.2.1")
    connection: dict[str, Any] = ec2.create_vpn_connection(
        Type="ipsec.1",
        CustomerGatewayId=customer["CustomerGateway"]["CustomerGatewayId"],
        TransitGatewayId=gateway_id,
        Options=options,
    )["VpnConnection"]
    return connection


def described(ec2: Any, connection: dict[str, Any]) -> dict[str, Any]:
    (found,) = ec2.describe_vpn_connections(VpnConnectionIds=[connection["VpnConnectionId"]])[
        "VpnConnections"
    ]
    return dict(found)


def test_telemetry_is_distinct_and_stable(ec2: Any, gateway_id: str) -> None:
    """Each connection shows two tunnels with outside addresses of their own, the same at each call."""
    connections = [connect(ec2, gateway_id) for _ in range(3)]
    addresses = [
        tunnel["OutsideIpAddress"]
        for connection in connections
        for tunnel in described(ec2, connection)["VgwTelemetry"]
    ]
    assert len(set(addresses)) == 6
    assert addresses == [
        tunnel["OutsideIpAddress"]
        for connection in connections
        for tunnel in described(ec2, connection)["VgwTelemetry"]
    ]
    documentation = [ipaddress.ip_network(n) for n in ("203.0.113.0/24", "198.51.100.0/24")]
    assert all(any(ipaddress.ip_address(a) in n for n in documentation) for a in addresses)


def test_a_tunnel_begins_down_and_shows_its_change(ec2: Any, gateway_id: str) -> None:
    """A new tunnel is DOWN with no routes, and a reported change moves its status and time."""
    connection = connect(ec2, gateway_id)
    before = described(ec2, connection)["VgwTelemetry"]
    assert [(t["Status"], t["AcceptedRouteCount"]) for t in before] == [("DOWN", 0), ("DOWN", 0)]
    backend = ec2_backends[ACCOUNT_ID][REGION]
    tunnels_of(backend.vpn_connections[connection["VpnConnectionId"]])[0].report(TunnelStatus.UP)
    first, second = described(ec2, connection)["VgwTelemetry"]
    assert (first["Status"], second["Status"]) == ("UP", "DOWN")
    assert first["LastStatusChange"] >= before[0]["LastStatusChange"]


def test_static_connection_counts_its_route_while_down(ec2: Any, gateway_id: str) -> None:
    """A static connection has AcceptedRouteCount 1 with both tunnels DOWN, as AWS shows it."""
    telemetry = described(ec2, connect(ec2, gateway_id, StaticRoutesOnly=True))["VgwTelemetry"]
    assert {(t["Status"], t["AcceptedRouteCount"]) for t in telemetry} == {("DOWN", 1)}


def test_configuration_agrees_with_the_telemetry(ec2: Any, gateway_id: str) -> None:
    """The customer gateway's document has the addresses that telemetry shows, and distinct keys."""
    shown = described(ec2, connect(ec2, gateway_id))
    root = ElementTree.fromstring(shown["CustomerGatewayConfiguration"])
    outside = [e.text for e in root.findall("ipsec_tunnel/vpn_gateway/tunnel_outside_address/*")]
    assert outside == [tunnel["OutsideIpAddress"] for tunnel in shown["VgwTelemetry"]]
    keys = [element.text for element in root.iter("pre_shared_key")]
    assert len(set(keys)) == 2
    options = shown["Options"]["TunnelOptions"]
    inside = [ipaddress.IPv4Network(option["TunnelInsideCidr"]) for option in options]
    assert all(
        network.prefixlen == 30 and network.subnet_of(ipaddress.IPv4Network("169.254.0.0/16"))
        for network in inside
    )
    assert not any("PreSharedKey" in option for option in options)


def test_given_tunnel_options_are_kept(ec2: Any, gateway_id: str) -> None:
    """Tunnel options come back as EC2 spells them in an answer, and can be modified per tunnel."""
    connection = connect(
        ec2,
        gateway_id,
        TunnelOptions=[
            {"TunnelInsideCidr": "169.254.21.0/30", "IKEVersions": [{"Value": "ikev2"}]},
            {"DPDTimeoutSeconds": 40},
        ],
    )
    first, second = described(ec2, connection)["Options"]["TunnelOptions"]
    assert first["TunnelInsideCidr"] == "169.254.21.0/30"
    assert first["IkeVersions"] == [{"Value": "ikev2"}]
    assert second["DpdTimeoutSeconds"] == 40
    ec2.modify_vpn_tunnel_options(
        VpnConnectionId=connection["VpnConnectionId"],
        VpnTunnelOutsideIpAddress=second["OutsideIpAddress"],
        TunnelOptions={"DPDTimeoutSeconds": 60},
    )
    assert described(ec2, connection)["Options"]["TunnelOptions"][1]["DpdTimeoutSeconds"] == 60


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"DPDTimeoutSeconds": 10}, "DPDTimeoutSeconds"),
        ({"TunnelInsideCidr": "169.254.0.0/30"}, "TunnelInsideCidr"),
        ({"TunnelInsideCidr": "10.0.0.0/30"}, "TunnelInsideCidr"),
        ({"PreSharedKey": "0short-and-wrong"}, "PreSharedKey"),
    ],
)
def test_tunnel_options_that_aws_refuses(
    ec2: Any, gateway_id: str, options: dict[str, Any], field: str
) -> None:
    """An option out of AWS's bounds is refused by name, and a key is never repeated in the message."""
    with pytest.raises(ClientError, match=field) as caught:
        connect(ec2, gateway_id, TunnelOptions=[options])
    assert caught.value.response["Error"]["Code"] == "InvalidParameterValue"
    assert "short-and-wrong" not in str(caught.value)


def test_replacing_a_tunnel_is_recorded(ec2: Any, gateway_id: str) -> None:
    """ReplaceVpnTunnel shows in the tunnel's maintenance status; an unknown address is refused."""
    connection = connect(ec2, gateway_id)
    tunnel = {
        "VpnConnectionId": connection["VpnConnectionId"],
        "VpnTunnelOutsideIpAddress": described(ec2, connection)["VgwTelemetry"][0][
            "OutsideIpAddress"
        ],
    }
    assert ec2.replace_vpn_tunnel(**tunnel)["Return"]
    status = ec2.get_vpn_tunnel_replacement_status(**tunnel)
    assert "LastMaintenanceApplied" in status["MaintenanceDetails"]
    with pytest.raises(ClientError, match=r"192\.0\.2\.99"):
        ec2.get_vpn_tunnel_replacement_status(
            **{**tunnel, "VpnTunnelOutsideIpAddress": "192.0.2.99"}
        )
