"""What goes wrong is said in a line or two, with the exit code that the reference gives, and never as a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner, Result

from control_plane.cli.app import app

READING = [
    ["status"],
    ["status", "--all"],
    ["history"],
    ["explain"],
    ["failover", "--yes"],
    ["reconcile", "--dry-run"],
    ["approve", "run-1", "--yes"],
    ["resolve", "--reason", "put right", "--yes"],
    ["pause", "--for", "1h", "--reason", "x", "--yes"],
    ["policy", "show"],
    ["journal", "verify"],
    ["key", "list"],
]
some_commands = pytest.mark.parametrize("arguments", READING, ids=" ".join)
# What is no text, and a folder that is not there.
PICTURE = b"\x89PNG\r\n"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An account of nobody: no profile, no credentials of this machine."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-gov-west-1")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that look like some."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


def run(arguments: list[str], code: int) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    return result


@some_commands
def test_missing_credentials_are_said_to_be_missing(arguments):
    """The input is to be mended: 2."""
    assert "Unable to locate credentials" in run(arguments, 2).stderr


@some_commands
def test_a_missing_region_is_said_to_be_missing(arguments, keys, monkeypatch):
    """Which settings count is said as well."""
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    said = run(arguments, 2).stderr
    assert "region" in said
    assert "AWS variables and profiles" in said


@some_commands
def test_a_profile_that_does_not_exist_is_named(arguments, monkeypatch):
    """By the name that was asked for."""
    monkeypatch.setenv("AWS_PROFILE", "night-shift")
    assert "night-shift" in run(arguments, 2).stderr


@pytest.mark.parametrize("arguments", [["status"], ["failover", "--yes"], ["key", "list"]])
def test_without_a_network_the_address_is_named(arguments, keys, monkeypatch):
    """Nothing is wrong with the request, so: 3, try again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    said = run(arguments, 3).stderr
    assert "AwsUnavailable" in said
    assert "http://127.0.0.1:9" in said


@pytest.mark.parametrize(
    ("code", "exit_code", "said"),
    [
        ("ExpiredTokenException", 2, "have expired: sign in anew"),
        ("UnrecognizedClientException", 2, "the right partition and profile"),
        ("AccessDeniedException", 2, "docs/reference/iam.md"),
        ("ThrottlingException", 3, "ThrottlingException"),
    ],
)
@pytest.mark.parametrize("arguments", READING[::4], ids=" ".join)
def test_what_aws_refuses_comes_with_what_to_do(
    arguments, code, exit_code, said, keys, monkeypatch
):
    """AWS's own words are kept: they name the right that is missing."""

    def refuse(self: Any, operation: str, *_: Any) -> None:
        error = {"Code": code, "Message": f"not authorized to perform {operation}"}
        raise ClientError({"Error": error}, operation)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", refuse)
    told = run(arguments, exit_code).stderr
    assert said in told
    assert exit_code == 3 or "not authorized to perform" in told


@pytest.mark.parametrize(
    "arguments",
    [
        ["policy", "check", "FILE"],
        ["policy", "check", "docs/traces/clean-outage.json", "--topology", "FILE"],
        ["simulate", "--trace", "FILE"],
        ["simulate", "--trace", "docs/traces/clean-outage.json", "--policy", "FILE"],
        ["trace", "--snapshot", "FILE", "--from", "a", "--to", "b"],
        ["validate", "--snapshot", "FILE"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_file_that_is_no_text_is_named(arguments, tmp_path):
    """Somebody took the picture for the policy."""
    file = tmp_path / "policy.png"
    file.write_bytes(PICTURE)
    given = [str(file) if word == "FILE" else word for word in arguments]
    assert "policy.png" in run(given, 2).stderr


def test_a_topology_that_is_none_names_the_field(tmp_path):
    """And how many more there are."""
    policy, topology = tmp_path / "policy.json", tmp_path / "topology.json"
    policy.write_text("{}")
    topology.write_text('{"a": 1}')
    said = run(["policy", "check", str(policy), "--topology", str(topology)], 2).stderr
    assert "topology: link_id: Field required" in said


def test_a_time_without_a_unit_is_explained():
    """By the option and by what it takes."""
    said = run(["pause", "--for", "soon", "--reason", "x"], 2).stderr
    assert "--for" in said
    assert "'soon' is not a time" in said
