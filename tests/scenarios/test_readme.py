"""The README's first screen is true: its demo output is what the demo prints."""

import re
from pathlib import Path

from tests.scenarios.test_scenarios import play

ROOT = Path(__file__).parent.parent.parent


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, ids, and how often something happened."""
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "ID", line)
    line = re.sub(r"\b(rtb|eni|vpn|tgw)-[0-9a-f]+", r"\1-ID", line)
    line = re.sub(r"\d+(\.\d+)?", "#", line)
    return re.sub(r"\s+", " ", line).strip()


def shown() -> list[str]:
    """The lines of the README's demo output."""
    text = (ROOT / "README.md").read_text()
    block = text.split("<!-- demo output", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    return [line for line in block.splitlines() if line.strip()]


def test_the_demo_prints_what_the_readme_shows():
    """Every line shown, but for numbers and ids, is printed by the demo of today."""
    lines = shown()
    assert len(lines) > 10
    printed = {shape(line) for line in play("tunnel-down").stdout.splitlines()}
    promises = [line for line in lines if line.startswith("held")]
    assert len(promises) >= 5
    missing = [line for line in lines if shape(line) not in printed]
    # What happened in which order differs from run to run; promises and headings never do.
    assert not [line for line in missing if line in promises]
    assert len(missing) <= len(lines) // 3, missing
