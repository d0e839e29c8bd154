"""The routing config: which paths exist, which one is active, who may use what.

The contract between control plane and proxy, owned by its consumer. Published in SSM as
`/twinspan/{link}/routing-config`, at most 4,096 bytes of JSON. A document that is wrong in any field is
refused whole, with the field and the reason; values are never echoed.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

MAXIMUM_BYTES = 4096
VERIFICATION_MODEL = "twinspan.path-probe-v1:0"
"""No model at all: what probes and verifying calls ask for, which Bedrock refuses at no cost."""

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
RoutingMethod = Literal["vpn", "internet"]
ModelPattern = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._:/@+=-]*\*?$", max_length=256)]
Resend = Literal["allow", "never"]


class InvalidRoutingConfig(ValueError):
    """The document cannot be used; the message is `field: reason`."""


class PathConfig(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One way to reach the service. A peer address outside `peer_networks` is not on this path."""

    name: Name
    routing_method: RoutingMethod
    endpoint_url: str
    peer_networks: Annotated[tuple[str, ...], Meta(min_length=1)]
    state: Literal["enabled", "excluded"] = "enabled"
    excluded_reason: str | None = None

    def __post_init__(self) -> None:
        if wrong := _wrong_with_endpoint(self.endpoint_url):
            raise ValueError(f"endpoint_url: {wrong}")
        for position, item in enumerate(self.peer_networks):
            try:
                ipaddress.ip_network(item)
            except ValueError:
                raise ValueError(
                    f"peer_networks: item {position} is not a CIDR without host bits"
                ) from None
        msgspec.structs.force_setattr(self, "endpoint_url", self.endpoint_url.removesuffix("/"))

    @cached_property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """The peer networks, parsed."""
        return tuple(ipaddress.ip_network(item) for item in self.peer_networks)

    def matches(self, peer_ip: str) -> bool:
        """Whether a socket whose peer is `peer_ip` (an address, not a name) runs over this path."""
        address = ipaddress.ip_address(peer_ip)
        return any(address in network for network in self.networks)


class RoutingConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """One published generation. `of` and `from_json` check every field; the constructor checks the joint rules."""

    schema_version: Literal[1]
    link_id: Name
    generation: Annotated[int, Meta(ge=1)]
    active_path: Name
    paths: Annotated[tuple[PathConfig, ...], Meta(min_length=1)]
    data_classes: dict[Name, tuple[RoutingMethod, ...]]
    published_at: Annotated[datetime, Meta(tz=True)]
    published_by: str
    reason: str = ""
    allowed_models: tuple[ModelPattern, ...] = ()
    """Models that the policy lets through, of those that the deployment lets through; empty for all of these."""
    resend: Resend = "allow"
    """Whether the policy lets a call that was written and never answered go to the next path."""

    def __post_init__(self) -> None:
        names = [path.name for path in self.paths]
        if len(set(names)) != len(names):
            raise ValueError("paths: a name is used twice")
        active = self.path(self.active_path)
        if active is None or active.state != "enabled":
            raise ValueError("active_path: must name an enabled path")
        if "default" not in self.data_classes:
            raise ValueError('data_classes: the class "default" is required')

    def path(self, name: str) -> PathConfig | None:
        """The path of this name, if there is one."""
        return next((path for path in self.paths if path.name == name), None)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Check a document that was just made.

        Raises:
            InvalidRoutingConfig: `field: reason` of the first problem.
        """
        try:
            return msgspec.convert(document, cls)
        except msgspec.ValidationError as error:
            raise InvalidRoutingConfig(_problem(error)) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a published document.

        Raises:
            InvalidRoutingConfig: `field: reason` of the first problem.
        """
        encoded = text.encode(errors="replace")
        if len(encoded) > MAXIMUM_BYTES:
            raise InvalidRoutingConfig(f"document: larger than {MAXIMUM_BYTES} bytes")
        try:
            return msgspec.json.decode(encoded, type=cls)
        except msgspec.ValidationError as error:
            raise InvalidRoutingConfig(_problem(error)) from None
        except msgspec.DecodeError as error:
            raise InvalidRoutingConfig(f"document: {error}") from None

    def to_json(self) -> str:
        """The canonical compact document, keys in the order of the model."""
        document = msgspec.to_builtins(self)
        for path in document["paths"]:
            if path["excluded_reason"] is None:
                del path["excluded_reason"]
        for name, unrestricted in _UNRESTRICTED.items():
            # Proxies from before there were these fields refuse documents that have them.
            if document[name] == unrestricted:
                del document[name]
        return msgspec.json.encode(document).decode()


_UNRESTRICTED: dict[str, Any] = {"allowed_models": (), "resend": "allow"}


def _wrong_with_endpoint(url: str) -> str | None:
    if any(character <= " " or character > "~" for character in url):
        return "must be printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL with a valid port"
    if port == 0:
        return "must be a URL with a valid port"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must be an http or https URL with a host"
    if "@" in parts.netloc:
        return "must not carry credentials"
    if parts.path not in ("", "/") or "?" in url or "#" in url:
        return "must have no path, query or fragment"
    return None


def _problem(error: msgspec.ValidationError) -> str:
    """What msgspec says, as `field: reason`, without the value that it may repeat.

    Its texts end in the place, such as "… - at `$.paths[0].name`"; the rules of our own begin with a field.
    """
    said, _, place = str(error).partition(" - at ")
    field = ".".join(
        name or item.replace("...", "*")
        for name, item in re.findall(r"\.(\w+)|\[([\d.]+)\]", place)
    )
    prefix = f"{field}." if field else ""
    if named := re.fullmatch(r"Object (missing required|contains unknown) field `(.+)`", said):
        is_missing = named[1] == "missing required"
        return f"{prefix}{named[2]}: {'is required' if is_missing else 'is not known'}"
    if isinstance(error.__cause__, ValueError):
        return f"{prefix}{said}"
    if said.startswith("Invalid enum value"):
        said = "is none of the allowed values"
    return f"{field or 'document'}: {said}"
