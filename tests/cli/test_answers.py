"""A question is shown with what a yes would change, before anybody says it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from control_plane.cli import answers
from control_plane.cli.app import app
from control_plane.domain.decision import Decision, DecisionKind
from control_plane.wiring import Control
from tests.adapters.conftest import routing_config, store


@pytest.fixture
def asked(link: Control, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A run waits for a yes to a failover; the answers that were given to it."""
    store(link, "routing-config", routing_config().to_json())
    decision = Decision(
        DecisionKind.FAILOVER, ("tunnel-1 is FAILED",), path="tunnel-2", needs_approval=True
    )
    expires_at = link.now() + timedelta(hours=1)
    link.state.save_approval(
        "bedrock",
        "run-1",
        {
            "task_token": "token",
            "decision": decision.to_dict(),
            "expires_at": expires_at.isoformat(),
        },
    )
    given: list[bool] = []

    def answer(*_: object, approved: bool) -> bool:
        given.append(approved)
        return approved

    monkeypatch.setattr(answers, "answer", answer)
    return given


def run(*arguments: str, code: int = 0, typed: str = ""):
    result = CliRunner().invoke(app, list(arguments), input=typed)
    assert result.exit_code == code, result.output
    return result


@pytest.mark.parametrize(("command", "approved"), [("approve", True), ("reject", False)])
def test_the_decision_and_its_effects_are_shown_and_then_it_is_asked(asked, command, approved):
    """The question needs no other command to be understood."""
    said = run(command, "run-1", typed="y\n")
    assert "Failover to tunnel-2: tunnel-1 is FAILED" in said.stderr
    assert "active path tunnel-1 → tunnel-2 (generation 1 → 2)" in said.stderr
    assert asked == [approved]
    assert said.stdout.strip().endswith("approved" if approved else "rejected")


@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("", 2)])
def test_whoever_is_not_sure_changes_nothing(asked, typed, code):
    """A no is 1; nobody there is 2."""
    run("approve", "run-1", typed=typed, code=code)
    assert asked == []


def test_a_dry_run_shows_it_and_asks_nobody(asked):
    """As JSON too."""
    document = json.loads(run("approve", "run-1", "--dry-run", "--json").stdout)
    assert document["foreseen"]["effects"] == [
        "routing config: active path tunnel-1 → tunnel-2 (generation 1 → 2)"
    ]
    assert document["approved"] is None
    assert asked == []


def test_an_execution_that_asks_nothing_is_named(asked):
    """Bad input."""
    assert "run-9 does not wait for an approval" in run("approve", "run-9", code=2).stderr


def test_a_link_that_waits_for_nobody_is_not_resolved(link):
    """Exit code 1, in a dry run as well."""
    said = run("resolve", "--reason", "all is well", "--dry-run", code=1).stderr
    assert "bedrock does not wait for an operator" in said
