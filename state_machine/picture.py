"""A definition as a picture: Mermaid text, drawn from the states themselves so that it cannot drift.

    python -m state_machine.picture          write docs/remediation.md and docs/sweep.md anew

Not shown: retries, timeouts and payloads. They are the definition's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MACHINES = {"remediation": "The remediation workflow", "sweep": "The sweep"}
_DOCS = Path(__file__).parent.parent / "docs"
_SHAPES = {
    "Task": '["{0}"]',
    "Choice": '{{"{0}"}}',
    "Pass": '("{0}")',
    "Succeed": '(["{0}"])',
    "Fail": '[["{0}"]]',
}


def definition(machine: str) -> dict[str, Any]:
    """A machine's definition, as it is in the package."""
    text = Path(__file__).with_name(f"{machine}.asl.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found


def page_of(machine: str) -> Path:
    """Where a machine's page is in the repository."""
    return _DOCS / f"{machine}.md"


def mermaid(definition: Mapping[str, Any]) -> str:
    """A flow chart of the states: solid arrows are taken in order, dotted ones on an error."""
    return "\n".join(["flowchart TD", *_drawn(definition["States"], "  ")]) + "\n"


def states(definition: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every state with its name, those inside of maps too."""
    for name, state in definition["States"].items():
        yield name, state
        if "ItemProcessor" in state:
            yield from states(state["ItemProcessor"])


def page(machine: str) -> str:
    """The whole page: the picture, and what each state is for, in its own words."""
    described = definition(machine)
    rows = [
        f"| {name} | {state['Comment']} |"
        for name, state in states(described)
        if "Comment" in state
    ]
    return "\n".join(
        [
            f"# {MACHINES[machine]}",
            "",
            str(described["Comment"]),
            "",
            f"Drawn from `state_machine/{machine}.asl.json` by `python -m state_machine.picture`. Rectangles are steps,",
            "diamonds choose, frames hold what is done for each of many, double frames end as failed. Dotted arrows are",
            "taken when a step fails for good.",
            "",
            "```mermaid",
            mermaid(described).rstrip(),
            "```",
            "",
            "| state | what it is for |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _drawn(states: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, state in states.items():
        if state["Type"] == "Map":
            yield f'{indent}subgraph {name}["{name}: each"]'
            yield from _drawn(state["ItemProcessor"]["States"], indent + "  ")
            yield f"{indent}end"
        else:
            yield f"{indent}{name}{_SHAPES[state['Type']].format(name)}"
    for name, state in states.items():
        yield from (f"{indent}{name} {arrow} {target}" for arrow, target in _transitions(state))


def _transitions(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for choice in state.get("Choices", ()):
        yield f'-- "{_condition(choice)}" -->', choice["Next"]
    if "Default" in state:
        yield '-- "otherwise" -->', state["Default"]
    if "Next" in state:
        yield "-->", state["Next"]
    for catcher in state.get("Catch", ()):
        yield "-.->", catcher["Next"]


def _condition(rule: Mapping[str, Any]) -> str:
    """A choice rule in short: the field's name, and the value it is compared with."""
    if "And" in rule:
        return " and ".join(_condition(part) for part in rule["And"])
    field = str(rule["Variable"]).removeprefix("$.").replace("_", " ")
    operator, value = next((k, v) for k, v in rule.items() if k not in ("Variable", "Next"))
    if operator == "IsPresent":
        return f"there are {field.removesuffix('[0]')}"
    if operator == "BooleanEquals":
        return field if value else f"not {field}"
    return f"{field}: {value}"


if __name__ == "__main__":
    for machine in MACHINES:
        page_of(machine).write_text(page(machine))
