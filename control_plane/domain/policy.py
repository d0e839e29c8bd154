"""The operator's policy: what Twinspan may do to a link by itself, and when.

Lives in SSM as `/twinspan/{link}/policy`. Every field has a default that is safe to run with; a field
that is not known is an error, so a misspelt limit cannot silently be no limit. Where no policy is stored
at all, `Policy.absent` stands in: it decides and touches nothing, since a quarantine or a pause may have
been deleted with it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from control_plane.domain.change_windows import ChangeWindow
from control_plane.domain.documents import Document, parse_json
from control_plane.domain.limits import (
    ErrorLimits,
    FlapDamping,
    Hysteresis,
    LatencyLimits,
    MaintenanceLimits,
    ProbePolicy,
    SourceAges,
)
from control_plane.domain.topology import PathName, RoutingMethod, Topology
from control_plane.errors import InvalidPolicy

__all__ = [
    "ApprovalRules",
    "Automation",
    "ChangeWindow",
    "DrillSchedule",
    "ErrorLimits",
    "Failback",
    "FlapDamping",
    "Hysteresis",
    "LatencyLimits",
    "MaintenanceLimits",
    "Mode",
    "Pause",
    "Policy",
    "ProbePolicy",
    "Quarantine",
    "Resend",
    "SourceAges",
]

ABSENT_VERSION = 0
# There and back, and one to spare for something real in between.
SWITCHES_OF_A_DRILL = 3
MODELS_LIMIT_CHARACTERS = 1000
"""All patterns of `allowed_models` together: they are published, beside the paths, in one parameter."""
ModelPattern = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+=-]*\*?$", max_length=256)
]
AlarmName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


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


class Resend(StrEnum):
    """Whether a call that was written and never answered may go to the next path, and be inferred twice."""

    ALLOW = "allow"
    NEVER = "never"


class Action(StrEnum):
    """What an approval rule can name."""

    FAILOVER = "failover"
    FAILBACK = "failback"
    REPAIR = "repair"


class Failback(Document):
    """When traffic may return to a more preferred path.

    `change_windows`: weekly, UTC; none means at any time. They never delay leaving a path.
    """

    automation: Automation = Automation.AUTOMATIC
    stable_seconds: float = Field(default=600, ge=0, le=86400)
    change_windows: tuple[ChangeWindow, ...] = ()


class DrillSchedule(Document):
    """Practice: how often Twinspan drills a link by itself, when, for how long, and what keeps it from it.

    `change_windows`: weekly, UTC; none means at any time. Any alarm of the link in ALARM blocks a drill, and so
    do `blocking_alarms`, by name. A link on which no drill passed for `maximum_age_days` says so. A drill by
    hand minds the alarms, and neither the schedule nor its windows. Where a failover needs an approval, no drill
    begins by itself.
    """

    automation: Automation = Automation.MANUAL
    every_days: float = Field(default=30, gt=0, le=366)
    change_windows: tuple[ChangeWindow, ...] = ()
    duration_seconds: float = Field(default=600, ge=1, le=86400)
    blocking_alarms: tuple[AlarmName, ...] = Field(default=(), max_length=20)
    maximum_age_days: float = Field(default=90, gt=0, le=3660)


class Quarantine(Document):
    """A path that an operator has taken out of use until `until`."""

    path: PathName
    reason: str = Field(min_length=1, max_length=200)
    until: AwareDatetime


class Pause(Document):
    """A stop to all automatic action that ends by itself; mode `paused` is one that does not."""

    reason: str = Field(min_length=1, max_length=200)
    until: AwareDatetime


class ApprovalRules(Document):
    """Which of Twinspan's own actions wait for a person.

    `in_approve_mode` applies in mode `approve`, `always` in mode `automatic` too; `routing_methods` names
    methods that no traffic is moved to unasked. An operator's own intent needs no second approval.
    """

    in_approve_mode: tuple[Action, ...] = tuple(Action)
    always: tuple[Action, ...] = ()
    routing_methods: tuple[RoutingMethod, ...] = ()


class Policy(Document):
    """One link's policy.

    `allowed_models` (ids, exact or `prefix*`; none for all) and `resend` bind the proxies, within what their
    deployment lets through: a policy narrows that and never widens it.
    """

    schema_version: Literal[1] = 1
    version: int = Field(default=1, ge=1)
    mode: Mode = Mode.AUTOMATIC
    pause: Pause | None = None
    path_order: tuple[PathName, ...] = ()
    hysteresis: Hysteresis = Hysteresis()
    hold_down_seconds: float = Field(default=300, ge=0, le=86400)
    failback: Failback = Failback()
    flap_damping: FlapDamping = FlapDamping()
    maximum_switches_per_hour: int = Field(default=6, ge=1, le=60)
    maximum_route_changes_per_plan: int = Field(default=4, ge=0, le=50)
    drift_repair: Automation = Automation.AUTOMATIC
    data_classes: dict[str, tuple[RoutingMethod, ...]] = {"default": (RoutingMethod.VPN,)}
    allowed_models: tuple[ModelPattern, ...] = ()
    resend: Resend = Resend.ALLOW
    quarantine: tuple[Quarantine, ...] = ()
    approval: ApprovalRules = ApprovalRules()
    probe: ProbePolicy = ProbePolicy()
    latency: LatencyLimits = LatencyLimits()
    errors: ErrorLimits = ErrorLimits()
    maximum_source_age: SourceAges = SourceAges()
    maintenance: MaintenanceLimits = MaintenanceLimits()
    drill: DrillSchedule = DrillSchedule()
    maximum_signal_age_seconds: float = Field(default=300, gt=0)
    maximum_rounds: int = Field(default=3, ge=1, le=20)
    lease_seconds: int = Field(default=120, ge=5, le=900)
    approval_seconds: int = Field(default=3600, ge=1, le=86400)

    @model_validator(mode="after")
    def _default_class(self) -> Self:
        if "default" not in self.data_classes:
            raise ValueError('data_classes: the class "default" is required')
        return self

    @model_validator(mode="after")
    def _models(self) -> Self:
        if sum(map(len, self.allowed_models)) > MODELS_LIMIT_CHARACTERS:
            message = f"allowed_models: is longer than {MODELS_LIMIT_CHARACTERS} characters in all"
            raise ValueError(message)
        probed = self.probe.model_id
        if self.allowed_models and probed and not self._lets_through(probed.lower()):
            raise ValueError("allowed_models: does not let probe.model_id through")
        return self

    def _lets_through(self, model_id: str) -> bool:
        return any(
            model_id.startswith(pattern[:-1]) if pattern.endswith("*") else model_id == pattern
            for pattern in self.published_models
        )

    @property
    def published_models(self) -> tuple[str, ...]:
        """The allowed models as proxies compare them, in lower case."""
        return tuple(dict.fromkeys(pattern.lower() for pattern in self.allowed_models))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the stored document.

        Raises:
            InvalidPolicy: naming the field and the reason.
        """
        return parse_json(cls, text, InvalidPolicy)

    @classmethod
    def absent(cls) -> Self:
        """What stands where no policy is stored: the defaults, in mode `observe`."""
        return cls().model_copy(update={"version": ABSENT_VERSION, "mode": Mode.OBSERVE})

    @property
    def stored(self) -> bool:
        """Whether an operator wrote this policy."""
        return self.version != ABSENT_VERSION

    def unknown_paths(self, topology: Topology) -> list[tuple[str, str]]:
        """(field, reason) of each path named here that the link does not have."""
        named = [
            *((f"path_order.{i}", name) for i, name in enumerate(self.path_order)),
            *((f"quarantine.{i}.path", item.path) for i, item in enumerate(self.quarantine)),
        ]
        known = ", ".join(topology.path_names)
        return [
            (field, f"no path {name!r} on {topology.link_id} (has {known})")
            for field, name in named
            if topology.path(name) is None
        ]

    def check_against(self, topology: Topology) -> None:
        """Refuse a policy that names a path which the link does not have.

        Raises:
            InvalidPolicy: naming the first such field and the path.
        """
        if unknown := self.unknown_paths(topology):
            raise InvalidPolicy(*unknown[0])

    def order(self, topology: Topology) -> tuple[str, ...]:
        """Path names by preference: the policy's order first, then the rest as the topology has them."""
        return tuple(dict.fromkeys((*self.path_order, *topology.path_names)))

    def mode_at(self, now: datetime) -> Mode:
        """The mode in force: paused while a pause lasts."""
        return Mode.PAUSED if self.pause is not None and self.pause.until > now else self.mode

    def quarantined(self, path: str, now: datetime) -> Quarantine | None:
        """The quarantine that is in force for this path, if any."""
        for item in self.quarantine:
            if item.path == path and item.until > now:
                return item
        return None

    def permits(self, method: RoutingMethod) -> bool:
        """Whether any data class may use this routing method."""
        return any(method in methods for methods in self.data_classes.values())
