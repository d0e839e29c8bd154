"""Reading many links at once: as few calls as batching and pagination allow.

A link is found by what its stack has registered in Parameter Store: which state machine remedies it and which
table holds its state. Nothing here probes or describes more than the
links' own tunnels, endpoints and required routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from control_plane.adapters.aws import AwsSession, calling
from control_plane.adapters.items import from_item, link_key, to_item
from control_plane.adapters.lease import SKEW_ALLOWANCE_MS
from control_plane.adapters.snapshot import pages
from control_plane.domain.documents import Document, parse_json
from control_plane.domain.history import LinkHistory
from control_plane.domain.topology import LinkId, SideName, TableKind, Topology
from control_plane.errors import InvalidDocument
from control_plane.settings import REGISTRATIONS, parameter_name

# Limits of one call: ssm:GetParameters, dynamodb:BatchGetItem and BatchWriteItem, EC2's values of one filter.
_NAMES_A_CALL, _ITEMS_A_CALL, _WRITES_A_CALL, _VALUES_A_FILTER = 10, 100, 25, 200
_ROUNDS_FOR_UNPROCESSED = 5


class InvalidRegistration(InvalidDocument):
    """A link's stack registered itself with something else than the fields of `Registration`."""

    document = "registration"


class Registration(Document):
    """Where a link's control plane is."""

    link_id: LinkId
    state_machine_arn: str
    state_table: str


@dataclass(frozen=True, slots=True)
class StoredState:
    """What Twinspan stores of one link, as far as a sweep asks for it; see `Glance`."""

    history: LinkHistory
    lease_holder: str | None
    lease_ends_at: datetime | None
    open_plan: bool
    waits_for_operator: str | None


class Fleet:
    """The links of one account and region."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def registrations(self) -> list[Registration]:
        """Every link whose stack has registered itself, by name.

        Raises:
            InvalidRegistration: naming the field.
        """
        found = []
        with calling("ssm:GetParametersByPath"):
            paginator = self._session.client("ssm").get_paginator("get_parameters_by_path")
            for page in paginator.paginate(Path=REGISTRATIONS):
                found += [
                    parse_json(Registration, one["Value"], InvalidRegistration)
                    for one in page["Parameters"]
                ]
        return sorted(found, key=lambda registration: registration.link_id)

    def documents(self, link_ids: Iterable[str]) -> dict[tuple[str, str], str]:
        """The text of each link's topology, policy and routing config, by (link, document)."""
        wanted = {
            parameter_name(link, document): (link, document)
            for link in link_ids
            for document in ("topology", "policy", "routing-config")
        }
        found: dict[tuple[str, str], str] = {}
        for names in _batches(wanted, _NAMES_A_CALL):
            with calling("ssm:GetParameters"):
                answer = self._session.client("ssm").get_parameters(Names=names)
            found |= {wanted[one["Name"]]: one["Value"] for one in answer["Parameters"]}
        return found

    def states(self, registrations: Sequence[Registration]) -> dict[str, StoredState]:
        """What is stored of each link."""
        found: dict[str, StoredState] = {}
        for table in sorted({one.state_table for one in registrations}):
            links = [one.link_id for one in registrations if one.state_table == table]
            items = self._items(table, [key for link in links for key in _keys(link)])
            found |= {link: _stored(link, items) for link in links}
        return found

    def ringing(self, prefix: str) -> list[str]:
        """Names of the alarms that begin so and are in ALARM."""
        found = []
        with calling("cloudwatch:DescribeAlarms"):
            paginator = self._session.client("cloudwatch").get_paginator("describe_alarms")
            for page in paginator.paginate(
                AlarmNamePrefix=prefix,
                StateValue="ALARM",
                AlarmTypes=["MetricAlarm", "CompositeAlarm"],
            ):
                for kind in ("MetricAlarms", "CompositeAlarms"):
                    found += [alarm["AlarmName"] for alarm in page.get(kind, ())]
        return sorted(found)

    def remember(self, seen: Mapping[Registration, tuple[str, ...]], now: datetime) -> None:
        """Store when each link was glanced at and why it needs a run, for whoever asks for its status."""
        for table in sorted({one.state_table for one in seen}):
            puts = [
                {"PutRequest": {"Item": to_item(_glanced(one.link_id, reasons, now))}}
                for one, reasons in seen.items()
                if one.state_table == table
            ]
            for batch in _batches(puts, _WRITES_A_CALL):
                with calling("dynamodb:BatchWriteItem"):
                    # What is left unprocessed is written by the next sweep, a minute later.
                    self._session.client("dynamodb").batch_write_item(RequestItems={table: batch})

    def _items(
        self, table: str, keys: list[dict[str, str]]
    ) -> dict[tuple[str, str], dict[str, Any]]:
        found: dict[tuple[str, str], dict[str, Any]] = {}
        client = self._session.client("dynamodb")
        for batch in _batches(keys, _ITEMS_A_CALL):
            asked = {table: {"Keys": [to_item(key) for key in batch], "ConsistentRead": True}}
            for _ in range(_ROUNDS_FOR_UNPROCESSED):
                with calling("dynamodb:BatchGetItem"):
                    answer = client.batch_get_item(RequestItems=asked)
                for raw in answer["Responses"].get(table, ()):
                    row = from_item(raw)
                    found[row["pk"], row["sk"]] = row
                asked = answer.get("UnprocessedKeys") or {}
                if not asked:
                    break
        return found


def describe_parts(ec2: Any, side: SideName, topologies: Sequence[Topology]) -> dict[str, Any]:
    """Tunnels, endpoints and required routes of these links on one side, in the kinds of a snapshot.

    By filters, not by ids: one id that is gone would fail a call for all. A kind that no link needs is not
    asked for.

    Raises:
        AwsUnavailable, AwsRefused: nothing can be said of this side.
    """
    paths = [path for topology in topologies for path in topology.paths]
    routes = [route for path in paths for route in path.required_routes if route.side is side]
    found: dict[str, Any] = {}
    if side is SideName.GOVCLOUD:
        connections = [path.vpn_connection_id for path in paths if path.vpn_connection_id]
        if connections:
            found["VpnConnections"] = _filtered(
                ec2, "describe_vpn_connections", "VpnConnections", "vpn-connection-id", connections
            )
    else:
        endpoints = [path.vpc_endpoint_id for path in paths if path.vpc_endpoint_id]
        if endpoints:
            found["VpcEndpoints"] = _filtered(
                ec2, "describe_vpc_endpoints", "VpcEndpoints", "vpc-endpoint-id", endpoints
            )
    tables = [route.table_id for route in routes if route.table_kind is TableKind.VPC]
    if tables:
        found["RouteTables"] = _filtered(
            ec2, "describe_route_tables", "RouteTables", "route-table-id", tables
        )
    transit = [route for route in routes if route.table_kind is TableKind.TRANSIT_GATEWAY]
    for table in dict.fromkeys(route.table_id for route in transit):
        destinations = sorted({route.destination for route in transit if route.table_id == table})
        with calling("ec2:SearchTransitGatewayRoutes"):
            answer = ec2.search_transit_gateway_routes(
                TransitGatewayRouteTableId=table,
                Filters=[{"Name": "route-search.exact-match", "Values": destinations}],
            )
        rows = [{"TransitGatewayRouteTableId": table, **row} for row in answer["Routes"]]
        found.setdefault("TransitGatewayRoutes", []).extend(rows)
    return found


def _filtered(ec2: Any, operation: str, kind: str, name: str, wanted: Iterable[str]) -> list[Any]:
    return [
        row
        for batch in _batches(dict.fromkeys(wanted), _VALUES_A_FILTER)
        for row in pages(ec2, operation, kind, Filters=[{"Name": name, "Values": batch}])
    ]


def _glanced(link: str, reasons: Sequence[str], now: datetime) -> dict[str, Any]:
    """Under a key of its own kind, so that the sweep needs no right to write what runs depend on."""
    return {
        "pk": f"GLANCE#{link}",
        "sk": "LATEST",
        "at": now.isoformat(),
        "reasons": [reason[:300] for reason in reasons[:10]],
    }


def _keys(link: str) -> list[dict[str, str]]:
    return [link_key(link, "LEASE"), link_key(link, "HISTORY"), link_key(link, "PLAN")]


def _stored(link: str, items: Mapping[tuple[str, str], Mapping[str, Any]]) -> StoredState:
    lease, history, plan = (items.get((key["pk"], key["sk"]), {}) for key in _keys(link))
    ends_ms = lease.get("expires_ms")
    ends_at = None
    if ends_ms is not None:
        ends_at = _EPOCH + timedelta(milliseconds=int(ends_ms) + SKEW_ALLOWANCE_MS)
    return StoredState(
        history=LinkHistory.model_validate_json(history["document"]) if history else LinkHistory(),
        lease_holder=lease.get("holder"),
        lease_ends_at=ends_at,
        open_plan=plan.get("status") == "open",
        waits_for_operator=lease.get("kept_because"),
    )


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _batches(wanted: Iterable[Any], size: int) -> Iterator[list[Any]]:
    remaining = iter(wanted)
    while batch := list(islice(remaining, size)):
        yield batch
