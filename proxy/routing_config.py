"""The routing config: which paths exist, which one is active, who may use what.

The contract between control plane and proxy, owned by its consumer. Published in SSM as
`/twinspan/{link}/routing-config`, at most 4,096 bytes of JSON. A document that is wrong in any field is
refused whole, with the field and the reason; values are never echoed.
"""

from __future__ import annotations

import ipaddress
from functools import cached_property
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

MAXIMUM_BYTES = 4096

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
RoutingMethod = Literal["vpn", "internet"]


class InvalidRoutingConfig(ValueError):
    """The document cannot be used; the message is `field: reason`."""


class PathConfig(BaseModel):
    """One way to reach the service. A peer address outside `peer_networks` is not on this path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    routing_method: RoutingMethod
    endpoint_url: str
    peer_networks: tuple[str, ...] = Field(min_length=1)
    state: Literal["enabled", "excluded"] = "enabled"
    excluded_reason: str | None = None

    @field_validator("endpoint_url")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if any(character <= " " or character > "~" for character in value):
            raise ValueError("must be printable ASCII without spaces")
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise ValueError("must be a URL with a valid port") from None
        if port == 0:
            raise ValueError("must be a URL with a valid port")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https URL with a host")
        if "@" in parts.netloc:
            raise ValueError("must not carry credentials")
        if parts.path not in ("", "/") or "?" in value or "#" in value:
            raise ValueError("must have no path, query or fragment")
        return value.removesuffix("/")

    @field_validator("peer_networks")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, item in enumerate(value):
            try:
                ipaddress.ip_network(item)
            except ValueError:
                raise ValueError(f"item {position} is not a CIDR without host bits") from None
        return value

    @cached_property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The peer networks, parsed."""
        return tuple(ipaddress.ip_network(item) for item in self.peer_networks)

    def matches(self, peer_ip: str) -> bool:
        """Whether a socket whose peer is `peer_ip` (an address, not a name) runs over this path."""
        address = ipaddress.ip_address(peer_ip)
        return any(address in network for network in self.networks)


class RoutingConfig(BaseModel):
    """One published generation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1]
    link_id: Name
    generation: int = Field(ge=1, strict=True)
    active_path: Name
    paths: tuple[PathConfig, ...] = Field(min_length=1)
    data_classes: dict[Name, tuple[RoutingMethod, ...]]
    published_at: AwareDatetime
    published_by: str
    reason: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [path.name for path in self.paths]
        if len(set(names)) != len(names):
            raise ValueError("paths: a name is used twice")
        active = self.path(self.active_path)
        if active is None or active.state != "enabled":
            raise ValueError("active_path: must name an enabled path")
        if "default" not in self.data_classes:
            raise ValueError('data_classes: the class "default" is required')
        return self

    def path(self, name: str) -> PathConfig | None:
        """The path of this name, if there is one."""
        return next((path for path in self.paths if path.name == name), None)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a published document.

        Raises:
            InvalidRoutingConfig: `field: reason` of the first problem.
        """
        if len(text.encode(errors="replace")) > MAXIMUM_BYTES:
            raise InvalidRoutingConfig(f"document: larger than {MAXIMUM_BYTES} bytes")
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            reason = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "value_error" and not problem["loc"]:
                raise InvalidRoutingConfig(reason) from None  # a joint rule names its field itself
            field = ".".join(str(part) for part in problem["loc"]) or "document"
            raise InvalidRoutingConfig(f"{field}: {reason}") from None

    def to_json(self) -> str:
        """The canonical compact document, keys in the order of the model."""
        return self.model_dump_json(exclude_none=True)
