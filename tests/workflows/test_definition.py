"""The definition, before it ever runs: whole, timed, caught, and in step with its handlers."""

import importlib
import json
import re
from pathlib import Path

import networkx
import pytest

import state_machine
from control_plane import errors
from state_machine import picture

DEFINITION = Path(state_machine.__file__).parent / "remediation.asl.json"
TEXT = DEFINITION.read_text()
STATES = json.loads(TEXT)["States"]
TASKS = {name: state for name, state in STATES.items() if state["Type"] == "Task"}
MUTATING = {"Apply", "Publish", "Verify", "RollBack", "Recover"}
STEPS = sorted(
    path.stem for path in (DEFINITION.parent / "steps").glob("*.py") if path.stem != "__init__"
)


def graph() -> networkx.DiGraph:
    """States and the transitions between them."""
    found = networkx.DiGraph()
    for name, state in STATES.items():
        found.add_node(name)
        targets = [state.get("Next"), state.get("Default")]
        targets += [choice["Next"] for choice in state.get("Choices", [])]
        targets += [catcher["Next"] for catcher in state.get("Catch", [])]
        found.add_edges_from((name, target) for target in targets if target)
    return found


def test_every_state_is_reachable_and_every_transition_leads_somewhere():
    """No state is forgotten and none is missing."""
    found = graph()
    assert set(found) == set(STATES)
    assert networkx.descendants(found, "Start") | {"Start"} == set(STATES)


def test_every_state_can_reach_an_end():
    """No execution can be caught in a loop without a way out."""
    ends = {name for name, state in STATES.items() if state["Type"] in ("Succeed", "Fail")}
    backwards = graph().reverse()
    leads_to_end = set().union(*(networkx.descendants(backwards, end) for end in ends)) | ends
    assert leads_to_end == set(STATES)


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
    [catcher] = TASKS[name]["Catch"]
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
        if not name.startswith(("States.", "Lambda.")):
            assert issubclass(getattr(errors, name), errors.TransientError), name


def test_placeholders_and_handlers_are_the_same_set():
    """Each step has its state and each state its step."""
    placeholders = set(re.findall(r"\$\{(\w+)FunctionArn\}", TEXT))
    pascal = {"".join(part.title() for part in step.split("_")) for step in STEPS}
    assert placeholders == pascal


@pytest.mark.parametrize("module", STEPS)
def test_every_handler_can_be_imported(module):
    """The handler string of each function names something callable."""
    assert callable(importlib.import_module(f"state_machine.steps.{module}").handler)


def test_the_picture_in_the_docs_is_drawn_from_this_definition():
    """`python -m state_machine.picture` has been run since the definition changed."""
    assert picture.PAGE.read_text() == picture.page(json.loads(TEXT))


def test_the_picture_shows_every_state_and_every_transition():
    """No arrow is left out of it."""
    arrows = re.findall(r"^  (\w+) -.*> (\w+)$", picture.mermaid(json.loads(TEXT)), re.MULTILINE)
    assert set(arrows) == set(graph().edges)
