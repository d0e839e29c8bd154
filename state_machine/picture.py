"""A definition as a picture: Mermaid text, drawn from the states themselves so that it cannot drift.

    python -m state_machine.picture          write docs/remediation.md anew

Not shown: retries, timeouts and payloads. They are the definition's business.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DEFINITION = Path(__file__).with_name("remediation.asl.json")
PAGE = Path(__file__).parent.parent / "docs" / "remediation.md"
_SHAPES = {
    "Task": '["{0}"]',
    "Choice": '{{"{0}"}}',
    "Pass": '("{0}")',
    "Succeed": '(["{0}"])',
    "Fail": '[["{0}"]]',
}


def mermaid(definition: Mapping[str, Any]) -> str:
    """A flow chart of the states: solid arrows are taken in order, dotted ones on an error."""
    lines = ["flowchart TD"]
    for name, state in definition["States"].items():
        lines.append(f"  {name}{_SHAPES[state['Type']].format(name)}")
    for name, state in definition["States"].items():
        lines += [f"  {name} {arrow} {target}" for arrow, target in _transitions(state)]
    return "\n".join(lines) + "\n"


def page(definition: Mapping[str, Any]) -> str:
    """The whole page: the picture, and what each state is for, in its own words."""
    rows = [
        f"| {name} | {state['Comment']} |"
        for name, state in definition["States"].items()
        if "Comment" in state
    ]
    return "\n".join(
        [
            "# The remediation workflow",
            "",
            str(definition["Comment"]),
            "",
            "Drawn from `state_machine/remediation.asl.json` by `python -m state_machine.picture`. Rectangles are Lambda",
            "steps, diamonds choose, double frames end as failed. Dotted arrows are taken when a step fails for good.",
            "",
            "```mermaid",
            mermaid(definition).rstrip(),
            "```",
            "",
            "| state | what it is for |",
            "|---|---|",
            *rows,
            "",
        ]
    )


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
    if operator == "BooleanEquals":
        return field if value else f"not {field}"
    return f"{field}: {value}"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(DEFINITION.read_text())))
