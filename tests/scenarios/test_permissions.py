"""What the demo's outages make the functions call is what their roles permit."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from infra.local.demo.play import EXIT_HELD, play
from infra.local.demo.scenarios import SCENARIOS
from infra.local.environment import Environment
from infra.local.held_against import Deployed


@pytest.mark.proof  # each plays in real time, most of which is waiting
@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_no_call_of_a_scenario_would_be_refused(scenario: str) -> None:
    """With AWS's timers running, alarms ringing and traffic flowing, roles and endpoints let every call through."""

    def inspect(environment: Environment) -> None:
        record = environment.cloud.calls
        assert record is not None
        assert record.unread == []
        verdict = Deployed(environment.cloud).judge(record.calls)
        assert verdict.refused == ()
        assert "ec2:DescribeRouteTables" in verdict.used["twinspan-bedrock-observe"]

    console = Console(file=io.StringIO(), width=120)
    assert play(scenario, console, inspect=inspect) == EXIT_HELD
