"""A live snapshot of one side: EC2's describe calls, read-only and page by page.

What comes back is JSON: timestamps as ISO text, no secrets (a VPN connection's description holds its pre-shared keys, which
are dropped here). A kind that the caller may not describe is left out, and the route model then lists it as not observed. The
calls run beside each other, so the parts are seconds apart at most, but not of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from control_plane.adapters.aws import calling
from control_plane.errors import AwsRefused

_WORKERS = 8

# Describe operation → the key of its answer, which is also the kind's name in a snapshot.
_DESCRIBE = {
    "describe_vpcs": "Vpcs",
    "describe_subnets": "Subnets",
    "describe_route_tables": "RouteTables",
    "describe_network_interfaces": "NetworkInterfaces",
    "describe_instances": "Reservations",
    "describe_internet_gateways": "InternetGateways",
    "describe_egress_only_internet_gateways": "EgressOnlyInternetGateways",
    "describe_nat_gateways": "NatGateways",
    "describe_vpn_gateways": "VpnGateways",
    "describe_customer_gateways": "CustomerGateways",
    "describe_vpn_connections": "VpnConnections",
    "describe_transit_gateways": "TransitGateways",
    "describe_transit_gateway_attachments": "TransitGatewayAttachments",
    "describe_transit_gateway_vpc_attachments": "TransitGatewayVpcAttachments",
    "describe_transit_gateway_route_tables": "TransitGatewayRouteTables",
    "describe_transit_gateway_peering_attachments": "TransitGatewayPeeringAttachments",
    "describe_vpc_peering_connections": "VpcPeeringConnections",
    "describe_vpc_endpoints": "VpcEndpoints",
    "describe_security_groups": "SecurityGroups",
    "describe_network_acls": "NetworkAcls",
    "describe_addresses": "Addresses",
}
# Secrets and bulk that no answer needs.
_DROPPED = frozenset({"CustomerGatewayConfiguration", "PreSharedKey", "UserData", "PolicyDocument"})
_AWS_OWNED_LISTS = "com.amazonaws."


def describe_side(ec2: Any, *, not_asked: Collection[str] = ()) -> dict[str, Any]:
    """Everything the route model reads of one account and region: kind → items, JSON values only.

    `not_asked`: kinds to leave out; the route model lists them as not observed.

    Raises:
        AwsUnavailable: a call was throttled or did not get through.
        AwsRefused: not even VPCs may be described.
    """
    side: dict[str, Any] = {}
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        asked = {
            kind: pool.submit(_listed, ec2, operation, kind)
            for operation, kind in _DESCRIBE.items()
            if kind not in not_asked
        }
        asked["PrefixLists"] = pool.submit(_prefix_lists, ec2)
        for kind, future in asked.items():
            _keep(side, kind, future.result)
        tables = [
            str(table["TransitGatewayRouteTableId"])
            for table in side.get("TransitGatewayRouteTables", ())
            if table.get("State") != "deleted"
        ]
        for kind, per_table in _PER_TABLE.items():
            _keep(side, kind, partial(_of_tables, pool, per_table, ec2, tables))
    return side


def _of_tables(
    pool: ThreadPoolExecutor, call: Callable[[Any, str], list[Any]], ec2: Any, tables: list[str]
) -> list[Any]:
    return [row for rows in pool.map(partial(call, ec2), tables) for row in rows]


def _keep(side: dict[str, Any], kind: str, result: Callable[[], list[Any]]) -> None:
    try:
        side[kind] = _json(result())
    except AwsRefused:
        if kind == "Vpcs":
            raise


def _listed(ec2: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    return list(pages(ec2, operation, key, **arguments))


def pages(ec2: Any, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
    """The items of a describe call under `key`, page after page."""
    name = "".join(part.title() for part in operation.split("_"))
    with calling(f"ec2:{name}"):
        if ec2.can_paginate(operation):
            for page in ec2.get_paginator(operation).paginate(**arguments):
                yield from page.get(key, ())
            return
        yield from getattr(ec2, operation)(**arguments).get(key, ())


def _associations(ec2: Any, table_id: str) -> list[Any]:
    rows = _listed(
        ec2,
        "get_transit_gateway_route_table_associations",
        "Associations",
        TransitGatewayRouteTableId=table_id,
    )
    return [{"TransitGatewayRouteTableId": table_id, **row} for row in rows]


def _propagations(ec2: Any, table_id: str) -> list[Any]:
    rows = _listed(
        ec2,
        "get_transit_gateway_route_table_propagations",
        "TransitGatewayRouteTablePropagations",
        TransitGatewayRouteTableId=table_id,
    )
    return [{"TransitGatewayRouteTableId": table_id, **row} for row in rows]


def _routes(ec2: Any, table_id: str) -> list[Any]:
    """Active and blackhole routes. A search answers at most 1,000 and has no pages: static and propagated apart."""
    found: list[Any] = []
    for kind in ("static", "propagated"):
        with calling("ec2:SearchTransitGatewayRoutes"):
            answer = ec2.search_transit_gateway_routes(
                TransitGatewayRouteTableId=table_id,
                Filters=[
                    {"Name": "type", "Values": [kind]},
                    {"Name": "state", "Values": ["active", "blackhole"]},
                ],
            )
        rows = [{"TransitGatewayRouteTableId": table_id, **row} for row in answer["Routes"]]
        if answer.get("AdditionalRoutesAvailable"):
            rows = [
                {
                    "TransitGatewayRouteTableId": table_id,
                    "AdditionalRoutesAvailable": True,
                    "Routes": rows,
                }
            ]
        found += rows
    return found


_PER_TABLE: dict[str, Callable[[Any, str], list[Any]]] = {
    "TransitGatewayRouteTableAssociations": _associations,
    "TransitGatewayRouteTablePropagations": _propagations,
    "TransitGatewayRoutes": _routes,
}


def _prefix_lists(ec2: Any) -> list[Any]:
    """Managed prefix lists with their entries; AWS's own through the call that shows their CIDRs."""
    lists = {one["PrefixListId"]: one for one in pages(ec2, "describe_prefix_lists", "PrefixLists")}
    for one in pages(ec2, "describe_managed_prefix_lists", "PrefixLists"):
        list_id = one["PrefixListId"]
        if list_id in lists or str(one.get("PrefixListName", "")).startswith(_AWS_OWNED_LISTS):
            continue
        entries = _listed(ec2, "get_managed_prefix_list_entries", "Entries", PrefixListId=list_id)
        lists[list_id] = {**one, "Entries": entries}
    return list(lists.values())


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items() if key not in _DROPPED}
    if isinstance(value, list | tuple):
        return [_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value
