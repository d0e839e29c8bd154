"""All that a decision may depend on, as one value.

Made by an operation from what is stored and seen, or by a test from nothing. Nothing in here is looked up
later: two equal situations get equal decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from control_plane.domain.health import Health, PathHealth
from control_plane.domain.history import LinkHistory
from control_plane.domain.policy import Policy, Resend
from control_plane.domain.signals import Intent
from control_plane.domain.topology import Topology

HOUR_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """What of a policy binds the proxies: which class may use which methods, which models pass, and resending."""

    data_classes: frozenset[tuple[str, frozenset[str]]]
    allowed_models: frozenset[str] = frozenset()
    resend: Resend = Resend.ALLOW

    @classmethod
    def of(cls, policy: Policy) -> Self:
        """Those of this policy."""
        return cls(
            data_classes=frozenset(
                (name, frozenset(str(method) for method in methods))
                for name, methods in policy.data_classes.items()
            ),
            allowed_models=frozenset(policy.published_models),
            resend=policy.resend,
        )


@dataclass(frozen=True, slots=True)
class Published:
    """What proxies follow at the moment of the decision: the routing config in its essentials.

    `rules` is None where they are not known, which says nothing against the policy.
    """

    active_path: str
    generation: int
    excluded: frozenset[str] = frozenset()
    rules: ProxyRules | None = None


@dataclass(frozen=True)
class Situation:
    """All that a decision may depend on.

    `active_path` is what was published when the link was looked at, `published` what is published now, if
    that was read. `refused` holds paths that the route model or a probe turned down in this very run, with
    the reason; `rollback_path` is what was active at the generation that a rollback asks for, or was published
    last where a publication is to be put back. `intact`: nobody else has written what is published. `routine`:
    nothing but the clock led to this look. `alarms` are those in ALARM that block a drill; None when they
    were not read.
    """

    topology: Topology
    policy: Policy
    active_path: str | None
    health: dict[str, PathHealth]
    drifted: frozenset[str]
    history: LinkHistory
    now: datetime
    intent: Intent | None = None
    approved: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    rollback_path: str | None = None
    published: Published | None = None
    intact: bool = True
    routine: bool = False
    alarms: tuple[str, ...] | None = None

    def health_of(self, path: str) -> PathHealth:
        """The verdict on a path; UNKNOWN for one that was not looked at."""
        found = self.health.get(path)
        return found or PathHealth(path, Health.UNKNOWN, ("not observed",))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Paths by preference."""
        return self.policy.order(self.topology)

    @property
    def held_down_until(self) -> datetime | None:
        """The end of the hold-down that is running, if one is."""
        last = self.history.last_switch
        if last is None:
            return None
        until = last.at + timedelta(seconds=self.policy.hold_down_seconds)
        return until if self.now < until else None

    @property
    def switches_this_hour(self) -> int:
        """How many switches of traffic the last hour saw."""
        return self.history.switches_within(HOUR_SECONDS, self.now)

    @property
    def next_free_switch_at(self) -> datetime:
        """When the oldest switch of the last hour will be an hour old; now, where there was none."""
        hour = timedelta(seconds=HOUR_SECONDS)
        recent = [switch.at for switch in self.history.switches if self.now - switch.at < hour]
        return min(recent) + hour if recent else self.now

    @property
    def config_is_stale(self) -> tuple[str, ...]:
        """How the published config differs from what the policy now says; each line says one thing."""
        if self.published is None:
            return ()
        found = []
        for path in self.topology.paths:
            if path.name == self.published.active_path:
                continue
            barred = self.policy.quarantined(
                path.name, self.now
            ) is not None or not self.policy.permits(path.routing_method)
            if barred != (path.name in self.published.excluded):
                word = "still excludes" if not barred else "does not yet exclude"
                found.append(f"the published config {word} {path.name}")
        rules, wanted = self.published.rules, ProxyRules.of(self.policy)
        if rules is None:
            return tuple(found)
        if rules.data_classes != wanted.data_classes:
            found.append("the published config lets data classes use other routing methods")
        if rules.allowed_models != wanted.allowed_models:
            found.append("the published config lets other models through")
        if rules.resend is not wanted.resend:
            found.append(f"the published config says {rules.resend} of sending a call again")
        return tuple(found)
