"""The commands as a page, made from what they say of themselves: `docs/reference/commands.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer


def commands(group: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(name, command) of every command beneath a group, in the group's order."""
    for each, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, each))
        else:
            yield (*name, each), command


def page(app: typer.Typer) -> str:
    """Every command with its help, its examples and its options."""
    root = typer.main.get_command(app)
    lines = [
        "# Commands", "",
        "Made from the commands by `python -m infra.cli`. Account, region and endpoint come from the usual AWS environment",
        "variables and profiles, the link from `--link` or `TWINSPAN_LINK`. `--help` shows the same.", "",
        str(root.epilog), "",
    ]  # fmt: skip
    for name, command in commands(root):
        lines += [f"## twinspan {' '.join(name)}", "", *_help(command), *_options(command)]
        lines += [str(command.epilog), ""]
    return "\n".join(lines).rstrip() + "\n"


def _help(command: Any) -> Iterator[str]:
    text, _, shown = (command.help or "").partition("Examples:")
    for paragraph in text.strip().split("\n\n"):
        yield from (" ".join(paragraph.split()), "")
    examples = [line.strip() for line in shown.splitlines() if line.strip()]
    if examples:
        yield from ("```sh", *examples, "```", "")


def _options(command: Any) -> Iterator[str]:
    rows = [one for one in command.params if one.name != "help"]
    if not rows:
        return
    yield from ("| | | default |", "|---|---|---|")
    for one in rows:
        is_option = one.param_type_name == "option"
        words = one.opts if is_option else [(one.metavar or one.name or "").upper()]
        names = ", ".join(f"`{word}`" for word in words)
        help_text = " ".join((getattr(one, "help", None) or "").split()).replace("|", "\\|")
        yield f"| {names} | {help_text} | {_default(one)} |"
    yield ""


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default in (None, False, "", ()) or callable(one.default):
        return ""
    return f"`{getattr(one.default, 'value', one.default)}`"
