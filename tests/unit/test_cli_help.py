"""Every command explains itself: a line of help, and examples that it would accept."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

import infra
from control_plane.cli.reference import commands, page
from infra.cli.app import app

ROOT = typer.main.get_command(app)


COMMANDS = dict(commands(ROOT))
every_command = pytest.mark.parametrize("name", COMMANDS, ids=" ".join)


def examples(command: Any) -> list[list[str]]:
    _, _, shown = (command.help or "").partition("Examples:")
    lines = (line.strip().removeprefix("$ ") for line in shown.splitlines())
    return [
        shlex.split(line.partition("|")[0])[1:] for line in lines if line.startswith("twinspan")
    ]


@every_command
def test_a_command_shows_how_it_is_used(name):
    """Examples that the command's own parser takes."""
    command = COMMANDS[name]
    shown = examples(command)
    assert shown, f"twinspan {' '.join(name)} has no example"
    for words in shown:
        assert tuple(words[: len(name)]) == name
        context = command.context_class(command, info_name=" ".join(name))
        command.make_parser(context).parse_args(words[len(name) :])


@every_command
def test_a_command_prints_json_where_it_answers(name):
    """Whatever a person reads, a script can read as well."""
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert "--json" in options


@every_command
def test_a_command_says_what_its_exit_codes_mean(name):
    """At the end of its help, 1 included where it has one."""
    said = COMMANDS[name].epilog
    assert said.startswith("Exit codes: 0 done; ")
    assert "2 the input" in said
    assert "3 AWS was busy" in said


# What looks, and what has no say over a link.
LOOKS = {
    "status", "history", "explain", "trace", "validate", "snapshot", "simulate", "console", "doctor",
    "journal show", "journal verify", "journal export", "key list",
    "policy show", "policy check", "policy diff",
}  # fmt: skip
STARTS = {"failover", "failback", "rollback", "restore", "drill", "reconcile", "approve", "reject"}


@every_command
def test_what_changes_something_shows_it_first(name):
    """`--yes` for scripts, `--dry-run` for whoever only wants to see; `--wait` where an execution can be followed."""
    options = {option for each in COMMANDS[name].params for option in each.opts}
    changes = " ".join(name) not in LOOKS
    assert ("--yes" in options, "--dry-run" in options) == (changes, changes)
    assert ("--wait" in options) == (" ".join(name) in STARTS)


def test_the_reference_of_commands_is_current() -> None:
    """`python -m infra.cli` writes it anew."""
    stored = Path(infra.__file__).parents[1] / "docs" / "reference" / "commands.md"
    assert stored.read_text() == page(app)
