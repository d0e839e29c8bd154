"""Parts of the lab that can be shown without it: no root, no namespaces."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.ec2.models import ec2_backends

from infra.local import ec2_facts
from infra.local.ec2_facts_vpn import TunnelStatus, tunnels_of
from infra.local.faults import (
    LAB_ONLY,
    Fault,
    FaultKind,
    FaultNotApplicable,
    Faults,
    PathElements,
)
from infra.local.lab import captures, keeper, requirements
from infra.local.lab.plan import example, sections
from infra.local.lab.routing import Session, parse_sessions
from tests.embedded_cloud.twin_network import ACCOUNT_ID

REGION = "us-gov-west-1"


def faults(*, in_the_lab: bool) -> Faults:
    found = Faults(lambda: None, in_the_lab=in_the_lab)
    found.set_paths({"tunnel-1": PathElements((("vpn-1", 1), ("vpn-1", 2)), "endpoint-1")})
    return found


@pytest.mark.parametrize("kind", LAB_ONLY)
def test_faults_of_real_tunnels_are_refused_where_tunnels_are_not_real(kind: FaultKind) -> None:
    """Outside the lab, and on an endpoint inside it, such a fault is refused by name; on a lab's tunnel it is in force."""
    with pytest.raises(FaultNotApplicable, match=str(kind)):
        faults(in_the_lab=False).inject("tunnel-1", kind)
    lab = faults(in_the_lab=True)
    with pytest.raises(FaultNotApplicable, match="endpoint-1"):
        lab.inject("endpoint-1", kind)
    lab.inject("tunnel-1", kind)
    assert lab.in_force() == {"tunnel-1": Fault(kind)}


def test_what_the_machine_lacks_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not root, or lacks a package, is told exactly that."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(requirements, "_PACKAGES", {"strange-package": "/nowhere/strange-tool"})
    said = requirements.missing()
    assert said == "the lab needs root, Debian packages (strange-package)"


def test_a_router_gets_one_tunnel_of_the_rendered_configuration_word_for_word() -> None:
    """The blocks of both tunnels and both keys are found in the rendered text, as they stand there."""
    for router in example().routers:
        text = router.configuration.files["/etc/swanctl/conf.d/twinspan.conf"]
        blocks = sections(text)
        for number, tunnel in enumerate(router.tunnels, 1):
            connection = blocks[f"connections.tunnel-{number}"]
            key = blocks[f"secrets.ike-tunnel-{number}"]
            assert connection in text
            assert key in text
            assert f"remote_addrs = {tunnel.outside_peer}" in connection
            assert tunnel.pre_shared_key in key
            assert tunnel.pre_shared_key not in connection


@pytest.mark.parametrize("text", ["a {\n", "}\n", "a {\n b {\n }\n"])
def test_a_configuration_whose_braces_do_not_match_is_refused(text: str) -> None:
    """Half a configuration is an error, not a shorter one."""
    with pytest.raises(ValueError, match="closed"):
        sections(text)


def test_keys_are_in_no_repr() -> None:
    """A lab's plan can be printed."""
    plan = example()
    shown = repr(plan)
    for router in plan.routers:
        for tunnel in router.tunnels:
            assert tunnel.pre_shared_key not in shown


def test_birds_answers_become_sessions() -> None:
    """A session is established by BIRD's word, and has learned each network that a route of its brings, preferred or not."""
    protocols = (
        "2002-Name       Proto      Table      State  Since         Info\n"
        "1002-device1    Device     ---        up     07:52:36.507  \n"
        " vpn1_1     BGP        ---        up     07:52:40.829  Established   \n"
        " vpn1_2     BGP        ---        start  07:52:40.825  Active        Socket: Timed out\n"
        "0000 \n"
    )
    routes = (
        "1007-Table master4:\n"
        " 172.16.1.0/24        unicast [vpn1_1 07:52:41.806] * (100) [AS65001i]\n"
        " \tvia 169.254.21.2 on vpn1_1\n"
        "                      unicast [vpn1_2 07:52:41.804] (100) [AS65001i]\n"
        " 172.16.0.0/16        unicast [vpn1_1 07:52:41.806] * (100) [AS65001i]\n"
        "0000 \n"
    )
    zone, vpc = (ipaddress.IPv4Network(cidr) for cidr in ("172.16.1.0/24", "172.16.0.0/16"))
    assert parse_sessions(protocols, routes) == {
        "vpn1_1": Session(established=True, learned=(zone, vpc)),
        "vpn1_2": Session(established=False, learned=(zone,)),
    }


def _packet(protocol: int, ports: tuple[int, int], payload: bytes) -> bytes:
    header = bytes([0x45]) + bytes(8) + bytes([protocol]) + bytes(10)
    cooked = struct.pack(">H", 0x0800) + bytes(18)
    return cooked + header + struct.pack(">HHHH", *ports, 0, 0) + payload


def _capture(file: Path, *packets: bytes) -> captures.Captured:
    content = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 276)
    for packet in packets:
        content += struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet
    file.write_bytes(content)
    return captures.read(file)


def test_captured_packets_are_told_apart(tmp_path: Path) -> None:
    """IKE on either port, ESP in UDP, keepalives and everything else are counted by what they are, and markers found."""
    found = _capture(
        tmp_path / "wire.pcap",
        _packet(17, (500, 500), b"ike"),
        _packet(17, (4500, 4500), b"\0\0\0\0ike"),
        _packet(17, (4500, 4500), b"\x12\x34\x56\x78esp"),
        _packet(17, (4500, 4500), b"\xff"),
        _packet(17, (5353, 53), b"a secret name"),
        _packet(6, (443, 50000), b""),
    )
    assert found.kinds == {
        "IKE": 2,
        "ESP": 1,
        "keepalive": 1,
        "UDP 5353 to 53": 1,
        "IP protocol 6": 1,
    }
    assert found.holds(b"secret")
    assert not found.holds(b"public")


def test_a_running_lab_is_no_leftover(tmp_path: Path) -> None:
    """A lab whose keeper lives is left alone; a record of a process id that was used again is not taken for it."""
    import json
    import os

    alive, dead = tmp_path / "alive", tmp_path / "dead"
    own = [os.getpid(), keeper.start_time(os.getpid())]
    for directory, process in ((alive, own), (dead, [own[0], int(own[1] or 0) + 1])):
        directory.mkdir()
        record = {
            "keeper": process,
            "daemons": [process] if directory is dead else [],
            "namespaces": [],
        }
        (directory / keeper.RECORD).write_text(json.dumps(record))
    assert keeper.remove_leftovers(tmp_path) == ["dead"]
    assert alive.exists()
    assert not dead.exists()


@pytest.fixture
def ec2() -> Iterator[Any]:
    ec2_facts.install()
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


def test_what_a_real_session_learned_is_what_aws_says(ec2: Any) -> None:
    """Telemetry counts the routes of each tunnel's own session, and none of a tunnel that is down."""
    gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    customer = ec2.create_customer_gateway(Type="ipsec.1", BgpAsn=65001, PublicIp="192.0.2.1")
    connection = ec2.create_vpn_connection(
        Type="ipsec.1",
        CustomerGatewayId=customer["CustomerGateway"]["CustomerGatewayId"],
        TransitGatewayId=gateway,
    )["VpnConnection"]
    backend = ec2_backends[ACCOUNT_ID][REGION]
    first, second = tunnels_of(backend.vpn_connections[connection["VpnConnectionId"]])
    first.learned = tuple(
        ipaddress.IPv4Network(cidr) for cidr in ("172.16.1.0/24", "172.16.0.0/16")
    )
    second.learned = first.learned[:1]
    first.report(TunnelStatus.UP)

    def counts() -> list[int]:
        (found,) = ec2.describe_vpn_connections()["VpnConnections"]
        return [tunnel["AcceptedRouteCount"] for tunnel in found["VgwTelemetry"]]

    assert counts() == [2, 0]
    second.report(TunnelStatus.UP)
    assert counts() == [2, 1]
    first.learned = ()
    assert counts() == [0, 1]
