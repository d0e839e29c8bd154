"""The proxy's settings, read from the environment when an edge composes it, never at import.

Each field is read from `TWINSPAN_` and its name in capitals. The allow-lists have no default: whoever can
write the routing config could otherwise send prompts to a place of their choosing.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct

from proxy.errors import InvalidSettings

PREFIX = "TWINSPAN_"

CommaList = tuple[str, ...]
Seconds = Annotated[float, Meta(gt=0)]


class Settings(Struct, frozen=True, kw_only=True):
    """One proxy process's surroundings."""

    link_id: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    allowed_hosts: Annotated[CommaList, Meta(min_length=1)]
    """Exact hosts, or `*.suffix`, that an endpoint may have."""
    allowed_networks: Annotated[CommaList, Meta(min_length=1)]
    """CIDRs in which a connection's peer must lie, whatever the routing config says."""

    routing_config_parameter: str = ""
    """SSM parameter; `/twinspan/{link_id}/routing-config` unless set."""
    credentials_secret_id: str = ""
    """Secrets Manager secret; `twinspan/{link_id}/commercial` unless set."""
    audit_table: str = "cross-partition-requests"
    """DynamoDB table of audit rows; empty turns the audit off."""
    config_ttl_seconds: Seconds = 5.0
    config_maximum_age_seconds: Seconds = 60.0
    """Beyond this age (a thawed Lambda, say) a request waits for one refresh, at most a second."""
    config_cache_file: str = ""
    """Where the last good config is kept over restarts of the server; empty for nowhere."""
    credentials_ttl_seconds: Seconds = 300.0

    request_deadline_seconds: Seconds = 900.0
    """Longest time for a whole request; the Lambda edge takes the least of this, its own and 28 s."""
    connect_timeout_seconds: Annotated[float, Meta(gt=0, le=0.5)] = 0.5
    tls_timeout_seconds: Seconds = 1.0
    silence_seconds: Seconds = 1.0
    """After this long without a byte of an answer, the path is probed on a fresh connection."""
    probe_timeout_seconds: Seconds = 0.5
    tcp_user_timeout_seconds: Seconds = 2.0
    idle_seconds: Seconds = 30.0
    """A pooled connection unused for longer is closed rather than used."""
    resend: bool = True
    """Whether a call that was written and never answered may go to the next path."""
    resend_budget_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.2
    resend_budget_burst: Annotated[int, Meta(ge=0)] = 500

    hedge_after_seconds: Annotated[float, Meta(ge=0, le=900)] = 0.0
    """A call that may be sent again goes over a second path too when nothing has come for so long; 0 for never."""

    ejection_seconds: Seconds = 2.0
    ejection_maximum_seconds: Seconds = 60.0

    allow_plaintext: bool = False
    """Whether `http` endpoints beyond loopback are accepted; inside the VPN `https` is the rule."""
    ca_file: str = ""
    """Certificate authorities for the upstream; the system's unless set."""
    allowed_models: CommaList = ()
    """Model ids that may be called, exact or `prefix*`; empty lets all through."""
    body_limit_bytes: Annotated[int, Meta(gt=0)] = 25 * 1024 * 1024

    body_memory_bytes: Annotated[int, Meta(gt=0)] = 256 * 1024 * 1024
    """Large bodies that the server holds at once; one more is told 503 and to come again."""

    allow_anonymous: bool = False
    bearer_key_sha256: CommaList = ()
    """SHA-256, in hex, of each bearer key that the server accepts."""
    keys_table: str = ""
    """DynamoDB table of callers' keys that the server looks up; empty for none."""
    keys_ttl_seconds: Annotated[float, Meta(ge=0)] = 60.0
    """How long the server remembers what a key grants, and lets a revoked one in; 0 looks it up each time."""
    load_balancer_networks: CommaList = ()
    """CIDRs of the load balancers before the server, which name the caller last in `X-Forwarded-For`."""
    metrics_interval_seconds: Seconds = 60.0
    """How often the server prints its metrics in CloudWatch's embedded format."""

    def __post_init__(self) -> None:
        for name in ("allowed_networks", "load_balancer_networks"):
            for item in getattr(self, name):
                try:
                    ipaddress.ip_network(item)
                except ValueError:
                    raise ValueError(f"{name}: {item!r} is not a CIDR without host bits") from None
        for item in self.bearer_key_sha256:
            if len(item) != 64 or set(item) - set("0123456789abcdef"):
                raise ValueError("bearer_key_sha256: each must be 64 hexadecimal digits")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment.

        Raises:
            InvalidSettings: naming the first variable that is missing or malformed.
        """
        source = os.environ if environment is None else environment
        found: dict[str, object] = {
            name: source[PREFIX + name.upper()]
            for name in cls.__struct_fields__
            if PREFIX + name.upper() in source
        }
        for name in _LISTS & found.keys():
            found[name] = [
                part.strip().lower() for part in str(found[name]).split(",") if part.strip()
            ]
        link = found.get("link_id")
        defaults = {
            "routing_config_parameter": f"/twinspan/{link}/routing-config",
            "credentials_secret_id": f"twinspan/{link}/commercial",
        }
        found |= {name: value for name, value in defaults.items() if not found.get(name)}
        try:
            return msgspec.convert(found, cls, strict=False)
        except msgspec.ValidationError as error:
            raise InvalidSettings(_problem(error)) from None


_LISTS = {
    "allowed_hosts",
    "allowed_models",
    "allowed_networks",
    "bearer_key_sha256",
    "load_balancer_networks",
}


def _problem(error: msgspec.ValidationError) -> str:
    """`VARIABLE: reason`, of what msgspec says or a rule of ours said."""
    said, _, place = str(error).partition(" - at `$.")
    if missing := re.fullmatch("Object missing required field `(.+)`", said):
        return f"{PREFIX}{missing[1].upper()}: is required"
    if isinstance(error.__cause__, ValueError):
        name, _, said = said.partition(": ")
    else:
        name = re.split(r"\W", place)[0]
    return f"{PREFIX}{name.upper()}: {said}"
