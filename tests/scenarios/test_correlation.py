"""One outage, followed by one name through every log: from the event to the proxy that moved."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo.scenarios import POLICY
from infra.local.environment import Environment

PATIENCE_SECONDS = 60.0
STEPS = (
    "acquire_lease",
    "observe",
    "decide",
    "plan",
    "probe_target",
    "publish",
    "verify",
    "record",
)


def lines(folder: Path) -> Iterator[dict[str, Any]]:
    """All JSON lines that functions and proxy have logged."""
    for file in folder.glob("*.log"):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                yield json.loads(line)


def adopted(folder: Path) -> dict[int, str]:
    """Generation → the execution that the proxies name with it."""
    return {
        line["generation"]: line["execution"]
        for line in lines(folder)
        if line.get("message") == "routing config adopted"
    }


@pytest.mark.proof
def test_one_name_leads_from_the_event_to_the_proxys_adoption(tmp_path: Path) -> None:
    """Whoever knows the generation finds the execution, each of its steps with its duration and trace, and the event."""
    with Environment(policy=POLICY, log_directory=tmp_path) as running:
        running.faults.cut("tunnel-1")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while 2 not in adopted(tmp_path) or not any(
            line.get("step") == "record" and line.get("execution") == adopted(tmp_path)[2]
            for line in lines(tmp_path)
        ):
            assert time.monotonic() < deadline, adopted(tmp_path)
            time.sleep(0.2)
        inputs = {
            one["name"]: json.loads(
                running.client("stepfunctions").describe_execution(
                    executionArn=one["executionArn"]
                )["input"]
            )
            for one in running.executions()
        }
    execution = adopted(tmp_path)[2]
    own = [line for line in lines(tmp_path) if line.get("execution") == execution]
    done = {line["step"]: line for line in own if line.get("message") == "step done"}
    assert set(STEPS) <= set(done)
    assert {line["link_id"] for line in done.values()} == {"bedrock"}
    assert all(line["xray_trace_id"] for line in done.values())
    assert done["acquire_lease"]["acts"] is True
    assert done["acquire_lease"]["event_id"] == inputs[execution]["id"]
    assert (done["decide"]["decision"], done["decide"]["path"]) == ("Failover", "tunnel-2")
    assert done["publish"]["generation"] == 2
    timed = {line["Stage"] for line in own if "StageDuration" in line}
    assert set(STEPS) <= timed | {"acquire_lease"}
