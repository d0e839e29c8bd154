"""The space of decisions: every state of one path, every situation of a link, and what must hold of each.

Shared parts are built once and reused: a situation costs little more than the decision upon it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import count as count_up
from itertools import islice, product

from control_plane.domain.decide import SWITCHES, Decision, DecisionKind, Situation, judge
from control_plane.domain.drill import Drill, DrillMove, DrillOutcome, DrillRecord
from control_plane.domain.health import Health, PathHealth, assess
from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.observation import (
    BreakerState,
    CanaryWindow,
    ObservedPath,
    PendingMaintenance,
    ProbeResult,
    ProxyReport,
)
from control_plane.domain.policy import Automation, Mode, Policy, Quarantine
from control_plane.domain.signals import Intent
from control_plane.domain.situation import Published
from control_plane.domain.topology import Topology
from tests.builders import NOON, intent, later, route, topology, tunnels

FIRST, SECOND, GONE = "tunnel-1", "tunnel-2", "tunnel-9"


LINK = topology()


POLICY = Policy()


LONG_AGO, SOON = later(-7200), later(1800)


ACTING = SWITCHES | {DecisionKind.REPAIR}


def _probe(latency_ms: float | None) -> ProbeResult:
    answered = 0 if latency_ms is None else 2
    return ProbeResult(
        path=FIRST,
        attempts=2,
        answered=answered,
        required=2,
        median_latency_ms=latency_ms,
        taken_at=NOON,
    )


def _canary(lost: int) -> CanaryWindow:
    return CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=10, lost=lost)


def _report(state: BreakerState, seconds: float) -> ProxyReport:
    return ProxyReport(state=state, reported_at=later(seconds))


TUNNELS = (tunnels(True, True), tunnels(True, False), tunnels(False, False), None)


CONNECTIONS = ("available", "deleted")


ENDPOINTS = ("available", "failed", "partial", None)


PROBES = (_probe(70), _probe(1500), _probe(2500), _probe(None), None)


BREAKERS = (
    None,
    _report(BreakerState.OPEN, -30),
    _report(BreakerState.OPEN, 5),
    _report(BreakerState.CLOSED, -30),
)


CANARIES = (None, _canary(0), _canary(3), _canary(8))


ROUTES = ((route(),), (route(target=None),))


MAINTENANCE = ((), (PendingMaintenance(outside_ip="203.0.113.0", due_at=SOON),))


AXES = (TUNNELS, CONNECTIONS, ENDPOINTS, PROBES, BREAKERS, CANARIES, ROUTES, MAINTENANCE)


def path_states() -> Iterator[ObservedPath]:
    """Every state of a path, in a fixed order."""
    for up, connection, endpoint, probe, proxy, canary, routes, maintenance in product(*AXES):
        yield ObservedPath(
            name=FIRST,
            tunnels=up,
            connection_state=connection,
            endpoint_state=endpoint,
            probe=probe,
            proxy=proxy,
            canary=canary,
            routes=routes,
            maintenance=maintenance,
        )


@cache
def judged() -> list[tuple[ObservedPath, PathHealth]]:
    """Every state with its verdict."""
    return [(seen, assess(seen, POLICY.latency, now=NOON)) for seen in path_states()]


def telling(verdict: PathHealth) -> tuple[object, ...]:
    """What a decision can tell apart of a verdict."""
    return (
        verdict.health,
        verdict.drift_explains_failure,
        verdict.drifted,
        verdict.too_slow or verdict.lossy,
        verdict.sluggish,
        verdict.maintenance_due,
    )


@cache
def classes() -> dict[tuple[object, ...], tuple[PathHealth, int]]:
    """Each class: one verdict to stand for it, and how many states it stands for."""
    counts = Counter(telling(verdict) for _, verdict in judged())
    chosen = {telling(verdict): verdict for _, verdict in reversed(judged())}
    return {key: (chosen[key], counts[key]) for key in counts}


@dataclass(frozen=True, slots=True)
class Memory:
    """A history, and what of it the invariants ask about."""

    history: LinkHistory
    held_down: bool = False
    suppressed: bool = False
    limit_reached: bool = False
    settled: bool = True
    giving_way: bool = False
    fit_for_practice: bool = True


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy, and what of it the invariants ask about."""

    policy: Policy
    mode: Mode
    quarantined: frozenset[str] = frozenset()


Case = tuple[Situation, Memory, Rules]


def switch(seconds_ago: float, by_hand: bool = False) -> Switch:
    return Switch(
        at=later(-seconds_ago), from_path=FIRST, to_path=SECOND, kind="Failover", by_hand=by_hand
    )


def histories(down: tuple[str, ...], settled: bool = True) -> dict[str, LinkHistory]:
    """Memories in which these paths are down and the others long healthy, suppressed or not."""
    found = {}
    for name, suppressed in (("clear", False), ("damped", True)):
        paths = {}
        for path in LINK.path_names:
            healthy_since = LONG_AGO if settled and path not in down else None
            memory = PathHistory(down=path in down and settled, healthy_since=healthy_since)
            if suppressed and path == FIRST:
                flapped = {"penalty": 3000.0, "penalty_at": NOON, "suppressed_since": later(-60)}
                memory = memory.model_copy(update=flapped)
            paths[path] = memory
        found[name] = LinkHistory(paths=paths)
    return found


@cache
def memories(down: tuple[str, ...]) -> tuple[Memory, ...]:
    """Hold-down and damping, each in force or not."""
    found = []
    for name, history in histories(down).items():
        for held in (False, True):
            switches = (switch(10),) if held else (switch(1800),)
            remembered = history.model_copy(update={"switches": switches})
            found.append(Memory(remembered, held_down=held, suppressed=name == "damped"))
    return tuple(found)


def calm(down: tuple[str, ...]) -> tuple[Memory, ...]:
    """Neither hold-down nor damping."""
    return memories(down)[:1]


@cache
def special_memories(down: tuple[str, ...]) -> tuple[Memory, ...]:
    """What else a link may have been through."""
    calm, fresh = histories(down)["clear"], histories(down, settled=False)["clear"]
    many = tuple(switch(3000 - 100 * n) for n in range(POLICY.maximum_switches_per_hour))

    def drill(seconds: float, **more: object) -> dict[str, object]:
        return {
            "switches": (switch(1800, by_hand=True),),
            "drill": Drill(home=FIRST, away=SECOND, until=later(seconds), **more),
        }

    disturbed = drill(600, disturbed_by="an alarm")
    unseen = histories(down, settled=False)["clear"].model_copy(update=disturbed)

    return (
        Memory(LinkHistory(), settled=False),
        Memory(fresh, settled=False),
        Memory(calm.model_copy(update={"switches": many}), limit_reached=True),
        Memory(calm.model_copy(update={"switches": (switch(1800, by_hand=True),)})),
        Memory(calm.model_copy(update=drill(600))),
        Memory(calm.model_copy(update=drill(-600))),
        Memory(calm.model_copy(update=disturbed), giving_way=True),
        Memory(calm.quarantine((FIRST, SECOND), "a test", NOON)),
        Memory(unseen, giving_way=True, settled=False),
        Memory(calm.after_setback(FIRST, later(-60))),
        Memory(calm.after_setback(FIRST, later(-60)).after_setback(SECOND, later(-120))),
    )


@cache
def memories_of_practice(down: tuple[str, ...]) -> tuple[Memory, ...]:
    """Every memory that bears on whether the schedule's drill may begin; the schedule asks for one a month."""

    def drilled(outcome: DrillOutcome, days_ago: float) -> LinkHistory:
        record = DrillRecord(
            outcome=outcome,
            why="a test",
            home=FIRST,
            away=SECOND,
            began_at=None,
            ended_at=later(-days_ago * 86400),
        )
        return histories(down)["clear"].after_drill(record)

    never = histories(down)["clear"]
    open_drill = Drill(home=FIRST, away=SECOND, until=later(600))
    five = tuple(switch(3000 - 100 * n) for n in range(POLICY.maximum_switches_per_hour - 2))
    return (
        Memory(never),
        Memory(drilled(DrillOutcome.PASSED, 31)),
        Memory(drilled(DrillOutcome.PASSED, 29), fit_for_practice=False),
        Memory(drilled(DrillOutcome.FAILED, 0.5), fit_for_practice=False),
        Memory(drilled(DrillOutcome.ABORTED, 1.5)),
        Memory(never.in_drill(open_drill), fit_for_practice=False),
        Memory(never.model_copy(update={"switches": five}), fit_for_practice=False),
        Memory(histories(down, settled=False)["clear"], settled=False, fit_for_practice=False),
        *(replace(m, fit_for_practice=not m.held_down) for m in memories(down)),
    )


def rules(*quarantines: tuple[str, ...], **fields: object) -> tuple[Rules, ...]:
    """Every mode with each of these quarantines."""
    found = []
    for mode, names in product(Mode, quarantines):
        quarantine = tuple(Quarantine(path=n, reason="a test", until=later(60)) for n in names)
        policy = Policy(mode=mode, quarantine=quarantine, **fields)  # type: ignore[arg-type]
        found.append(Rules(policy, mode, frozenset(names)))
    return tuple(found)


INTENTS = (
    None,
    intent(to=SECOND),
    intent(to=SECOND, override=True, reason="a test"),
    intent("failback"),
    intent("drill", to=SECOND),
)


PLACES = (
    (FIRST, Published(FIRST, 7)),
    (SECOND, Published(SECOND, 7)),
    (GONE, Published(GONE, 7)),
)


MOVED = ((FIRST, Published(SECOND, 8)), (None, None))


def cases(
    policies: tuple[Rules, ...],
    remembering: Callable[[tuple[str, ...]], tuple[Memory, ...]],
    places: tuple[tuple[str | None, Published | None], ...],
    intents: tuple[Intent | None, ...],
    link: Topology = LINK,
    *,
    every_nth: int = 1,
    **more: object,
) -> Iterator[Case]:
    """The product of all verdicts on the first two paths with everything else, or every n-th of its cases."""
    numbers = count_up()
    first_verdicts = [verdict for verdict, _ in classes().values()]
    # Maintenance of the standby is a mirror image: only returns, to the first path, mind it.
    second_verdicts = [
        replace(verdict, path=SECOND) for verdict in first_verdicts if not verdict.maintenance_due
    ]
    for first, second in product(first_verdicts, second_verdicts):
        health = {FIRST: first, SECOND: second}
        drifted = frozenset(name for name, verdict in health.items() if verdict.drifted)
        down = tuple(name for name, verdict in health.items() if verdict.health is Health.FAILED)
        for memory in remembering(down):
            for rule in policies:
                for active, published in places:
                    for asked in intents:
                        if next(numbers) % every_nth:
                            continue
                        situation = Situation(
                            link,
                            rule.policy,
                            active,
                            health,
                            drifted,
                            memory.history,
                            NOON,
                            asked,
                            published=published,
                            **more,  # type: ignore[arg-type]
                        )
                        yield situation, memory, rule


def _is_a_text(text: object) -> bool:
    return isinstance(text, str) and bool(text) and "None" not in text


def broken(case: Case, d: Decision) -> str | None:
    """The invariant that this decision breaks, if it does."""
    s, memory, rule = case
    asked, active = s.intent, s.active_path
    override = asked is not None and asked.override
    by_itself = asked is None
    if not d.reasons or not d.would_change:
        return "does not account for itself"
    if not all(map(_is_a_text, (*d.reasons, *d.would_change, *d.passed_over.values()))):
        return "leaves a gap in its account"
    if d.overridden and not override:
        return "claims an override that nobody gave"
    if s.published is not None and s.published.active_path != active:
        return None if not d.acts else "acts on a link that was not the one looked at"
    here = s.topology.path(active) if active is not None else None
    verdict = s.health[here.name] if here is not None else None
    barred = here is None or here.name in rule.quarantined
    barred = barred or not s.policy.permits(here.routing_method)  # type: ignore[union-attr]
    usable = not barred
    stays_well = usable and verdict is not None and verdict.carries
    if d.kind in ACTING:
        if rule.mode is Mode.PAUSED and not override:
            return "acts while paused"
        if rule.mode is Mode.OBSERVE and not override and not d.touches_nothing:
            return "touches something in mode observe"
        if d.drill is DrillMove.BEGIN and (problem := unfit(case, d)):
            return problem
        asks = by_itself and rule.mode is Mode.APPROVE and d.drill is None
        if d.needs_approval is not asks:
            return "asks for approval when it should not, or does not when it should"
        if d.kind is DecisionKind.REPAIR:
            return None if d.path in s.drifted else "repairs what has not drifted"
        if d.path is None or d.path == active or s.topology.path(d.path) is None:
            return "moves traffic to nowhere new"
        method = s.topology.path(d.path).routing_method  # type: ignore[union-attr]
        if not s.policy.permits(method):
            return "invariant 4: takes a routing method that the policy forbids"
        if d.path in s.refused:
            return "invariant 3: takes a path that was refused in this run"
        target = s.health[d.path]
        fit = target.carries or target.drift_explains_failure
        if not override and (d.path in rule.quarantined or not fit):
            return "invariant 3: takes a path that is quarantined or carries nothing"
        if override and (d.path in rule.quarantined or not fit) and not d.overrode:
            return "an override is not recorded"
        if not by_itself:
            return None
        if s.history.quarantines:
            return "acts by itself while an operator is needed"
        if memory.limit_reached:
            return "invariant 8: switches beyond the limit of the hour"
        unknown = verdict is not None and verdict.health is Health.UNKNOWN
        if usable and unknown and d.drill is not DrillMove.ABORT:
            return "moves traffic on missing data"
        if (
            usable
            and verdict is not None
            and verdict.health is Health.FAILED
            and not memory.settled
            and d.drill is not DrillMove.ABORT
        ):
            return "leaves on fewer failing looks than the policy asks for"
        if stays_well:
            if target.health is not Health.HEALTHY and s.history.drill is None:
                return "leaves a path that carries for one that is not healthy"
            if memory.held_down:
                return "leaves a path that carries during hold-down"
            if memory.suppressed and d.path == FIRST:
                return "invariant 8: returns to a path that is suppressed"
        return None
    if asked is not None and override and asked.to is not None and asked.to != active:
        path = s.topology.path(asked.to)
        firm = path is None or not s.policy.permits(path.routing_method) or asked.to in s.refused
        return None if firm else "does not obey an override"
    if not by_itself or rule.mode is Mode.PAUSED:
        return None
    away = s.history.drill is not None and active == s.history.drill.away
    at_home = s.health[FIRST].carries and FIRST not in rule.quarantined
    if away and memory.giving_way and usable and at_home:
        return "practice does not give way to something real"
    if s.history.quarantines:
        return None if d.kind is DecisionKind.ESCALATE else "is silent while an operator is needed"
    lost = barred or (verdict is not None and verdict.health is Health.FAILED and memory.settled)
    if not lost:
        return None
    for name in s.topology.path_names:
        path = s.topology.path(name)
        if name == active or path is None:
            continue
        allowed = s.policy.permits(path.routing_method) and name not in rule.quarantined
        way_out = allowed and name not in s.refused and s.health[name].carries
        if way_out and not memory.limit_reached:
            return "invariant 7: stays on a path that is lost while an allowed one carries"
        if d.kind is not DecisionKind.ESCALATE or name not in d.passed_over:
            return "says nothing of a path that it passed over"
    return None


def unfit(case: Case, d: Decision) -> str | None:
    """What is wrong with beginning a drill here, if something is."""
    s, memory, rule = case
    if any(s.health[name].health is not Health.HEALTHY for name in (FIRST, SECOND)):
        return "practice on a link that is not well"
    if s.alarms != () or s.history.drill is not None:
        return "practice while an alarm rings, or during another drill"
    if not d.drill_seconds:
        return "practice without an end"
    if s.intent is not None:
        return None
    window_open = all(window.contains(s.now) for window in s.policy.drill.change_windows)
    scheduled = s.policy.drill.automation is Automation.AUTOMATIC
    if not (scheduled and s.routine and window_open and memory.fit_for_practice):
        return "practice that nobody asked for now"
    if rule.mode is not Mode.AUTOMATIC or rule.quarantined or s.active_path != FIRST:
        return "practice that is not the schedule's to begin"
    return None


def count(found: Iterator[Case]) -> int:
    """Decide every case; returns how many there were.

    Raises:
        AssertionError: with the first case that breaks an invariant.
    """
    decided = 0
    for case in found:
        decision = judge(case[0])
        if problem := broken(case, decision):
            raise AssertionError(f"{problem}\n{decision}\n{case}")
        decided += 1
    return decided


@cache
def sample() -> list[Case]:
    """Every so many-th case of the full product, in steps that go through every axis."""
    policies = rules((), (FIRST,), (SECOND,))
    return list(islice(cases(policies, memories, PLACES, INTENTS), 0, None, 199))
