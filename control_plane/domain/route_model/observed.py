"""Everything that a snapshot says, by id, and how its malformed parts are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from control_plane.domain.route_model.addresses import Address, Prefix
from control_plane.domain.route_model.facts import (
    Attachment,
    Instance,
    NatGateway,
    NetworkAcl,
    NetworkInterface,
    Peering,
    SecurityGroup,
    Subnet,
    TransitGateway,
    Vpc,
    VpcEndpoint,
    VpnConnection,
    VpnGateway,
)
from control_plane.domain.route_model.snapshot import InvalidSnapshot, Json, Snapshot
from control_plane.domain.route_model.tables import RouteTable

Fact = TypeVar("Fact")

GONE = ("deleted", "terminated")


@dataclass
class Facts:
    """All facts of a snapshot, by id."""

    vpcs: dict[str, Vpc] = field(default_factory=dict)
    subnets: dict[str, Subnet] = field(default_factory=dict)
    interfaces: dict[str, NetworkInterface] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    # internet gateway → VPCs it is attached to
    internet_gateways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    egress_only_gateways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    nat_gateways: dict[str, NatGateway] = field(default_factory=dict)
    vpn_gateways: dict[str, VpnGateway] = field(default_factory=dict)
    customer_gateways: dict[str, Address | None] = field(default_factory=dict)
    vpn_connections: dict[str, VpnConnection] = field(default_factory=dict)
    peerings: dict[str, Peering] = field(default_factory=dict)
    transit_gateways: dict[str, TransitGateway] = field(default_factory=dict)
    # (transit gateway, attachment) → that gateway's view of it
    attachments: dict[tuple[str, str], Attachment] = field(default_factory=dict)
    endpoints: dict[str, VpcEndpoint] = field(default_factory=dict)
    prefix_lists: dict[str, tuple[Prefix, ...]] = field(default_factory=dict)
    security_groups: dict[str, SecurityGroup] = field(default_factory=dict)
    acls: dict[str, NetworkAcl] = field(default_factory=dict)
    acl_of_subnet: dict[str, str] = field(default_factory=dict)
    default_acl: dict[str, str] = field(default_factory=dict)
    tables: dict[str, RouteTable] = field(default_factory=dict)
    main_table: dict[str, str] = field(default_factory=dict)
    table_of_subnet: dict[str, str] = field(default_factory=dict)
    # internet or virtual private gateway → its (edge) route table
    table_of_gateway: dict[str, str] = field(default_factory=dict)
    # transit gateway route table → attachments that propagate into it what no listing shows
    unlisted: dict[str, list[Attachment]] = field(default_factory=dict)
    # VPC → an internet gateway that its routes name
    routed_gateways: dict[str, str] = field(default_factory=dict)
    observed: frozenset[str] = frozenset()
    not_observed: tuple[str, ...] = ()


def each(
    snapshot: Snapshot, kind: str, key: str, reader: Callable[[Json], Fact]
) -> dict[str, Fact]:
    """All items of a kind by the id that `key` holds, save deleted ones; `reader` turns one into a fact."""
    found: dict[str, Fact] = {}
    for item in snapshot.items(kind):
        if str(item.get("State", "")).lower() in GONE:
            continue
        with place(kind, item.get(key)):
            found[text(item, key)] = checked(reader(item))
    return found


def text(item: Json, key: str) -> str:
    """The text under a key; raises KeyError when it is missing and TypeError when it is no text."""
    value = item[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}, which is no text")
    return value


def checked(fact: Fact) -> Fact:
    """The fact, when each of its names is text (or None where one may be absent); raises TypeError when not."""
    kind: Any = type(fact)
    for name, optional in _names(kind):
        value = getattr(fact, name)
        for one in value if isinstance(value, tuple) else (value,):
            if not (isinstance(one, str) or (one is None and optional)):
                raise TypeError(f"{name} is {one!r}, which is no text")
    return fact


@cache
def _names(kind: type[Any]) -> tuple[tuple[str, bool], ...]:
    """The fields of a kind of fact that hold text or tuples of text, and whether None may stand there."""
    if not is_dataclass(kind):
        return ()
    return tuple(
        (one.name, "None" in str(one.type))
        for one in fields(kind)
        if set(re.findall(r"\w+", str(one.type))) <= {"tuple", "str", "None"}
    )


class place:
    """Turns what a malformed item raises into an InvalidSnapshot that names it."""

    def __init__(self, kind: str, identity: object) -> None:
        self.kind, self.identity = kind, identity

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        place = f"{self.kind} {self.identity}" if self.identity else self.kind
        if isinstance(error, KeyError):
            raise InvalidSnapshot(place, f"has no {error.args[0]}") from None
        if isinstance(error, (TypeError, ValueError, AttributeError)):
            raise InvalidSnapshot(place, f"malformed: {error}") from None


def state_of(item: Json, key: str) -> str:
    """The lower-case `State` of a nested object such as `CidrBlockState`; empty where it is not shown."""
    return str((item.get(key) or {}).get("State", "")).lower()


def note(facts: Facts, missing: str) -> None:
    """Remember something that the snapshot lacks and an answer may depend on."""
    if missing not in facts.not_observed:
        facts.not_observed = (*facts.not_observed, missing)
