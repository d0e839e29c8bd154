"""The real workflow on a simulated link, for hours of virtual time, while everything goes wrong at once.

The definition, the step handlers and the operations are the product's own; the network and the stores are in
memory. Signals come late, twice or never, runs race and die before or after any write, clocks disagree, and
tunnels and routes fail at any period. Invariants 1, 2, 3 and 5 are asserted at every write, 8 after every step,
6 and 7 when the disturbances stop.

It earned its place: it found that two paths which had both lost their routes, one of them dead besides, left
the dead one being repaired and undone for ever while the other was never tried.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from control_plane.domain.drill import Drill
from control_plane.domain.journal import EntryKind, verify
from control_plane.domain.policy import Policy
from control_plane.errors import LeaseTaken
from control_plane.operations import observe as observing
from control_plane.operations.operator import resolve
from state_machine import runtime
from tests.simulation import definition
from tests.simulation.world import LINK, PATHS, Control, World

POLICY = Policy.model_validate(
    {
        "hold_down_seconds": 120,
        "failback": {"stable_seconds": 120},
        "maximum_switches_per_hour": 6,
        "lease_seconds": 60,
        "maximum_rounds": 3,
        "drill": {"automation": "automatic", "every_days": 1 / 48, "duration_seconds": 300},
    }
)
SWEEP = {
    "source": "twinspan.sweep",
    "detail-type": "Twinspan Sweep",
    "detail": {"link_id": LINK},
}
# After the last disturbance: a dead run's lease, then an hour in which the hourly limit may still count old switches.
BOUND_SWEEPS = 75
MOST_RUNS = 3


INTENTS: tuple[dict[str, Any], ...] = (
    {"intent": "restore"},
    {"intent": "rollback", "to_generation": 1},
    {"intent": "drill", "duration_seconds": 120},
    {"intent": "failback"},
)


def report(path: str) -> dict[str, Any]:
    detail = {"link_id": LINK, "path": path, "state": "open", "reason": "no_response"}
    return {"source": "twinspan.proxy", "detail-type": "Twinspan Path Report", "detail": detail}


@dataclass
class Run:
    """A run under way: its name, its own clock's error, and where it is."""

    name: str
    skew_seconds: float
    states: Iterator[str]


class SimulatedLink(RuleBasedStateMachine):
    """What may happen to a link, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(POLICY)
        self.runs: list[Run] = []
        self.started = 0
        self.by_hand: set[str] = set()
        self.patch = pytest.MonkeyPatch()
        self.control = Control(self.world)
        self.patch.setattr(runtime, "control", lambda: self.control)
        described = observing._Described
        self.patch.setattr(observing, "_describe", lambda *_: described(self.world.sides(), [], {}))

    # -- the network ------------------------------------------------------------------------------

    @rule(path=st.sampled_from(PATHS), alive=st.booleans())
    def tunnels_fail_or_recover(self, path: str, alive: bool) -> None:
        self.world.alive[path] = alive

    @rule(path=st.sampled_from(PATHS), gray=st.booleans())
    def packets_vanish_or_arrive(self, path: str, gray: bool) -> None:
        self.world.gray[path] = gray

    @rule(path=st.sampled_from(PATHS))
    def somebody_deletes_a_route(self, path: str) -> None:
        table = {"tunnel-1": "rtb-end-a", "tunnel-2": "rtb-end-b"}[path]
        self.world.routes.pop((table, "10.0.0.0/16"), None)

    @rule(rings=st.booleans())
    def alarms_ring_or_fall_silent(self, rings: bool) -> None:
        self.world.in_alarm = rings

    @rule()
    def somebody_deletes_the_routing_config(self) -> None:
        self.world.config, self.world.spoilt = None, False

    @rule()
    def somebody_overwrites_the_routing_config(self) -> None:
        self.world.spoilt = True

    @rule(which=st.integers(0, 20))
    def somebody_puts_an_old_routing_config_back(self, which: int) -> None:
        versions = self.world.versions
        self.world.config, self.world.spoilt = versions[which % len(versions)], False

    @rule(seconds=st.integers(1, 900))
    def time_passes(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    # -- signals and runs ---------------------------------------------------------------------------

    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    @rule(path=st.sampled_from([None, *PATHS]), skew=st.floats(-0.9, 0.9))
    def a_signal_arrives(self, path: str | None, skew: float) -> None:
        """From the sweep or a proxy; that a failure sends none, or several, is the choice of rules."""
        self.start(SWEEP if path is None else report(path), skew)

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, MOST_RUNS - 1), steps=st.integers(1, 12))
    def a_run_goes_on(self, which: int, steps: int) -> None:
        run = self.runs[which % len(self.runs)]
        for _ in range(steps):
            if not self.advance(run):
                return

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, MOST_RUNS - 1), write=st.integers(1, 14))
    def a_process_dies(self, which: int, write: int) -> None:
        """Before or after its n-th write from here on. The step fails and the definition goes on."""
        run = self.runs[which % len(self.runs)]
        self.world.writes, self.world.die_at = 0, write
        while self.advance(run):
            if self.world.die_at is None:
                break
        self.world.die_at = None

    @precondition(lambda self: self.runs)
    @rule(which=st.integers(0, MOST_RUNS - 1))
    def an_execution_is_stopped(self, which: int) -> None:
        """By a person or for good: nothing of it ever runs again."""
        self.runs.pop(which % len(self.runs))

    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    @rule(intent=st.sampled_from(INTENTS), skew=st.floats(-0.9, 0.9))
    def an_operator_asks(self, intent: dict[str, Any], skew: float) -> None:
        self.start({"link_id": LINK, **intent}, skew)

    @rule()
    def an_operator_resolves_the_link(self) -> None:
        with suppress(LeaseTaken):
            resolve(self.control, LINK, "an operator", "a test", self.world.now, leave_plan=False)

    # -- what must hold ---------------------------------------------------------------------------

    @invariant()
    def switches_are_bounded(self) -> None:
        """8: no hour holds more switches than the policy allows, rollbacks and what people ask for apart."""
        since = self.world.now - timedelta(hours=1)
        switches = [
            entry
            for entry in self.world.entries_
            if entry.kind is EntryKind.PUBLISHED
            and entry.at > since
            and entry.execution not in self.by_hand
            and not entry.data["reason"].startswith("rollback")
        ]
        assert len(switches) <= POLICY.maximum_switches_per_hour

    @invariant()
    def the_journal_is_unbroken(self) -> None:
        """Every write that was journaled is there, in a chain without a gap."""
        stored = self.world.entries(LINK)
        assert verify(stored, self.world.head(LINK) if stored else None) is None

    def teardown(self) -> None:
        """6 and 7: left in peace, the link comes right within the bound that the policy implies."""
        try:
            self.converges()
        finally:
            self.patch.undo()

    def converges(self) -> None:
        world = self.world
        for run in self.runs:
            while self.advance(run, drop=False):
                pass
        self.runs.clear()
        world.in_alarm = False
        self.an_operator_resolves_the_link()
        for _ in range(BOUND_SWEEPS):
            world.now += timedelta(seconds=60)
            if world.spoilt or (world.config is not None and world.config != world.followed):
                self.run_through({"intent": "restore", "link_id": LINK})
            self.run_through(SWEEP)
            if self.is_right():
                return
            self.an_operator_resolves_the_link()
        raise AssertionError(
            f"not right after {BOUND_SWEEPS} sweeps: {world.config}, alive {world.alive}, "
            f"gray {world.gray}, routes {world.routes}, lease {world.lease}, plan {world.plan}, "
            f"last entries {[(e.kind, e.data) for e in world.entries_[-6:]]}"
        )

    def is_right(self) -> bool:
        """Nothing is left over, and traffic is on a path that carries, if any could."""
        world = self.world
        if world.open_plan(LINK) is not None or "holder" in world.lease:
            return False
        if world.config is None or world.spoilt or world.config != world.followed:
            return not any(world.could_carry(path) for path in PATHS)
        drill = world.history_.drill
        if drill is not None and not self.may_last(drill):
            return False
        if not any(world.could_carry(path) for path in PATHS):
            return True
        return world.carries(world.config.active_path)

    def may_last(self, drill: Drill) -> bool:
        """A drill is away until its end, and longer only where home carries nothing."""
        world = self.world
        assert world.config is not None
        away = world.config.active_path == drill.away
        return away and (world.now < drill.until or not world.could_carry(drill.home))

    # -- moving ---------------------------------------------------------------------------------------

    def start(self, event: dict[str, Any], skew: float) -> Run:
        self.started += 1
        name = f"run-{self.started}"
        document = {"execution": name, "event": event}
        run = Run(name, skew, definition.run(name, event, lambda _: self.enter(name, skew)))
        assert document["execution"] == name
        self.runs.append(run)
        if "intent" in event:
            self.by_hand.add(name)
        return run

    def run_through(self, event: dict[str, Any]) -> None:
        """A run from its start to its end, by a good clock."""
        run = self.start(event, 0.0)
        while self.advance(run):
            pass

    def enter(self, name: str, skew: float) -> None:
        """A step of this run begins: it is the one that writes, by its own clock."""
        self.world.running, self.world.skew_seconds = name, skew

    def advance(self, run: Run, drop: bool = True) -> bool:
        """One state further; False when the run has ended."""
        if next(run.states, None) is not None:
            return True
        if drop and run in self.runs:
            self.runs.remove(run)
        return False


def effort(examples: int, *, fixed: bool) -> settings:
    """So many examples: always the same ones, or new ones each time."""
    return settings(
        max_examples=examples,
        derandomize=fixed,
        database=None,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class TestSimulatedLink(SimulatedLink.TestCase):  # type: ignore[misc]
    """The invariants hold whatever happens, and the link converges once it stops."""

    settings = effort(80, fixed=True)


@pytest.mark.proof
class TestSimulatedLinkAtLength(SimulatedLink.TestCase):  # type: ignore[misc]
    """The same on histories that nobody has seen before."""

    settings = effort(int(os.environ.get("TWINSPAN_EXAMPLES", "2000")), fixed=False)
