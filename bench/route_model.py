"""The route model's speed, beside a straightforward linear scan with `ipaddress` in the same run.

    python -m bench.route_model [--quick]

Networks of 10, 100, 1,000 and 10,000 subnets, a route table of 50 routes each, 100 subnets to a VPC, all VPCs on one transit
gateway. Ratios are what counts: times depend on the machine, ratios within one run hardly do.
"""

from __future__ import annotations

import gc
import ipaddress
import json
import multiprocessing
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from control_plane.domain.route_model import Change, Flow, Network, PlanLimits, Snapshot
from control_plane.domain.route_model.addresses import Address, parse_address, parse_prefix
from control_plane.domain.route_model.facts import Route, RouteRank
from control_plane.domain.route_model.tables import RouteTable

SIZES = (10, 100, 1_000, 10_000)
ROUTES_PER_TABLE = 50
SUBNETS_PER_VPC = 100


def generated(subnets: int) -> dict[str, Any]:
    """Describe output of a network with so many subnets."""
    chance = random.Random(subnets)
    data: dict[str, Any] = {
        kind: []
        for kind in (
            "Vpcs", "Subnets", "RouteTables", "NetworkInterfaces", "TransitGatewayAttachments",
            "TransitGatewayVpcAttachments", "TransitGatewayRouteTablePropagations",
        )
    }  # fmt: skip
    data["TransitGateways"] = [{"TransitGatewayId": "tgw-1"}]
    data["TransitGatewayRouteTables"] = [
        {"TransitGatewayRouteTableId": "tgw-rtb-1", "TransitGatewayId": "tgw-1"}
    ]
    for number in range(subnets):
        vpc, net = divmod(number, SUBNETS_PER_VPC)
        if net == 0:
            _vpc(data, vpc)
        data["Subnets"].append(
            {
                "SubnetId": f"subnet-{number}",
                "VpcId": f"vpc-{vpc}",
                "CidrBlock": f"10.{vpc}.{net}.0/24",
                "AvailabilityZone": "z1",
            }
        )
        data["NetworkInterfaces"].append(
            {
                "NetworkInterfaceId": f"eni-{number}",
                "VpcId": f"vpc-{vpc}",
                "SubnetId": f"subnet-{number}",
                "PrivateIpAddress": f"10.{vpc}.{net}.10",
            }
        )
        data["RouteTables"].append(
            {
                "RouteTableId": f"rtb-{number}",
                "VpcId": f"vpc-{vpc}",
                "Associations": [{"SubnetId": f"subnet-{number}"}],
                "Routes": [
                    {
                        "DestinationCidrBlock": f"10.{vpc}.0.0/16",
                        "GatewayId": "local",
                        "Origin": "CreateRouteTable",
                    },
                    _route("10.0.0.0/8"),
                    *(_route(prefix) for prefix in _prefixes(chance, ROUTES_PER_TABLE - 2)),
                ],
            }
        )
    return data


def _vpc(data: dict[str, Any], vpc: int) -> None:
    data["Vpcs"].append({"VpcId": f"vpc-{vpc}", "CidrBlock": f"10.{vpc}.0.0/16"})
    attachment = {
        "TransitGatewayAttachmentId": f"tgw-attach-{vpc}",
        "TransitGatewayId": "tgw-1",
        "State": "available",
    }
    data["TransitGatewayAttachments"].append(
        {
            **attachment,
            "ResourceType": "vpc",
            "ResourceId": f"vpc-{vpc}",
            "Association": {"TransitGatewayRouteTableId": "tgw-rtb-1", "State": "associated"},
        }
    )
    data["TransitGatewayVpcAttachments"].append(
        {
            **attachment,
            "VpcId": f"vpc-{vpc}",
            "SubnetIds": [f"subnet-{vpc * SUBNETS_PER_VPC}"],
        }
    )
    data["TransitGatewayRouteTablePropagations"].append(
        {
            "TransitGatewayRouteTableId": "tgw-rtb-1",
            "TransitGatewayAttachmentId": f"tgw-attach-{vpc}",
            "State": "enabled",
        }
    )


def _route(prefix: str) -> dict[str, Any]:
    return {
        "DestinationCidrBlock": prefix,
        "TransitGatewayId": "tgw-1",
        "Origin": "CreateRoute",
        "State": "active",
    }


def _prefixes(chance: random.Random, count: int) -> list[str]:
    found: set[str] = set()
    while len(found) < count:
        length = chance.choice((12, 14, 16, 18, 20, 22, 24, 26, 28))
        value = chance.randrange(2**32) >> (32 - length) << (32 - length)
        network = ipaddress.ip_network((value, length))
        if network.network_address not in ipaddress.ip_network("10.0.0.0/8"):
            found.add(str(network))
    return sorted(found)


def _median_seconds(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def lookups(routes: int) -> dict[str, float]:
    """Microseconds a look-up, by the model and by a scan with `ipaddress`, on one table of so many routes."""
    chance = random.Random(routes)
    prefixes = _prefixes(chance, routes)
    table = RouteTable("rtb-1")
    for text in prefixes:
        table.add(Route("rtb-1", parse_prefix(text), ("tgw-1",), RouteRank.STATIC))
    networks = [ipaddress.ip_network(text) for text in prefixes]
    hit = [str(chance.choice(networks)[0]) for _ in range(100)]
    asked = hit + [str(ipaddress.ip_address(chance.randrange(2**32))) for _ in range(100)]
    addresses: list[Address] = [parse_address(text) for text in asked]
    scanned = [ipaddress.ip_address(text) for text in asked]

    def scan(address: Any) -> Any:
        matching = [network for network in networks if address in network]
        return max(matching, key=lambda network: network.prefixlen, default=None)

    for one, other in zip(addresses, scanned, strict=True):
        route, network = table.lookup(one), scan(other)
        assert (str(route.prefix) if route else None) == (str(network) if network else None)
    model = _median_seconds(lambda: [table.lookup(one) for one in addresses], 50)
    linear = _median_seconds(lambda: [scan(one) for one in scanned], 3)
    result = {
        "model_us": model / len(asked) * 1e6,
        "scan_us": linear / len(asked) * 1e6,
        "ratio": linear / model,
    }
    radix = _radix_seconds(prefixes, asked)
    if radix is not None:
        result["pytricia_us"] = radix / len(asked) * 1e6
    return result


def _radix_seconds(prefixes: list[str], asked: list[str]) -> float | None:
    """The same look-ups by a compiled radix tree, where one happens to be installed."""
    try:
        import pytricia
    except ImportError:
        return None
    tree = pytricia.PyTricia(32)
    for text in prefixes:
        tree[text] = text
    return _median_seconds(lambda: [tree.get(one) for one in asked], 50)


def network_of(subnets: int) -> dict[str, float]:
    """Times and memory of one network, measured in a process of its own."""
    data = generated(subnets)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    start = time.perf_counter()
    network = Network.build(Snapshot.from_describe(data))
    build = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chance = random.Random(1)
    pairs = [(chance.randrange(subnets), chance.randrange(subnets)) for _ in range(400)]
    questions = [
        (f"eni-{one}", str(network.facts.interfaces[f"eni-{other}"].addresses[0]))
        for one, other in pairs
        if one // SUBNETS_PER_VPC != other // SUBNETS_PER_VPC or subnets <= SUBNETS_PER_VPC
    ]
    for question in questions[:50]:
        assert network.trace(*question).delivered_both_ways
    trace = _median_seconds(lambda: [network.trace(*one) for one in questions], 5)
    change = Change("", "vpc", "rtb-0", "10.0.0.0/8", "tgw-1", None)
    flow = Flow("eni-0", questions[-1][1])
    limits = PlanLimits(frozenset({"rtb-0"}), 1)
    network.validate([change], [flow], limits)
    what_if = _median_seconds(lambda: network.validate([change], [flow], limits), 15)
    broken = network.with_changes([change])
    explained = _median_seconds(lambda: broken.trace("eni-0", questions[-1][1]), 15)
    return {
        "subnets": subnets,
        "routes": subnets * ROUTES_PER_TABLE,
        "build_s": build,
        "input_mib": before / 1024,
        "peak_mib": peak / 1024,
        "trace_us": trace / len(questions) * 1e6,
        "what_if_us": what_if * 1e6,
        "explained_us": explained * 1e6,
    }


def main() -> None:
    """Print the tables and the ratios that the targets speak of."""
    sizes = SIZES[:3] if "--quick" in sys.argv else SIZES
    print("Look-ups in one table: the model, a linear scan with ipaddress, and their ratio")
    for routes in (50, 1_000):
        print(
            f"  {routes:5} routes  {json.dumps({k: round(v, 2) for k, v in lookups(routes).items()})}"
        )
    print("Whole networks, 50 routes a table, each in a process of its own")
    context = multiprocessing.get_context("spawn")
    rows = []
    for subnets in sizes:
        with context.Pool(1) as pool:
            rows.append(pool.apply(network_of, (subnets,)))
        print(f"  {json.dumps({k: round(v, 2) for k, v in rows[-1].items()})}")
    print("Growth for each tenfold network (targets: trace ≤ 1.5, what-if about 1, build about 10)")
    for small, large in zip(rows, rows[1:], strict=False):
        growth = {
            key: round(large[key] / small[key], 2)
            for key in ("trace_us", "what_if_us", "explained_us", "build_s")
        }
        print(f"  {small['subnets']:.0f} → {large['subnets']:.0f}  {json.dumps(growth)}")


if __name__ == "__main__":
    main()
