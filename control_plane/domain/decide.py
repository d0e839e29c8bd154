"""The decision: a total, pure function from what is known to what should be done.

It never looks anything up and never raises. Each result carries its reasons in plain words, because the
reader of a decision is a person at night, and names for each path that was passed over why it was.

Order of concern: an operator's intent; a failed active path; drift; the way home to the preferred path.
Hold-down delays going home, never escaping from a failed path: what bounds escapes is the damping of
the path that would be returned to, and the number of switches per hour.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from control_plane.domain.health import Health, PathHealth
from control_plane.domain.history import LinkHistory
from control_plane.domain.policy import Automation, Mode, Policy
from control_plane.domain.signals import Intent, IntentKind
from control_plane.domain.topology import Topology

HOUR_SECONDS = 3600.0


class DecisionKind(StrEnum):
    """What should be done."""

    NO_CHANGE = "NoChange"
    FAILOVER = "Failover"
    FAILBACK = "Failback"
    ROLLBACK = "Rollback"
    REPAIR = "Repair"
    ESCALATE = "Escalate"


SWITCHES = frozenset({DecisionKind.FAILOVER, DecisionKind.FAILBACK, DecisionKind.ROLLBACK})


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why. `passed_over` says why each other path was not chosen."""

    kind: DecisionKind
    reasons: tuple[str, ...]
    path: str | None = None
    passed_over: dict[str, str] = field(default_factory=dict)
    touches_nothing: bool = False
    needs_approval: bool = False
    overridden: bool = False

    @property
    def acts(self) -> bool:
        """Whether a plan follows."""
        return self.kind in SWITCHES or self.kind is DecisionKind.REPAIR

    def describe(self) -> str:
        """One line for people."""
        target = f" to {self.path}" if self.kind in SWITCHES else ""
        target = f" of {self.path}" if self.kind is DecisionKind.REPAIR else target
        return f"{self.kind}{target}: {'; '.join(self.reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": str(self.kind),
            "path": self.path,
            "reasons": list(self.reasons),
            "passed_over": dict(self.passed_over),
            "touches_nothing": self.touches_nothing,
            "needs_approval": self.needs_approval,
            "overridden": self.overridden,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Decision:
        """The inverse of `to_dict`."""
        return cls(
            kind=DecisionKind(value["kind"]),
            path=value["path"],
            reasons=tuple(value["reasons"]),
            passed_over=dict(value["passed_over"]),
            touches_nothing=value["touches_nothing"],
            needs_approval=value["needs_approval"],
            overridden=value["overridden"],
        )


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a decision may depend on.

    `refused` holds paths that the route model or a probe turned down in this very run, with the reason;
    `rollback_path` is what was active at the generation that a rollback asks for.
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

    def health_of(self, path: str) -> PathHealth:
        """The verdict on a path; UNKNOWN for one that was not looked at."""
        return self.health.get(path, PathHealth(path, Health.UNKNOWN, ("not observed",)))

    @property
    def order(self) -> tuple[str, ...]:
        """Paths by preference."""
        return self.policy.order(self.topology)


def decide(s: Situation) -> Decision:
    """Choose what to do in this situation. Total and pure."""
    if s.intent is not None and s.intent.intent is not IntentKind.RECONCILE:
        decision = _obey(s, s.intent)
    else:
        decision = _remediate(s)
    return _within_mode(s, decision)


def _within_mode(s: Situation, decision: Decision) -> Decision:
    """What the policy's mode makes of a decision that would act."""
    if not decision.acts:
        return decision
    overridden = s.intent is not None and s.intent.override
    dry_run = s.intent is not None and s.intent.dry_run
    mode, by_hand = s.policy.mode, s.intent is not None
    if mode is Mode.PAUSED and not overridden:
        would = (f"the policy is paused; would have chosen {decision.describe()}",)
        return Decision(DecisionKind.NO_CHANGE, would, passed_over=decision.passed_over)
    silent = dry_run or (mode is Mode.OBSERVE and not overridden)
    approval = mode is Mode.APPROVE and not by_hand and not s.approved
    return Decision(
        decision.kind,
        decision.reasons,
        decision.path,
        decision.passed_over,
        touches_nothing=silent,
        needs_approval=approval and not silent,
        overridden=overridden,
    )


def _obey(s: Situation, intent: Intent) -> Decision:
    preferred = s.order[0]
    if intent.intent is IntentKind.FAILBACK:
        kind, target = DecisionKind.FAILBACK, intent.to or preferred
    elif intent.intent is IntentKind.ROLLBACK:
        kind, target = DecisionKind.ROLLBACK, s.rollback_path or preferred
    else:
        kind = DecisionKind.FAILOVER
        target = intent.to or next(
            (p for p in s.order if p != s.active_path and p not in s.refused), preferred
        )
    asked = f"{intent.requested_by} asked for a {intent.intent}"
    if intent.reason:
        asked += f": {intent.reason}"
    if target in s.refused:
        return Decision(
            DecisionKind.ESCALATE, (asked, f"{target} was refused: {s.refused[target]}"), target
        )
    if target == s.active_path:
        return Decision(DecisionKind.NO_CHANGE, (asked, f"{target} is active already"))
    if intent.override:
        return Decision(kind, (asked, "limits overridden"), target)
    if obstacle := _obstacle(s, target, by_hand=True):
        return Decision(DecisionKind.ESCALATE, (asked, f"{target}: {obstacle}"), target)
    return Decision(kind, (asked,), target)


def _remediate(s: Situation) -> Decision:
    if s.active_path is None or s.topology.path(s.active_path) is None:
        return _leave(s, (f"the published active path {s.active_path!r} is not on this link",))
    active = s.health_of(s.active_path)
    if quarantine := s.policy.quarantined(s.active_path, s.now):
        return _leave(s, (f"{s.active_path} is quarantined: {quarantine.reason}",))
    if active.health is Health.FAILED:
        memory = s.history.path(s.active_path)
        if not memory.down:
            needed = s.policy.hysteresis.failed_observations_to_fail
            waiting = f"{memory.failed_in_a_row} of {needed} failing observations so far"
            return Decision(DecisionKind.NO_CHANGE, (active.describe(), waiting))
        may_repair = (
            s.policy.drift_repair is Automation.AUTOMATIC and s.active_path not in s.refused
        )
        if active.drift_explains_failure and may_repair:
            return Decision(DecisionKind.REPAIR, (active.describe(),), s.active_path)
        return _leave(s, (active.describe(),))
    if active.health is Health.UNKNOWN:
        return Decision(
            DecisionKind.NO_CHANGE, (active.describe(), "missing data moves no traffic")
        )
    if active.too_slow and (better := _faster(s)) is not None:
        return better
    return _repair_or_return(s, active)


def _leave(s: Situation, why: tuple[str, ...]) -> Decision:
    """Find somewhere to go: the first path that carries, or one that only lost its routes."""
    passed_over: dict[str, str] = {}
    for want in (Health.HEALTHY, Health.DEGRADED, Health.FAILED):
        for name in s.order:
            if name == s.active_path:
                continue
            health = s.health_of(name)
            if health.health is not want:
                continue
            if want is Health.FAILED and not health.drift_explains_failure:
                passed_over[name] = health.describe()
                continue
            if obstacle := _obstacle(s, name, leaving=True):
                passed_over[name] = obstacle
                continue
            kind = DecisionKind.FAILBACK if name == s.order[0] else DecisionKind.FAILOVER
            return Decision(kind, why, name, passed_over)
    for name in s.order:
        if name != s.active_path:
            passed_over.setdefault(name, s.refused.get(name) or s.health_of(name).describe())
    return Decision(
        DecisionKind.ESCALATE, (*why, "no other path may take over"), passed_over=passed_over
    )


def _obstacle(
    s: Situation, name: str, *, leaving: bool = False, by_hand: bool = False
) -> str | None:
    """Why traffic may not move to this path now; None when it may."""
    path = s.topology.path(name)
    if path is None:
        return "not a path of this link"
    if name in s.refused:
        return s.refused[name]
    if quarantine := s.policy.quarantined(name, s.now):
        return f"quarantined until {quarantine.until:%Y-%m-%d %H:%M:%SZ}: {quarantine.reason}"
    if not s.policy.permits(path.routing_method):
        return f"the policy lets no data class use {path.routing_method}"
    health = s.health_of(name)
    if not health.carries and not (health.drift_explains_failure and (leaving or by_hand)):
        return health.describe()
    if by_hand:
        return None
    switches = s.history.switches_within(HOUR_SECONDS, s.now)
    if switches >= s.policy.maximum_switches_per_hour:
        return f"{switches} switches within the hour, the policy's limit"
    if not leaving and s.history.path(name).suppressed(s.policy.flap_damping, s.now):
        penalty = s.history.path(name).penalty_now(s.policy.flap_damping, s.now)
        return f"suppressed for flapping (penalty {penalty:.0f})"
    return None


def _faster(s: Situation) -> Decision | None:
    """A healthy path to take instead of an active one that carries, but too slowly."""
    assert s.active_path is not None
    if _held_down_until(s) is not None:
        return None
    for name in s.order:
        healthy = s.health_of(name).health is Health.HEALTHY
        if name != s.active_path and healthy and _obstacle(s, name) is None:
            reasons = (s.health_of(s.active_path).describe(),)
            return Decision(DecisionKind.FAILOVER, reasons, name)
    return None


def _repair_or_return(s: Situation, active: PathHealth) -> Decision:
    reasons = [active.describe()]
    repairable = s.policy.drift_repair is Automation.AUTOMATIC
    for name in (n for n in s.order if n in s.drifted and n not in s.refused):
        if repairable:
            return Decision(DecisionKind.REPAIR, (s.health_of(name).describe(),), name)
        reasons.append(f"{name} has drifted, and the policy leaves repair to an operator")
    preferred = s.order[0]
    if s.active_path == preferred:
        return Decision(DecisionKind.NO_CHANGE, tuple(reasons))
    if not_yet := _why_not_home(s, preferred):
        return Decision(DecisionKind.NO_CHANGE, tuple(reasons), passed_over={preferred: not_yet})
    since = s.history.path(preferred).healthy_since
    stable = f"{preferred} has been healthy since {since:%H:%M:%SZ}" if since else ""
    return Decision(DecisionKind.FAILBACK, (stable or f"{preferred} is healthy",), preferred)


def _why_not_home(s: Situation, preferred: str) -> str | None:
    """Why traffic does not return to the preferred path yet; None when it should."""
    health, memory = s.health_of(preferred), s.history.path(preferred)
    if health.health is not Health.HEALTHY:
        return health.describe()
    if s.policy.failback.automation is Automation.MANUAL:
        return "the policy leaves failback to an operator"
    if s.history.last_switch is not None and s.history.last_switch.by_hand:
        return "traffic was moved here by hand, and stays until an operator asks for a failback"
    if memory.down:
        needed = s.policy.hysteresis.healthy_observations_to_recover
        return f"{memory.healthy_in_a_row} of {needed} healthy observations so far"
    stable_seconds = s.policy.failback.stable_seconds
    since = memory.healthy_since or s.now
    if (s.now - since).total_seconds() < stable_seconds:
        return f"healthy since {since:%H:%M:%SZ}, not yet for {stable_seconds:g} s"
    if until := _held_down_until(s):
        return f"hold-down until {until:%H:%M:%SZ}"
    return _obstacle(s, preferred)


def _held_down_until(s: Situation) -> datetime | None:
    """The end of the hold-down that is running, if one is."""
    last = s.history.last_switch
    if last is None:
        return None
    until = last.at + timedelta(seconds=s.policy.hold_down_seconds)
    return until if s.now < until else None
