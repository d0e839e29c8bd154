"""The proxy's settings, read from the environment when an edge composes it, never at import.

Each field is read from `TWINSPAN_` and its name in capitals. The allow-lists have no default: whoever can
write the routing config could otherwise send prompts to a place of their choosing.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.types import StringConstraints

from proxy.errors import InvalidSettings

PREFIX = "TWINSPAN_"

CommaList = tuple[str, ...]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """One proxy process's surroundings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    link_id: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    allowed_hosts: CommaList = Field(min_length=1)
    """Exact hosts, or `*.suffix`, that an endpoint may have."""
    allowed_networks: CommaList = Field(min_length=1)
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
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=0.5)] = 0.5
    tls_timeout_seconds: Seconds = 1.0
    silence_seconds: Seconds = 1.0
    """After this long without a byte of an answer, the path is probed on a fresh connection."""
    probe_timeout_seconds: Seconds = 0.5
    tcp_user_timeout_seconds: Seconds = 2.0
    idle_seconds: Seconds = 30.0
    """A pooled connection unused for longer is closed rather than used."""
    resend: bool = True
    """Whether a call that was written and never answered may go to the next path."""
    resend_budget_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    resend_budget_burst: Annotated[int, Field(ge=0)] = 500

    ejection_seconds: Seconds = 2.0
    ejection_maximum_seconds: Seconds = 60.0

    allow_plaintext: bool = False
    """Whether `http` endpoints beyond loopback are accepted; inside the VPN `https` is the rule."""
    ca_file: str = ""
    """Certificate authorities for the upstream; the system's unless set."""
    allowed_models: CommaList = ()
    """Model ids that may be called, exact or `prefix*`; empty lets all through."""
    body_limit_bytes: Annotated[int, Field(gt=0)] = 25 * 1024 * 1024

    body_memory_bytes: Annotated[int, Field(gt=0)] = 256 * 1024 * 1024
    """Large bodies that the server holds at once; one more is told 503 and to come again."""

    allow_anonymous: bool = False
    bearer_key_sha256: CommaList = ()
    """SHA-256, in hex, of each bearer key that the server accepts."""
    keys_table: str = ""
    """DynamoDB table of callers' keys that the server looks up; empty for none."""
    metrics_interval_seconds: Seconds = 60.0
    """How often the server prints its metrics in CloudWatch's embedded format."""

    @field_validator(
        "allowed_hosts", "allowed_networks", "allowed_models", "bearer_key_sha256", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip().lower() for item in value.split(",") if item.strip())
        return value

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, value: CommaList) -> CommaList:
        for item in value:
            try:
                ipaddress.ip_network(item)
            except ValueError:
                raise ValueError(f"{item!r} is not a CIDR without host bits") from None
        return value

    @field_validator("bearer_key_sha256")
    @classmethod
    def _digests(cls, value: CommaList) -> CommaList:
        if any(len(item) != 64 or set(item) - set("0123456789abcdef") for item in value):
            raise ValueError("each must be 64 hexadecimal digits")
        return value

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment.

        Raises:
            InvalidSettings: naming the first variable that is missing or malformed.
        """
        source = os.environ if environment is None else environment
        found = {
            name: source[PREFIX + name.upper()]
            for name in cls.model_fields
            if PREFIX + name.upper() in source
        }
        try:
            settings = cls.model_validate(found)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            name = PREFIX + str(problem["loc"][0]).upper()
            reason = problem["msg"].removeprefix("Value error, ")
            raise InvalidSettings(f"{name}: {reason}") from None
        link = settings.link_id
        defaults = {
            "routing_config_parameter": f"/twinspan/{link}/routing-config",
            "credentials_secret_id": f"twinspan/{link}/commercial",
        }
        missing = {name: value for name, value in defaults.items() if not getattr(settings, name)}
        return settings.model_copy(update=missing)
