"""A link in moto, and every command told to use it."""

from __future__ import annotations

import json

import pytest

from control_plane.cli import (
    answers,
    executions,
    explain,
    hold_commands,
    journal_commands,
    policy_commands,
    status,
)
from control_plane.wiring import Control
from tests.adapters.conftest import cloud, control

__all__ = ["cloud", "control", "link"]

MACHINE = (
    "arn:aws-us-gov:states:us-gov-west-1:111111111111:stateMachine:twinspan-bedrock-remediation"
)


@pytest.fixture
def link(control: Control, monkeypatch: pytest.MonkeyPatch) -> Control:
    """The link, reached by every command through the same adapters."""
    for module in (
        answers,
        executions,
        explain,
        hold_commands,
        journal_commands,
        policy_commands,
        status,
    ):
        monkeypatch.setattr(module, "control", lambda _: control)
    return control


def register(control: Control) -> None:
    """As the link's stack does."""
    document = {
        "link_id": "bedrock",
        "state_machine_arn": MACHINE,
        "state_table": "twinspan-state",
    }
    control.session.client("ssm").put_parameter(
        Name="/twinspan-links/bedrock", Value=json.dumps(document), Type="String", Overwrite=True
    )
