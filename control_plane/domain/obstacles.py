"""Why traffic may not move to a path now, and what would lift that.

One list of checks for every kind of move; what differs is how far each kind goes down it. An escape from a
failed path is stopped by little, a return that could as well wait is stopped by much, an operator by what
would do harm. What an override may pass and what it may not is said here, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from control_plane.domain.change_windows import next_opening
from control_plane.domain.drill import describe_open
from control_plane.domain.health import Health
from control_plane.domain.history import PathHistory
from control_plane.domain.moments import clock, day
from control_plane.domain.policy import Automation
from control_plane.domain.situation import Situation


class Move(IntEnum):
    """Kinds of moves, by how much may stop them."""

    ASKED = 0  # an operator wants it
    ESCAPE = 1  # the active path has failed
    BETTER = 2  # the active path carries, badly
    RETURN = 3  # the active path is well, and another is preferred


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing in the way; `passable` by an operator's override."""

    text: str
    lifted_by: str
    passable: bool = True


def first_obstacle(s: Situation, name: str, move: Move) -> Obstacle | None:
    """What stops this move first; None when nothing does."""
    return next(obstacles(s, name, move), None)


def obstacles(s: Situation, name: str, move: Move) -> Iterator[Obstacle]:
    """Everything that stops this move, the gravest first."""
    path = s.topology.path(name)
    if path is None:
        yield Obstacle("not a path of this link", "a topology that has it", passable=False)
        return
    if not s.policy.permits(path.routing_method):
        yield Obstacle(
            f"the policy lets no data class use {path.routing_method}",
            f"a policy with a data class that may use {path.routing_method}",
            passable=False,
        )
    if name in s.refused:
        # Refused in this very run, which an overridden plan is not: trying again proves nothing new.
        yield Obstacle(s.refused[name], "a proof and a probe that pass", passable=False)
    if quarantine := s.policy.quarantined(name, s.now):
        until = day(quarantine.until)
        yield Obstacle(
            f"quarantined until {until}: {quarantine.reason}", f"the quarantine's end at {until}"
        )
    if (standing := s.history.quarantines.get(name)) is not None:
        yield Obstacle(standing.describe(), "an operator's `twinspan resolve`")
    if obstacle := _ill(s, name, move):
        yield obstacle
    if move is Move.ASKED:
        return
    if move is Move.RETURN:
        yield from _reserved(s)
        yield from not_yet_stable(s, name)
    if s.switches_this_hour >= s.policy.maximum_switches_per_hour:
        yield Obstacle(
            f"{s.switches_this_hour} switches within the hour, the policy's limit",
            f"time: at {clock(s.next_free_switch_at)} one of them is an hour old",
        )
    if move is Move.ESCAPE:
        return
    if until_moment := s.held_down_until:
        until = clock(until_moment)
        yield Obstacle(f"hold-down until {until}", f"time: the hold-down ends at {until}")
    memory = s.history.path(name)
    if memory.suppressed_since is not None and memory.suppressed(s.policy.flap_damping, s.now):
        yield _suppression(s, memory)
    if move is Move.RETURN:
        yield from _inopportune(s, name)


def maintenance_is_near(s: Situation, name: str) -> bool:
    """Whether AWS is about to replace a tunnel of this path, or may be doing so."""
    due = s.health_of(name).maintenance_due
    if due is None:
        return False
    limits = s.policy.maintenance
    begins = due - timedelta(seconds=limits.avoid_before_seconds)
    return begins <= s.now < due + timedelta(seconds=limits.avoid_after_seconds)


def _ill(s: Situation, name: str, move: Move) -> Obstacle | None:
    """What is wrong with the path itself; whoever does not have to move asks for more."""
    health = s.health_of(name)
    if move >= Move.BETTER:
        well = health.health is Health.HEALTHY
        return None if well else Obstacle(health.describe(), f"{name} being healthy")
    if health.carries or health.drift_explains_failure:
        return None
    return Obstacle(health.describe(), f"passing probes of {name}")


def _reserved(s: Situation) -> Iterator[Obstacle]:
    """Returns that belong to people."""
    if s.policy.failback.automation is Automation.MANUAL:
        yield Obstacle("the policy leaves failback to an operator", _ASK)
    if s.history.drill is not None and s.active_path == s.history.drill.away:
        text = f"a drill is going on: {describe_open(s.history.drill)}"
        until = clock(s.history.drill.until)
        yield Obstacle(text, f"time: the drill ends at {until}")
    elif s.history.last_switch is not None and s.history.last_switch.by_hand:
        yield Obstacle(
            "traffic was moved here by hand, and stays until an operator asks for a failback", _ASK
        )


def not_yet_stable(s: Situation, name: str) -> Iterator[Obstacle]:
    """What a path lacks that is healthy, and has not been so for long enough."""
    memory, health = s.history.path(name), s.health_of(name)
    if health.health is not Health.HEALTHY:
        return
    if memory.down:
        needed = s.policy.hysteresis.healthy_observations_to_recover
        left = needed - memory.healthy_in_a_row
        yield Obstacle(
            f"{memory.healthy_in_a_row} of {needed} healthy observations so far",
            f"{left} more healthy observations of {name} in a row",
        )
    stable_seconds = s.policy.failback.stable_seconds
    since = memory.healthy_since or s.now
    if (s.now - since).total_seconds() < stable_seconds:
        stable = since + timedelta(seconds=stable_seconds)
        yield Obstacle(
            f"healthy since {clock(since)}, not yet for {stable_seconds:g} s",
            f"time: {name} has been healthy long enough at {clock(stable)}",
        )
    if health.sluggish and s.active_path is not None and not s.health_of(s.active_path).sluggish:
        limit = f"{s.policy.latency.warning_ms:g} ms"
        yield Obstacle(
            f"slower than {limit}, which the active path is not", f"a latency below {limit}"
        )


def _suppression(s: Situation, memory: PathHistory) -> Obstacle:
    damping = s.policy.flap_damping
    text = f"suppressed for flapping (penalty {memory.penalty_now(damping, s.now):.0f})"
    until = memory.suppressed_until(damping)
    assert until is not None, "only what is suppressed has an end of it to tell"
    return Obstacle(text, f"time: its penalty has decayed enough at {clock(until)}")


def _inopportune(s: Situation, name: str) -> Iterator[Obstacle]:
    """Times at which what can wait, waits."""
    due = s.health_of(name).maintenance_due
    if due is not None and maintenance_is_near(s, name):
        yield Obstacle(
            f"AWS replaces one of its tunnels about {day(due)}",
            "the tunnel's replacement, or its date being well past",
        )
    if opens := next_opening(s.policy.failback.change_windows, s.now):
        when = day(opens)
        yield Obstacle(
            f"no change window is open before {when}", f"time: a change window opens at {when}"
        )


_ASK = "an operator's intent: twinspan failback"
