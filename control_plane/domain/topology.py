"""The topology of a link: which resources make up its two sides and its paths.

Written by the deploy from the stacks' outputs, read by every step. It says what *should* be there; it
knows nothing of what is. At most 4,096 bytes as JSON, the size of a standard SSM parameter.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from control_plane.domain.documents import Document, parse_json
from control_plane.errors import InvalidTopology

LinkId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
PathName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}$")]

MAXIMUM_BYTES = 4096


class SideName(StrEnum):
    """The two sides of a link."""

    GOVCLOUD = "govcloud"
    COMMERCIAL = "commercial"


class RoutingMethod(StrEnum):
    """How a path crosses between the partitions."""

    VPN = "vpn"
    INTERNET = "internet"


class TableKind(StrEnum):
    """Which kind of route table a route lives in."""

    VPC = "vpc"
    TRANSIT_GATEWAY = "transit-gateway"


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(str(error)) from None


class Side(Document):
    """One side: its partition, account, VPC and the subnets that take part."""

    partition: str
    region: str
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    vpc_id: str
    subnet_ids: tuple[str, ...] = Field(min_length=1)
    cidr: str

    _cidr = field_validator("cidr")(_network)


class RequiredRoute(Document):
    """A route that a path needs: `destination` in `table_id` must lead to `target`."""

    side: SideName
    table_kind: TableKind = TableKind.VPC
    table_id: str
    destination: str
    target: str

    _destination = field_validator("destination")(_network)


class Path(Document):
    """A way to reach the service: the unit of failover."""

    name: PathName
    routing_method: RoutingMethod = RoutingMethod.VPN
    endpoint_url: str
    peer_networks: tuple[str, ...] = Field(min_length=1)
    vpn_connection_id: str | None = None
    vpc_endpoint_id: str | None = None
    endpoint_subnet_id: str | None = None
    endpoint_address: str | None = None
    required_routes: tuple[RequiredRoute, ...] = ()

    @field_validator("peer_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_network(item) for item in value)

    @field_validator("endpoint_url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https URL with a host")
        if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("must have no user, path, query or fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _vpn_needs_its_parts(self) -> Self:
        if self.routing_method is RoutingMethod.VPN:
            for field in ("vpn_connection_id", "vpc_endpoint_id", "endpoint_address"):
                if not getattr(self, field):
                    raise ValueError(f"a vpn path needs {field}")
        return self


class Topology(Document):
    """One link, wholly."""

    schema_version: Literal[1] = 1
    link_id: LinkId
    sides: dict[SideName, Side]
    credentials_secret_id: str
    paths: tuple[Path, ...] = Field(min_length=1)
    managed_route_tables: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if missing := set(SideName) - set(self.sides):
            raise ValueError(f"sides: missing {', '.join(sorted(missing))}")
        names = [path.name for path in self.paths]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"paths: named twice: {', '.join(sorted(twice))}")
        for path in self.paths:
            for route in path.required_routes:
                if route.table_id not in self.managed_route_tables:
                    raise ValueError(
                        f"paths: {path.name} requires a route in {route.table_id}, "
                        "which is not among managed_route_tables"
                    )
        return self

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the stored document.

        Raises:
            InvalidTopology: naming the field and the reason.
        """
        if len(text.encode()) > MAXIMUM_BYTES:
            raise InvalidTopology("document", f"larger than {MAXIMUM_BYTES} bytes")
        return parse_json(cls, text, InvalidTopology)

    def path(self, name: str) -> Path | None:
        """The path of this name, if the link has one."""
        return next((path for path in self.paths if path.name == name), None)

    @property
    def path_names(self) -> tuple[str, ...]:
        """Names in the order of the document, which is the default order of preference."""
        return tuple(path.name for path in self.paths)

    def path_of_connection(self, vpn_connection_id: str) -> Path | None:
        """The path that runs over this VPN connection."""
        return next((p for p in self.paths if p.vpn_connection_id == vpn_connection_id), None)
