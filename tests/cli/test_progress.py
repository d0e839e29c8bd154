"""What takes its time says so on a terminal, aside, and is gone when it is done; a script never sees it."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console
from typer.testing import CliRunner

from control_plane.cli import context, executions
from control_plane.cli.app import app
from tests.adapters.conftest import routing_config, store


@pytest.mark.parametrize(("terminal", "seen"), [(True, True), (False, False)])
def test_progress_is_for_terminals(monkeypatch, terminal, seen):
    """On standard error, so that even there an answer can be piped on."""
    screen = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    monkeypatch.setattr(context, "err", screen)
    with context.working("reading bedrock …"):
        time.sleep(0.2)
    assert ("reading bedrock" in screen.file.getvalue()) is seen


def test_whoever_stops_following_is_told_that_it_goes_on(link, monkeypatch):
    """Ctrl-C ends the command with 130 and the execution not at all."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    class Steps:
        def start_execution(self, **asked: str) -> dict[str, str]:
            return {"executionArn": f"arn:aws-us-gov:states:::execution:{asked['name']}"}

    client = link.session.client
    monkeypatch.setattr(
        type(link.session),
        "client",
        lambda self, service: Steps() if service == "stepfunctions" else client(service),
    )
    monkeypatch.setenv("TWINSPAN_STATE_MACHINE_ARN", "arn:of:the:workflow")
    monkeypatch.setattr(executions, "follow", interrupted)
    store(link, "routing-config", routing_config().to_json())
    ran = CliRunner().invoke(app, ["reconcile", "--yes", "--wait"])
    assert ran.exit_code == 130, ran.output
    assert "it goes on: twinspan explain reconcile-" in ran.stderr
