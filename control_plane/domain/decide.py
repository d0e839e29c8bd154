"""The decision: a total, pure function from what is known to what should be done.

It never looks anything up and never raises. Each result accounts for itself: every reason, why each other
path was passed over, the inputs, what would have changed it.

Order of concern: is what is published what was looked at; an operator's intent; an active path that may
not be used; one that has failed; drift; one that carries badly; the end of a drill; the way home; a policy that
proxies do not know of yet.
Hold-down delays going home, never escaping from a failed path: what bounds escapes is the damping of
the path that would be returned to, and the number of switches per hour.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from control_plane.domain.decision import SWITCHES, Decision, DecisionKind
from control_plane.domain.drill import DrillMove, describe_open
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.moments import clock, day
from control_plane.domain.obstacles import (
    Move,
    first_obstacle,
    maintenance_is_near,
    obstacles,
)
from control_plane.domain.policy import Action, Automation, Mode
from control_plane.domain.practice import (
    abort_of_drill,
    drill_by_hand,
    end_of_drill,
    scheduled_drill,
    unfit_for_a_drill,
    why_no_drill,
)
from control_plane.domain.signals import Intent, IntentKind
from control_plane.domain.situation import HOUR_SECONDS, Published, Situation

__all__ = [
    "HOUR_SECONDS",
    "SWITCHES",
    "Decision",
    "DecisionKind",
    "Published",
    "Situation",
    "decide",
    "judge",
]

_ACTION = {
    DecisionKind.FAILOVER: Action.FAILOVER,
    DecisionKind.FAILBACK: Action.FAILBACK,
    DecisionKind.ROLLBACK: Action.FAILOVER,
    DecisionKind.RESTORE: Action.FAILOVER,
    DecisionKind.REPAIR: Action.REPAIR,
}


def decide(s: Situation) -> Decision:
    """Choose what to do in this situation, and account for it. Total and pure."""
    decision = judge(s)
    warnings = (*decision.warnings, *_warnings(s, decision))
    return replace(decision, inputs=_inputs(s), warnings=warnings)


def judge(s: Situation) -> Decision:
    """The decision with its reasons, before the account of inputs and warnings that `decide` adds."""
    return _within_mode(s, _choose(s))


def _choose(s: Situation) -> Decision:
    if s.published is not None and s.published.active_path != s.active_path:
        moved = (
            f"published now: {s.published.active_path} in generation {s.published.generation}; "
            f"looked at: {s.active_path}. What is published changed since the link was looked at"
        )
        return Decision(
            DecisionKind.NO_CHANGE, (moved,), would_change=("a look at the link as it is now",)
        )
    if s.intent is not None and s.intent.intent is not IntentKind.RECONCILE:
        return _obey(s, s.intent)
    return _remediate(s)


def _within_mode(s: Situation, decision: Decision) -> Decision:
    """What the policy's mode makes of a decision that would act."""
    if not decision.acts:
        return decision
    overridden = s.intent is not None and s.intent.override
    dry_run = s.intent is not None and s.intent.dry_run
    mode = s.policy.mode_at(s.now)
    if mode is Mode.PAUSED and not overridden:
        pause = s.policy.pause if s.policy.mode is not Mode.PAUSED else None
        until = f" until {day(pause.until)} ({pause.reason})" if pause else ""
        return Decision(
            DecisionKind.NO_CHANGE,
            (f"the policy is paused{until}; would have chosen {decision.describe()}",),
            passed_over=decision.passed_over,
            would_change=("the pause's end", "an intent with override"),
        )
    warnings, would_change = decision.warnings, decision.would_change
    silent = dry_run or (mode is Mode.OBSERVE and not overridden)
    if dry_run:
        warnings = (*warnings, "a dry run: nothing is touched")
    elif silent and s.policy.stored:
        warnings = (*warnings, "the policy's mode is observe: nothing is touched")
        would_change = ("mode automatic or approve", *would_change)
    elif silent:
        warnings = (*warnings, "no policy is stored for this link: nothing is touched")
        would_change = ("a stored policy", *would_change)
    awaits = not silent and _awaits_approval(s, decision, mode)
    if not (silent or awaits or overridden):
        return decision
    return replace(
        decision,
        touches_nothing=silent,
        needs_approval=awaits,
        overridden=overridden,
        warnings=warnings,
        would_change=would_change,
    )


def _awaits_approval(s: Situation, decision: Decision, mode: Mode) -> bool:
    asked = s.intent is not None and s.intent.intent is not IntentKind.RECONCILE
    # What is published is an operator's own policy, and moves nothing.
    own = decision.kind is DecisionKind.PUBLISH
    if asked or own or s.approved or decision.drill is not None:
        return False
    rules, action = s.policy.approval, _ACTION[decision.kind]
    if action in rules.always or (mode is Mode.APPROVE and action in rules.in_approve_mode):
        return True
    path = s.topology.path(decision.path or "")
    moves = decision.kind in SWITCHES
    return moves and path is not None and path.routing_method in rules.routing_methods


# -- an operator's intent ----------------------------------------------------------------------------


def _obey(s: Situation, intent: Intent) -> Decision:
    kind, target, lacking = _wanted(s, intent)
    asked = f"{intent.requested_by} asked for a {intent.intent}"
    if intent.reason:
        asked += f": {intent.reason}"
    if target is None:
        return Decision(DecisionKind.ESCALATE, (asked, lacking), would_change=("another intent",))
    foreign = kind is DecisionKind.RESTORE and not s.intact
    if foreign and not (intent.override or intent.to or intent.to_generation):
        return _restore(s, asked, Move.ASKED)
    if target == s.active_path and not foreign:
        return Decision(
            DecisionKind.NO_CHANGE,
            (asked, f"{target} is active already"),
            would_change=("an intent for another path",),
        )
    practice = intent.intent is IntentKind.DRILL
    found = tuple(obstacles(s, target, Move.ASKED))
    if practice:
        found = (*unfit_for_a_drill(s, target), *found)
    drill = DrillMove.BEGIN if practice else None
    seconds = drill_by_hand(s, intent) if practice else None
    if not found:
        return Decision(
            kind,
            (asked,),
            target,
            would_change=(f"{target} not answering probes",),
            drill=drill,
            drill_seconds=seconds,
        )
    firm = [obstacle for obstacle in found if not (intent.override and obstacle.passable)]
    if firm:
        reasons = (asked, *(f"{target}: {obstacle.text}" for obstacle in firm))
        lifted = tuple(obstacle.lifted_by for obstacle in firm)
        if not intent.override and all(obstacle.passable for obstacle in found):
            lifted += ("the same intent with override, and a reason",)
        return Decision(DecisionKind.ESCALATE, reasons, target, would_change=lifted)
    passed = tuple(obstacle.text for obstacle in found)
    reasons = (asked, f"limits overridden: {'; '.join(passed)}")
    return Decision(
        kind,
        reasons,
        target,
        overrode=passed,
        would_change=("the same intent without override",),
        drill=drill,
        drill_seconds=seconds,
    )


def _wanted(s: Situation, intent: Intent) -> tuple[DecisionKind, str | None, str]:
    """What an intent asks for: kind and target; without a target, what is lacking."""
    preferred = s.order[0]
    if intent.intent is IntentKind.FAILBACK:
        return DecisionKind.FAILBACK, intent.to or preferred, ""
    missing = "nobody knows what was active at the generation asked for"
    if intent.intent is IntentKind.ROLLBACK:
        return DecisionKind.ROLLBACK, s.rollback_path, missing
    if intent.intent is IntentKind.RESTORE:
        return DecisionKind.RESTORE, intent.to or s.rollback_path, missing
    target = intent.to or next(
        (p for p in s.order if p != s.active_path and p not in s.refused), None
    )
    return DecisionKind.FAILOVER, target, "there is no other path to move to"


# -- what the link needs -----------------------------------------------------------------------------


def _remediate(s: Situation) -> Decision:
    if s.history.quarantines:
        held = tuple(f"{name} is {it.describe()}" for name, it in s.history.quarantines.items())
        return Decision(DecisionKind.ESCALATE, held, would_change=("`twinspan resolve`",))
    if s.active_path is None:
        return _publish_anew(s)
    path = s.topology.path(s.active_path)
    if path is None:
        why = f"the published active path {s.active_path} is not on this link"
        return _leave(s, (why,), "a published path that this link has")
    active = s.health_of(s.active_path)
    if not s.policy.permits(path.routing_method):
        why = f"{s.active_path} is active, and the policy lets no data class use {path.routing_method}"
        return _leave(s, (why,), f"a policy that permits {path.routing_method}")
    if quarantine := s.policy.quarantined(s.active_path, s.now):
        why = f"{s.active_path} is quarantined: {quarantine.reason}"
        return _leave(s, (why,), "the quarantine's end")
    if (giving_way := abort_of_drill(s)) is not None:
        return giving_way
    if active.health is Health.FAILED:
        return _leave_or_repair(s, active)
    if active.health is Health.UNKNOWN:
        reasons = (active.describe(), "missing data moves no traffic")
        return Decision(
            DecisionKind.NO_CHANGE, reasons, would_change=(f"a failing probe of {s.active_path}",)
        )
    if (active.too_slow or active.lossy) and (better := _better(s, active)) is not None:
        return better
    return _repair_or_return(s, active)


def _publish_anew(s: Situation) -> Decision:
    """Nothing is published: what was published last is put back, or what would take over from it."""
    return _restore(s, "no routing config is published", Move.ESCAPE)


def _restore(s: Situation, why: str, move: Move) -> Decision:
    unless, last = "a published routing config that nobody else wrote", s.rollback_path
    # A path that was put back in vain waits for its turn among the others, as in any escape.
    in_vain = last is not None and s.history.path(last).set_back(s.now) is not None
    if last is not None and not in_vain and first_obstacle(s, last, move) is None:
        reasons = (why, f"{last} was published last")
        return Decision(DecisionKind.RESTORE, reasons, last, would_change=(unless,))
    # Whatever is published counts for nothing here, so its active path is as good as any other.
    instead = _leave(replace(s, active_path=None), (why,), unless)
    return replace(instead, kind=DecisionKind.RESTORE) if instead.acts else instead


def _leave_or_repair(s: Situation, active: PathHealth) -> Decision:
    assert s.active_path is not None
    memory = s.history.path(s.active_path)
    if not memory.down:
        needed = s.policy.hysteresis.failed_observations_to_fail
        waiting = f"{memory.failed_in_a_row} of {needed} failing observations so far"
        left = max(1, needed - memory.failed_in_a_row)
        return Decision(
            DecisionKind.NO_CHANGE,
            (active.describe(), waiting),
            would_change=(f"{left} more failing observations of {s.active_path}",),
        )
    may_repair = s.policy.drift_repair is Automation.AUTOMATIC and s.active_path not in s.refused
    away = _leave(s, (active.describe(),), f"a passing probe of {s.active_path}")
    if not (active.drift_explains_failure and may_repair):
        return away
    if (undone := memory.set_back(s.now)) is not None and away.path is not None:
        # Another way out is tried first, unless that was undone even later: all get their turn.
        other = s.history.path(away.path).set_back(s.now)
        if other is None or other < undone:
            return replace(away, reasons=(*away.reasons, _undone(s.active_path, undone)))
    return Decision(
        DecisionKind.REPAIR,
        (active.describe(),),
        s.active_path,
        would_change=("drift_repair manual", "a fault beside the drifted routes"),
    )


def _undone(path: str, at: datetime) -> str:
    return f"a plan for {path} was undone at {clock(at)}"


def _leave(s: Situation, why: tuple[str, ...], unless: str) -> Decision:
    """Find somewhere to go: the first path that carries, or one that only lost its routes.

    Paths take turns: one that a plan led to in vain comes after those that were not tried, or longer ago.
    """
    passed_over: dict[str, str] = {}
    lifted: list[str] = []
    eligible: list[tuple[tuple[float, int, bool, int], str]] = []
    for rank, name in enumerate(s.order):
        if name == s.active_path:
            continue
        found = tuple(obstacles(s, name, Move.ESCAPE))
        if found:
            passed_over[name] = "; ".join(obstacle.text for obstacle in found)
            lifted += (f"{name}: {obstacle.lifted_by}" for obstacle in found)
        else:
            undone = s.history.path(name).set_back(s.now)
            turn = undone.timestamp() if undone is not None else 0.0
            state = _PREFERENCE[s.health_of(name).health]
            eligible.append(((turn, state, maintenance_is_near(s, name), rank), name))
    if not eligible:
        alone = (
            "this link has no other path" if len(s.order) == 1 else "no other path may take over"
        )
        return Decision(
            DecisionKind.ESCALATE,
            (*why, alone),
            passed_over=passed_over,
            would_change=(unless, *lifted),
        )
    _, chosen = min(eligible)
    for _, name in eligible:
        if name != chosen:
            passed_over[name] = f"{s.health_of(name).describe()}; {chosen} comes first"
    kind = DecisionKind.FAILBACK if chosen == s.order[0] else DecisionKind.FAILOVER
    return Decision(kind, why, chosen, passed_over, would_change=(unless,))


_PREFERENCE = {Health.HEALTHY: 0, Health.DEGRADED: 1, Health.FAILED: 2, Health.UNKNOWN: 3}


def _better(s: Situation, active: PathHealth) -> Decision | None:
    """A healthy path to take instead of an active one that carries, but too slowly or too few calls."""
    for name in s.order:
        if name != s.active_path and first_obstacle(s, name, Move.BETTER) is None:
            kind = DecisionKind.FAILBACK if name == s.order[0] else DecisionKind.FAILOVER
            back = f"{active.path} answering faster, and losing fewer calls"
            return Decision(kind, (active.describe(),), name, would_change=(back,))
    return None


def _repair_or_return(s: Situation, active: PathHealth) -> Decision:
    reasons = [active.describe()]
    repairable = s.policy.drift_repair is Automation.AUTOMATIC
    for name in (n for n in s.order if n in s.drifted and n not in s.refused):
        undone = s.history.path(name).set_back(s.now)
        rested = undone is None or (s.now - undone).total_seconds() >= s.policy.hold_down_seconds
        if repairable and not rested and undone is not None:
            again = undone + timedelta(seconds=s.policy.hold_down_seconds)
            reasons.append(f"{_undone(name, undone)}; its routes are tried again at {clock(again)}")
        elif repairable:
            return Decision(
                DecisionKind.REPAIR,
                (s.health_of(name).describe(),),
                name,
                would_change=("drift_repair manual",),
            )
        else:
            reasons.append(f"{name} has drifted, and the policy leaves repair to an operator")
    if (ending := end_of_drill(s)) is not None:
        return ending
    if (beginning := scheduled_drill(s)) is not None:
        return beginning
    passed_over: dict[str, str] = {}
    lifted: list[str] = []
    for name in s.order:
        if name == s.active_path:
            break
        found = tuple(obstacles(s, name, Move.RETURN))
        if not found:
            since = s.history.path(name).healthy_since
            stable = f"{name} has been healthy since {clock(since)}" if since else ""
            return Decision(
                DecisionKind.FAILBACK,
                (stable or f"{name} is healthy",),
                name,
                passed_over,
                would_change=("failback manual", f"a failing look at {name}"),
            )
        passed_over[name] = "; ".join(obstacle.text for obstacle in found)
        lifted += (f"{name}: {obstacle.lifted_by}" for obstacle in found)
    for name, why in why_no_drill(s).items():
        passed_over.setdefault(name, why)
    if s.config_is_stale and s.policy.stored and s.active_path not in s.refused:
        return Decision(
            DecisionKind.PUBLISH,
            s.config_is_stale,
            s.active_path,
            passed_over,
            would_change=("the policy that was published",),
        )
    if not lifted:
        lifted = [f"a failing probe of {s.active_path}", "a required route that drifts"]
    return Decision(
        DecisionKind.NO_CHANGE, tuple(reasons), None, passed_over, would_change=tuple(lifted)
    )


# -- the account -------------------------------------------------------------------------------------


def _inputs(s: Situation) -> dict[str, str]:
    """What the decision looked at, by name, in words; what is not in force is left out."""
    found = {
        "active path": str(s.active_path),
        "mode": str(s.policy.mode_at(s.now)) if s.policy.stored else "no policy is stored",
        "switches this hour": f"{s.switches_this_hour} of {s.policy.maximum_switches_per_hour}",
    }
    if s.published is not None:
        found["generation"] = str(s.published.generation)
    for name in s.order:
        found[f"path {name}"] = _input_of_path(s, name)
    if until := s.held_down_until:
        found["hold-down"] = f"until {clock(until)}"
    if (drill := s.history.drill) is not None:
        found["drill"] = describe_open(drill)
    if s.alarms is not None:
        found["alarms in ALARM"] = ", ".join(s.alarms) or "none"
    if s.intent is not None:
        found["intent"] = f"{s.intent.intent} by {s.intent.requested_by}"
    return found


def _input_of_path(s: Situation, name: str) -> str:
    words = [s.health_of(name).describe()]
    memory = s.history.path(name)
    if memory.suppressed_since is not None and memory.suppressed(s.policy.flap_damping, s.now):
        words.append("suppressed")
    if s.policy.quarantined(name, s.now):
        words.append("quarantined")
    if name in s.history.quarantines:
        words.append("quarantined until an operator resolves it")
    if name in s.drifted:
        words.append("drifted")
    if name in s.refused:
        words.append("refused in this run")
    return ", ".join(words)


def _warnings(s: Situation, decision: Decision) -> tuple[str, ...]:
    """What people should know although it moves nothing."""
    found = [f"alert: {alert}" for alert in s.history.alerts(s.policy, s.now)]
    standbys = [name for name in s.order if name != s.active_path]
    if len(s.order) == 1:
        found.append("this link has one path: an outage of it has no way out")
    elif not any(first_obstacle(s, name, Move.ESCAPE) is None for name in standbys):
        found.append("no standby may take over now: an outage of the active path has no way out")
    for name in standbys:
        health = s.health_of(name)
        if health.health is not Health.HEALTHY or maintenance_is_near(s, name):
            found.append(f"standby {health.describe()}")
    if decision.kind is not DecisionKind.PUBLISH:
        found += s.config_is_stale
    return tuple(found)
