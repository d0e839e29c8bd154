"""Each outage of the demo, played as a user plays it, ends with every promise held."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.demo.scenarios import SCENARIOS

ROOT = Path(__file__).parent.parent.parent
LIMIT_SECONDS = 240


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
@pytest.mark.parametrize("scenario", SCENARIOS)
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
