"""Playing the demo as a user plays it: from the command line, judged by its exit code and its last word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LIMIT_SECONDS = 240


def play(scenario: str) -> subprocess.CompletedProcess[str]:
    """`make demo SCENARIO=…`, without its environment's installation."""
    return subprocess.run(
        [sys.executable, "-m", "infra.local", "demo", scenario],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )


def held(scenario: str) -> str:
    """Play a scenario whose promise must hold; returns what it printed."""
    done = play(scenario)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "The promise held." in done.stdout
    assert "Traceback" not in done.stderr, done.stderr[-6000:]
    return done.stdout
