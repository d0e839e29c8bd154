"""What a script reads: `--json` prints the fields that docs/reference/json.md names, and nothing else on standard output."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner

import infra
from control_plane.cli.reference import commands
from control_plane.domain.decision import Decision, DecisionKind
from control_plane.domain.journal import EntryKind
from infra.cli.app import app
from tests.adapters.conftest import routing_config, store
from tests.builders import NOON
from tests.cli.conftest import register

ROOT = Path(infra.__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "json.md").read_text()
ROWS = re.findall(r"^\| (`[a-z].*?) \| (.*) \|$", PAGE, re.MULTILINE)
WORDS = re.compile(r"`([a-z_ -]+)`")
# Which command prints a list of such documents, or several by name.
WITHIN = {"journal show": list, "key list": list, "simulate": dict}


def fields(command: str) -> set[str]:
    """As the page has them; of a list, those of each."""
    for names, text in ROWS:
        if command in WORDS.findall(names):
            return set(WORDS.findall(text.partition(": each")[0].partition("; ")[0]))
    raise AssertionError(f"{command} is not on the page")


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def whole(link, monkeypatch, tmp_path):
    """A link with a journal, a question, a workflow and keys."""
    register(link)
    store(link, "routing-config", routing_config().to_json())
    for kind, data in (
        (EntryKind.SIGNAL, {"about": "an alarm"}),
        (EntryKind.OUTCOME, {"outcome": "switched"}),
    ):
        link.journal.append("bedrock", kind, "run-1", data, NOON)
    waiting = Decision(DecisionKind.FAILOVER, ("tunnel-1 is FAILED",), path="tunnel-2")
    link.state.save_approval(
        "bedrock",
        "run-1",
        {
            "task_token": "t",
            "decision": waiting.to_dict(),
            "expires_at": "2026-03-01T12:00:00+00:00",
        },
    )
    machine = boto3.client("stepfunctions").create_state_machine(
        name="twinspan-bedrock-remediation",
        definition='{"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}',
        roleArn="arn:aws-us-gov:iam::111111111111:role/remediation",
    )
    monkeypatch.setenv("TWINSPAN_STATE_MACHINE_ARN", machine["stateMachineArn"])
    keys = {"TableName": "twinspan-caller-keys", "BillingMode": "PAY_PER_REQUEST"}
    boto3.client("dynamodb").create_table(
        **keys,
        KeySchema=[{"AttributeName": "keyDigest", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "keyDigest", "AttributeType": "S"}],
    )
    (tmp_path / "policy.json").write_text('{"hold_down_seconds": 60}')
    monkeypatch.chdir(tmp_path)
    yield link
    boto3.client("dynamodb").delete_table(TableName="twinspan-caller-keys")
    boto3.client("stepfunctions").delete_state_machine(stateMachineArn=machine["stateMachineArn"])


@pytest.mark.parametrize(
    ("command", "arguments", "code"),
    [
        ("status", (), 0),
        ("status --all", (), 0),
        ("history", (), 0),
        ("explain", (), 0),
        ("failover", ("--dry-run",), 0),
        ("reconcile", ("--yes",), 0),
        ("approve", ("run-1", "--dry-run"), 0),
        ("reject", ("run-1", "--dry-run"), 0),
        ("resolve", ("--reason", "x", "--dry-run"), 1),
        ("pause", ("--for", "1h", "--reason", "x", "--dry-run"), 0),
        ("quarantine", ("tunnel-1", "--for", "1h", "--reason", "x", "--dry-run"), 0),
        ("policy show", (), 0),
        ("policy check", ("policy.json",), 0),
        ("policy diff", ("policy.json",), 1),
        ("policy set", ("policy.json", "--dry-run"), 0),
        ("simulate", ("--trace", str(ROOT / "docs/traces/clean-outage.json")), 0),
        ("journal show", (), 0),
        ("journal verify", (), 0),
        ("journal export --output", ("journal.jsonl",), 0),
        ("key create", ("team-a", "--yes"), 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_command_prints_the_fields_that_are_documented(whole, command, arguments, code):
    """No more and no fewer: a field that comes or goes is written down."""
    document = run(*command.split(), *arguments, code=code)
    if WITHIN.get(command) is list:
        document = document[0]
    elif WITHIN.get(command) is dict:
        document = next(iter(document.values()))
    assert set(document) == fields(command)


def test_keys_are_listed_and_revoked_with_the_fields_that_are_documented(whole):
    """The secret is in what `create` prints, and nowhere else."""
    made = run("key", "create", "team-a", "--yes")
    [listed] = run("key", "list")
    assert set(listed) == fields("key list")
    assert made["key"] not in json.dumps(listed)
    asked = run("key", "revoke", made["key_id"], "--dry-run")
    assert (set(asked), asked["state"]) == (fields("key revoke"), "valid")
    assert run("key", "revoke", made["key_id"], "--yes")["state"] == "revoked"
    assert run("key", "list")[0]["state"] == "revoked"


def test_what_is_foreseen_is_part_of_a_dry_runs_answer(whole):
    """A script sees what a person is shown, aside."""
    ran = CliRunner().invoke(app, ["failover", "--to", "tunnel-2", "--dry-run", "--json"])
    decision = json.loads(ran.stdout)["foreseen"]["decision"]
    assert ran.stderr.startswith(f"{decision['kind']}")
    assert decision["reasons"][0] in ran.stderr


def test_every_command_is_on_the_page():
    """Each with what it prints."""
    import typer.main

    for name, _ in commands(typer.main.get_command(app)):
        assert fields(" ".join(name))
