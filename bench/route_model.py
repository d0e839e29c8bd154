"""The route model's speed, beside a straightforward linear scan with `ipaddress` in the same run.

    python -m bench.route_model [--quick]

Networks of 10, 100, 1,000 and 10,000 subnets, a route table of 50 routes each, 5 subnets to a VPC, all VPCs on one transit
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
from itertools import pairwise
from typing import Any

from control_plane.domain.route_model import Change, Flow, Network, PlanLimits, Snapshot
from control_plane.domain.route_model.addresses import Address, parse_address, parse_prefix
from control_plane.domain.route_model.facts import Route, RouteRank
from control_plane.domain.route_model.tables import RouteTable

SIZES = (10, 100, 1_000, 10_000)
ROUTES_PER_TABLE = 50
SUBNETS_PER_VPC = 5


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
                "CidrBlock": f"{_net(vpc, net)}.0/24",
                "AvailabilityZone": "z1",
            }
        )
        data["NetworkInterfaces"].append(
            {
                "NetworkInterfaceId": f"eni-{number}",
                "VpcId": f"vpc-{vpc}",
                "SubnetId": f"subnet-{number}",
                "PrivateIpAddress": f"{_net(vpc, net)}.10",
            }
        )
        data["RouteTables"].append(
            {
                "RouteTableId": f"rtb-{number}",
                "VpcId": f"vpc-{vpc}",
                "Associations": [{"SubnetId": f"subnet-{number}"}],
                "Routes": [
                    {
                        "DestinationCidrBlock": f"{_net(vpc, 0)}.0/20",
                        "GatewayId": "local",
                        "Origin": "CreateRouteTable",
                    },
                    _route("10.0.0.0/8"),
                    *(_route(prefix) for prefix in _prefixes(chance, ROUTES_PER_TABLE - 2)),
                ],
            }
        )
    return data


def _net(vpc: int, net: int) -> str:
    """The first three octets of a VPC's subnet: 16 VPCs to a /16."""
    return f"10.{vpc // 16}.{vpc % 16 * 16 + net}"


def _vpc(data: dict[str, Any], vpc: int) -> None:
    data["Vpcs"].append({"VpcId": f"vpc-{vpc}", "CidrBlock": f"{_net(vpc, 0)}.0/20"})
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
    """Processor time, so that other work on the machine counts little."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
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


def built(subnets: int) -> dict[str, float]:
    """Building one network, measured in a process of its own for the sake of its memory."""
    data = generated(subnets)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.collect()
    start = time.process_time()
    network = Network.build(Snapshot.from_describe(data))
    build = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "subnets": subnets,
        "routes": sum(1 for table in network.facts.tables.values() for _ in table.routes()),
        "build_s": build,
        "input_mib": before / 1024,
        "peak_mib": peak / 1024,
    }


def asked(sizes: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """Microseconds a question on networks of each size, in turns, so that all meet the same machine.

    Every trace crosses the transit gateway, both ways, with the filters on.
    """
    works: dict[int, dict[str, tuple[Callable[[], object], int]]] = {}
    for subnets in sizes:
        network = Network.build(Snapshot.from_describe(generated(subnets)))
        chance = random.Random(1)
        questions: list[tuple[str, str]] = []
        while len(questions) < 200:
            one, other = chance.randrange(subnets), chance.randrange(subnets)
            if one // SUBNETS_PER_VPC != other // SUBNETS_PER_VPC:
                address = network.facts.interfaces[f"eni-{other}"].addresses[0]
                questions.append((f"eni-{one}", str(address)))
        assert all(network.trace(*one).delivered_both_ways for one in questions)
        works[subnets] = _works(network, questions)
    times: dict[int, dict[str, list[float]]] = {
        subnets: {name: [] for name in work} for subnets, work in works.items()
    }
    gc.collect()
    gc.freeze()
    for _ in range(21):
        for subnets, work in works.items():
            for name, (run, count) in work.items():
                start = time.process_time()
                run()
                times[subnets][name].append((time.process_time() - start) / count * 1e6)
    return {
        subnets: {name: statistics.median(taken) for name, taken in per_name.items()}
        for subnets, per_name in times.items()
    }


def _works(
    network: Network, questions: list[tuple[str, str]]
) -> dict[str, tuple[Callable[[], object], int]]:
    source, destination = questions[0]
    table = f"rtb-{source.removeprefix('eni-')}"
    change = Change("", "vpc", table, "10.0.0.0/8", "tgw-1", None)
    limits = PlanLimits(frozenset({table}), 1)
    flows = [Flow(source, destination)]
    broken = network.with_changes([change])
    assert not network.validate([change], flows, limits).ok
    assert broken.trace(source, destination).blocked_by
    return {
        "trace_us": (lambda: [network.trace(*one) for one in questions], len(questions)),
        "what_if_us": (lambda: [network.validate([change], flows, limits) for _ in range(10)], 10),
        "explained_us": (lambda: [broken.trace(source, destination) for _ in range(10)], 10),
    }


def main() -> None:
    """Print the tables and the ratios that the targets speak of."""
    sizes = SIZES[:3] if "--quick" in sys.argv else SIZES
    print(
        "Look-ups in one table: the model, a linear scan with ipaddress, and their ratio (target 50)"
    )
    for routes in (50, 1_000):
        print(f"  {routes:5} routes  {_rounded(lookups(routes))}")
    print("Building, 50 routes a table, each in a process of its own (target: linear, < 2048 MiB)")
    context = multiprocessing.get_context("spawn")
    rows = []
    for subnets in sizes:
        with context.Pool(1) as pool:
            rows.append(pool.apply(built, (subnets,)))
        print(f"  {_rounded(rows[-1])}")
    print("Questions, in turns over all sizes")
    answers = asked(sizes)
    for subnets, answer in answers.items():
        print(f"  {subnets:5} subnets  {_rounded(answer)}")
    print(
        "Growth for each tenfold network (targets: trace 1.5 at most, what-if about 1, build about 10)"
    )
    for small, large in pairwise(range(len(sizes))):
        growth = {"build": rows[large]["build_s"] / rows[small]["build_s"]}
        for name, before in answers[sizes[small]].items():
            growth[name.removesuffix("_us")] = answers[sizes[large]][name] / before
        print(f"  {sizes[small]:5} → {sizes[large]:5}  {_rounded(growth)}")


def _rounded(values: dict[str, float]) -> str:
    return json.dumps({name: round(value, 2) for name, value in values.items()})


if __name__ == "__main__":
    main()
