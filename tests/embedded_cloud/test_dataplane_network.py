"""The data plane over a whole network: routes, faults and telemetry decide what a socket sees."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto import mock_aws
from moto.cloudwatch.models import cloudwatch_backends

from infra.local.clock import CloudClock
from infra.local.dataplane import DataPlane
from infra.local.faults import FaultNotApplicable, UnknownTarget
from infra.local.sides import GOVCLOUD
from tests.embedded_cloud import twin_network
from tests.embedded_cloud.twin_network import COMMERCIAL_SIDE, GOVCLOUD_SIDE, TwinNetwork

FAST = CloudClock(0.3)
"""AWS's minute in 0.3 s: dead peer detection takes 0.2 s."""
NEVER = 0.3
SOON = 10.0


@pytest.fixture
def service() -> Iterator[tuple[str, int]]:
    """A service that answers each connection with one byte."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1)
                connection.sendall(b"!")

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(SOON)


@pytest.fixture
def network() -> Iterator[TwinNetwork]:
    with mock_aws():
        yield twin_network.build()


@pytest.fixture
def plane(network: TwinNetwork, service: tuple[str, int]) -> Iterator[DataPlane]:
    plane = DataPlane(service, FAST, GOVCLOUD_SIDE, COMMERCIAL_SIDE)
    plane.start()
    plane.attach(network.paths())
    assert plane.wait_until(DataPlane.is_whole, SOON), plane.reports()
    yield plane
    plane.stop()
    assert plane.failures == []


def answers(plane: DataPlane, path: str) -> bool:
    """Whether the service is reached over a path; False when the connection attempt times out."""
    relay = plane.relays[path]
    try:
        with socket.create_connection((relay.host, relay.port), timeout=NEVER) as connection:
            assert connection.getpeername()[0] == relay.host
            connection.sendall(b"?")
            return connection.recv(1) == b"!"
    except TimeoutError:
        return False


def working(plane: DataPlane) -> set[str]:
    plane.settle()
    return {path for path in ("tunnel-1", "tunnel-2") if answers(plane, path)}


def telemetry(network: TwinNetwork) -> dict[str, set[str]]:
    return {
        connection["VpnConnectionId"]: {t["Status"] for t in connection["VgwTelemetry"]}
        for connection in network.govcloud.describe_vpn_connections()["VpnConnections"]
    }


def status_is(network: TwinNetwork, zone: int, *status: str) -> Callable[[DataPlane], bool]:
    return lambda _: telemetry(network)[network.zones[zone].connection_id] == set(status)


BOTH = {"tunnel-1", "tunnel-2"}


def test_each_path_takes_its_own_connection(plane: DataPlane, network: TwinNetwork) -> None:
    """On the intact network both paths answer, each over its own VPN connection both ways."""
    assert working(plane) == BOTH
    for path, zone in zip(("tunnel-1", "tunnel-2"), network.zones, strict=True):
        verdict = plane.verdict(path)
        assert (verdict.outbound, verdict.inbound) == (zone.connection_id, zone.connection_id)
    assert {report.connections for report in plane.reports()} == {1}


def test_cut_path_is_silent_at_once_and_down_later(plane: DataPlane, network: TwinNetwork) -> None:
    """Cutting a path makes connects time out immediately; telemetry says DOWN after dead peer
    detection, the other path is untouched, and healing undoes everything."""
    plane.faults.cut("tunnel-1")
    assert status_is(network, 0, "UP")(plane)
    assert working(plane) == {"tunnel-2"}
    assert plane.wait_until(status_is(network, 0, "DOWN"), SOON)
    assert status_is(network, 1, "UP")(plane)
    plane.faults.heal("tunnel-1")
    assert plane.wait_until(DataPlane.is_whole, SOON)
    assert working(plane) == BOTH


def test_gray_failure_stays_up(plane: DataPlane, network: TwinNetwork) -> None:
    """A black-holed connection carries nothing while its telemetry goes on saying UP."""
    plane.faults.blackhole("tunnel-1")
    assert working(plane) == {"tunnel-2"}
    assert not plane.wait_until(status_is(network, 0, "DOWN"), 3 * FAST.real_seconds(40))
    assert working(plane) == {"tunnel-2"}


def test_losing_one_tunnel_costs_redundancy_only(plane: DataPlane, network: TwinNetwork) -> None:
    """With one of a connection's two tunnels cut, telemetry shows it and the path carries on."""
    plane.faults.cut("tunnel-1:2")
    assert plane.wait_until(status_is(network, 0, "UP", "DOWN"), SOON)
    assert working(plane) == BOTH
    assert list(plane.faults.in_force()) == ["tunnel-1:2"]


def test_deleting_the_return_route_cuts_exactly_that_path(
    plane: DataPlane, network: TwinNetwork
) -> None:
    """Deleting zone a's return route by the EC2 API silences path tunnel-1 and no other."""
    zone = network.zones[0]
    network.commercial.delete_route(
        RouteTableId=zone.endpoint_table_id, DestinationCidrBlock="10.0.0.0/16"
    )
    assert working(plane) == {"tunnel-2"}
    assert zone.endpoint_table_id in plane.verdict("tunnel-1").reason
    network.commercial.create_route(
        RouteTableId=zone.endpoint_table_id,
        DestinationCidrBlock="10.0.0.0/16",
        NetworkInterfaceId=zone.router_interface_id,
    )
    assert working(plane) == BOTH


def test_deleting_the_route_to_the_transit_gateway_cuts_both(
    plane: DataPlane, network: TwinNetwork
) -> None:
    """The functions' route to the transit gateway is needed by every path."""
    network.govcloud.delete_route(
        RouteTableId=network.function_table_id, DestinationCidrBlock="172.16.0.0/16"
    )
    assert working(plane) == set()


def test_moving_the_return_route_repairs_a_path(plane: DataPlane, network: TwinNetwork) -> None:
    """With connection 1 down, zone a's endpoint is cut off until its return route is moved to router b;
    then it is reached over connection 2 both ways."""
    a, b = network.zones
    plane.faults.cut("tunnel-1")
    assert plane.wait_until(status_is(network, 0, "DOWN"), SOON)
    assert working(plane) == {"tunnel-2"}
    verdict = plane.verdict("tunnel-1")
    assert verdict.outbound == b.connection_id
    assert a.connection_id in verdict.reason
    network.commercial.replace_route(
        RouteTableId=a.endpoint_table_id,
        DestinationCidrBlock="10.0.0.0/16",
        NetworkInterfaceId=b.router_interface_id,
    )
    assert working(plane) == BOTH
    verdict = plane.verdict("tunnel-1")
    assert (verdict.outbound, verdict.inbound) == (b.connection_id, b.connection_id)


def test_static_transit_route_overrides_bgp(plane: DataPlane, network: TwinNetwork) -> None:
    """A static transit gateway route sends zone a's traffic over connection 2; a black hole drops it."""
    b = network.zones[1]
    route: dict[str, Any] = {
        "TransitGatewayRouteTableId": network.transit_table_id,
        "DestinationCidrBlock": "172.16.1.0/24",
    }
    network.govcloud.create_transit_gateway_route(
        **route, TransitGatewayAttachmentId=b.attachment_id
    )
    assert working(plane) == BOTH
    assert plane.verdict("tunnel-1").outbound == b.connection_id
    network.govcloud.replace_transit_gateway_route(**route, Blackhole=True)
    assert working(plane) == {"tunnel-2"}


@pytest.mark.parametrize("how", ["stopped", "checked"])
def test_router_that_does_not_forward_cuts_its_path(
    plane: DataPlane, network: TwinNetwork, how: str
) -> None:
    """A stopped router, or one with its source/destination check on, forwards nothing."""
    zone = network.zones[0]
    if how == "stopped":
        network.commercial.stop_instances(InstanceIds=[zone.router_id])
    else:
        network.commercial.modify_network_interface_attribute(
            NetworkInterfaceId=zone.router_interface_id, SourceDestCheck={"Value": True}
        )
    assert working(plane) == {"tunnel-2"}
    if how == "stopped":
        assert plane.wait_until(status_is(network, 0, "DOWN"), SOON)


def test_failed_endpoint_refuses_and_says_so(plane: DataPlane, network: TwinNetwork) -> None:
    """A refusing endpoint interface refuses connections and shows in DescribeVpcEndpoints; with both
    zones refusing the endpoint has failed; healing restores it."""

    def endpoint_state() -> str:
        (endpoint,) = network.commercial.describe_vpc_endpoints()["VpcEndpoints"]
        return str(endpoint["State"])

    plane.faults.refuse("endpoint-1")
    with pytest.raises(ConnectionRefusedError):
        answers(plane, "tunnel-1")
    assert answers(plane, "tunnel-2")
    assert endpoint_state() == "partial"
    plane.faults.refuse("endpoint-2")
    assert endpoint_state() == "failed"
    plane.faults.heal("all")
    assert endpoint_state() == "available"
    assert working(plane) == BOTH


def test_slow_tunnel_delays_its_path(plane: DataPlane) -> None:
    """A slowed connection adds its delay to its own path's round trip, and to no other."""
    plane.faults.slow("tunnel-1", 80)
    assert [report.delay_milliseconds for report in plane.reports()] == [80, 0]
    assert working(plane) == BOTH


def test_unknown_or_unfit_targets_are_refused(plane: DataPlane) -> None:
    """A mistyped target is answered with the known ones, and a fault that makes no sense is refused."""
    with pytest.raises(UnknownTarget, match=r"tunnel-3.*tunnel-1, tunnel-1:1.*endpoint-2"):
        plane.faults.cut("tunnel-3")
    with pytest.raises(FaultNotApplicable, match="tunnel-1"):
        plane.faults.refuse("tunnel-1")
    with pytest.raises(FaultNotApplicable, match="0"):
        plane.faults.slow("tunnel-1", 0)
    assert plane.faults.in_force() == {}


def test_metrics_tell_what_telemetry_tells(plane: DataPlane, network: TwinNetwork) -> None:
    """AWS/VPN datapoints by VpnId have minimum 0 with a tunnel down, maximum 0 with both; bytes are
    counted on the connection that carried them."""
    metrics = cloudwatch_backends[twin_network.ACCOUNT_ID][GOVCLOUD.region]

    def samples(metric: str, zone: int) -> list[float]:
        dimensions = {("VpnId", network.zones[zone].connection_id)}
        data: list[Any] = list(metrics.metric_data)
        return [
            datum.value
            for datum in data
            if (datum.namespace, datum.name) == ("AWS/VPN", metric)
            and {(d.name, d.value) for d in datum.dimensions} == dimensions
        ]

    plane.faults.cut("tunnel-1:1")
    plane.faults.cut("tunnel-2")
    assert plane.wait_until(status_is(network, 0, "UP", "DOWN"), SOON)
    assert plane.wait_until(status_is(network, 1, "DOWN"), SOON)
    counts = [len(samples("TunnelState", zone)) for zone in (0, 1)]
    assert answers(plane, "tunnel-1")
    assert plane.wait_until(
        lambda _: all(len(samples("TunnelState", z)) >= counts[z] + 2 for z in (0, 1)), SOON
    )
    assert set(samples("TunnelState", 0)[counts[0] :]) == {0.0, 1.0}
    assert set(samples("TunnelState", 1)[counts[1] :]) == {0.0}
    assert plane.wait_until(lambda _: sum(samples("TunnelDataOut", 0)) == 1.0, SOON)
    assert plane.wait_until(lambda _: sum(samples("TunnelDataIn", 0)) == 1.0, SOON)
