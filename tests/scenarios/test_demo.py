"""The demo, played as a user plays it: every promise holds, and the README shows what it prints."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from infra.local.demo.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent.parent
LIMIT_SECONDS = 240


@cache
def play(scenario: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local", "demo", scenario],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "scenario",
    [pytest.param(name, marks=pytest.mark.xdist_group(f"demo-{name}")) for name in SCENARIOS],
)
def test_the_promise_holds(scenario):
    """`make demo SCENARIO=…` exits with 0, which it does only if nothing was broken."""
    done = play(scenario)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "The promise held." in done.stdout
    assert "Traceback" not in done.stderr


def test_an_unknown_scenario_is_refused_with_the_choice():
    """A mistyped scenario lists those that exist."""
    done = play("earthquake")
    assert done.returncode == 2
    assert "tunnel-down" in done.stderr


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


@pytest.mark.slow
@pytest.mark.xdist_group("demo-tunnel-down")
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
