"""`twinspan trace`, `validate`: answers, JSON and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from control_plane.cli import route_commands
from tests.unit.route_model_language import Cloud
from tests.unit.test_route_model_link import ENDPOINT_A, FUNCTIONS, commercial, cut, govcloud

app = typer.Typer()
app.command()(route_commands.trace)
app.command()(route_commands.validate)
app.command()(route_commands.snapshot)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def healthy(tmp_path: Path) -> str:
    return write(
        tmp_path / "snapshot.json", {"govcloud": govcloud().data, "commercial": commercial().data}
    )


@pytest.fixture
def cut_off(tmp_path: Path) -> str:
    data = {"govcloud": cut(govcloud(), "vpn-1").data, "commercial": commercial().data}
    return write(tmp_path / "cut.json", data)


def write(path: Path, data: Any) -> str:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def test_json_has_the_documented_shape(cut_off: str) -> None:
    """Outcome, hops with kind, id and route, alternatives, return, blockers with fixes, and what was not observed."""
    result = run("trace", "--snapshot", cut_off, "--from", FUNCTIONS, "--to", ENDPOINT_A, "--json")
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    assert set(answer) == {
        "outcome",
        "hops",
        "alternatives",
        "return",
        "blocked_by",
        "not_observed",
    }
    assert answer["outcome"] == "TUNNEL_DOWN"
    assert [set(hop) for hop in answer["hops"]] == [{"kind", "id", "route"}] * len(answer["hops"])
    assert answer["hops"][0]["route"]["destination"] == "172.16.0.0/16"
    assert {"vpn-1", "tgw-1", "tgw-attach-vpc", "tgw-attach-vpn-1"} <= {
        hop["id"] for hop in answer["hops"]
    }
    assert set(answer["return"]) == {"outcome", "hops", "alternatives"}
    assert answer["blocked_by"] == [
        {
            "id": "vpn-1",
            "kind": "vpn-connection",
            "why": "all 2 tunnels are down",
            "fix": "bring up a tunnel of vpn-1",
        }
    ]


def test_text_reads_like_a_traceroute(healthy: str) -> None:
    """Numbered hops with the matched route, then the outcome, both ways."""
    result = run("trace", "--snapshot", healthy, "--from", FUNCTIONS, "--to", ENDPOINT_A)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"trace from {FUNCTIONS} to {ENDPOINT_A}, tcp/443"
    assert lines[1].split()[:3] == ["1", FUNCTIONS, "subnet"]
    assert lines.count("    DELIVERED") == 2


def test_options_reach_the_model(cut_off: str) -> None:
    """Tunnels can be assumed up, filters left out, protocol and port chosen."""
    base = ("trace", "--snapshot", cut_off, "--from", "eni-function", "--to", ENDPOINT_A, "--json")

    def outcome(*more: str) -> str:
        return str(json.loads(run(*base, *more).stdout)["outcome"])

    assert outcome() == "TUNNEL_DOWN"
    assert outcome("--assume-tunnels-up") == "DELIVERED"
    assert outcome("--assume-tunnels-up", "--port", "80") == "DENIED"
    assert outcome("--assume-tunnels-up", "--port", "80", "--no-filters") == "DELIVERED"
    assert outcome("--assume-tunnels-up", "--protocol", "udp") == "DENIED"


def test_queries_are_answered_a_line_each(healthy: str, tmp_path: Path) -> None:
    """Order is kept, per-line options count, and an unanswerable line gets an error in its place and exit code 2."""
    lines: list[dict[str, Any]] = [
        {"from": FUNCTIONS, "to": ENDPOINT_A},
        {"from": "nowhere", "to": ENDPOINT_A},
        {"from": "eni-function", "to": ENDPOINT_A, "port": 80},
        {"from": "eni-function", "to": ENDPOINT_A, "port": 80, "filters": False},
    ]
    queries = write(tmp_path / "q.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    result = run("trace", "--snapshot", healthy, "--queries", queries)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [answer.get("outcome") for answer in answers] == [
        "DELIVERED",
        None,
        "DENIED",
        "DELIVERED",
    ]
    assert "line 2" in answers[1]["error"]
    assert "nowhere" in answers[1]["error"]
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"from": "x"}',
        '{"from": "x", "to": "y", "colour": 1}',
        '{"from": 1, "to": "y"}',
        '{"from": "x", "to": "y", "port": "z"}',
    ],
)
def test_malformed_queries_name_file_and_line(healthy: str, tmp_path: Path, line: str) -> None:
    """The first line that is no query ends the run with its place."""
    queries = write(tmp_path / "q.jsonl", line)
    result = run("trace", "--snapshot", healthy, "--queries", queries)
    assert result.exit_code == 2
    assert "q.jsonl: line 1" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--from", "subnet-nope", "--to", ENDPOINT_A), "subnet-nope"),
        (("--from", FUNCTIONS, "--to", "eni-nope"), "eni-nope"),
        (("--from", FUNCTIONS, "--to", "10.0.0.300"), "10.0.0.300"),
        (("--from", "192.168.77.1", "--to", ENDPOINT_A), "192.168.77.1 is in no subnet"),
        (("--from", FUNCTIONS, "--to", ENDPOINT_A, "--port", "70000"), "port"),
        (("--from", FUNCTIONS, "--to", ENDPOINT_A, "--protocol", "smoke"), "protocol"),
        (("--from", FUNCTIONS), "--from, --to"),
        (("--from", FUNCTIONS, "--to", "2001:db8::1"), FUNCTIONS),
    ],
)
def test_unusable_questions_exit_2_with_one_line(
    healthy: str, arguments: tuple[str, ...], named: str
) -> None:
    """The line names what is wrong; nothing is on standard output."""
    result = run("trace", "--snapshot", healthy, *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "cut off"),
        ('{"Vpcs": 1}', "Vpcs"),
        ("[]", "not a JSON object"),
        ("", "empty"),
        ("{nope}", "line 1 column 2"),
    ],
)
def test_unusable_snapshots_exit_2_with_one_line(tmp_path: Path, content: str, named: str) -> None:
    """A broken snapshot is named with the place in it."""
    snapshot = write(tmp_path / "broken.json", content)
    result = run("trace", "--snapshot", snapshot, "--from", "a", "--to", "10.0.0.1")
    assert result.exit_code == 2
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_missing_snapshot_exits_2(tmp_path: Path) -> None:
    """No such file is a one-line error."""
    result = run("validate", "--snapshot", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert "no such file" in result.stderr


def test_an_address_in_overlapping_networks_is_ambiguous(tmp_path: Path) -> None:
    """Two VPCs with the same CIDR: an address alone does not tell which, and the error names both."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").vpc("vpc-b", "10.0.0.0/16")
    cloud.subnet("subnet-a", "vpc-a", "10.0.1.0/24").subnet("subnet-b", "vpc-b", "10.0.1.0/24")
    snapshot = write(tmp_path / "s.json", cloud.data)
    result = run("trace", "--snapshot", snapshot, "--from", "10.0.1.9", "--to", "8.8.8.8")
    assert result.exit_code == 2
    assert "subnet-a" in result.stderr
    assert "subnet-b" in result.stderr


def test_validate_a_plan(healthy: str, tmp_path: Path) -> None:
    """A plan that breaks a flow is refused with exit code 1; one that does not is let pass."""
    change = {
        "side": "commercial",
        "table_id": "rtb-end-a",
        "destination": "10.0.0.0/16",
        "after": None,
    }
    flows = [{"from": FUNCTIONS, "to": ENDPOINT_A}]
    bad = write(tmp_path / "bad.json", {"changes": [change], "flows": flows})
    result = run("validate", "--snapshot", healthy, "--plan", bad, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert not report["ok"]
    assert [one["kind"] for one in report["violations"]] == ["return_broken"]
    good = write(
        tmp_path / "good.json",
        {"changes": [{**change, "after": "eni-router-b"}], "flows": flows, "private": ["vpc-gov"]},
    )
    assert run("validate", "--snapshot", healthy, "--plan", good).exit_code == 0


def test_validate_reports_isolation_of_private_subnets(healthy: str, tmp_path: Path) -> None:
    """Subnets named private are checked with the plan applied."""
    plan = write(tmp_path / "p.json", {"changes": [], "private": ["subnet-edge-a"]})
    result = run("validate", "--snapshot", healthy, "--plan", plan)
    assert result.exit_code == 1
    assert "igw-com" in result.stdout


def test_validate_without_a_plan_tells_old_faults(cut_off: str) -> None:
    """What is wrong already is listed, and blocks nothing."""
    result = run("validate", "--snapshot", cut_off, "--json")
    assert result.exit_code == 0
    assert [
        (one["kind"], one["introduced"]) for one in json.loads(result.stdout)["violations"]
    ] == [("tunnel_down", False)]


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ("{", "p.json"),
        ("7", "p.json"),
        ({"changes": [1]}, "changes[0]"),
        ({"changes": [{"table_id": "rtb-end-a"}]}, "changes[0].destination"),
        (
            {"changes": [{"table_id": "rtb-end-a", "destination": "10.0.0.0/16"}]},
            "changes[0].after",
        ),
        (
            {"changes": [{"table_id": "rtb-zzz", "destination": "10.0.0.0/16", "after": None}]},
            "rtb-zzz",
        ),
        ({"flows": [{"from": "x"}]}, "flows[0]"),
        ({"flows": [{"from": "x", "to": "10.0.0.1"}]}, "'x'"),
        ({"private": ["vpc-zzz"]}, "vpc-zzz"),
    ],
)
def test_unusable_plans_exit_2(healthy: str, tmp_path: Path, plan: Any, named: str) -> None:
    """The line names the file or the field."""
    result = run("validate", "--snapshot", healthy, "--plan", write(tmp_path / "p.json", plan))
    assert result.exit_code == 2, result.stdout
    assert named in result.stderr
    assert len(result.stderr.splitlines()) == 1
