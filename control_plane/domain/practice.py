"""Deciding about drills: when practice may begin, by hand or by the schedule, and when traffic goes back.

Practice needs a link that is well at both ends of the move and gives way to everything real. Nobody is asked for
an approval of practice: where the policy wants one for moving traffic, a drill is begun by hand or not at all.
Traffic that is away for a drill goes back without asking anybody.
"""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.domain.change_windows import next_opening
from control_plane.domain.decision import Decision, DecisionKind
from control_plane.domain.drill import DrillMove, describe_open
from control_plane.domain.health import Health
from control_plane.domain.moments import clock, day
from control_plane.domain.obstacles import (
    Move,
    Obstacle,
    first_obstacle,
    maintenance_is_near,
    not_yet_stable,
    obstacles,
)
from control_plane.domain.policy import SWITCHES_OF_A_DRILL, Action, Mode
from control_plane.domain.signals import Intent, IntentKind
from control_plane.domain.situation import Situation


def alarms_matter(s: Situation) -> bool:
    """Whether the decision upon this situation depends on alarms: a drill is asked for, or due."""
    asked = s.intent is not None and s.intent.intent is IntentKind.DRILL
    return asked or _is_its_time(s)


def unfit_for_a_drill(s: Situation, target: str) -> Iterator[Obstacle]:
    """What keeps a drill of this path from beginning, beside all that stands in a move's way."""
    drill = s.history.drill
    if drill is not None and s.active_path == drill.away:
        until = clock(drill.until)
        yield Obstacle(
            f"a drill is going on: {describe_open(drill)}",
            f"the drill's end at {until}",
            passable=False,
        )
    elif drill is not None:
        lifted = "the end of the next look"
        yield Obstacle("the drill before is not settled yet", lifted, passable=False)
    if s.active_path is None:
        yield Obstacle("nothing is published", "a published routing config", passable=False)
    for name in (s.active_path, target):
        health = s.health_of(name) if name is not None else None
        if health is not None and health.health is not Health.HEALTHY:
            yield Obstacle(f"a drill needs healthy paths: {health.describe()}", f"{name} healthy")
    if s.alarms is None:
        yield Obstacle("the states of the alarms could not be read", "readable alarms")
    elif s.alarms:
        ringing = ", ".join(s.alarms)
        yield Obstacle(f"in ALARM: {ringing}", f"{ringing} not in ALARM")


def drill_by_hand(s: Situation, intent: Intent) -> float:
    """For how many seconds a drill that was asked for keeps traffic away."""
    return intent.duration_seconds or s.policy.drill.duration_seconds


def scheduled_drill(s: Situation) -> Decision | None:
    """The drill that the schedule asks for, if everything is as it must be; None otherwise."""
    if not _is_its_time(s):
        return None
    assert s.active_path is not None
    seconds = s.policy.drill.duration_seconds
    passed = s.history.drills.passed_at
    since = f"the last one passed at {day(passed)}" if passed else "none has passed yet"
    for name in _by_turns(s):
        if name != s.active_path and next(_in_the_way(s, name), None) is None:
            return Decision(
                DecisionKind.FAILOVER,
                (f"a drill is due: {since}",),
                name,
                would_change=("drill.automation manual", f"{name} not healthy", "any alarm"),
                drill=DrillMove.BEGIN,
                drill_seconds=seconds,
            )
    return None


def why_no_drill(s: Situation) -> dict[str, str]:
    """For each path, why the drill that is due does not begin with it; empty when none is due."""
    if not _is_its_time(s):
        return {}
    return {
        name: f"no drill: {'; '.join(obstacle.text for obstacle in _in_the_way(s, name))}"
        for name in s.order
        if name != s.active_path
    }


def end_of_drill(s: Situation) -> Decision | None:
    """A drill's return, once it is due: neither hold-down nor stability, only what guards an escape."""
    drill = s.history.drill
    if drill is None or s.active_path != drill.away:
        return None
    if s.now < drill.until and drill.disturbed_by is None:
        return None
    if first_obstacle(s, drill.home, Move.ESCAPE) is not None:
        return None
    kind = DecisionKind.FAILBACK if drill.home == s.order[0] else DecisionKind.FAILOVER
    if drill.disturbed_by is not None:
        move, why = DrillMove.ABORT, f"the drill gives way to a signal: {drill.disturbed_by}"
    else:
        move, why = DrillMove.RETURN, f"the drill on {drill.away} ended at {clock(drill.until)}"
    not_home = (f"{drill.home} not carrying calls",)
    return Decision(kind, (why,), drill.home, would_change=not_home, drill=move)


def abort_of_drill(s: Situation) -> Decision | None:
    """The return of a drill that something real has disturbed."""
    drill = s.history.drill
    return end_of_drill(s) if drill is not None and drill.disturbed_by is not None else None


def _is_its_time(s: Situation) -> bool:
    """Whether this look is one on which the schedule's drill may begin, whatever the paths are like."""
    if not s.routine or s.intent is not None or s.active_path != s.order[0]:
        return False
    policy = s.policy
    asks = policy.approval
    if policy.mode_at(s.now) is not Mode.AUTOMATIC or Action.FAILOVER in asks.always:
        return False
    if s.history.drill is not None or not s.history.drills.is_due(policy.drill, s.now):
        return False
    return next_opening(policy.drill.change_windows, s.now) is None


def _in_the_way(s: Situation, name: str) -> Iterator[Obstacle]:
    """Everything that keeps the schedule's drill from this path: practice can always wait."""
    yield from obstacles(s, name, Move.BETTER)
    yield from unfit_for_a_drill(s, name)
    yield from not_yet_stable(s, name)
    path, asks = s.topology.path(name), s.policy.approval.routing_methods
    if path is not None and path.routing_method in asks:
        yield Obstacle(f"taking {path.routing_method} needs an approval", "a drill by hand")
    if s.switches_this_hour + SWITCHES_OF_A_DRILL > s.policy.maximum_switches_per_hour:
        yield Obstacle(f"{s.switches_this_hour} switches within the hour", "time")
    for one in (s.active_path, name):
        if one is not None and maintenance_is_near(s, one):
            yield Obstacle(f"AWS is about to replace a tunnel of {one}", "the tunnel's replacement")
        if one is not None and one in s.drifted:
            yield Obstacle(f"{one} has drifted", f"the required routes of {one}")


def _by_turns(s: Situation) -> list[str]:
    """Paths by preference, the one of the last drill at the end."""
    last = s.history.drills.last
    return sorted(s.order, key=lambda name: last is not None and name == last.away)
