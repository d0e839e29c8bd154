"""The operator's policy: what Twinspan may do to a link by itself, and when.

Lives in SSM as `/twinspan/{link}/policy`. Every field has a default that is safe to run with; a field
that is not known is an error, so a misspelt limit cannot silently be no limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from control_plane.domain.documents import Document, parse_json
from control_plane.domain.topology import PathName, RoutingMethod, Topology
from control_plane.errors import InvalidPolicy


class Mode(StrEnum):
    """How far Twinspan may go without a person."""

    AUTOMATIC = "automatic"
    APPROVE = "approve"
    OBSERVE = "observe"
    PAUSED = "paused"


class Automation(StrEnum):
    """Whether one kind of action is taken without being asked."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Hysteresis(Document):
    """How many observations in a row change our mind; recovering takes more than failing."""

    failed_observations_to_fail: int = Field(default=1, ge=1, le=20)
    healthy_observations_to_recover: int = Field(default=2, ge=1, le=100)


class Failback(Document):
    """When traffic may return to the preferred path."""

    automation: Automation = Automation.AUTOMATIC
    stable_seconds: float = Field(default=600, ge=0, le=86400)


class FlapDamping(Document):
    """RFC 2439: a path collects a penalty for each failure that moved traffic, which decays."""

    penalty_per_switch: float = Field(default=1000, gt=0)
    half_life_seconds: float = Field(default=900, gt=0)
    suppress_limit: float = Field(default=1500, gt=0)
    reuse_limit: float = Field(default=750, gt=0)
    maximum_suppress_seconds: float = Field(default=3600, gt=0)

    @model_validator(mode="after")
    def _reuse_below_suppress(self) -> Self:
        if self.reuse_limit >= self.suppress_limit:
            raise ValueError("reuse_limit must be below suppress_limit")
        return self


class ProbePolicy(Document):
    """A probe passes when `required` of `attempts` signed calls over the path are answered."""

    attempts: int = Field(default=3, ge=1, le=10)
    required: int = Field(default=2, ge=1, le=10)
    timeout_seconds: float = Field(default=2.0, gt=0, le=10)
    model_id: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.required > self.attempts:
            raise ValueError("required must not exceed attempts")
        return self


class LatencyLimits(Document):
    """Median probe latency: above `warning` is reported, above `critical` the path is degraded."""

    warning_ms: float = Field(default=1000, gt=0)
    critical_ms: float = Field(default=2000, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.warning_ms > self.critical_ms:
            raise ValueError("warning_ms must not exceed critical_ms")
        return self


class Quarantine(Document):
    """A path that an operator has taken out of use until `until`."""

    path: PathName
    reason: str = Field(min_length=1, max_length=200)
    until: AwareDatetime


class Policy(Document):
    """One link's policy."""

    schema_version: Literal[1] = 1
    version: int = Field(default=1, ge=1)
    mode: Mode = Mode.AUTOMATIC
    path_order: tuple[PathName, ...] = ()
    hysteresis: Hysteresis = Hysteresis()
    hold_down_seconds: float = Field(default=300, ge=0, le=86400)
    failback: Failback = Failback()
    flap_damping: FlapDamping = FlapDamping()
    maximum_switches_per_hour: int = Field(default=6, ge=1, le=60)
    maximum_route_changes_per_plan: int = Field(default=4, ge=0, le=50)
    drift_repair: Automation = Automation.AUTOMATIC
    data_classes: dict[str, tuple[RoutingMethod, ...]] = {"default": (RoutingMethod.VPN,)}
    quarantine: tuple[Quarantine, ...] = ()
    probe: ProbePolicy = ProbePolicy()
    latency: LatencyLimits = LatencyLimits()
    maximum_signal_age_seconds: float = Field(default=300, gt=0)
    maximum_rounds: int = Field(default=3, ge=1, le=20)
    lease_seconds: int = Field(default=120, ge=5, le=900)
    approval_seconds: int = Field(default=3600, ge=1, le=86400)

    @model_validator(mode="after")
    def _default_class(self) -> Self:
        if "default" not in self.data_classes:
            raise ValueError('data_classes: the class "default" is required')
        return self

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the stored document.

        Raises:
            InvalidPolicy: naming the field and the reason.
        """
        return parse_json(cls, text, InvalidPolicy)

    def check_against(self, topology: Topology) -> None:
        """Refuse a policy that names a path which the link does not have.

        Raises:
            InvalidPolicy: naming the field and the path.
        """
        named: Iterable[tuple[str, str]] = [
            *((f"path_order.{i}", name) for i, name in enumerate(self.path_order)),
            *((f"quarantine.{i}.path", item.path) for i, item in enumerate(self.quarantine)),
        ]
        for field, name in named:
            if topology.path(name) is None:
                known = ", ".join(topology.path_names)
                raise InvalidPolicy(field, f"no path {name!r} on {topology.link_id} (has {known})")

    def order(self, topology: Topology) -> tuple[str, ...]:
        """Path names by preference: the policy's order first, then the rest as the topology has them."""
        rest = (name for name in topology.path_names if name not in self.path_order)
        return (*self.path_order, *rest)

    def quarantined(self, path: str, now: datetime) -> Quarantine | None:
        """The quarantine that is in force for this path, if any."""
        return next((q for q in self.quarantine if q.path == path and q.until > now), None)

    def permits(self, method: RoutingMethod) -> bool:
        """Whether any data class may use this routing method."""
        return any(method in methods for methods in self.data_classes.values())
