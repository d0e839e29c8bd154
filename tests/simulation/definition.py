"""The remediation definition, state by state: as much of the language as it uses, in virtual time.

A run is a generator that pauses after each state, so that a test may interleave runs, let time pass between
states, or never resume one. Retries are made at once and once, since a step that failed for a moment's sake is
what the next sweep meets again anyway.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import state_machine
from tests.simulation.world import Killed

DEFINITION = json.loads((Path(state_machine.__file__).parent / "remediation.asl.json").read_text())
CONTEXT = SimpleNamespace(aws_request_id="virtual")
Document = dict[str, Any]


def run(name: str, event: Document, before: Callable[[str], None]) -> Iterator[str]:
    """Run the definition; yields each state after it was left. `before` is told each task ahead of it.

    An approval is never answered: such a run ends there, as it does when the question expires.
    """
    state, document = DEFINITION["StartAt"], dict(event)
    while True:
        this = DEFINITION["States"][state]
        kind = this["Type"]
        if kind in ("Succeed", "Fail") or state == "AwaitApproval":
            yield state
            return
        if kind == "Choice":
            following = _choose(this, document)
        elif kind == "Pass":
            if "Parameters" in this:
                document = _fill(this["Parameters"], document, name, event)
            if "Result" in this:
                document = {**document, this["ResultPath"].removeprefix("$."): this["Result"]}
            following = this["Next"]
        else:
            before(state)
            following, document = _task(this, document)
        yield state
        state = following


def handler(task: Mapping[str, Any]) -> Callable[[Document, Any], Document]:
    """The handler of a task, by its function's name in the definition."""
    placeholder = re.search(r"\$\{(\w+)FunctionArn\}", json.dumps(task))
    assert placeholder is not None
    module = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", placeholder[1]).lower()
    found: Callable[[Document, Any], Document] = importlib.import_module(
        f"state_machine.steps.{module}"
    ).handler
    return found


def _task(task: Mapping[str, Any], document: Document) -> tuple[str, Document]:
    retried = {name for retry in task["Retry"] for name in retry["ErrorEquals"]}
    for attempt in (1, 2):
        try:
            answer = handler(task)(json.loads(json.dumps(document)), CONTEXT)
        except AssertionError:
            raise
        except (Exception, Killed) as error:  # noqa: BLE001 - what Lambda reports, the definition catches
            name = "Lambda.Unknown" if isinstance(error, Killed) else type(error).__name__
            if attempt == 1 and name in retried:
                continue
            caught = {"Error": name, "Cause": json.dumps({"errorMessage": str(error)})}
            return task["Catch"][0]["Next"], {**document, "error": caught}
        return task["Next"], answer
    raise AssertionError("a task ends within two attempts")


def _choose(state: Mapping[str, Any], document: Document) -> str:
    for rule in state["Choices"]:
        if _holds(rule, document):
            return str(rule["Next"])
    return str(state["Default"])


def _holds(rule: Mapping[str, Any], document: Document) -> bool:
    if "And" in rule:
        return all(_holds(part, document) for part in rule["And"])
    value = document[rule["Variable"].removeprefix("$.")]
    (wanted,) = (rule[key] for key in ("BooleanEquals", "StringEquals") if key in rule)
    return bool(value == wanted)


def _fill(
    parameters: Mapping[str, Any], document: Document, name: str, event: Document
) -> Document:
    filled: Document = {}
    for key, value in parameters.items():
        if not key.endswith(".$"):
            filled[key] = value
        elif value == "$$.Execution.Name":
            filled[key[:-2]] = name
        elif value == "$$.Execution.Input":
            filled[key[:-2]] = event
        elif value == "$":
            filled[key[:-2]] = document
        else:
            filled[key[:-2]] = document[value.removeprefix("$.")]
    return filled
