"""A snapshot: what EC2's `describe_*` calls answered, for one or more accounts, regions and partitions.

It solves one problem: describe output arrives in many wrappings (one merged document, one per side, a folder of
AWS CLI outputs, Terraform-style exports with grouped transit gateway tables) and the model wants one list per
kind of resource. It does not judge what it holds; `reading` does. It does not guarantee that the parts were taken
at the same moment: EC2 offers no consistent read over several calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from control_plane.errors import InvalidDocument

Json = dict[str, Any]


class InvalidSnapshot(InvalidDocument):
    """A snapshot is malformed or contradicts itself; `field` names the file, resource or key."""

    document = "snapshot"


# Kinds an answer may depend on, and so reports as `not_observed` when a snapshot lacks them.
EXPECTED_KINDS = (
    "Vpcs",
    "Subnets",
    "RouteTables",
    "NetworkInterfaces",
    "Instances",
    "InternetGateways",
    "NatGateways",
    "VpnGateways",
    "CustomerGateways",
    "VpnConnections",
    "TransitGateways",
    "TransitGatewayAttachments",
    "TransitGatewayVpcAttachments",
    "TransitGatewayRouteTables",
    "TransitGatewayRouteTableAssociations",
    "TransitGatewayRouteTablePropagations",
    "TransitGatewayRoutes",
    "TransitGatewayPeeringAttachments",
    "VpcPeeringConnections",
    "VpcEndpoints",
    "PrefixLists",
    "SecurityGroups",
    "NetworkAcls",
    "Addresses",
)
# Read when present, and never missed: a route to one is understood without it.
_OPTIONAL_KINDS = ("EgressOnlyInternetGateways", "TransitGatewayPrefixListReferences")

# Other names under which the same lists are met.
_ALIASES = {
    "Reservations": "Instances",
    "ManagedPrefixLists": "PrefixLists",
    "PrefixListEntries": "PrefixLists",
    "ManagedPrefixListEntries": "PrefixLists",
    "TransitGatewayPropagations": "TransitGatewayRouteTablePropagations",
    "TransitGatewayAssociations": "TransitGatewayRouteTableAssociations",
    "TransitGatewayStaticRoutes": "TransitGatewayRoutes",
}
# Outputs of calls about *one* table or list, whose id is not in the output: the file's name has to tell it.
_ABOUT_ONE = {
    "Associations": ("TransitGatewayRouteTableAssociations", "TransitGatewayRouteTableId"),
    "Routes": ("TransitGatewayRoutes", "TransitGatewayRouteTableId"),
    "TransitGatewayRouteTablePropagations": (
        "TransitGatewayRouteTablePropagations",
        "TransitGatewayRouteTableId",
    ),
    "TransitGatewayPrefixListReferences": (
        "TransitGatewayPrefixListReferences",
        "TransitGatewayRouteTableId",
    ),
    "Entries": ("PrefixLists", "PrefixListId"),
}
_ID_IN_NAME = {
    "TransitGatewayRouteTableId": re.compile(r"tgw-rtb-[0-9a-zA-Z]+"),
    "PrefixListId": re.compile(r"(?<![a-z])pl-[0-9a-zA-Z]+"),
}
# Inside one item: the rows that belong to the table the item names.
_GROUPED_ROWS = (
    "Associations",
    "Routes",
    "TransitGatewayRouteTablePropagations",
    "TransitGatewayRouteTableAssociations",
    "Propagations",
)
_KINDS = frozenset(EXPECTED_KINDS) | frozenset(_OPTIONAL_KINDS)

# What identifies an item, so that one seen from two accounts (a shared gateway, a peering) is one resource.
_IDENTITY: dict[str, tuple[str, ...]] = {
    "Vpcs": ("VpcId",),
    "Subnets": ("SubnetId",),
    "RouteTables": ("RouteTableId",),
    "NetworkInterfaces": ("NetworkInterfaceId",),
    "Instances": ("InstanceId",),
    "InternetGateways": ("InternetGatewayId",),
    "EgressOnlyInternetGateways": ("EgressOnlyInternetGatewayId",),
    "NatGateways": ("NatGatewayId",),
    "VpnGateways": ("VpnGatewayId",),
    "CustomerGateways": ("CustomerGatewayId",),
    "VpnConnections": ("VpnConnectionId",),
    "TransitGateways": ("TransitGatewayId",),
    # A peering attachment has one id and is listed once by each of its two gateways.
    "TransitGatewayAttachments": ("TransitGatewayId", "TransitGatewayAttachmentId"),
    "TransitGatewayVpcAttachments": ("TransitGatewayAttachmentId",),
    "TransitGatewayRouteTables": ("TransitGatewayRouteTableId",),
    "TransitGatewayPeeringAttachments": ("TransitGatewayAttachmentId",),
    "VpcPeeringConnections": ("VpcPeeringConnectionId",),
    "VpcEndpoints": ("VpcEndpointId",),
    "PrefixLists": ("PrefixListId",),
    "SecurityGroups": ("GroupId",),
    "NetworkAcls": ("NetworkAclId",),
    "Addresses": ("PublicIp",),
}
_TABLE_ROWS = frozenset(
    {
        "TransitGatewayRouteTableAssociations",
        "TransitGatewayRouteTablePropagations",
        "TransitGatewayRoutes",
        "TransitGatewayPrefixListReferences",
    }
)


def parse_json_text(name: str, text: str) -> Any:
    """JSON from a file's text; raises InvalidSnapshot naming file, line and column."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip())
        reason = "the file is cut off" if at_end else error.msg
        place = f"{name}: line {error.lineno} column {error.colno}"
        raise InvalidSnapshot(place, f"not JSON: {reason}") from None


@dataclass(frozen=True)
class Snapshot:
    """Describe output, one list per kind of resource.

    `resources` maps a kind (`Vpcs`, `RouteTables`, ...) to its items, each as EC2 describes it. `not_observed`
    names the kinds that no part of the snapshot had, or that one side lacked (`commercial/NatGateways`), and
    lists that EC2 cut short.
    """

    resources: Mapping[str, list[Json]]
    not_observed: tuple[str, ...] = ()

    @classmethod
    def from_describe(cls, data: Mapping[str, Any]) -> Snapshot:
        """From one merged document, or from one per side (`{"govcloud": {...}, "commercial": {...}}`).

        Sides may nest (account, then region). Raises InvalidSnapshot naming the place.
        """
        return cls.from_documents([("", data)])

    @classmethod
    def from_documents(cls, documents: Iterable[tuple[str, Any]]) -> Snapshot:
        """From (name, parsed JSON) pairs, as a folder of AWS CLI outputs gives them.

        A name is a path relative to the folder: its parent is the side, its stem names the kind where the
        document is a bare list, and the table of a per-table output (`tgw-rtb-….json`).
        """
        merge = _Merge()
        for name, data in documents:
            side = name.rpartition("/")[0]
            merge.document(name, side, data)
        return merge.finish()

    def items(self, kind: str) -> list[Json]:
        """The items of a kind; empty when there are none or the kind was not observed."""
        return self.resources.get(kind, [])


@dataclass
class _Merge:
    """Gathers documents into one list per kind."""

    by_kind: dict[str, list[Json]] = field(default_factory=dict)
    by_identity: dict[tuple[str, ...], Json] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=dict)
    cut_short: list[str] = field(default_factory=list)

    def document(self, name: str, side: str, data: Any) -> None:
        place = name or "document"
        if isinstance(data, list):
            kind = _kind_of_name(name)
            if kind is None:
                raise InvalidSnapshot(place, "is a list, and its name is no kind of resource")
            data = {kind: data}
        if not isinstance(data, Mapping):
            raise InvalidSnapshot(place, "is not a JSON object of describe outputs")
        keys = [key for key in data if self._canonical(key) or key in _ABOUT_ONE]
        if not keys:
            sides = {key: value for key, value in data.items() if isinstance(value, Mapping)}
            if sides and len(sides) == len(data):
                for key, value in sides.items():
                    child = f"{side}/{key}" if side else str(key)
                    self.document(f"{name}:{key}" if name else str(key), child, value)
                return
            if name.endswith(".json") and (data or _kind_of_name(name) is None):
                return  # another service's output in the same folder
            raise InvalidSnapshot(place, "has none of the keys of EC2's describe outputs")
        self.seen.setdefault(side, set())
        for key in keys:
            self._list(name, side, key, data[key])
        if data.get("NextToken"):
            self.cut_short.append(f"{', '.join(keys)} beyond the first page of {place}")
        if data.get("AdditionalRoutesAvailable") is True:
            self.cut_short.append(f"TransitGatewayRoutes beyond the first page of {place}")

    @staticmethod
    def _canonical(key: str) -> str | None:
        kind = _ALIASES.get(key, key)
        return kind if kind in _KINDS else None

    def _list(self, name: str, side: str, key: str, value: Any) -> None:
        place = f"{name}: {key}" if name else key
        kind = self._canonical(key)
        owner: Json = {}
        if kind is None or (key in _ABOUT_ONE and _lacks_owner(value, _ABOUT_ONE[key][1])):
            kind, owner_key = _ABOUT_ONE[key]
            found = _ID_IN_NAME[owner_key].search(name)
            if found is None and value:
                raise InvalidSnapshot(place, f"no {owner_key} in the items or in the file's name")
            owner = {owner_key: found.group()} if found else {}
            if kind == "PrefixLists":
                value = [{"Entries": value}] if value else []
        self.seen[side].add(kind)
        rows = self.by_kind.setdefault(kind, [])
        for index, item in enumerate(_rows(place, value)):
            if not isinstance(item, Mapping):
                raise InvalidSnapshot(f"{place}[{index}]", "is not an object")
            for row in self._flatten(kind, {**owner, **item}, f"{place}[{index}]"):
                self._add(kind, f"{place}[{index}]", row, rows)

    def _flatten(self, kind: str, item: Json, place: str) -> list[Json]:
        """The rows that an item groups (a reservation's instances, a table's routes), or the item itself."""
        if kind == "Instances" and "Instances" in item and "InstanceId" not in item:
            return _objects(f"{place}.Instances", item["Instances"])
        if kind in _TABLE_ROWS:
            table = item.get("TransitGatewayRouteTableId")
            if item.get("AdditionalRoutesAvailable") is True:
                self.cut_short.append(f"TransitGatewayRoutes of {table} beyond the first page")
            for key in _GROUPED_ROWS:
                if isinstance(item.get(key), list):
                    rows = _objects(f"{place}.{key}", item[key])
                    return [{"TransitGatewayRouteTableId": table, **row} for row in rows]
        return [item]

    def _add(self, kind: str, place: str, item: Json, rows: list[Json]) -> None:
        identity = _IDENTITY.get(kind)
        if identity is None:
            rows.append(item)
            return
        parts = tuple(item.get(part) for part in identity)
        if parts[-1] is None:
            raise InvalidSnapshot(place, f"has no {identity[-1]}")
        key = (kind, *map(str, parts))
        known = self.by_identity.get(key)
        if known is None:
            self.by_identity[key] = item
            rows.append(item)
            return
        if kind == "PrefixLists" and "Cidr" in item:
            known.setdefault("Entries", []).append({"Cidr": item["Cidr"]})
            return
        # The owner of a shared resource sees more of it than the others: keep what either has.
        for field_name, value in item.items():
            if value not in (None, "", [], {}) and known.get(field_name) in (None, "", [], {}):
                known[field_name] = value

    def finish(self) -> Snapshot:
        if not self.seen:
            raise InvalidSnapshot("document", "no describe output was found")
        anywhere = set().union(*self.seen.values())
        # What either call tells is not missing when the other one was made.
        associations = self.by_kind.get("TransitGatewayAttachments", [])
        if any("Association" in item for item in associations):
            anywhere.add("TransitGatewayRouteTableAssociations")
        missing = [kind for kind in EXPECTED_KINDS if kind not in anywhere]
        for side, kinds in sorted(self.seen.items()):
            for kind in EXPECTED_KINDS:
                if kind in anywhere and kind not in kinds and side and not _partial(kinds):
                    if kind == "TransitGatewayRouteTableAssociations":
                        continue
                    missing.append(f"{side}/{kind}")
        return Snapshot(self.by_kind, (*missing, *self.cut_short))


def _partial(kinds: set[str]) -> bool:
    """Whether this part holds no network of its own, such as a folder with one kind of output."""
    return "Vpcs" not in kinds and "Subnets" not in kinds


def _kind_of_name(name: str) -> str | None:
    stem = name.rpartition("/")[2].removesuffix(".json")
    flat = re.sub(r"[^a-z]", "", stem.lower().removeprefix("describe-"))
    return next((kind for kind in (*_KINDS, *_ALIASES) if kind.lower() == flat), None)


def _lacks_owner(value: Any, owner_key: str) -> bool:
    rows = value if isinstance(value, list) else []
    return bool(rows) and all(isinstance(row, Mapping) and owner_key not in row for row in rows)


def _objects(place: str, value: Any) -> list[Json]:
    if not isinstance(value or [], list) or not all(isinstance(one, dict) for one in value or []):
        raise InvalidSnapshot(place, "is not a list of objects")
    return [dict(one) for one in value or []]


def _rows(place: str, value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):  # {"tgw-rtb-1": [rows]}
        rows: list[Any] = []
        for key, items in value.items():
            for item in items if isinstance(items, list) else [items]:
                if not isinstance(item, Mapping):
                    raise InvalidSnapshot(f"{place}.{key}", "is not a list of objects")
                rows.append({"TransitGatewayRouteTableId": key, **item})
        return rows
    raise InvalidSnapshot(place, "is not a list")
