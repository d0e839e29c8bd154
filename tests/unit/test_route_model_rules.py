"""AWS's forwarding rules, one row per case: getting the rule wrong gives another answer.

Each topology is a function; each row names the rule, asks one question and states outcome and hops that must appear, in
order. The rules' sources stand beside the code that keeps them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.unit.route_model_language import (
    ANYTHING,
    Cloud,
    assert_outcome,
    assert_passes,
    propagated,
    route,
    rule,
)


@dataclass(frozen=True)
class Case:
    rule: str
    topology: Callable[[], Cloud]
    source: str
    destination: str
    outcome: str
    passes: tuple[str, ...] = ()
    returns: str | None = None
    how: dict[str, Any] = field(default_factory=dict)


NO_FILTERS = {"filters": False}


def priorities() -> Cloud:
    """One subnet's table with routes that compete."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16", "10.9.0.0/16")
    cloud.subnet("subnet-a", "vpc-a", "10.0.1.0/24").subnet("subnet-b", "vpc-a", "10.0.2.0/24")
    cloud.subnet("subnet-fw", "vpc-a", "10.0.3.0/24").subnet(
        "subnet-second", "vpc-a", "10.9.1.0/24"
    )
    cloud.interface("eni-a", "subnet-a", "10.0.1.5", instance="i-a", public="3.3.3.1")
    cloud.interface("eni-b", "subnet-b", "10.0.2.5", instance="i-b")
    cloud.interface("eni-second", "subnet-second", "10.9.1.5")
    cloud.interface("eni-fw", "subnet-fw", "10.0.3.5", instance="i-fw", check=False)
    cloud.internet_gateway("igw-1", "vpc-a").vpn_gateway("vgw-1", "vpc-a")
    cloud.vpn("vpn-1", "vgw-1", static=("192.168.0.0/16", "10.0.2.0/25", "172.16.0.0/12"))
    cloud.prefix_list("pl-1", "192.168.8.0/24", "172.16.0.0/12", "52.0.0.0/8")
    cloud.table(
        "rtb-a",
        "vpc-a",
        route("0.0.0.0/0", "igw-1"),
        route("10.0.3.0/24", "eni-fw"),
        propagated("10.0.2.0/25", "vgw-1"),
        propagated("192.168.0.0/16", "vgw-1"),
        propagated("192.168.9.0/24", "vgw-1"),
        route("192.168.9.0/24", "igw-1"),
        propagated("172.16.0.0/12", "vgw-1"),
        route("pl-1", "igw-1"),
        route("52.1.0.0/16", "vgw-1", state="blackhole"),
        route("53.0.0.0/8", "vgw-1", state="filtered"),
        subnets=("subnet-a",),
    )
    cloud.table("rtb-main", "vpc-a", main=True)
    return cloud


def zones() -> Cloud:
    """Two VPCs on a transit gateway; vpc-a's attachment has a subnet in zone 1 only."""
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").vpc("vpc-b", "10.2.0.0/16")
    cloud.subnet("subnet-a1", "vpc-a", "10.1.1.0/24", zone="az1")
    cloud.subnet("subnet-a1-tgw", "vpc-a", "10.1.9.0/28", zone="az1")
    cloud.subnet("subnet-a2", "vpc-a", "10.1.2.0/24", zone="az2")
    cloud.subnet("subnet-b1", "vpc-b", "10.2.1.0/24", zone="az1")
    cloud.interface("eni-a1", "subnet-a1", "10.1.1.5", instance="i-a1")
    cloud.interface("eni-a2", "subnet-a2", "10.1.2.5", instance="i-a2")
    cloud.interface("eni-b1", "subnet-b1", "10.2.1.5", instance="i-b1")
    cloud.table("rtb-a", "vpc-a", route("10.0.0.0/8", "tgw-1"), main=True)
    cloud.table("rtb-b", "vpc-b", route("10.0.0.0/8", "tgw-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    both = ("tgw-rtb-1",)
    cloud.attach(
        "tgw-attach-a",
        "tgw-1",
        "vpc-a",
        "tgw-rtb-1",
        subnets=("subnet-a1-tgw",),
        propagates_to=both,
    )
    cloud.attach(
        "tgw-attach-b", "tgw-1", "vpc-b", "tgw-rtb-1", subnets=("subnet-b1",), propagates_to=both
    )
    return cloud


def isolated_tables() -> Cloud:
    """Association and propagation differ: a is associated with table A, which only b propagates to."""
    cloud = Cloud()
    for name, net in (("a", 1), ("b", 2), ("c", 3)):
        cloud.vpc(f"vpc-{name}", f"10.{net}.0.0/16").subnet(
            f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24"
        )
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5")
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("0.0.0.0/0", "tgw-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-a", "tgw-rtb-b")
    cloud.attach(
        "tgw-attach-a",
        "tgw-1",
        "vpc-a",
        "tgw-rtb-a",
        subnets=("subnet-a",),
        propagates_to=("tgw-rtb-b",),
    )
    cloud.attach(
        "tgw-attach-b",
        "tgw-1",
        "vpc-b",
        "tgw-rtb-b",
        subnets=("subnet-b",),
        propagates_to=("tgw-rtb-a",),
    )
    cloud.attach(
        "tgw-attach-c", "tgw-1", "vpc-c", None, subnets=("subnet-c",), propagates_to=("tgw-rtb-a",)
    )
    cloud.transit_route("tgw-rtb-a", "10.7.0.0/16")
    return cloud


def transit_priorities() -> Cloud:
    """Competing transit gateway routes, and VPN connections in several states."""
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").vpc("vpc-b", "10.2.0.0/16")
    cloud.subnet("subnet-a", "vpc-a", "10.1.1.0/24").subnet("subnet-b", "vpc-b", "10.2.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.1.1.5").interface("eni-b", "subnet-b", "10.2.1.5")
    cloud.table("rtb-a", "vpc-a", route("0.0.0.0/0", "tgw-1"), main=True)
    cloud.table("rtb-b", "vpc-b", route("0.0.0.0/0", "tgw-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    cloud.attach("tgw-attach-a", "tgw-1", "vpc-a", "tgw-rtb-1", subnets=("subnet-a",))
    cloud.attach("tgw-attach-b", "tgw-1", "vpc-b", "tgw-rtb-1", subnets=("subnet-b",))
    for name, up in (("1", 1), ("2", 2), ("down", 0), ("static", 2)):
        static = ("10.44.0.0/16",) if name == "static" else ()
        cloud.vpn(
            f"vpn-{name}", "tgw-1", customer=f"203.0.113.{len(name)}{up}", up=up, static=static
        )
        cloud.attach(f"tgw-attach-vpn-{name}", "tgw-1", f"vpn-{name}", "tgw-rtb-1")
    for prefix, targets in (
        ("192.168.0.0/16", ("tgw-attach-vpn-1",)),
        ("192.168.7.0/24", ("tgw-attach-vpn-down",)),
        ("192.168.8.0/24", ("tgw-attach-vpn-1", "tgw-attach-vpn-2")),
        ("192.168.9.0/24", ("tgw-attach-vpn-1", "tgw-attach-vpn-down")),
        ("10.2.0.0/16", ("tgw-attach-vpn-2",)),
        ("192.168.6.0/24", ("tgw-attach-vpn-1",)),
    ):
        cloud.transit_route("tgw-rtb-1", prefix, *targets, kind="propagated", resource="vpn")
    cloud.transit_route("tgw-rtb-1", "10.1.0.0/16", "tgw-attach-a", kind="propagated")
    cloud.transit_route("tgw-rtb-1", "10.2.0.0/16", "tgw-attach-b", kind="propagated")
    cloud.transit_route("tgw-rtb-1", "192.168.6.0/24", "tgw-attach-vpn-2", resource="vpn")
    cloud.transit_route("tgw-rtb-1", "192.168.5.0/24")
    return cloud


def no_ecmp() -> Cloud:
    cloud = transit_priorities()
    cloud.data["TransitGateways"][0]["Options"]["VpnEcmpSupport"] = "disable"
    return cloud


def peered_gateways() -> Cloud:
    """Two transit gateways in two Regions, peered; routes over a peering are static."""
    cloud = Cloud()
    for name, net in (("1", 1), ("2", 2)):
        cloud.vpc(f"vpc-{name}", f"10.{net}.0.0/16").subnet(
            f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24"
        )
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5")
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", f"tgw-{name}"), main=True)
        cloud.transit_gateway(f"tgw-{name}", f"tgw-rtb-{name}")
        cloud.attach(
            f"tgw-attach-vpc{name}",
            f"tgw-{name}",
            f"vpc-{name}",
            f"tgw-rtb-{name}",
            subnets=(f"subnet-{name}",),
            propagates_to=(f"tgw-rtb-{name}",),
        )
    for here, there in (("1", "2"), ("2", "1")):
        cloud.attach("tgw-attach-peer", f"tgw-{here}", f"tgw-{there}", f"tgw-rtb-{here}")
        cloud.transit_route(
            f"tgw-rtb-{here}", f"10.{there}.0.0/16", "tgw-attach-peer", resource="peering"
        )
    return cloud


def rejected_peering_of_gateways() -> Cloud:
    cloud = peered_gateways()
    for item in cloud.data["TransitGatewayAttachments"]:
        if item["ResourceType"] == "peering":
            item["State"] = "rejected"
    return cloud


def peered_vpcs() -> Cloud:
    """a - b - c peered in a row; b has an internet gateway, a NAT gateway and a VPN."""
    cloud = Cloud()
    for name, net in (("a", 1), ("b", 2), ("c", 3)):
        cloud.vpc(f"vpc-{name}", f"10.{net}.0.0/16").subnet(
            f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24"
        )
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5")
    cloud.peering("pcx-ab", "vpc-a", "vpc-b").peering("pcx-bc", "vpc-c", "vpc-b")
    cloud.peering("pcx-pending", "vpc-a", "vpc-c", status="pending-acceptance")
    cloud.internet_gateway("igw-b", "vpc-b").vpn_gateway("vgw-b", "vpc-b").vpn(
        "vpn-b", "vgw-b", static=("192.168.0.0/16",)
    )
    cloud.table(
        "rtb-a",
        "vpc-a",
        route("10.2.0.0/16", "pcx-ab"),
        route("10.3.0.0/24", "pcx-pending"),
        route("10.3.1.0/24", "pcx-ab"),
        route("192.168.0.0/16", "pcx-ab"),
        route("0.0.0.0/0", "pcx-ab"),
        main=True,
    )
    cloud.table(
        "rtb-b",
        "vpc-b",
        route("10.1.0.0/16", "pcx-ab"),
        route("10.3.0.0/16", "pcx-bc"),
        route("192.168.0.0/16", "vgw-b"),
        route("0.0.0.0/0", "igw-b"),
        main=True,
    )
    cloud.table(
        "rtb-c", "vpc-c", route("10.2.0.0/16", "pcx-bc"), route("10.1.0.0/16", "pcx-bc"), main=True
    )
    return cloud


def internet() -> Cloud:
    """Public, private behind NAT, and a table for what comes in by the internet gateway."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16", "2600:1f00:1:100::/56")
    cloud.subnet("subnet-public", "vpc-a", "10.0.0.0/24", "2600:1f00:1:100::/64")
    cloud.subnet("subnet-private", "vpc-a", "10.0.1.0/24", "2600:1f00:1:101::/64")
    cloud.subnet("subnet-closed", "vpc-a", "10.0.2.0/24")
    cloud.interface(
        "eni-public",
        "subnet-public",
        "10.0.0.5",
        "2600:1f00:1:100::5",
        public="3.3.3.1",
        instance="i-public",
    )
    cloud.interface("eni-unmapped", "subnet-public", "10.0.0.6")
    cloud.interface("eni-private", "subnet-private", "10.0.1.5", "2600:1f00:1:101::5")
    cloud.interface("eni-closed", "subnet-closed", "10.0.2.5", public="3.3.3.9")
    cloud.internet_gateway("igw-1", "vpc-a").egress_only("eigw-1", "vpc-a")
    cloud.nat("nat-1", "subnet-public", "10.0.0.9", "3.3.3.2")
    cloud.prefix_list("pl-s3", "52.216.0.0/15").endpoint("vpce-s3", "vpc-a", "Gateway")
    cloud.table(
        "rtb-public",
        "vpc-a",
        route("0.0.0.0/0", "igw-1"),
        route("::/0", "igw-1"),
        route("pl-s3", "vpce-s3"),
        subnets=("subnet-public",),
    )
    cloud.table(
        "rtb-private",
        "vpc-a",
        route("0.0.0.0/0", "nat-1"),
        route("::/0", "eigw-1"),
        route("pl-s3", "vpce-s3"),
        subnets=("subnet-private",),
    )
    cloud.table("rtb-main", "vpc-a", main=True)
    return cloud


def edge_table() -> Cloud:
    """What enters by the internet gateway for the public subnet goes through an appliance first, and back out by it."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16")
    cloud.subnet("subnet-web", "vpc-a", "10.0.0.0/24").subnet("subnet-fw", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-web", "subnet-web", "10.0.0.5", public="3.3.3.1")
    cloud.interface(
        "eni-fw", "subnet-fw", "10.0.1.5", public="3.3.3.2", check=False, instance="i-fw"
    )
    cloud.internet_gateway("igw-1", "vpc-a")
    cloud.table("rtb-edge", "vpc-a", route("10.0.0.0/24", "eni-fw"), gateways=("igw-1",))
    cloud.table("rtb-web", "vpc-a", route("0.0.0.0/0", "eni-fw"), subnets=("subnet-web",))
    cloud.table("rtb-fw", "vpc-a", route("0.0.0.0/0", "igw-1"), subnets=("subnet-fw",))
    return cloud


def edge_check_on() -> Cloud:
    cloud = edge_table()
    cloud.data["NetworkInterfaces"][1]["SourceDestCheck"] = True
    return cloud


def vpn_gateway() -> Cloud:
    """A virtual private gateway with a static and a BGP connection up, and one of each down."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5", public="3.3.3.1").vpn_gateway(
        "vgw-1", "vpc-a"
    ).vpn_gateway("vgw-loose", None)
    cloud.vpn("vpn-static", "vgw-1", static=("192.168.0.0/16",), customer="203.0.113.1")
    cloud.vpn(
        "vpn-dead",
        "vgw-1",
        static=("192.168.5.0/24", "172.20.0.0/16"),
        up=0,
        customer="203.0.113.2",
    )
    cloud.table(
        "rtb-a",
        "vpc-a",
        route("192.168.0.0/16", "vgw-1"),
        route("172.16.0.0/12", "vgw-1"),
        route("10.99.0.0/16", "vgw-loose"),
        main=True,
    )
    return cloud


def bgp_vpn() -> Cloud:
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5").vpn_gateway("vgw-1", "vpc-a")
    cloud.vpn("vpn-bgp", "vgw-1", accepted=3)
    cloud.table(
        "rtb-a",
        "vpc-a",
        route("0.0.0.0/0", "vgw-1"),
        propagated("192.168.0.0/16", "vgw-1"),
        main=True,
    )
    return cloud


def silent_bgp_vpn() -> Cloud:
    cloud = bgp_vpn()
    for tunnel in cloud.data["VpnConnections"][0]["VgwTelemetry"]:
        tunnel["AcceptedRouteCount"] = 0
    return cloud


def unlisted_bgp() -> Cloud:
    """A transit gateway whose static routes alone were listed, with a BGP connection that has accepted routes."""
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").vpc("vpc-b", "10.2.0.0/16")
    for name, net in (("a", 1), ("b", 2)):
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24")
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5")
        cloud.table(
            f"rtb-{name}",
            f"vpc-{name}",
            route("10.0.0.0/8", "tgw-1"),
            route("192.168.0.0/16", "tgw-1"),
            main=True,
        )
    both = ("tgw-rtb-1",)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1").vpn("vpn-bgp", "tgw-1", accepted=15)
    cloud.attach(
        "tgw-attach-a", "tgw-1", "vpc-a", "tgw-rtb-1", subnets=("subnet-a",), propagates_to=both
    )
    cloud.attach("tgw-attach-b", "tgw-1", "vpc-b", "tgw-rtb-1", subnets=("subnet-b",))
    cloud.attach("tgw-attach-vpn", "tgw-1", "vpn-bgp", "tgw-rtb-1", propagates_to=both)
    return cloud


def listed_bgp() -> Cloud:
    return unlisted_bgp().transit_route(
        "tgw-rtb-1", "10.1.0.0/16", "tgw-attach-a", kind="propagated"
    )


def propagating_static_vpn() -> Cloud:
    """Route propagation is on, but the only connection's tunnels are down: nothing is propagated."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5").vpn_gateway("vgw-1", "vpc-a")
    cloud.vpn("vpn-1", "vgw-1", static=("192.168.0.0/16", "10.0.1.0/25"), up=0)
    return cloud.table("rtb-a", "vpc-a", main=True, propagating=("vgw-1",))


def routers() -> Cloud:
    """Interfaces as next hops: forwarding, checked, unattached, stopped, and two that point at each other."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").vpc("vpc-b", "10.5.0.0/16")
    for name, net in (("a", 1), ("fw", 2), ("loop", 3)):
        cloud.subnet(f"subnet-{name}", "vpc-a", f"10.0.{net}.0/24")
    cloud.subnet("subnet-b", "vpc-b", "10.5.1.0/24").interface("eni-b", "subnet-b", "10.5.1.5")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5").interface(
        "eni-fw", "subnet-fw", "10.0.2.5", check=False, instance="i-fw", public="3.3.3.7"
    )
    cloud.interface("eni-checked", "subnet-fw", "10.0.2.6", instance="i-checked")
    cloud.interface("eni-loose", "subnet-fw", "10.0.2.7", status="available", check=False)
    cloud.instance("i-off", state="stopped").interface(
        "eni-off", "subnet-fw", "10.0.2.8", check=False, instance="i-off"
    )
    cloud.interface("eni-loop1", "subnet-loop", "10.0.3.5", check=False).interface(
        "eni-loop2", "subnet-loop", "10.0.3.6", check=False
    )
    cloud.peering("pcx-1", "vpc-a", "vpc-b").internet_gateway("igw-1", "vpc-a")
    cloud.table(
        "rtb-a",
        "vpc-a",
        route("0.0.0.0/0", "eni-fw"),
        route("172.16.1.0/24", "eni-checked"),
        route("172.16.2.0/24", "eni-loose"),
        route("172.16.3.0/24", "eni-off"),
        route("172.16.4.0/24", "eni-missing"),
        route("172.16.5.0/24", "eni-loop1"),
        route("172.16.6.0/24", "lgw-1"),
        route("172.16.7.0/24", "i-fw"),
        route("172.16.8.0/24", "eni-b"),
        subnets=("subnet-a",),
    )
    cloud.table("rtb-fw", "vpc-a", route("0.0.0.0/0", "igw-1"), subnets=("subnet-fw",))
    cloud.table("rtb-loop", "vpc-a", route("172.16.5.0/24", "eni-loop2"), subnets=("subnet-loop",))
    return cloud


def egress_vpc() -> Cloud:
    """Spokes reach the internet by a NAT gateway in an egress VPC (Transit Gateway guide, centralised outbound routing)."""
    cloud = Cloud().vpc("vpc-spoke", "10.1.0.0/16").vpc("vpc-egress", "10.9.0.0/16")
    cloud.subnet("subnet-spoke", "vpc-spoke", "10.1.1.0/24").subnet(
        "subnet-tgw", "vpc-egress", "10.9.0.0/28"
    ).subnet("subnet-nat", "vpc-egress", "10.9.1.0/24")
    cloud.interface("eni-spoke", "subnet-spoke", "10.1.1.5").internet_gateway("igw-1", "vpc-egress")
    cloud.nat("nat-1", "subnet-nat", "10.9.1.9", "3.3.3.2")
    cloud.table("rtb-spoke", "vpc-spoke", route("0.0.0.0/0", "tgw-1"), main=True)
    cloud.table("rtb-tgw", "vpc-egress", route("0.0.0.0/0", "nat-1"), subnets=("subnet-tgw",))
    cloud.table(
        "rtb-nat",
        "vpc-egress",
        route("0.0.0.0/0", "igw-1"),
        route("10.0.0.0/8", "tgw-1"),
        subnets=("subnet-nat",),
    )
    cloud.transit_gateway("tgw-1", "tgw-rtb-spokes", "tgw-rtb-egress")
    cloud.attach(
        "tgw-attach-spoke",
        "tgw-1",
        "vpc-spoke",
        "tgw-rtb-spokes",
        subnets=("subnet-spoke",),
        propagates_to=("tgw-rtb-egress",),
    )
    cloud.attach(
        "tgw-attach-egress", "tgw-1", "vpc-egress", "tgw-rtb-egress", subnets=("subnet-tgw",)
    )
    cloud.transit_route("tgw-rtb-spokes", "0.0.0.0/0", "tgw-attach-egress")
    return cloud


def egress_without_return() -> Cloud:
    cloud = egress_vpc()
    for table in cloud.data["RouteTables"]:
        if table["RouteTableId"] == "rtb-nat":
            table["Routes"] = [
                one for one in table["Routes"] if one["DestinationCidrBlock"] != "10.0.0.0/8"
            ]
    return cloud


def overlapping_attachments() -> Cloud:
    """Two VPCs with one CIDR on a transit gateway: the one attached first is propagated."""
    cloud = (
        Cloud()
        .vpc("vpc-late", "10.7.0.0/16")
        .vpc("vpc-early", "10.7.0.0/16")
        .vpc("vpc-a", "10.1.0.0/16")
    )
    for name, net in (("late", "10.7"), ("early", "10.7"), ("a", "10.1")):
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", f"{net}.1.0/24").interface(
            f"eni-{name}", f"subnet-{name}", f"{net}.1.5"
        )
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", "tgw-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    for name, day in (("late", "2024-02-01"), ("early", "2024-01-01"), ("a", "2024-01-01")):
        cloud.attach(
            f"tgw-attach-{name}",
            "tgw-1",
            f"vpc-{name}",
            "tgw-rtb-1",
            subnets=(f"subnet-{name}",),
            propagates_to=("tgw-rtb-1",),
            created=day,
        )
    return cloud


def interface_endpoint() -> Cloud:
    cloud = (
        Cloud()
        .vpc("vpc-a", "10.0.0.0/16")
        .subnet("subnet-a", "vpc-a", "10.0.1.0/24")
        .subnet("subnet-e", "vpc-a", "10.0.2.0/24")
    )
    cloud.interface("eni-a", "subnet-a", "10.0.1.5")
    cloud.group("sg-443", inbound=[rule("tcp", (443, 443), "10.0.0.0/16")])
    cloud.interface("eni-e", "subnet-e", "10.0.2.5", groups=("sg-443",), kind="vpc_endpoint")
    cloud.interface("eni-e2", "subnet-e", "10.0.2.6", groups=("sg-443",), kind="vpc_endpoint")
    cloud.endpoint("vpce-1", "vpc-a", "Interface", "eni-e").endpoint(
        "vpce-2", "vpc-a", "Interface", "eni-e2", state="pendingAcceptance"
    )
    cloud.table("rtb-a", "vpc-a", main=True)
    return cloud


def appliance_endpoint() -> Cloud:
    """A Gateway Load Balancer endpoint in the way out (VPC user guide, middlebox routing)."""
    cloud = (
        Cloud()
        .vpc("vpc-a", "10.0.0.0/16")
        .subnet("subnet-a", "vpc-a", "10.0.1.0/24")
        .subnet("subnet-gwlbe", "vpc-a", "10.0.2.0/24")
    )
    cloud.interface("eni-a", "subnet-a", "10.0.1.5", public="3.3.3.1").internet_gateway(
        "igw-1", "vpc-a"
    )
    cloud.endpoint("vpce-gwlb", "vpc-a", "GatewayLoadBalancer", subnets=("subnet-gwlbe",))
    cloud.table("rtb-a", "vpc-a", route("0.0.0.0/0", "vpce-gwlb"), subnets=("subnet-a",))
    cloud.table("rtb-gwlbe", "vpc-a", route("0.0.0.0/0", "igw-1"), subnets=("subnet-gwlbe",))
    cloud.table("rtb-edge", "vpc-a", route("10.0.1.0/24", "vpce-gwlb"), gateways=("igw-1",))
    return cloud


def acl_ports() -> Cloud:
    """Network ACLs that let pass 443 out and 1024-65535, 49152-65535 or nothing back."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16")
    for name, net in (("wide", 1), ("narrow", 2), ("server", 3), ("denied", 4), ("same", 5)):
        cloud.subnet(f"subnet-{name}", "vpc-a", f"10.0.{net}.0/24").interface(
            f"eni-{name}", f"subnet-{name}", f"10.0.{net}.5"
        )
    cloud.interface("eni-same2", "subnet-same", "10.0.5.6")
    cloud.table("rtb-a", "vpc-a", main=True)
    out = (100, "out", "allow", "6", "0.0.0.0/0", (443, 443))
    cloud.acl(
        "acl-open",
        "vpc-a",
        (100, "in", "allow", "-1", "0.0.0.0/0", None),
        (100, "out", "allow", "-1", "0.0.0.0/0", None),
        default=True,
    )
    cloud.acl(
        "acl-wide",
        "vpc-a",
        out,
        (100, "in", "allow", "6", "0.0.0.0/0", (1024, 65535)),
        subnets=("subnet-wide",),
    )
    cloud.acl(
        "acl-narrow",
        "vpc-a",
        out,
        (100, "in", "allow", "6", "0.0.0.0/0", (49152, 65535)),
        subnets=("subnet-narrow",),
    )
    cloud.acl(
        "acl-denied",
        "vpc-a",
        (90, "in", "deny", "6", "10.0.1.0/24", (443, 443)),
        (100, "in", "allow", "-1", "0.0.0.0/0", None),
        (100, "out", "allow", "-1", "0.0.0.0/0", None),
        subnets=("subnet-denied",),
    )
    cloud.acl("acl-closed", "vpc-a", subnets=("subnet-same",))
    return cloud


def groups() -> Cloud:
    """Security groups: references, prefix lists, several groups, outbound rules."""
    cloud = (
        Cloud()
        .vpc("vpc-a", "10.0.0.0/16")
        .subnet("subnet-a", "vpc-a", "10.0.1.0/24")
        .subnet("subnet-b", "vpc-a", "10.0.2.0/24")
    )
    cloud.table("rtb-a", "vpc-a", main=True).prefix_list("pl-1", "10.0.1.0/25")
    cloud.group("sg-client").group("sg-none").group("sg-mute", outbound=[])
    cloud.group("sg-to-server", outbound=[rule("tcp", (443, 443), "sg-server")])
    cloud.group("sg-server", inbound=[rule("tcp", (443, 443), "sg-client")], outbound=[])
    cloud.group("sg-list", inbound=[rule("tcp", (0, 65535), "pl-1")])
    cloud.group(
        "sg-udp", inbound=[rule("udp", (53, 53), "0.0.0.0/0"), rule("icmp", (8, -1), "10.0.1.0/24")]
    )
    cloud.interface("eni-client", "subnet-a", "10.0.1.5", groups=("sg-client",))
    cloud.interface("eni-high", "subnet-a", "10.0.1.200", groups=("sg-client",))
    cloud.interface("eni-stranger", "subnet-a", "10.0.1.6", groups=("sg-none",))
    cloud.interface("eni-mute", "subnet-a", "10.0.1.7", groups=("sg-mute",))
    cloud.interface("eni-to-server", "subnet-a", "10.0.1.8", groups=("sg-to-server",))
    cloud.interface("eni-server", "subnet-b", "10.0.2.5", groups=("sg-server",))
    cloud.interface("eni-list", "subnet-b", "10.0.2.6", groups=("sg-none", "sg-list"))
    cloud.interface("eni-udp", "subnet-b", "10.0.2.7", groups=("sg-udp",))
    cloud.interface("eni-neighbour", "subnet-a", "10.0.1.9", groups=("sg-none",))
    return cloud


def transit_acls(**acls: tuple[tuple[object, ...], ...]) -> Cloud:
    """Hosts a and b behind a transit gateway whose attachment in vpc-a has a subnet of its own, with a network ACL."""
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").vpc("vpc-b", "10.2.0.0/16")
    cloud.subnet("subnet-a", "vpc-a", "10.1.1.0/24").subnet("subnet-tgw", "vpc-a", "10.1.9.0/24")
    cloud.subnet("subnet-b", "vpc-b", "10.2.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.1.1.5").interface("eni-b", "subnet-b", "10.2.1.5")
    cloud.interface("eni-beside", "subnet-tgw", "10.1.9.5")
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    both = ("tgw-rtb-1",)
    for name, subnet in (("a", "subnet-tgw"), ("b", "subnet-b")):
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", "tgw-1"), main=True)
        cloud.attach(
            f"tgw-attach-{name}",
            "tgw-1",
            f"vpc-{name}",
            "tgw-rtb-1",
            subnets=(subnet,),
            propagates_to=both,
        )
    for vpc in ("vpc-a", "vpc-b"):
        cloud.acl(f"acl-open-{vpc}", vpc, *OPEN_ACL, default=True)
    return cloud.acl("acl-tgw", "vpc-a", *acls["entries"], subnets=("subnet-tgw",))


OPEN_ACL = (
    (100, "in", "allow", "-1", "0.0.0.0/0", None),
    (100, "out", "allow", "-1", "0.0.0.0/0", None),
)


def transit_acl_in() -> Cloud:
    """The attachment's subnet lets nothing of subnet-a in."""
    return transit_acls(entries=((50, "in", "deny", "-1", "10.1.1.0/24", None), *OPEN_ACL))


def transit_acl_out() -> Cloud:
    """The attachment's subnet lets nothing out to subnet-a."""
    return transit_acls(entries=((50, "out", "deny", "-1", "10.1.1.0/24", None), *OPEN_ACL))


def transit_acl_from_far() -> Cloud:
    """The attachment's subnet lets nothing of vpc-b in."""
    return transit_acls(entries=((50, "in", "deny", "-1", "10.2.0.0/16", None), *OPEN_ACL))


def default_acl() -> Cloud:
    """No subnet is associated with a network ACL: the VPC's default one applies, and it denies."""
    cloud = two_subnets()
    return cloud.acl("acl-default", "vpc-a", default=True)


def two_subnets() -> Cloud:
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").table("rtb-a", "vpc-a", main=True)
    for name, net in (("a", 1), ("b", 2)):
        cloud.subnet(f"subnet-{name}", "vpc-a", f"10.1.{net}.0/24")
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.1.{net}.5")
    return cloud


def transit_then_peering() -> Cloud:
    """A spoke reaches vpc-hub by transit gateway; vpc-hub is peered with vpc-far, and routes there."""
    cloud = Cloud()
    for name, net in (("spoke", 1), ("hub", 2), ("far", 3)):
        cloud.vpc(f"vpc-{name}", f"10.{net}.0.0/16")
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24")
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5")
    cloud.peering("pcx-1", "vpc-hub", "vpc-far").endpoint("vpce-s3", "vpc-hub", "Gateway")
    cloud.prefix_list("pl-s3", "52.216.0.0/15")
    cloud.table("rtb-spoke", "vpc-spoke", route("0.0.0.0/0", "tgw-1"), main=True)
    hub = (route("10.3.0.0/16", "pcx-1"), route("10.1.0.0/16", "tgw-1"), route("pl-s3", "vpce-s3"))
    cloud.table("rtb-hub", "vpc-hub", *hub, main=True)
    cloud.table("rtb-far", "vpc-far", route("10.0.0.0/8", "pcx-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    for name in ("spoke", "hub"):
        cloud.attach(
            f"tgw-attach-{name}", "tgw-1", f"vpc-{name}", "tgw-rtb-1", subnets=(f"subnet-{name}",)
        )
    cloud.transit_route("tgw-rtb-1", "0.0.0.0/0", "tgw-attach-hub")
    return cloud.transit_route("tgw-rtb-1", "10.1.0.0/16", "tgw-attach-spoke")


def nested_attachments() -> Cloud:
    """A VPC whose CIDR lies inside that of one attached earlier: its routes are not propagated."""
    cloud = Cloud().vpc("vpc-big", "10.7.0.0/16").vpc("vpc-small", "10.7.1.0/24")
    cloud.vpc("vpc-a", "10.1.0.0/16").transit_gateway("tgw-1", "tgw-rtb-1")
    for name, cidr, day in (
        ("small", "10.7.1.0/24", "2024-02-01"),
        ("big", "10.7.1.0/24", "2024-01-01"),
        ("a", "10.1.1.0/24", "2024-01-01"),
    ):
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", cidr)
        cloud.interface(f"eni-{name}", f"subnet-{name}", cidr.replace("0/24", "5"))
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", "tgw-1"), main=True)
        cloud.attach(
            f"tgw-attach-{name}",
            "tgw-1",
            f"vpc-{name}",
            "tgw-rtb-1",
            subnets=(f"subnet-{name}",),
            propagates_to=("tgw-rtb-1",),
            created=day,
        )
    return cloud


def partly_listed() -> Cloud:
    """The listing shows one CIDR of vpc-b and not its second, and nothing of vpc-c."""
    cloud = Cloud().transit_gateway("tgw-1", "tgw-rtb-1")
    for name, *cidrs in (
        ("a", "10.1.0.0/16"),
        ("b", "10.2.0.0/16", "10.9.0.0/16"),
        ("c", "10.3.0.0/16"),
    ):
        cloud.vpc(f"vpc-{name}", *cidrs)
        for number, cidr in enumerate(cidrs):
            net = cidr.removesuffix("0.0/16")
            cloud.subnet(f"subnet-{name}{number}", f"vpc-{name}", f"{net}1.0/24")
            cloud.interface(f"eni-{name}{number}", f"subnet-{name}{number}", f"{net}1.5")
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", "tgw-1"), main=True)
        cloud.attach(
            f"tgw-attach-{name}",
            "tgw-1",
            f"vpc-{name}",
            "tgw-rtb-1",
            subnets=(f"subnet-{name}0",),
            propagates_to=("tgw-rtb-1",),
        )
    return cloud.transit_route("tgw-rtb-1", "10.2.0.0/16", "tgw-attach-b", kind="propagated")


def version_6() -> Cloud:
    """IPv6 towards a virtual private gateway, from behind an egress-only gateway, and at an interface closed to gateways."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16", "2600:1f00:1:100::/56")
    cloud.subnet("subnet-a", "vpc-a", "10.0.1.0/24", "2600:1f00:1:101::/64")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5", "2600:1f00:1:101::5")
    cloud.vpn_gateway("vgw-1", "vpc-a").vpn("vpn-1", "vgw-1").egress_only("eigw-1", "vpc-a")
    routes = (route("2001:db8::/32", "vgw-1"), route("::/0", "eigw-1"))
    return cloud.table("rtb-a", "vpc-a", *routes, main=True)


def closed_to_gateways() -> Cloud:
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16", "2600:1f00:1:100::/56")
    cloud.subnet("subnet-a", "vpc-a", "10.0.1.0/24", "2600:1f00:1:101::/64")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5", "2600:1f00:1:101::5", DenyAllIgwTraffic=True)
    cloud.internet_gateway("igw-1", "vpc-a")
    return cloud.table("rtb-a", "vpc-a", route("::/0", "igw-1"), main=True)


def group_across_transit(**options: str) -> Cloud:
    """The receiver's group admits the sender's group, which is in another VPC on the transit gateway."""
    cloud = Cloud().vpc("vpc-a", "10.1.0.0/16").vpc("vpc-b", "10.2.0.0/16")
    cloud.group("sg-a").group("sg-b", inbound=[rule("tcp", (443, 443), "sg-a")])
    cloud.transit_gateway("tgw-1", "tgw-rtb-1", **options)
    for name, net in (("a", 1), ("b", 2)):
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", f"10.{net}.1.0/24")
        cloud.interface(f"eni-{name}", f"subnet-{name}", f"10.{net}.1.5", groups=(f"sg-{name}",))
        cloud.table(f"rtb-{name}", f"vpc-{name}", route("10.0.0.0/8", "tgw-1"), main=True)
        cloud.attach(
            f"tgw-attach-{name}",
            "tgw-1",
            f"vpc-{name}",
            "tgw-rtb-1",
            subnets=(f"subnet-{name}",),
            propagates_to=("tgw-rtb-1",),
        )
    return cloud


def group_across_referencing_transit() -> Cloud:
    return group_across_transit(SecurityGroupReferencingSupport="enable")


CASES = [
    # -- VPC route tables
    Case(
        "the local route delivers inside the VPC",
        priorities,
        "eni-a",
        "10.0.2.200",
        "NO_SUCH_HOST",
        ("vpc-a", "subnet-b"),
    ),
    Case(
        "local beats a more specific propagated route",
        priorities,
        "eni-a",
        "10.0.2.5",
        "DELIVERED",
        ("subnet-b", "eni-b"),
    ),
    Case(
        "a static route more specific than local wins",
        priorities,
        "eni-a",
        "10.0.3.5",
        "DELIVERED",
        ("eni-fw",),
    ),
    Case(
        "every CIDR of a VPC is local",
        priorities,
        "eni-a",
        "10.9.1.5",
        "DELIVERED",
        ("eni-second",),
    ),
    Case(
        "the longest prefix wins over the default route",
        priorities,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("vgw-1", "vpn-1"),
    ),
    Case(
        "static beats propagated at the same prefix",
        priorities,
        "eni-a",
        "192.168.9.1",
        "NO_ROUTE",
        ("igw-1",),
    ),
    Case(
        "a prefix list's entry beats a shorter propagated route",
        priorities,
        "eni-a",
        "192.168.8.1",
        "NO_ROUTE",
        ("igw-1",),
    ),
    Case(
        "a prefix list beats propagated at the same prefix",
        priorities,
        "eni-a",
        "172.16.3.3",
        "NO_ROUTE",
        ("igw-1",),
    ),
    Case(
        "a blackhole matches and drops, it does not fall through",
        priorities,
        "eni-a",
        "52.1.2.3",
        "BLACKHOLE",
    ),
    Case(
        "beside the blackhole its prefix list goes on",
        priorities,
        "eni-a",
        "52.2.2.3",
        "EXITS_TO_INTERNET",
        ("igw-1",),
    ),
    Case(
        "a filtered route is not installed",
        priorities,
        "eni-a",
        "53.1.2.3",
        "EXITS_TO_INTERNET",
        ("igw-1",),
    ),
    Case("an unassociated subnet uses the main table", priorities, "eni-b", "8.8.8.8", "NO_ROUTE"),
    Case(
        "an associated subnet does not use the main table",
        priorities,
        "eni-a",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
    ),
    Case(
        "an address of the VPC in no subnet reaches nobody",
        priorities,
        "eni-b",
        "10.0.77.7",
        "NO_SUCH_HOST",
        ("vpc-a",),
    ),
    # -- transit gateways
    Case(
        "a zone with an attachment subnet reaches the transit gateway",
        zones,
        "eni-a1",
        "10.2.1.5",
        "DELIVERED",
        ("tgw-attach-a", "tgw-1", "tgw-attach-b", "vpc-b", "eni-b1"),
        "DELIVERED",
    ),
    Case(
        "a zone without one does not", zones, "eni-a2", "10.2.1.5", "BLACKHOLE", ("tgw-attach-a",)
    ),
    Case(
        "nor is it reached from it",
        zones,
        "eni-b1",
        "10.1.2.5",
        "BLACKHOLE",
        ("tgw-1", "tgw-attach-a", "vpc-a"),
    ),
    Case(
        "the transit gateway's table has to know",
        zones,
        "eni-a1",
        "10.3.1.5",
        "NO_ROUTE",
        ("tgw-1",),
    ),
    Case(
        "association decides which table routes",
        isolated_tables,
        "eni-a",
        "10.2.1.5",
        "DELIVERED",
        ("tgw-1", "eni-b"),
        "DELIVERED",
    ),
    Case(
        "propagation into another table does not help",
        isolated_tables,
        "eni-b",
        "10.3.1.5",
        "NO_ROUTE",
        ("tgw-1",),
    ),
    Case(
        "one-way propagation delivers one way",
        isolated_tables,
        "eni-a",
        "10.3.1.5",
        "DELIVERED",
        ("eni-c",),
        "NO_ROUTE",
    ),
    Case(
        "an attachment with no association routes nothing",
        isolated_tables,
        "eni-c",
        "10.1.1.5",
        "NO_ROUTE",
        ("tgw-attach-c", "tgw-1"),
    ),
    Case(
        "a transit gateway blackhole drops",
        isolated_tables,
        "eni-a",
        "10.7.1.5",
        "BLACKHOLE",
        ("tgw-1",),
    ),
    Case(
        "VPC-propagated beats VPN-propagated at the same prefix",
        transit_priorities,
        "eni-a",
        "10.2.1.5",
        "DELIVERED",
        ("tgw-attach-b",),
    ),
    Case(
        "a static transit gateway route masks BGP",
        transit_priorities,
        "eni-a",
        "192.168.6.1",
        "EXITS_TO_SITE",
        ("vpn-2",),
    ),
    Case(
        "the longest prefix wins at a transit gateway, even into a dead tunnel",
        transit_priorities,
        "eni-a",
        "192.168.7.1",
        "TUNNEL_DOWN",
        ("vpn-down",),
    ),
    Case(
        "a static blackhole beats a shorter propagated route",
        transit_priorities,
        "eni-a",
        "192.168.5.1",
        "BLACKHOLE",
        ("tgw-1",),
    ),
    Case(
        "one tunnel up of two is enough",
        transit_priorities,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("vpn-1",),
        "DELIVERED",
    ),
    Case(
        "ECMP leaves out the connection that is down",
        transit_priorities,
        "eni-a",
        "192.168.9.1",
        "EXITS_TO_SITE",
        ("vpn-1",),
    ),
    Case(
        "tunnels assumed up deliver",
        transit_priorities,
        "eni-a",
        "192.168.7.1",
        "EXITS_TO_SITE",
        ("vpn-down",),
        how={"assume_tunnels_up": True},
    ),
    Case(
        "peered transit gateways carry by static routes",
        peered_gateways,
        "eni-1",
        "10.2.1.5",
        "DELIVERED",
        ("tgw-1", "tgw-attach-peer", "tgw-2", "eni-2"),
        "DELIVERED",
    ),
    Case(
        "a peering that is not available drops",
        rejected_peering_of_gateways,
        "eni-1",
        "10.2.1.5",
        "BLACKHOLE",
        ("tgw-1", "tgw-attach-peer"),
    ),
    Case(
        "of overlapping attachments the first is propagated",
        overlapping_attachments,
        "eni-a",
        "10.7.1.5",
        "DELIVERED",
        ("vpc-early", "eni-early"),
    ),
    Case(
        "an interface that shares its address is not reached by it",
        overlapping_attachments,
        "eni-a",
        "eni-late",
        "NO_SUCH_HOST",
    ),
    Case(
        "spokes leave by an egress VPC's NAT gateway, and replies come back",
        egress_vpc,
        "eni-spoke",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        (
            "tgw-attach-spoke",
            "tgw-1",
            "tgw-attach-egress",
            "vpc-egress",
            "subnet-tgw",
            "nat-1",
            "subnet-nat",
            "igw-1",
            "internet",
        ),
        "DELIVERED",
    ),
    Case(
        "the NAT gateway's own subnet needs the way back",
        egress_without_return,
        "eni-spoke",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        ("nat-1",),
        "NO_ROUTE",
    ),
    # -- VPC peering
    Case(
        "an active peering delivers both ways",
        peered_vpcs,
        "eni-a",
        "10.2.1.5",
        "DELIVERED",
        ("pcx-ab", "vpc-b", "eni-b"),
        "DELIVERED",
    ),
    Case(
        "a peering that was not accepted drops",
        peered_vpcs,
        "eni-a",
        "10.3.0.9",
        "BLACKHOLE",
        ("pcx-pending",),
    ),
    Case(
        "peering is not transitive to another VPC",
        peered_vpcs,
        "eni-a",
        "10.3.1.5",
        "NO_ROUTE",
        ("pcx-ab",),
    ),
    Case(
        "no edge-to-edge routing to the peer's internet gateway",
        peered_vpcs,
        "eni-a",
        "8.8.8.8",
        "NO_ROUTE",
        ("pcx-ab",),
    ),
    Case(
        "no edge-to-edge routing to the peer's VPN",
        peered_vpcs,
        "eni-a",
        "192.168.1.1",
        "NO_ROUTE",
        ("pcx-ab",),
    ),
    Case("nor from it", peered_vpcs, "vpn-b", "10.1.1.5", "NO_ROUTE", ("vgw-b",)),
    # -- internet
    Case(
        "a public address leaves by the internet gateway",
        internet,
        "i-public",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        ("i-public", "eni-public", "subnet-public", "vpc-a", "igw-1", "internet"),
        "DELIVERED",
    ),
    Case(
        "an interface without a public address does not",
        internet,
        "eni-unmapped",
        "8.8.8.8",
        "NO_PUBLIC_ADDRESS",
        ("igw-1",),
    ),
    Case(
        "a private subnet leaves by the NAT gateway and is answered",
        internet,
        "eni-private",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        ("nat-1", "igw-1"),
        "DELIVERED",
    ),
    Case(
        "the internet reaches a public address",
        internet,
        "internet",
        "3.3.3.1",
        "DELIVERED",
        ("internet", "igw-1", "vpc-a", "subnet-public", "eni-public", "i-public"),
        "EXITS_TO_INTERNET",
    ),
    Case(
        "a NAT gateway takes nothing unsolicited from the internet",
        internet,
        "internet",
        "3.3.3.2",
        "DENIED",
        ("igw-1", "nat-1"),
    ),
    Case("nor from a neighbour", internet, "eni-unmapped", "10.0.0.9", "DENIED", ("nat-1",)),
    Case(
        "a NAT gateway carries no other protocols",
        internet,
        "eni-private",
        "8.8.8.8",
        "DENIED",
        ("nat-1",),
        how={"protocol": 47, "port": None},
    ),
    Case("an unknown public address is nobody's", internet, "internet", "3.3.3.77", "NO_SUCH_HOST"),
    Case("the internet carries no private addresses", internet, "internet", "10.0.0.5", "NO_ROUTE"),
    Case(
        "what has no public address is not reached from the internet",
        internet,
        "internet",
        "eni-unmapped",
        "NO_PUBLIC_ADDRESS",
    ),
    Case(
        "nor does an internet gateway",
        internet,
        "eni-public",
        "192.168.1.1",
        "NO_ROUTE",
        ("igw-1",),
    ),
    Case(
        "what has a public address but no route out is reached and cannot answer",
        internet,
        "internet",
        "3.3.3.9",
        "DELIVERED",
        ("eni-closed",),
        "NO_ROUTE",
    ),
    Case(
        "between public addresses of one VPC traffic turns at the gateway",
        internet,
        "eni-public",
        "3.3.3.9",
        "DELIVERED",
        ("igw-1", "eni-closed"),
    ),
    Case(
        "a gateway endpoint beats the default route",
        internet,
        "eni-public",
        "52.216.1.1",
        "DELIVERED",
        ("vpce-s3",),
        "DELIVERED",
    ),
    Case(
        "and serves private subnets",
        internet,
        "eni-private",
        "52.217.1.1",
        "DELIVERED",
        ("vpce-s3",),
        "DELIVERED",
    ),
    Case(
        "beside its prefixes the default route goes on",
        internet,
        "eni-private",
        "52.218.1.1",
        "EXITS_TO_INTERNET",
        ("nat-1",),
    ),
    Case(
        "public IPv6 leaves by the internet gateway untranslated",
        internet,
        "eni-public",
        "2a00::1",
        "EXITS_TO_INTERNET",
        ("igw-1",),
        "DELIVERED",
    ),
    Case(
        "IPv6 leaves by the egress-only gateway",
        internet,
        "eni-private",
        "2600:4700::1111",
        "EXITS_TO_INTERNET",
        ("eigw-1", "internet"),
        "DELIVERED",
    ),
    Case("IPv4 and IPv6 routes are independent", internet, "subnet-closed", "8.8.8.8", "NO_ROUTE"),
    # -- gateway route tables and routers
    Case(
        "an edge table sends what enters through the appliance",
        edge_table,
        "internet",
        "3.3.3.1",
        "DELIVERED",
        ("igw-1", "eni-fw", "eni-web"),
        "EXITS_TO_INTERNET",
    ),
    Case(
        "an appliance with its check on does not forward",
        edge_check_on,
        "internet",
        "3.3.3.1",
        "DENIED",
        ("igw-1", "eni-fw"),
    ),
    Case(
        "a NAT instance translates what it forwards",
        routers,
        "eni-a",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        ("eni-fw", "igw-1"),
        "DELIVERED",
    ),
    Case(
        "the check is what stops a checked one",
        routers,
        "eni-a",
        "172.16.1.1",
        "DENIED",
        ("eni-checked",),
    ),
    Case(
        "an unattached interface is a blackhole, whatever the route's state says",
        routers,
        "eni-a",
        "172.16.2.1",
        "BLACKHOLE",
        ("eni-loose",),
    ),
    Case("so is a stopped instance's", routers, "eni-a", "172.16.3.1", "BLACKHOLE", ("eni-off",)),
    Case(
        "a target that was not observed is said to be unknown",
        routers,
        "eni-a",
        "172.16.4.1",
        "UNKNOWN_TARGET",
        ("eni-missing",),
    ),
    Case(
        "two routers that point at each other loop",
        routers,
        "eni-a",
        "172.16.5.1",
        "LOOP",
        ("eni-loop1", "eni-loop2"),
    ),
    Case(
        "a kind of target that is not modelled is said to be unknown",
        routers,
        "eni-a",
        "172.16.6.1",
        "UNKNOWN_TARGET",
        ("lgw-1",),
    ),
    Case(
        "an instance as target is its primary interface",
        routers,
        "eni-a",
        "172.16.7.1",
        "NO_ROUTE",
        ("eni-fw", "igw-1"),
    ),
    Case(
        "an interface of another VPC is no target",
        routers,
        "eni-a",
        "172.16.8.1",
        "BLACKHOLE",
        ("eni-b",),
    ),
    Case(
        "nobody answers at a stopped instance's address",
        routers,
        "eni-a",
        "10.0.2.8",
        "NO_SUCH_HOST",
        ("eni-off",),
    ),
    Case(
        "a Gateway Load Balancer endpoint passes on by its subnet's table",
        appliance_endpoint,
        "eni-a",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        ("vpce-gwlb", "subnet-gwlbe", "igw-1"),
        "DELIVERED",
    ),
    # -- VPN
    Case(
        "a static connection carries its static routes",
        vpn_gateway,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("vgw-1", "vpn-static", "cgw-of-vpn-static"),
        "DELIVERED",
    ),
    Case(
        "tunnel health comes before the longest prefix",
        vpn_gateway,
        "eni-a",
        "192.168.5.1",
        "EXITS_TO_SITE",
        ("vpn-static",),
    ),
    Case(
        "an active static route to a gateway whose tunnels are down does not deliver",
        vpn_gateway,
        "eni-a",
        "172.20.0.1",
        "TUNNEL_DOWN",
        ("vgw-1", "vpn-dead"),
    ),
    Case(
        "with tunnels assumed up it does",
        vpn_gateway,
        "eni-a",
        "172.20.0.1",
        "EXITS_TO_SITE",
        ("vpn-dead",),
        how={"assume_tunnels_up": True},
    ),
    Case(
        "the gateway carries only prefixes that it knows",
        vpn_gateway,
        "eni-a",
        "172.25.0.1",
        "NO_ROUTE",
        ("vgw-1",),
    ),
    Case(
        "a gateway attached elsewhere drops",
        vpn_gateway,
        "eni-a",
        "10.99.0.1",
        "BLACKHOLE",
        ("vgw-loose",),
    ),
    Case(
        "from the site into the VPC",
        vpn_gateway,
        "vpn-static",
        "10.0.1.5",
        "DELIVERED",
        ("cgw-of-vpn-static", "vpn-static", "vgw-1", "vpc-a", "eni-a"),
        "EXITS_TO_SITE",
    ),
    Case(
        "not from the site to a public address",
        vpn_gateway,
        "vpn-static",
        "3.3.3.1",
        "NO_ROUTE",
        ("vgw-1",),
    ),
    Case(
        "from site to site by the gateway (CloudHub)",
        vpn_gateway,
        "vpn-static",
        "172.20.0.1",
        "EXITS_TO_SITE",
        ("vgw-1", "vpn-dead"),
        how={"assume_tunnels_up": True},
    ),
    Case(
        "a BGP connection carries what is routed to its gateway",
        bgp_vpn,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("vpn-bgp",),
    ),
    Case(
        "one whose live tunnels accepted no route carries nothing",
        silent_bgp_vpn,
        "eni-a",
        "8.8.8.8",
        "NO_ROUTE",
        ("vgw-1",),
    ),
    Case(
        "what is routed to a gateway whose BGP routes nobody listed leaves by its connection",
        unlisted_bgp,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("tgw-1", "tgw-attach-vpn", "vpn-bgp"),
        "DELIVERED",
    ),
    Case(
        "but not what is for another VPC",
        unlisted_bgp,
        "eni-a",
        "10.2.1.5",
        "NO_ROUTE",
        ("tgw-1",),
    ),
    Case(
        "and nothing where the listing shows propagated routes",
        listed_bgp,
        "eni-a",
        "192.168.1.1",
        "NO_ROUTE",
        ("tgw-1",),
    ),
    Case(
        "a connection that is down propagates nothing to the VPC",
        propagating_static_vpn,
        "eni-a",
        "192.168.1.1",
        "NO_ROUTE",
    ),
    Case(
        "with tunnels assumed up its static routes are propagated",
        propagating_static_vpn,
        "eni-a",
        "192.168.1.1",
        "EXITS_TO_SITE",
        ("vgw-1", "vpn-1"),
        how={"assume_tunnels_up": True},
    ),
    Case(
        "and still come after the local route",
        propagating_static_vpn,
        "eni-a",
        "10.0.1.99",
        "NO_SUCH_HOST",
        how={"assume_tunnels_up": True},
    ),
    # -- endpoints
    Case(
        "an interface endpoint is reached by its interface",
        interface_endpoint,
        "eni-a",
        "10.0.2.5",
        "DELIVERED",
        ("eni-e", "vpce-1"),
        "DELIVERED",
    ),
    Case(
        "and guarded by its security group",
        interface_endpoint,
        "eni-a",
        "10.0.2.5",
        "DENIED",
        ("eni-e",),
        how={"port": 80},
    ),
    Case(
        "one that is not available answers nobody",
        interface_endpoint,
        "eni-a",
        "10.0.2.6",
        "NO_SUCH_HOST",
        ("vpce-2",),
    ),
    # -- network ACLs
    Case(
        "replies need ephemeral ports",
        acl_ports,
        "eni-wide",
        "10.0.3.5",
        "DELIVERED",
        (),
        "DELIVERED",
    ),
    Case("all of them", acl_ports, "eni-narrow", "10.0.3.5", "DELIVERED", (), "DENIED"),
    Case(
        "only the port that is let out",
        acl_ports,
        "eni-wide",
        "10.0.3.5",
        "DENIED",
        ("subnet-wide",),
        how={"port": 80},
    ),
    Case(
        "the lowest number decides", acl_ports, "eni-wide", "10.0.4.5", "DENIED", ("subnet-denied",)
    ),
    Case(
        "a deny for another port does not",
        acl_ports,
        "eni-server",
        "10.0.4.5",
        "DELIVERED",
        (),
        "DELIVERED",
    ),
    Case(
        "inside a subnet no network ACL applies",
        acl_ports,
        "eni-same",
        "10.0.5.6",
        "DELIVERED",
        ("eni-same2",),
        "DELIVERED",
    ),
    Case("between subnets it does", acl_ports, "eni-same", "10.0.3.5", "DENIED", ("subnet-same",)),
    Case(
        "filters can be left out",
        acl_ports,
        "eni-same",
        "10.0.3.5",
        "DELIVERED",
        (),
        "DELIVERED",
        NO_FILTERS,
    ),
    # -- security groups
    Case(
        "a reference admits members of the group",
        groups,
        "eni-client",
        "10.0.2.5",
        "DELIVERED",
        (),
        "DELIVERED",
    ),
    Case("and nobody else", groups, "eni-stranger", "10.0.2.5", "DENIED", ("eni-server",)),
    Case(
        "a group with no outbound rule sends nothing",
        groups,
        "eni-mute",
        "10.0.2.6",
        "DENIED",
        ("eni-mute",),
    ),
    Case(
        "an outbound reference admits the receiver's group",
        groups,
        "eni-to-server",
        "10.0.2.6",
        "DENIED",
        ("eni-to-server",),
    ),
    Case(
        "a prefix list admits its entries",
        groups,
        "eni-client",
        "10.0.2.6",
        "DELIVERED",
        (),
        "DELIVERED",
    ),
    Case("and nothing beside them", groups, "eni-high", "10.0.2.6", "DENIED", ("eni-list",)),
    Case(
        "rules are per protocol",
        groups,
        "eni-client",
        "10.0.2.7",
        "DENIED",
        (),
        how={"protocol": "tcp", "port": 53},
    ),
    Case(
        "udp",
        groups,
        "eni-client",
        "10.0.2.7",
        "DELIVERED",
        (),
        "DELIVERED",
        {"protocol": "udp", "port": 53},
    ),
    Case(
        "an ICMP type with any code",
        groups,
        "eni-client",
        "10.0.2.7",
        "DELIVERED",
        (),
        "DELIVERED",
        {"protocol": "icmp", "port": None},
    ),
    Case(
        "security groups apply inside a subnet too",
        groups,
        "eni-client",
        "10.0.1.9",
        "DENIED",
        ("eni-neighbour",),
    ),
    # -- more of the above, where two rules meet
    Case(
        "into a transit gateway the attachment subnet's inbound ACL applies",
        transit_acl_in,
        "eni-a",
        "10.2.1.5",
        "DENIED",
        ("subnet-a", "tgw-attach-a"),
        "DELIVERED",
    ),
    Case(
        "out of it its outbound ACL applies",
        transit_acl_out,
        "eni-b",
        "10.1.1.5",
        "DENIED",
        ("tgw-attach-a", "subnet-tgw"),
    ),
    Case(
        "on the way in the outbound one does not",
        transit_acl_out,
        "eni-a",
        "10.2.1.5",
        "DELIVERED",
        (),
        "DENIED",
    ),
    Case(
        "on the way out the inbound one does not",
        transit_acl_in,
        "eni-b",
        "10.1.1.5",
        "DELIVERED",
        (),
        "DENIED",
    ),
    Case(
        "a host in the attachment's own subnet is guarded by its inbound ACL",
        transit_acl_from_far,
        "eni-b",
        "10.1.9.5",
        "DENIED",
        ("subnet-tgw",),
    ),
    Case(
        "beside it only the outbound one counts",
        transit_acl_from_far,
        "eni-b",
        "10.1.1.5",
        "DELIVERED",
        ("eni-a",),
    ),
    Case(
        "an unassociated subnet uses the VPC's default ACL",
        default_acl,
        "eni-a",
        "10.1.2.5",
        "DENIED",
        ("subnet-a",),
    ),
    Case(
        "peering takes nothing that comes from beyond its VPC",
        transit_then_peering,
        "eni-spoke",
        "10.3.1.5",
        "NO_ROUTE",
        ("vpc-hub", "pcx-1"),
    ),
    Case(
        "but what comes from within it",
        transit_then_peering,
        "eni-hub",
        "10.3.1.5",
        "DELIVERED",
        ("pcx-1",),
        "DELIVERED",
    ),
    Case(
        "a gateway endpoint serves no other VPC",
        transit_then_peering,
        "eni-spoke",
        "52.216.1.1",
        "NO_ROUTE",
        ("vpc-hub", "vpce-s3"),
    ),
    Case(
        "a CIDR inside one attached earlier is not propagated",
        nested_attachments,
        "eni-a",
        "10.7.1.5",
        "DELIVERED",
        ("vpc-big", "eni-big"),
    ),
    Case(
        "a listing that shows an attachment shows all of it",
        partly_listed,
        "eni-a0",
        "10.9.1.5",
        "NO_ROUTE",
        ("tgw-1",),
    ),
    Case(
        "what it does not show of others is derived",
        partly_listed,
        "eni-a0",
        "10.3.1.5",
        "DELIVERED",
        ("tgw-attach-c",),
    ),
    Case(
        "a virtual private gateway carries no IPv6",
        version_6,
        "eni-a",
        "2001:db8::1",
        "NO_ROUTE",
        ("vgw-1",),
    ),
    Case(
        "an egress-only gateway lets nothing in unasked",
        version_6,
        "internet",
        "2600:1f00:1:101::5",
        "DENIED",
        ("eigw-1",),
    ),
    Case(
        "and answers what was asked",
        version_6,
        "eni-a",
        "2606:4700::1111",
        "EXITS_TO_INTERNET",
        ("eigw-1",),
        "DELIVERED",
    ),
    Case(
        "an interface can deny all internet gateway traffic",
        closed_to_gateways,
        "eni-a",
        "2606:4700::1111",
        "DENIED",
        ("igw-1",),
    ),
    Case(
        "in both directions",
        closed_to_gateways,
        "internet",
        "2600:1f00:1:101::5",
        "DENIED",
        ("igw-1",),
    ),
    Case(
        "groups are not referenced across a transit gateway",
        group_across_transit,
        "eni-a",
        "10.2.1.5",
        "DENIED",
        ("eni-b",),
    ),
    Case(
        "unless it supports that",
        group_across_referencing_transit,
        "eni-a",
        "10.2.1.5",
        "DELIVERED",
        (),
        "DELIVERED",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_rule(case: Case) -> None:
    """AWS's rule decides the outcome and the way of packet and reply."""
    network = case.topology().network()
    trace = assert_outcome(network, case.source, case.destination, case.outcome, **case.how)
    assert_passes(trace, *case.passes)
    if case.returns is not None:
        assert trace.return_trace is not None, trace.describe()
        assert trace.return_trace.outcome == case.returns, trace.describe()


def test_equal_cost_paths_are_all_named() -> None:
    """Two live connections with the same route are two alternatives."""
    trace = transit_priorities().network().trace("eni-a", "192.168.8.1")
    ways = [trace.hops, *(other.hops for other in trace.alternatives)]
    assert {hop.id for hops in ways for hop in hops if hop.kind == "vpn-connection"} == {
        "vpn-1",
        "vpn-2",
    }


def test_without_ecmp_there_is_one_path() -> None:
    """A transit gateway with ECMP off uses one connection."""
    assert no_ecmp().network().trace("eni-a", "192.168.8.1").alternatives == ()


def test_anything_rule_is_open() -> None:
    """The language's open group lets every protocol pass, so that routing alone decides in these tests."""
    assert ANYTHING["IpProtocol"] == "-1"
