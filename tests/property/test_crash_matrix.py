"""Every state × every failure, at every write: the real definition and handlers over a link in memory.

Generated from the definition: a new state is in the matrix the moment it exists. `make test` plays a few,
`make prove` all. What no in-memory link can show
(Lambda's own failures, DynamoDB's conditions, timeouts of the engine) the matrix on the embedded cloud shows, for
fewer cases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from control_plane.domain.journal import EntryKind, verify
from control_plane.domain.policy import Policy, Resend
from control_plane.errors import AwsRefused, AwsUnavailable
from control_plane.operations import observe as observing
from control_plane.operations.operator import resolve
from state_machine import runtime
from tests.property.test_link_stateful import SWEEP
from tests.simulation import definition
from tests.simulation.world import LINK, PATHS, Control, Killed, World

POLICY = Policy.model_validate(
    {
        "hold_down_seconds": 0,
        "failback": {"automation": "manual"},
        "maximum_switches_per_hour": 60,
        "lease_seconds": 60,
    }
)
STATES = [
    name
    for name, state in definition.DEFINITION["States"].items()
    if state["Type"] == "Task" and name not in ("AwaitApproval", "Reject")
]
MOST_WRITES = 60
Event = dict[str, Any]


class Stage:
    """One case: a link, what is wrong with it, and a failure that waits for its state."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.runs = World(POLICY), 0
        control, described = Control(self.world), observing._Described
        monkeypatch.setattr(runtime, "control", lambda: control)
        monkeypatch.setattr(
            observing, "_describe", lambda *_: described(self.world.sides(), [], {})
        )

    def run(self, event: Event, at: Callable[[str], None] = lambda state: None) -> list[str]:
        """Run an execution to its end; `at` is told each task before it begins."""
        self.runs += 1
        name = f"run-{self.runs}"

        def entering(state: str) -> None:
            self.world.running = name
            at(state)

        return list(definition.run(name, event, entering))

    def settle(self) -> None:
        """What time and an operator do after a failure."""
        self.world.now += timedelta(seconds=POLICY.lease_seconds + 5)
        stuck = "RollbackIncomplete" in self.world.lease.get("kept_because", "")
        if stuck:
            for path in self.world.topology.paths:
                for one in path.required_routes:
                    self.world.routes[one.table_id, one.destination] = one.target
        resolve(
            Control(self.world),  # type: ignore[arg-type]
            LINK,
            "an operator",
            "a test",
            self.world.now,
            leave_plan=stuck,
        )


# -- what is wrong with the link -------------------------------------------------------------------------


def outage(stage: Stage) -> Event:
    stage.world.alive["tunnel-1"] = False
    return SWEEP


def deleted_route(stage: Stage) -> Event:
    stage.world.routes.pop(("rtb-end-a", "10.0.0.0/16"))
    return SWEEP


def failover_to_a_path_without_its_route(stage: Stage) -> Event:
    stage.world.alive["tunnel-1"] = False
    stage.world.routes.pop(("rtb-end-b", "10.0.0.0/16"))
    return SWEEP


def repair_in_vain(stage: Stage) -> Event:
    """The route is put back, and nothing answers even so: RollBack."""
    stage.world.gray["tunnel-1"] = True
    stage.world.routes.pop(("rtb-end-a", "10.0.0.0/16"))
    return SWEEP


def unconfirmed_switch(stage: Stage) -> Event:
    """Callers do not get through on the new path: RollBack, traffic first."""
    stage.world.deaf_callers = True
    return {"intent": "failover", "link_id": LINK, "to": "tunnel-2", "requested_by": "a test"}


def changed_policy(stage: Stage) -> Event:
    """Proxies follow an older policy: Publish, on the path where traffic is."""
    stage.world.policy = POLICY.model_copy(update={"version": 2, "resend": Resend.NEVER})
    return SWEEP


def unconfirmed_policy(stage: Stage) -> Event:
    """A policy is published, and callers do not get through: RollBack, which leaves it published."""
    stage.world.deaf_callers = True
    return changed_policy(stage)


def crashed_run(stage: Stage) -> Event:
    """A run put its route change into effect and never went on: Recover."""
    event = deleted_route(stage)
    for state in definition.run(
        "run-dead", event, lambda _: setattr(stage.world, "running", "run-dead")
    ):
        if state == "Apply":
            break
    stage.settle()
    return SWEEP


def crashed_after_publishing(stage: Stage) -> Event:
    """A run published and never went on: Recover, which lets it stand."""
    event = outage(stage)
    for state in definition.run(
        "run-dead", event, lambda _: setattr(stage.world, "running", "run-dead")
    ):
        if state == "Publish":
            break
    stage.settle()
    return SWEEP


SITUATIONS = [
    outage,
    deleted_route,
    failover_to_a_path_without_its_route,
    repair_in_vain,
    unconfirmed_switch,
    changed_policy,
    unconfirmed_policy,
    crashed_run,
    crashed_after_publishing,
]


# -- what fails ----------------------------------------------------------------------------------------------


def at_write(number: int, error: type[BaseException], again: bool) -> Callable[[Stage], None]:
    """The n-th write of the state fails; with `again` every later one of that state, too."""

    def arm(stage: Stage) -> None:
        left = [number]

        def refuse(where: str) -> None:
            left[0] -= 1
            if left[0] == 0 or (again and left[0] < 0):
                raise error("a test") if error is not Killed else Killed

        stage.world.before_write = refuse

    return arm


def kill_after_write(number: int) -> Callable[[Stage], None]:
    def arm(stage: Stage) -> None:
        stage.world.writes, stage.world.die_at = 0, 2 * number

    return arm


def down(what: str) -> Callable[[Stage], None]:
    """SNS or the journal takes nothing any more, from this state to the end of the run."""

    def arm(stage: Stage) -> None:
        def refuse(where: str) -> None:
            if where == what:
                raise AwsUnavailable(what)

        stage.world.before_write = refuse

    return arm


def lease_lost(stage: Stage) -> None:
    """Somebody took the lease over and has let go of it since."""
    stage.world.lease = {"token": stage.world.lease["token"] + 1}


def stale_generation(stage: Stage) -> None:
    """Somebody else published, at the same path."""
    config = stage.world.config
    assert config is not None
    stage.world.config = replace(
        config, generation=config.generation + 1, published_by="somebody else"
    )


def before_changed(stage: Stage) -> None:
    """Somebody points the routes elsewhere while we look away."""
    for table in ("rtb-end-a", "rtb-end-b"):
        stage.world.routes[table, "10.0.0.0/16"] = "eni-somebodys"


AT_A_WRITE: dict[str, Callable[[int], Callable[[Stage], None]]] = {
    "killed before a write": lambda n: at_write(n, Killed, again=False),
    "killed after a write": kill_after_write,
    "throttled once": lambda n: at_write(n, AwsUnavailable, again=False),
    "throttled for good": lambda n: at_write(n, AwsUnavailable, again=True),
    "access denied": lambda n: at_write(n, AwsRefused, again=True),
}
BEFORE_THE_STATE: dict[str, Callable[[Stage], None]] = {
    "lease lost": lease_lost,
    "stale generation": stale_generation,
    "route changed under us": before_changed,
    "people cannot be told": down("people"),
    "the journal is down": down("journal"),
}


def play(
    monkeypatch: pytest.MonkeyPatch,
    situation: Callable[[Stage], Event],
    state: str,
    arm: Callable[[Stage], None],
    *,
    whole_run: bool,
) -> tuple[Stage, bool, int]:
    """Play one case; returns the stage, whether the state was met, and how many writes it made."""
    stage = Stage(monkeypatch)
    event = situation(stage)
    world, met, writes = stage.world, False, 0

    def at(name: str) -> None:
        nonlocal met, writes
        if met and not whole_run:
            writes = max(writes, world.writes // 2)
            world.before_write, world.die_at = None, None
        if name == state and not met:
            met = True
            world.writes = 0
            arm(stage)

    stage.run(event, at)
    writes = writes or world.writes // 2
    world.before_write, world.die_at = None, None
    return stage, met, writes


def check(stage: Stage, what: str) -> None:
    """Wholly old or wholly new, and the next sweep needs no help."""
    world = stage.world
    stage.settle()
    world.deaf_callers = False
    for _ in range(3):
        stage.run(SWEEP)
        world.now += timedelta(seconds=60)
    assert world.config is not None
    assert world.open_plan(LINK) is None, f"{what}: a plan is left open"
    assert "holder" not in world.lease, f"{what}: the lease is left with {world.lease}"
    active = world.config.active_path
    if any(world.could_carry(path) for path in PATHS):
        assert world.carries(active), f"{what}: traffic is on {active}, which carries nothing"
    stored = world.entries(LINK)
    assert verify(stored, world.head(LINK)) is None, f"{what}: the journal is broken"
    told = [e.data["generation"] for e in world.entries_ if e.kind is EntryKind.PUBLISHED]
    assert len(told) == len(set(told)), f"{what}: a generation is journaled twice: {told}"
    ours = {g for g, by in world.publications if by.startswith("run-")}
    assert ours <= set(told), f"{what}: published and never journaled: {ours - set(told)}"
    remembered = {switch.generation for switch in world.history_.switches}
    moves = {c.generation for c in world.versions if not c.reason.startswith("Publish")} & ours
    assert moves <= remembered, f"{what}: published and not remembered: {moves - remembered}"
    assert world.config.resend == world.policy.resend, f"{what}: proxies follow an older policy"


COUNT = {"cases": 0}


IN_THE_SUITE = ("killed after a write", *BEFORE_THE_STATE)


@pytest.mark.parametrize(
    ("situation", "fault"),
    [
        pytest.param(
            situation,
            fault,
            marks=()
            if situation in (unconfirmed_switch, changed_policy) and fault in IN_THE_SUITE
            else pytest.mark.proof,
            id=f"{situation.__name__}, {fault}",
        )
        for situation in SITUATIONS
        for fault in (*AT_A_WRITE, *BEFORE_THE_STATE)
    ],
)
def test_no_failure_leaves_the_link_half_switched(monkeypatch, situation, fault):
    """Whatever fails wherever, config, routes, plan, lease, journal and memory agree in the end."""
    for state in STATES:
        what = f"{situation.__name__}, {state}, {fault}"
        if fault in BEFORE_THE_STATE:
            arm = BEFORE_THE_STATE[fault]
            whole_run = "down" in fault or "told" in fault
            stage, met, _ = play(monkeypatch, situation, state, arm, whole_run=whole_run)
            if met:
                COUNT["cases"] += 1
                check(stage, what)
            continue
        for number in range(1, MOST_WRITES):
            arm = AT_A_WRITE[fault](number)
            stage, met, writes = play(monkeypatch, situation, state, arm, whole_run=False)
            if not met:
                break
            COUNT["cases"] += 1
            check(stage, f"{what} {number}")
            if writes < number:
                break
        else:
            raise AssertionError(f"{what}: more than {MOST_WRITES} writes")


def test_every_state_is_visited_by_some_situation(monkeypatch, capsys):
    """The matrix has no row that is empty."""
    visited: set[str] = set()
    for situation in SITUATIONS:
        stage = Stage(monkeypatch)
        stage.run(situation(stage), visited.add)
    with capsys.disabled():
        sys.stdout.write(f"\ncrash matrix: {COUNT['cases']:,} cases over {len(STATES)} states\n")
    assert set(STATES) - visited <= {"NeedsOperator", "RequestApproval"}
