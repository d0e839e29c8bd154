"""Replay: what a policy would have done in an outage, to the second."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from control_plane.cli.app import app
from control_plane.domain.policy import Policy
from control_plane.domain.replay import Trace, replay
from control_plane.errors import InvalidTrace

TRACES = Path(__file__).parent.parent.parent / "docs" / "traces"
EAGER = {"hold_down_seconds": 0, "failback": {"stable_seconds": 0}}


def shipped(name: str) -> Trace:
    return Trace.from_json((TRACES / f"{name}.json").read_text())


def written(*conditions: dict, **fields) -> Trace:
    document = {"paths": ["tunnel-1", "tunnel-2"], "duration_seconds": 3600, **fields}
    return Trace.from_json(json.dumps({**document, "conditions": list(conditions)}))


def test_a_clean_outage_costs_as_long_as_its_signal_takes():
    """Over when the signal comes, home again after the stable time, and failed in between only until then."""
    result = replay(shipped("clean-outage"), Policy())
    switched = [(e.at_seconds, e.path) for e in result.events if e.what == "switched"]
    assert [path for _, path in switched] == ["tunnel-2", "tunnel-1"]
    assert switched[0][0] == 622
    assert result.failed_seconds == 5
    assert switched[1][0] >= 1217 + Policy().failback.stable_seconds
    assert result.active_path == "tunnel-1"


def test_without_signals_the_sweep_alone_finds_the_outage():
    """The failed time is then at most the sweep's interval."""
    down = {"at_seconds": 61, "path": "tunnel-1", "answers": False}
    result = replay(written(down, signal_seconds=None), Policy())
    assert result.switches == 1
    assert result.failed_seconds == 59


def test_the_defaults_ride_out_a_flapping_tunnel_that_an_eager_policy_follows():
    """Limits trade time away from the preferred path for switches, and the comparison shows it."""
    calm = replay(shipped("flapping-tunnel"), Policy())
    eager = replay(shipped("flapping-tunnel"), Policy.model_validate(EAGER))
    assert calm.switches == 2
    assert eager.switches > 2 * calm.switches
    assert calm.suppressed > 0
    assert calm.failed_seconds < eager.failed_seconds


def test_a_tunnel_that_is_up_and_carries_nothing_is_left():
    """Probes outrank telemetry, in a replay as in the workflow."""
    result = replay(shipped("gray-failure"), Policy())
    assert result.events[0].what == "switched"
    assert result.failed_seconds == 5


def test_a_path_left_for_being_slow_is_returned_to_only_when_it_has_been_fast_for_long_enough():
    """Slowness restarts the stable time."""
    slow = {"at_seconds": 600, "path": "tunnel-1", "latency_ms": 2600.0}
    fast = {"at_seconds": 1200, "path": "tunnel-1"}
    result = replay(written(slow, fast), Policy())
    away, back = (event for event in result.events if event.what == "switched")
    assert (away.path, back.path) == ("tunnel-2", "tunnel-1")
    assert back.at_seconds >= 1200 + Policy().failback.stable_seconds


def test_with_no_path_left_it_says_so_and_recovers_by_itself():
    """Escalated once, and no switch to a path that is as dead."""
    conditions = [
        {"at_seconds": at, "path": path, "answers": at < 900}
        for at in (600, 900)
        for path in ("tunnel-1", "tunnel-2")
    ]
    dead = [{**one, "answers": one["at_seconds"] == 900} for one in conditions]
    result = replay(written(*dead), Policy())
    assert [event.what for event in result.events] == ["escalated"]
    assert result.failed_seconds == 300


def test_a_policy_that_asks_moves_nothing():
    """In mode approve the replay says when people would have been asked."""
    result = replay(shipped("clean-outage"), Policy(mode="approve"))
    assert result.switches == 0
    assert any(event.what == "asked" for event in result.events)
    assert result.failed_seconds == 600


@pytest.mark.parametrize(
    ("fields", "condition", "named"),
    [
        ({}, {"at_seconds": 0, "path": "tunnel-9"}, "conditions.0.path"),
        ({}, {"at_seconds": -1, "path": "tunnel-1"}, "conditions.0.at_seconds"),
        ({}, {"at_seconds": 0, "path": "tunnel-1", "tunnels_up": 3}, "conditions.0.tunnels_up"),
        ({"sweep_seconds": 0}, {"at_seconds": 0, "path": "tunnel-1"}, "sweep_seconds"),
        ({"paths": []}, {"at_seconds": 0, "path": "tunnel-1"}, "paths"),
    ],
)
def test_a_malformed_trace_is_refused_by_field(fields, condition, named):
    """The error names the place."""
    with pytest.raises(InvalidTrace, match=named.replace(".", r"\.")):
        written(condition, **fields)


def test_the_command_compares_policies_side_by_side(tmp_path):
    """One row per policy, and the same as JSON."""
    eager = tmp_path / "eager.json"
    eager.write_text(json.dumps(EAGER))
    calm = tmp_path / "calm.json"
    calm.write_text("{}")
    command = ["simulate", "--trace", str(TRACES / "flapping-tunnel.json")]
    command += ["--policy", str(eager), "--policy", str(calm)]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0
    answer = CliRunner().invoke(app, [*command, "--json"])
    results = json.loads(answer.stdout)
    assert results[str(eager)]["switches"] > results[str(calm)]["switches"]
    assert "switched tunnel-2" in told.stdout


def test_the_command_names_what_is_wrong_with_a_trace(tmp_path):
    """Exit 2, and a line."""
    broken = tmp_path / "trace.json"
    broken.write_text('{"paths": ["tunnel-1"], "duration_seconds": 60}')
    told = CliRunner().invoke(app, ["simulate", "--trace", str(broken)])
    assert told.exit_code == 2
