"""Whoever is paged finds the alarm's name in the runbooks."""

from __future__ import annotations

import re
from pathlib import Path

import infra

TEMPLATES = Path(infra.__file__).parent / "templates"
RUNBOOKS = Path(infra.__file__).parents[1] / "docs" / "runbooks.md"


def test_each_alarm_for_people_has_its_runbook_and_each_runbook_its_alarm() -> None:
    """Alarms for people are those named `twinspan.<link>.…` in the templates."""
    named = {
        name
        for file in TEMPLATES.rglob("*.yaml")
        for name in re.findall(
            r"AlarmName: !Sub 'twinspan\.\$\{LinkId\}\.([\w-]+)'", file.read_text()
        )
    }
    assert len(named) > 20
    _, _, about_alarms = RUNBOOKS.read_text().partition("\n## Alarms")
    headings = re.findall(r"^### (.+)$", about_alarms, flags=re.MULTILINE)
    assert sorted(name for heading in headings for name in heading.split(", ")) == sorted(named)


def test_each_command_in_a_runbook_exists() -> None:
    """At night nobody corrects a command."""
    from tests.unit.test_cli_help import COMMANDS

    told = re.findall(
        r"twinspan ([a-z]+(?: (?:show|check|set|diff|verify|export))?)", RUNBOOKS.read_text()
    )
    known = {" ".join(name) for name in COMMANDS}
    assert len(told) > 15
    assert set(told) <= known, set(told) - known
