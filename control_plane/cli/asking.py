"""Before something is changed: it is shown, and a person says yes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from control_plane.cli.context import EXIT_BAD_INPUT, EXIT_NOT_DONE, err

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show it, and change nothing.")]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=366)


def ask(yes: bool, question: str = "Go on?") -> None:
    """Return if a person agrees; end the command if they do not, or if nobody can be asked."""
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        err.print("nobody answered, and nothing was changed; --yes goes on without asking")
        raise typer.Exit(EXIT_BAD_INPUT) from None
    if not agreed:
        err.print("nothing was changed")
        raise typer.Exit(EXIT_NOT_DONE)


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d`, or several of them together; as Typer's parser of an option."""
    parts = re.findall(r"([0-9]+)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise typer.BadParameter(f"{text!r} is not a time like 90s, 30m, 2h or 1d")
    lasting = sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in parts), timedelta())
    if not timedelta() < lasting <= _LONGEST:
        raise typer.BadParameter(f"{text!r} is not between 1s and {_LONGEST.days}d")
    return lasting


def drill_time(text: str) -> timedelta:
    """As `duration`, at most a day; a bare number is seconds, as it was before times had units here."""
    lasting = duration(f"{text}s" if text.isdigit() else text)
    if lasting > timedelta(days=1):
        raise typer.BadParameter(f"{text!r} is longer than 1d")
    return lasting
