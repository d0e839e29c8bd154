"""The lab from the command line: as a demo, and kept up by one terminal while others break it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.demo.lab_scenarios import LAB_SCENARIOS
from infra.local.lab.report import FAULT_CASES
from tests.scenarios.playing import ROOT, held


@pytest.mark.parametrize("scenario", ["drop-esp", "encryption"])
def test_a_scenario_of_the_lab_is_played(possible: None, scenario: str) -> None:
    """Naming a scenario that only the lab can play plays it there, and its promise holds."""
    said = held(scenario)
    assert "Its tunnels are real" in said


def test_every_trouble_can_be_played() -> None:
    """What the report breaks, the demo plays: by itself, or as one of the common outages over real tunnels."""
    common = {"cut", "blackhole"}  # `demo --lab tunnel-down`, `demo --lab gray-failure`
    assert {case.name for case in FAULT_CASES} - common <= set(LAB_SCENARIOS)


def test_a_lab_is_kept_up_broken_and_taken_down_from_the_shell(
    possible: None, tmp_path: Path
) -> None:
    """`up --lab` runs until it is told to end; `status`, `break` and `heal` work on it from elsewhere."""
    environment = {**os.environ, "TWINSPAN_LOCAL_DIRECTORY": str(tmp_path / "control")}

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "infra.local", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with subprocess.Popen(
        [sys.executable, "-m", "infra.local", "up", "--lab"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as up:
        try:
            assert up.stdout is not None
            for line in up.stdout:
                if line.startswith("Ctrl-C"):
                    break
            else:
                pytest.fail("it did not come up")
            assert command("status").count("carries") == 2
            assert "fault            tunnel-2: drop-esp" in command("break", "tunnel-2", "drop-esp")
            assert command("status").count("carries") == 1
            assert "fault" not in command("heal", "all")
            command("down")
            assert up.wait(60) == 0
        finally:
            if up.poll() is None:
                up.send_signal(signal.SIGTERM)
