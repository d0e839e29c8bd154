"""Tunnel telemetry in virtual time: when AWS notices, and what it publishes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.cloudwatch.models import cloudwatch_backends
from moto.ec2.models import ec2_backends

from infra.local import ec2_facts
from infra.local.clock import CloudClock
from infra.local.ec2_facts_vpn import Tunnel, tunnels_of
from infra.local.telemetry import Traffic, TunnelTelemetry
from tests.embedded_cloud.twin_network import ACCOUNT_ID

REGION = "us-gov-west-1"
REAL_TIME = CloudClock(60.0)
DETECTION, ESTABLISHMENT = 40.0, 10.0


class Peers:
    """Which tunnels' peers can be heard."""

    def __init__(self) -> None:
        self.silent: set[str] = set()

    def are_heard(self, connection: Any, tunnel: Tunnel) -> bool:
        return tunnel.outside_address not in self.silent


@pytest.fixture
def connection() -> Iterator[Any]:
    ec2_facts.install()
    with mock_aws():
        ec2: Any = boto3.client("ec2", region_name=REGION)
        gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
        customer = ec2.create_customer_gateway(Type="ipsec.1", BgpAsn=65001, PublicIp="192.0.2.1")
        ec2.create_vpn_connection(
            Type="ipsec.1",
            CustomerGatewayId=customer["CustomerGateway"]["CustomerGatewayId"],
            TransitGatewayId=gateway,
        )
        yield next(iter(ec2_backends[ACCOUNT_ID][REGION].vpn_connections.values()))


def telemetry_of(peers: Peers) -> TunnelTelemetry:
    return TunnelTelemetry(
        ec2_backends[ACCOUNT_ID][REGION],
        cloudwatch_backends[ACCOUNT_ID][REGION],
        peers.are_heard,
        REAL_TIME,
        DETECTION,
        ESTABLISHMENT,
    )


def statuses(connection: Any) -> list[str]:
    return [tunnel.status.value for tunnel in tunnels_of(connection)]


def test_detection_takes_its_time_both_ways(connection: Any) -> None:
    """A tunnel is reported UP, and later DOWN, only after it was so for AWS's whole interval."""
    peers = Peers()
    telemetry = telemetry_of(peers)
    telemetry.observe(0.0)
    telemetry.observe(ESTABLISHMENT - 0.1)
    assert statuses(connection) == ["DOWN", "DOWN"]
    telemetry.observe(ESTABLISHMENT)
    assert statuses(connection) == ["UP", "UP"]
    peers.silent = {tunnels_of(connection)[0].outside_address}
    telemetry.observe(100.0)
    telemetry.observe(100.0 + DETECTION - 0.1)
    assert statuses(connection) == ["UP", "UP"]
    telemetry.observe(100.0 + DETECTION)
    assert statuses(connection) == ["DOWN", "UP"]


def test_short_outage_goes_unnoticed(connection: Any) -> None:
    """An outage shorter than dead peer detection never shows, and does not add up with the next one."""
    peers = Peers()
    telemetry = telemetry_of(peers)
    telemetry.observe(0.0)
    telemetry.observe(ESTABLISHMENT)
    every = {tunnel.outside_address for tunnel in tunnels_of(connection)}
    for begin in (100.0, 140.0, 180.0):
        peers.silent = every
        telemetry.observe(begin)
        telemetry.observe(begin + 30.0)
        peers.silent = set()
        telemetry.observe(begin + 35.0)
        assert statuses(connection) == ["UP", "UP"]


def test_one_publication_a_minute(connection: Any) -> None:
    """A publication is due once a minute; minutes that were missed are not made up for."""
    telemetry = telemetry_of(Peers())
    due = [
        now
        for now in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0, 310.0, 311.0, 360.0)
        if telemetry.is_due(now)
    ]
    assert due == [0.0, 60.0, 120.0, 310.0, 360.0]


def test_bytes_are_published_by_connection_and_tunnel(connection: Any) -> None:
    """Traffic shows under the connection and under the tunnel that is up, and under no other."""
    peers = Peers()
    telemetry = telemetry_of(peers)
    first, second = tunnels_of(connection)
    peers.silent = {first.outside_address}
    telemetry.observe(0.0)
    telemetry.observe(ESTABLISHMENT)
    telemetry.publish({connection.id: Traffic(bytes_in=500, bytes_out=70)})
    published: list[Any] = list(cloudwatch_backends[ACCOUNT_ID][REGION].metric_data)

    def total(metric: str, **dimensions: str) -> float:
        values: list[float] = [
            datum.value
            for datum in published
            if datum.name == metric and {d.name: d.value for d in datum.dimensions} == dimensions
        ]
        return sum(values)

    vpn = connection.id
    assert total("TunnelDataIn", VpnId=vpn) == 500.0
    assert total("TunnelDataOut", VpnId=vpn, TunnelIpAddress=second.outside_address) == 70.0
    assert total("TunnelDataOut", VpnId=vpn, TunnelIpAddress=first.outside_address) == 0.0
    assert total("TunnelState", VpnId=vpn, TunnelIpAddress=second.outside_address) == 1.0
    assert {datum.namespace for datum in published} == {"AWS/VPN"}
