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
    prints_no_document = {("console",), ("snapshot",), ("journal", "export"), ("key", "create")}
    options = {option for each in COMMANDS[name].params for option in each.opts}
    assert "--json" in options or name in prints_no_document


def test_the_reference_of_commands_is_current() -> None:
    """`python -m infra.cli` writes it anew."""
    stored = Path(infra.__file__).parents[1] / "docs" / "reference" / "commands.md"
    assert stored.read_text() == page(app)
