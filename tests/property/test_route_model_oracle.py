"""The model against a brute-force oracle that shares no code with it: longest prefix, priority, and the way back.

The oracle reads the describe output itself, with `ipaddress` and linear scans, and knows one transit gateway with VPCs on it.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.domain.route_model import Change, Network, Outcome, Snapshot
from control_plane.domain.route_model.addresses import (
    Prefix,
    PrefixMap,
    parse_address,
    parse_prefix,
)

# -- prefix maps -------------------------------------------------------------------------------------------------------

prefixes_4 = st.builds(
    lambda value, length: ipaddress.ip_network((value >> (32 - length) << (32 - length), length)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
prefixes_6 = st.builds(
    lambda value, length: ipaddress.ip_network((value >> (128 - length) << (128 - length), length)),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
networks = st.one_of(prefixes_4, prefixes_6)


def inside(data: st.DataObject, network: Any) -> Any:
    """Some address of a network, so that look-ups hit often."""
    return network[data.draw(st.integers(0, network.num_addresses - 1))]


@given(st.lists(networks, min_size=1, max_size=30), st.data())
def test_longest_prefix_match_agrees_with_a_linear_scan(
    present: list[Any], data: st.DataObject
) -> None:
    """For any set of networks of both versions, look-up and the order of matches are those of a scan."""
    table: PrefixMap[str] = PrefixMap()
    for network in present:
        table[parse_prefix(str(network))] = str(network)
    address = inside(data, data.draw(st.sampled_from(present)))
    matching = sorted(
        {one for one in present if address.version == one.version and address in one},
        key=lambda one: -one.prefixlen,
    )
    asked = parse_address(str(address))
    assert list(table.matches(asked)) == [str(one) for one in matching]
    assert table.longest(asked) == str(matching[0])
    assert len(table) == len(set(present))


@given(networks)
def test_prefixes_survive_their_text(network: Any) -> None:
    """Parsing and printing are inverse, in both versions, and agree with `ipaddress` on the ends."""
    prefix = parse_prefix(str(network))
    assert ipaddress.ip_network(str(prefix)) == network
    assert str(prefix.first) == str(network.network_address)
    assert ipaddress.ip_address(str(prefix.last)) == network.broadcast_address


@given(networks, networks)
def test_overlap_agrees_with_ipaddress(first: Any, second: Any) -> None:
    """Coverage and overlap are those of `ipaddress`."""
    if first.version != second.version:
        assert not parse_prefix(str(first)).overlaps(parse_prefix(str(second)))
        return
    assert parse_prefix(str(first)).overlaps(parse_prefix(str(second))) == first.overlaps(second)
    assert parse_prefix(str(first)).covers(parse_prefix(str(second))) == second.subnet_of(first)


# -- route priority in one VPC table --------------------------------------------------------------------------------------

LOCAL = "10.0.0.0/16"
TARGETS = {"static": "igw-1", "list": "vgw-9", "propagated": "vgw-1"}
destinations = st.sampled_from(
    [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.1.0/25",
        "52.0.0.0/8",
        "52.1.0.0/16",
        "52.1.2.0/24",
        "52.1.2.3/32",
    ]
)
table_rows = st.lists(
    st.tuples(
        destinations,
        st.sampled_from(sorted(TARGETS)),
        st.sampled_from(["active", "blackhole", "filtered"]),
    ),
    max_size=12,
    unique_by=lambda row: row[:2],
)
addresses = st.sampled_from(
    [
        "10.0.0.7",
        "10.0.1.7",
        "10.0.200.7",
        "10.9.9.9",
        "52.1.2.3",
        "52.1.2.4",
        "52.1.9.9",
        "52.9.9.9",
        "9.9.9.9",
    ]
)


def expected_row(rows: list[tuple[str, str, str]], address: str) -> tuple[str, str] | None:
    """By AWS's text: most specific; local over any propagated; then static, prefix list, propagated."""
    where = ipaddress.ip_address(address)
    in_vpc = where in ipaddress.ip_network(LOCAL)
    best: tuple[int, int, str, str] | None = None
    everything = [*rows, (LOCAL, "local", "active")]
    for destination, kind, state in everything:
        network = ipaddress.ip_network(destination)
        if where not in network or state == "filtered":
            continue
        if kind == "propagated" and in_vpc:
            continue
        order = ["local", "static", "list", "propagated"].index(kind)
        candidate = (-network.prefixlen, order, destination, kind)
        if best is None or candidate < best:
            best = candidate
    return None if best is None else (best[2], best[3])


@given(table_rows, addresses)
def test_route_priority_agrees_with_the_oracle(
    rows: list[tuple[str, str, str]], address: str
) -> None:
    """Whatever a table holds, the matched route is the one that AWS's rules name."""
    routes: list[dict[str, Any]] = [
        {"DestinationCidrBlock": LOCAL, "GatewayId": "local", "Origin": "CreateRouteTable"}
    ]
    lists = []
    for number, (destination, kind, state) in enumerate(rows):
        route: dict[str, Any] = {
            "GatewayId": TARGETS[kind],
            "State": state,
            "Origin": "CreateRoute",
        }
        if kind == "list":
            lists.append({"PrefixListId": f"pl-{number}", "Cidrs": [destination]})
            route["DestinationPrefixListId"] = f"pl-{number}"
        else:
            route["DestinationCidrBlock"] = destination
        if kind == "propagated":
            route["Origin"] = "EnableVgwRoutePropagation"
        routes.append(route)
    network = Network.build(
        Snapshot.from_describe(
            {
                "Vpcs": [{"VpcId": "vpc-1", "CidrBlock": LOCAL}],
                "RouteTables": [
                    {
                        "RouteTableId": "rtb-1",
                        "VpcId": "vpc-1",
                        "Associations": [{"Main": True}],
                        "Routes": routes,
                    }
                ],
                "PrefixLists": lists,
            }
        )
    )
    table = network.table("rtb-1")
    assert table is not None
    found = table.lookup(parse_address(address))
    expected = expected_row(rows, address)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert str(found.prefix) == expected[0]
        assert found.target == ("local" if expected[1] == "local" else TARGETS[expected[1]])


# -- a whole network ---------------------------------------------------------------------------------------------------------

VPCS = 4


def describe(
    edges: list[tuple[int, int]], routes: list[tuple[int, int, bool]], zones: list[int]
) -> dict[str, Any]:
    """VPCs 0..3 (10.n.0.0/16) on one transit gateway.

    `edges`: (from, to) the table of VPC `from`'s attachment has VPC `to` propagated. `routes`: (vpc, to, blackhole) VPC
    route tables' routes to the gateway. `zones`: the zone of each VPC's attachment subnet; its host is in zone 0.
    """
    data: dict[str, Any] = {
        key: []
        for key in (
            "Vpcs",
            "Subnets",
            "RouteTables",
            "NetworkInterfaces",
            "TransitGatewayAttachments",
            "TransitGatewayVpcAttachments",
            "TransitGatewayRouteTables",
            "TransitGatewayRouteTablePropagations",
            "TransitGatewayRoutes",
        )
    }
    data["TransitGateways"] = [{"TransitGatewayId": "tgw-1"}]
    for n in range(VPCS):
        data["Vpcs"].append({"VpcId": f"vpc-{n}", "CidrBlock": f"10.{n}.0.0/16"})
        for name, net, zone in (("host", 1, 0), ("tgw", 2, zones[n])):
            data["Subnets"].append(
                {
                    "SubnetId": f"subnet-{name}-{n}",
                    "VpcId": f"vpc-{n}",
                    "CidrBlock": f"10.{n}.{net}.0/24",
                    "AvailabilityZone": f"z{zone}",
                }
            )
        data["NetworkInterfaces"].append(
            {
                "NetworkInterfaceId": f"eni-{n}",
                "VpcId": f"vpc-{n}",
                "SubnetId": f"subnet-host-{n}",
                "PrivateIpAddress": f"10.{n}.1.5",
            }
        )
        mine = [
            {
                "DestinationCidrBlock": f"10.{n}.0.0/16",
                "GatewayId": "local",
                "Origin": "CreateRouteTable",
            }
        ]
        mine += [
            {
                "DestinationCidrBlock": f"10.{to}.0.0/16",
                "TransitGatewayId": "tgw-1",
                "Origin": "CreateRoute",
                "State": "blackhole" if dead else "active",
            }
            for vpc, to, dead in routes
            if vpc == n and to != n
        ]
        data["RouteTables"].append(
            {
                "RouteTableId": f"rtb-{n}",
                "VpcId": f"vpc-{n}",
                "Associations": [{"Main": True}],
                "Routes": mine,
            }
        )
        data["TransitGatewayAttachments"].append(
            {
                "TransitGatewayAttachmentId": f"tgw-attach-{n}",
                "TransitGatewayId": "tgw-1",
                "ResourceType": "vpc",
                "ResourceId": f"vpc-{n}",
                "State": "available",
                "Association": {
                    "TransitGatewayRouteTableId": f"tgw-rtb-{n}",
                    "State": "associated",
                },
            }
        )
        data["TransitGatewayVpcAttachments"].append(
            {
                "TransitGatewayAttachmentId": f"tgw-attach-{n}",
                "TransitGatewayId": "tgw-1",
                "VpcId": f"vpc-{n}",
                "SubnetIds": [f"subnet-tgw-{n}"],
                "State": "available",
            }
        )
        data["TransitGatewayRouteTables"].append(
            {"TransitGatewayRouteTableId": f"tgw-rtb-{n}", "TransitGatewayId": "tgw-1"}
        )
    for source, to in edges:
        data["TransitGatewayRouteTablePropagations"].append(
            {
                "TransitGatewayRouteTableId": f"tgw-rtb-{source}",
                "TransitGatewayAttachmentId": f"tgw-attach-{to}",
                "State": "enabled",
            }
        )
    return data


def oracle(data: dict[str, Any], source: int, to: int) -> str:
    """Follow the documents by hand: one way only."""
    if source == to:
        return "DELIVERED"
    where = ipaddress.ip_address(f"10.{to}.1.5")
    table = next(one for one in data["RouteTables"] if one["VpcId"] == f"vpc-{source}")
    rows = [
        one for one in table["Routes"] if where in ipaddress.ip_network(one["DestinationCidrBlock"])
    ]
    rows.sort(key=lambda one: -ipaddress.ip_network(one["DestinationCidrBlock"]).prefixlen)
    if not rows:
        return "NO_ROUTE"
    if rows[0].get("State") == "blackhole":
        return "BLACKHOLE"
    zone_of = {one["SubnetId"]: one["AvailabilityZone"] for one in data["Subnets"]}
    if zone_of[f"subnet-host-{source}"] != zone_of[f"subnet-tgw-{source}"]:
        return "BLACKHOLE"
    propagated = {
        (one["TransitGatewayRouteTableId"], one["TransitGatewayAttachmentId"])
        for one in data["TransitGatewayRouteTablePropagations"]
    }
    if (f"tgw-rtb-{source}", f"tgw-attach-{to}") not in propagated:
        return "NO_ROUTE"
    if zone_of[f"subnet-host-{to}"] != zone_of[f"subnet-tgw-{to}"]:
        return "BLACKHOLE"
    return "DELIVERED"


numbers = st.integers(0, VPCS - 1)
hubs = st.builds(
    describe,
    st.lists(st.tuples(numbers, numbers), max_size=14, unique=True),
    st.lists(
        st.tuples(numbers, numbers, st.booleans()), max_size=14, unique_by=lambda row: row[:2]
    ),
    st.lists(st.sampled_from([0, 0, 0, 1]), min_size=VPCS, max_size=VPCS),
)


@given(hubs, numbers, numbers)
def test_forward_and_return_agree_with_the_oracle(
    data: dict[str, Any], source: int, to: int
) -> None:
    """On any hub of VPCs, outcome and the reply's outcome are what following the documents by hand gives."""
    trace = Network.build(Snapshot.from_describe(data)).trace(f"eni-{source}", f"10.{to}.1.5")
    assert str(trace.outcome) == oracle(data, source, to)
    assert trace.return_trace is not None
    assert str(trace.return_trace.outcome) == oracle(data, to, source)
    assert bool(trace.blocked_by) != trace.delivered_both_ways


@given(hubs, numbers, numbers, st.sampled_from(["tgw-1", None]))
def test_a_what_if_agrees_with_building_anew(
    data: dict[str, Any], table: int, to: int, after: str | None
) -> None:
    """Laying a change over the model gives the traces that a model built from changed documents gives."""
    destination = f"10.{to}.0.0/16"
    if table == to:
        return
    network = Network.build(Snapshot.from_describe(data))
    planned = network.with_changes([Change("", "vpc", f"rtb-{table}", destination, None, after)])
    rows = data["RouteTables"][table]["Routes"]
    rows[:] = [one for one in rows if one["DestinationCidrBlock"] != destination]
    if after:
        rows.append(
            {
                "DestinationCidrBlock": destination,
                "TransitGatewayId": after,
                "Origin": "CreateRoute",
                "State": "active",
            }
        )
    rebuilt = Network.build(Snapshot.from_describe(data))
    for source in range(VPCS):
        assert (
            planned.trace(f"eni-{source}", f"10.{to}.1.5").to_dict()
            == rebuilt.trace(f"eni-{source}", f"10.{to}.1.5").to_dict()
        )


@settings(max_examples=60)
@given(hubs, numbers, numbers)
def test_the_proposed_changes_are_the_fewest_and_suffice(
    data: dict[str, Any], source: int, to: int
) -> None:
    """Doing what `blocked_by` says delivers both ways, and leaving any one of them out does not."""
    trace = Network.build(Snapshot.from_describe(data)).trace(f"eni-{source}", f"10.{to}.1.5")
    if trace.delivered_both_ways:
        return
    fixes = [blocker.fix for blocker in trace.blocked_by]
    assert _after(data, fixes, source, to)
    for index in range(len(fixes)):
        assert not _after(data, fixes[:index] + fixes[index + 1 :], source, to)


def _after(data: dict[str, Any], fixes: list[str], source: int, to: int) -> bool:
    """The oracle's verdict on the documents with the fixes carried out by hand."""
    import copy

    mended = copy.deepcopy(data)
    for fix in fixes:
        words = fix.split()
        if words[:2] in (["create", "route"], ["replace", "route"]):
            table = next(one for one in mended["RouteTables"] if one["RouteTableId"] == words[-1])
            table["Routes"] = [
                one for one in table["Routes"] if one["DestinationCidrBlock"] != words[2]
            ]
            table["Routes"].append(
                {"DestinationCidrBlock": words[2], "TransitGatewayId": words[4], "State": "active"}
            )
        elif words[:3] == ["create", "static", "route"]:
            mended["TransitGatewayRouteTablePropagations"].append(
                {"TransitGatewayRouteTableId": words[-1], "TransitGatewayAttachmentId": words[5]}
            )
        elif words[:3] == ["add", "a", "subnet"]:
            number = words[-1].rpartition("-")[2]
            for subnet in mended["Subnets"]:
                if subnet["SubnetId"] == f"subnet-tgw-{number}":
                    subnet["AvailabilityZone"] = "z0"
        else:
            raise AssertionError(fix)
    return oracle(mended, source, to) == oracle(mended, to, source) == Outcome.DELIVERED


@given(st.lists(prefixes_4, min_size=1, max_size=12, unique=True), st.data())
def test_changes_over_changes_agree_with_a_fresh_table(
    present: list[Any], data: st.DataObject
) -> None:
    """Deleting and adding destinations over a table, twice, is the table that has them so."""
    from control_plane.domain.route_model.facts import Route, RouteRank
    from control_plane.domain.route_model.tables import RouteTable

    def made(network: Any) -> tuple[Prefix, Route]:
        prefix = parse_prefix(str(network))
        return prefix, Route("rtb-1", prefix, ("igw-1",), RouteRank.STATIC)

    table = RouteTable("rtb-1")
    for network in present:
        table.add(made(network)[1])
    rows = dict(made(network) for network in present)
    laid: RouteTable = table
    for _ in range(2):
        gone = data.draw(st.lists(st.sampled_from(present), unique=True, max_size=4))
        new = data.draw(st.lists(prefixes_4, unique=True, max_size=4))
        changes: dict[Prefix, tuple[Route, ...]] = {parse_prefix(str(one)): () for one in gone}
        changes |= {prefix: (route,) for prefix, route in map(made, new)}
        for prefix, routes in changes.items():
            rows.pop(prefix, None)
            if routes:
                rows[prefix] = routes[0]
        laid = laid.with_changes(changes)
    fresh = RouteTable("rtb-1")
    for route in rows.values():
        fresh.add(route)
    address = parse_address(str(inside(data, data.draw(st.sampled_from(present)))))
    assert laid.lookup(address) == fresh.lookup(address)
    assert {route.prefix for route in laid.routes()} == set(rows)
