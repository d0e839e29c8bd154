"""The definitions, before they ever run: whole, timed, caught, and in step with their handlers."""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import networkx
import pytest

import state_machine
from control_plane import errors
from state_machine import picture

FOLDER = Path(state_machine.__file__).parent
MACHINES = sorted(path.name.removesuffix(".asl.json") for path in FOLDER.glob("*.asl.json"))
MUTATING = {"Apply", "Publish", "Verify", "RollBack", "Recover"}
STEPS = sorted(path.stem for path in (FOLDER / "steps").glob("*.py") if path.stem != "__init__")


def text_of(machine: str) -> str:
    return (FOLDER / f"{machine}.asl.json").read_text()


def levels(definition: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A definition and those inside of its maps: each is a machine of its own."""
    yield definition
    for state in definition["States"].values():
        if "ItemProcessor" in state:
            yield from levels(state["ItemProcessor"])


LEVELS = [
    (machine, level) for machine in MACHINES for level in levels(json.loads(text_of(machine)))
]
TASKS = {
    f"{machine}.{name}": state
    for machine, level in LEVELS
    for name, state in level["States"].items()
    if state["Type"] == "Task"
}
every_level = pytest.mark.parametrize(
    "level", [level for _, level in LEVELS], ids=[f"{m}.{lv['StartAt']}" for m, lv in LEVELS]
)


def graph(level: Mapping[str, Any]) -> networkx.DiGraph:
    """States and the transitions between them."""
    found = networkx.DiGraph()
    for name, state in level["States"].items():
        found.add_node(name)
        targets = [state.get("Next"), state.get("Default")]
        targets += [choice["Next"] for choice in state.get("Choices", [])]
        targets += [catcher["Next"] for catcher in state.get("Catch", [])]
        found.add_edges_from((name, target) for target in targets if target)
    return found


@every_level
def test_every_state_is_reachable_and_every_transition_leads_somewhere(level):
    """No state is forgotten and none is missing."""
    found, start = graph(level), level["StartAt"]
    assert set(found) == set(level["States"])
    assert networkx.descendants(found, start) | {start} == set(level["States"])


@every_level
def test_every_state_can_reach_an_end(level):
    """No execution can be caught in a loop without a way out."""
    states = level["States"]
    ends = {n for n, s in states.items() if s["Type"] in ("Succeed", "Fail") or s.get("End")}
    backwards = graph(level).reverse()
    leads_to_end = set().union(*(networkx.descendants(backwards, end) for end in ends)) | ends
    assert leads_to_end == set(states)


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_a_timeout_a_retry_with_jitter_and_a_catch(name):
    """Nothing waits for ever, retries in step, or fails uncaught."""
    task = TASKS[name]
    assert task.get("TimeoutSeconds", 0) > 0 or task["TimeoutSecondsPath"].startswith("$.")
    assert task["Retry"]
    assert all(retry["JitterStrategy"] == "FULL" for retry in task["Retry"])
    assert task["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize("name", sorted(MUTATING))
def test_a_failing_mutation_is_undone_or_brought_to_a_person(name):
    """After something may have been changed, the way on is RollBack, and from there an operator."""
    [catcher] = TASKS[f"remediation.{name}"]["Catch"]
    undoing = name in ("RollBack", "Recover")
    assert catcher["Next"] == ("NeedsOperator" if undoing else "RollBack")


def test_errors_in_the_definition_are_classes_of_ours_or_aws_names():
    """A renamed error cannot silently stop being retried."""
    named = {
        error
        for task in TASKS.values()
        for rule in [*task["Retry"], *task["Catch"]]
        for error in rule["ErrorEquals"]
    }
    for name in named:
        if not name.startswith(("States.", "Lambda.", "StepFunctions.")):
            assert issubclass(getattr(errors, name), errors.TransientError), name


def test_placeholders_and_handlers_are_the_same_set():
    """Each step has its state and each state its step."""
    placeholders = {
        name
        for machine in MACHINES
        for name in re.findall(r"\$\{(\w+)FunctionArn\}", text_of(machine))
    }
    pascal = {"".join(part.title() for part in step.split("_")) for step in STEPS}
    assert placeholders == pascal


@pytest.mark.parametrize("module", STEPS)
def test_every_handler_can_be_imported(module):
    """The handler string of each function names something callable."""
    assert callable(importlib.import_module(f"state_machine.steps.{module}").handler)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_picture_in_the_docs_is_drawn_from_this_definition(machine):
    """`python -m state_machine.picture` has been run since the definition changed."""
    assert picture.page_of(machine).read_text() == picture.page(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_picture_shows_every_state_and_every_transition(machine):
    """No arrow is left out of it."""
    drawn = picture.mermaid(picture.definition(machine))
    arrows = set(re.findall(r"^ +(\w+) -.*> (\w+)$", drawn, re.MULTILINE))
    every = (graph(level).edges for owner, level in LEVELS if owner == machine)
    assert arrows == {edge for edges in every for edge in edges}
