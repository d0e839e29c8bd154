"""What an operator does in a hurry: hold Twinspan off, keep a path out of use. Each is a change of the policy."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from control_plane.cli.asking import DryRunOption, YesOption, ask, duration
from control_plane.cli.completion import complete_paths
from control_plane.cli.context import (
    EXIT_BAD_INPUT,
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    control,
    err,
    failing_in_words,
    out,
    print_json,
    working,
)
from control_plane.domain.policy import Policy
from control_plane.domain.policy_change import paused, quarantined, resumed, unquarantined
from control_plane.operations.policies import propose, store

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is journaled.")]
ForOption = Annotated[timedelta, typer.Option("--for", parser=duration, help="90s, 30m, 2h, 1d.")]


def pause(
    lasting: ForOption,
    reason: ReasonOption,
    link: LinkOption = "bedrock",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stop all automatic action on the link for a while; it resumes by itself.

    An operator's own intents still work, with --override.

    Examples:

        twinspan pause --for 2h --reason "router maintenance"
    """
    now = datetime.now(UTC)
    change(link, lambda p: paused(p, lasting, reason, now), reason, yes, dry_run, as_json)


def resume(
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """End a pause before its time.

    Examples:

        twinspan resume --reason "maintenance is over"
    """
    change(link, resumed, reason, yes, dry_run, as_json)


def quarantine(
    path: Annotated[str, typer.Argument(help="The path.", autocompletion=complete_paths)],
    lasting: Annotated[
        timedelta | None, typer.Option("--for", parser=duration, help="90s, 30m, 2h, 1d.")
    ] = None,
    reason: ReasonOption = "",
    lift: Annotated[bool, typer.Option("--lift", help="End a quarantine instead.")] = False,
    link: LinkOption = "bedrock",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Keep a path out of use for a while; traffic on it moves to another.

    Examples:

        twinspan quarantine tunnel-1 --for 1d --reason "the carrier is unwell"

        twinspan quarantine tunnel-1 --lift
    """
    now = datetime.now(UTC)
    if lift:
        change(link, lambda p: unquarantined(p, path), reason, yes, dry_run, as_json)
        return
    if lasting is None or not reason.strip():
        missing = "--for" if lasting is None else "--reason"
        err.print(f"{missing}: is missing", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT)
    until = lasting
    change(link, lambda p: quarantined(p, path, until, reason, now), reason, yes, dry_run, as_json)


def change(
    link: str,
    to: Callable[[Policy], Policy],
    reason: str,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show what a change of the policy changes, ask, and put it in force."""
    with failing_in_words():
        with working(f"reading {link} …"):
            here = control(link)
            proposal = propose(here, link, to)
        lines = [difference.describe() for difference in proposal.differences]
        answer: dict[str, Any] = {"link": link, "version": proposal.after.version, "changes": lines}
        if not lines:
            err.print(f"{link}: the policy says so already")
            raise typer.Exit(EXIT_NOT_DONE)
        if not as_json:
            out.print(f"policy of {link}, version {proposal.after.version}:")
            for line in lines:
                out.print(f"  {line}", markup=False)
        if not dry_run:
            ask(yes, "Put it in force?")
            store(here, proposal, getpass.getuser(), reason, datetime.now(UTC))
    if as_json:
        print_json({**answer, "stored": not dry_run})
    elif not dry_run:
        out.print("in force from the next look on")
