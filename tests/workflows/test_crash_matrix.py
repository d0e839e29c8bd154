"""Every step × every way it can fail: the link ends wholly old or wholly new, and the next sweeps need no help.

The rows are generated from the definition, so a new state cannot be forgotten; a row of deaths goes
through the step's writes one by one, for as many as it makes. Run by `make prove`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from control_plane.domain.journal import EntryKind
from infra.local.lambda_runtime import Fault, FaultKind
from tests.workflows.conftest import SWEEP, Finished, Link
from tests.workflows.test_definition import TASKS

pytestmark = pytest.mark.proof

MOST_WRITES = 30  # more than any step makes: a row that gets there has a step that never ends


# -- what makes the workflow visit a state ---------------------------------------------------------------


def outage(link: Link) -> Callable[[], Finished]:
    link.environment.faults.cut("tunnel-1")
    return lambda: link.run(SWEEP)


def deleted_route(link: Link) -> Callable[[], Finished]:
    link.delete_route(link.return_route(0))
    return lambda: link.run(SWEEP)


def unconfirmed_switch(link: Link) -> Callable[[], Finished]:
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    return lambda: link.intent("failover", to="tunnel-2")


def crashed_run(link: Link) -> Callable[[], Finished]:
    """A run that put its route change into effect and got no further."""
    link.delete_route(link.return_route(0))
    link.fail_next("apply", FaultKind.KILL_AFTER)
    link.fail_next("roll-back", FaultKind.RAISE)
    link.run(SWEEP)
    link.resolve()
    return lambda: link.run(SWEEP)


def stuck_rollback(link: Link) -> Callable[[], Finished]:
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    link.fail_next("roll-back", FaultKind.RAISE)
    return lambda: link.intent("failover", to="tunnel-2")


def question(link: Link) -> Callable[[], Finished]:
    link.set_policy(mode="approve", approval_seconds=3)
    link.environment.faults.cut("tunnel-1")
    return lambda: link.run(SWEEP)


def nonsense(link: Link) -> Callable[[], Finished]:
    return lambda: link.run({"intent": "failover", "link_id": "bedrock", "to": "nowhere"})


def swept_outage(link: Link) -> Callable[[], object]:
    link.environment.faults.cut("tunnel-1")
    return link.sweep


SITUATIONS = {
    "remediation.Apply": deleted_route,
    "remediation.RollBack": unconfirmed_switch,
    "remediation.Recover": crashed_run,
    "remediation.NeedsOperator": stuck_rollback,
    "remediation.AwaitApproval": question,
    "remediation.Reject": nonsense,
    "sweep.ListLinks": swept_outage,
    "sweep.Glance": swept_outage,
}
USUAL_SITUATION = outage
STATES = sorted(name for name, task in TASKS.items() if "lambda" in task["Resource"])
KINDS = [
    FaultKind.RAISE,
    FaultKind.THROTTLE,
    FaultKind.KILL_BEFORE,
    FaultKind.KILL_AFTER,
    FaultKind.TIMEOUT_AFTER,
]
READS_ONLY = {"sweep.ListLinks"}
TRIES = 3


def function_of(state: str) -> str:
    """The function that a state invokes, by the definition."""
    placeholder = re.search(r"\$\{(\w+)FunctionArn\}", json.dumps(TASKS[state]))
    assert placeholder is not None
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", placeholder[1]).lower()


def fired(link: Link, function: str) -> bool:
    """Whether a fault took effect in this function since the last look."""
    history = link.environment.cloud.lambdas.history
    name = f"twinspan-bedrock-{function}"
    found = any(record.fault_fired and record.function_name == name for record in history)
    history.clear()
    return found


def play(link: Link, state: str, fault: Fault) -> bool:
    """One case: whether its fault was met. Everything that must hold afterwards is asserted."""
    function = function_of(state)
    link.reset()
    before, routes = link.published, link.route_tables()
    run = SITUATIONS.get(state, USUAL_SITUATION)(link)
    link.environment.cloud.lambdas.history.clear()
    link.fail_next(function, fault)
    run()
    met = fired(link, function) or fault.kind is FaultKind.THROTTLE
    link.environment.cloud.lambdas.clear_faults()

    generation, path = link.published
    last = [e for e in link.entries(EntryKind.PUBLISHED) if e.data["generation"] == generation]
    assert (generation, path) == before or generation > before[0]
    assert len(last) <= 1, "a generation is published once"
    link.settle()
    link.set_policy()
    swept = link.run(SWEEP)
    if swept.status != "SUCCEEDED" or link.route_tables() != routes:
        # A path whose repair was undone is left first, and repaired then; and a probe may fail of itself.
        swept = link.run(SWEEP)
    assert swept.status == "SUCCEEDED", (fault, swept, link.entries(execution=swept.name))
    assert link.state.open_plan("bedrock") is None
    assert link.lease_holder is None
    assert link.route_tables() == routes, "every required route is where it was"
    assert link.config["active_path"] not in link.environment.faults.in_force(), fault
    return met


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_no_failure_leaves_the_link_half_switched(link, state, kind):
    """Whatever fails wherever, config, routes, plan, lease and journal agree in the end."""
    # A busy machine can keep a run from getting as far as the fault.
    assert any(play(link, state, Fault(kind)) for _ in range(TRIES)), "the fault was never met"


@pytest.mark.parametrize("state", STATES)
def test_a_step_may_die_after_any_of_its_writes(link, state):
    """The same, with the process gone after the first write that took effect, the second, and so on to the last."""
    met = 0
    for number in range(1, MOST_WRITES + 1):
        fault = Fault(FaultKind.KILL_AFTER_WRITE, number)
        if not any(play(link, state, fault) for _ in range(1 if met else TRIES)):
            break
        met += 1
    assert met < MOST_WRITES
    assert (met > 0) is (state not in READS_ONLY)
