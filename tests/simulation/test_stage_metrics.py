"""What a run tells of its own speed."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from control_plane.domain.policy import Policy
from tests.simulation.playing import SWEEP, Play, report
from tests.simulation.world import LINK, World


def measured(output: str) -> list[dict[str, Any]]:
    """The lines of the embedded metric format in a log."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    return [line for line in lines if "_aws" in line]


def test_each_stage_of_a_run_is_measured_and_names_its_execution(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the time of a switch went can be drawn per stage, and looked up per execution."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "decide")  # as each deployed function has its own
    play = Play(World(Policy()))
    play.attach(monkeypatch)
    states = play.run({"intent": "failover", "to": "tunnel-2", "link_id": LINK})
    found = measured(capsys.readouterr().out)
    assert {line["LinkId"] for line in found} == {LINK}
    assert {line["execution"] for line in found} == {"run-1"}
    stages = [line["Stage"] for line in found]
    steps = {"acquire_lease", "observe", "decide", "plan", "probe_target", "publish", "verify"}
    assert steps | {"adopt"} <= set(stages)
    assert "detect" not in stages, "nobody had to notice what was asked for"
    assert len(stages) < len(states), "choices and ends take no time of ours"
    for line in found:
        [directive] = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "Twinspan"
        assert directive["Dimensions"] == [["LinkId", "Stage"]]
        assert directive["Metrics"] == [{"Name": "StageDuration", "Unit": "Milliseconds"}]


def test_a_stage_that_fails_is_measured_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The slow ones are often those that fail."""
    play = Play(World(Policy()))
    play.attach(monkeypatch)
    play.world.deaf_callers = True
    play.run({"intent": "failover", "to": "tunnel-2", "link_id": LINK})
    play.run(SWEEP)
    stages = [line["Stage"] for line in measured(capsys.readouterr().out)]
    assert {"verify", "roll_back"} <= set(stages)


def test_detection_and_adoption_are_measured_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the signal's own time to the run; from the publication to the answers that use it."""
    play = Play(World(Policy()))
    control = play.attach(monkeypatch)
    play.world.alive["tunnel-1"] = False
    event = {**report("tunnel-1"), "time": (play.world.now - timedelta(seconds=7)).isoformat()}
    call = control.proxy.call
    required = play.world.policy.probe.required

    def slow(generation: int, model: str | None) -> Any:
        play.world.now += timedelta(seconds=2)
        return call(generation, model)

    monkeypatch.setattr(control.proxy, "call", slow)
    play.run(event)
    assert play.active == "tunnel-2"
    found = {line["Stage"]: line["StageDuration"] for line in measured(capsys.readouterr().out)}
    assert found["detect"] == [7000.0]
    assert found["adopt"] == [2000.0 * required]
