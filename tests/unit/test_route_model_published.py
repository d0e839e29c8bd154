"""Topologies that AWS publishes, with the answers that their pages state. Origins: tests/data/route_model/ORIGINS.md."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from control_plane.adapters.snapshot_files import load_snapshot
from control_plane.domain.route_model import Network
from tests.unit.route_model_language import assert_passes

DATA = Path(__file__).parent.parent / "data" / "route_model"


@dataclass(frozen=True)
class Answer:
    topology: str
    source: str
    destination: str
    outcome: str
    returns: str | None
    passes: tuple[str, ...] = ()


ROUTER, ISOLATED, SHARED = (
    f"transit-gateway-{name}" for name in ("centralized-router", "isolated-vpcs", "shared-services")
)
PEERED, EGRESS, APPLIANCE = (
    f"transit-gateway-{name}" for name in ("peering", "centralized-egress", "appliance")
)
BETWEEN, INGRESS, NAT = (
    "middlebox-between-subnets",
    "middlebox-internet-ingress",
    "public-private-nat-and-s3-endpoint",
)

ANSWERS = [
    Answer(
        ROUTER,
        "i-a1",
        "10.2.1.10",
        "DELIVERED",
        "DELIVERED",
        ("tgw-attach-a", "tgw-1", "tgw-attach-b"),
    ),
    Answer(ROUTER, "i-c1", "10.1.1.10", "DELIVERED", "DELIVERED"),
    Answer(
        ROUTER,
        "i-b1",
        "10.99.99.7",
        "EXITS_TO_SITE",
        "DELIVERED",
        ("tgw-1", "tgw-attach-vpn", "vpn-1"),
    ),
    Answer(ROUTER, "vpn-1", "10.3.1.10", "DELIVERED", "EXITS_TO_SITE"),
    Answer(ROUTER, "i-a1", "8.8.8.8", "NO_ROUTE", None, ("tgw-1",)),
    Answer(ISOLATED, "i-a1", "10.2.1.10", "NO_ROUTE", "NO_ROUTE", ("tgw-1",)),
    Answer(ISOLATED, "i-a1", "10.99.99.7", "EXITS_TO_SITE", "DELIVERED", ("vpn-1",)),
    Answer(ISOLATED, "vpn-1", "10.2.1.10", "DELIVERED", "EXITS_TO_SITE"),
    Answer(SHARED, "i-a1", "10.2.1.10", "NO_ROUTE", "NO_ROUTE", ("tgw-1",)),
    Answer(SHARED, "i-a1", "10.4.1.10", "DELIVERED", "DELIVERED", ("tgw-attach-d",)),
    Answer(SHARED, "i-d1", "10.3.1.10", "DELIVERED", "DELIVERED"),
    Answer(SHARED, "i-b1", "10.99.99.7", "EXITS_TO_SITE", "DELIVERED"),
    Answer(SHARED, "vpn-1", "10.4.1.10", "DELIVERED", "EXITS_TO_SITE"),
    Answer(PEERED, "i-a1", "10.2.1.10", "DELIVERED", "DELIVERED", ("tgw-1", "tgw-attach-b")),
    Answer(
        PEERED,
        "i-a1",
        "8.8.8.8",
        "EXITS_TO_SITE",
        "DELIVERED",
        ("tgw-1", "tgw-attach-peer", "tgw-2", "tgw-attach-vpn", "vpn-1"),
    ),
    Answer(
        EGRESS,
        "i-a1",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        "DELIVERED",
        ("tgw-1", "vpc-c", "subnet-c-tgw", "nat-c", "subnet-c-nat", "igw-c"),
    ),
    Answer(EGRESS, "i-a1", "10.2.1.10", "BLACKHOLE", "BLACKHOLE", ("tgw-1",)),
    Answer(EGRESS, "i-a1", "192.168.2.10", "BLACKHOLE", "DELIVERED", ("tgw-1",)),
    Answer(EGRESS, "internet", "3.3.3.3", "DENIED", None, ("igw-c", "nat-c")),
    Answer(
        APPLIANCE,
        "i-a1",
        "10.2.1.10",
        "DELIVERED",
        "DELIVERED",
        (
            "tgw-attach-c",
            "vpc-c",
            "subnet-c-tgw1",
            "i-fw1",
            "subnet-c-fw1",
            "tgw-attach-c",
            "tgw-attach-b",
        ),
    ),
    Answer(
        "peering-longest-prefix",
        "eni-a",
        "10.0.0.77",
        "DELIVERED",
        "DELIVERED",
        ("pcx-ab", "vpc-b", "eni-b77"),
    ),
    Answer(
        "peering-longest-prefix",
        "eni-a",
        "10.0.0.55",
        "DELIVERED",
        "DELIVERED",
        ("pcx-ac", "vpc-c", "eni-c55"),
    ),
    Answer(
        "peering-longest-prefix",
        "eni-b55",
        "172.16.0.88",
        "DELIVERED",
        "DELIVERED",
        ("pcx-ab", "eni-a"),
    ),
    Answer("route-priority", "eni-a", "172.31.1.10", "DELIVERED", "DELIVERED", ("pcx-1", "eni-p")),
    Answer("route-priority", "eni-a", "172.31.0.9", "NO_ROUTE", None, ("igw-a",)),
    Answer("route-priority", "eni-a", "9.9.9.9", "EXITS_TO_INTERNET", "DELIVERED", ("igw-a",)),
    Answer(
        INGRESS,
        "internet",
        "3.3.3.1",
        "DELIVERED",
        "EXITS_TO_INTERNET",
        ("igw-a", "i-appliance", "eni-a"),
    ),
    Answer(
        BETWEEN,
        "eni-a",
        "10.0.1.10",
        "DELIVERED",
        "DELIVERED",
        ("subnet-a", "eni-c", "i-appliance", "subnet-b", "eni-b"),
    ),
    Answer(BETWEEN, "eni-a", "10.0.2.10", "DELIVERED", "DELIVERED", ("subnet-c", "eni-c")),
    Answer(
        NAT,
        "i-app",
        "8.8.8.8",
        "EXITS_TO_INTERNET",
        "DELIVERED",
        (
            "i-app",
            "subnet-private",
            "vpc-a",
            "nat-a",
            "subnet-public",
            "vpc-a",
            "igw-a",
            "internet",
        ),
    ),
    Answer(NAT, "i-app", "52.217.1.1", "DELIVERED", "DELIVERED", ("subnet-private", "vpce-s3")),
    Answer(NAT, "i-web", "52.217.1.1", "EXITS_TO_INTERNET", "DELIVERED", ("igw-a",)),
    Answer(NAT, "internet", "i-web", "DELIVERED", "EXITS_TO_INTERNET", ("igw-a", "eni-web")),
    Answer(NAT, "internet", "i-app", "NO_PUBLIC_ADDRESS", None),
]


@cache
def network(topology: str) -> Network:
    return Network.build(load_snapshot(DATA / f"{topology}.json"))


@pytest.mark.parametrize(
    "answer", ANSWERS, ids=lambda one: f"{one.topology}: {one.source} to {one.destination}"
)
def test_published_answer(answer: Answer) -> None:
    """The model answers as the page does, both ways and by the same resources."""
    trace = network(answer.topology).trace(answer.source, answer.destination)
    assert trace.outcome == answer.outcome, trace.describe()
    back = trace.return_trace.outcome if trace.return_trace else None
    assert back == answer.returns, trace.describe()
    assert_passes(trace, *answer.passes)


def test_appliance_mode_spreads_over_both_zones() -> None:
    """In appliance mode any zone's appliance may be chosen: both are alternatives, and both deliver."""
    trace = network(APPLIANCE).trace("i-a1", "10.2.1.10")
    ways = [trace.hops, *(other.hops for other in trace.alternatives)]
    assert {hop.id for hops in ways for hop in hops if hop.id.startswith("i-fw")} == {
        "i-fw1",
        "i-fw2",
    }
    assert trace.delivered_both_ways
