"""`twinspan`: the same commands against AWS and the embedded cloud, through the usual AWS settings."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated

import typer

from control_plane.cli import (
    act,
    answers,
    console,
    explain,
    hold_commands,
    journal_commands,
    key_commands,
    policy_commands,
    route_commands,
    simulate,
    status,
)
from control_plane.cli.exits import HELD, RAN, SAID_NO, exits

app = typer.Typer(
    name="twinspan",
    epilog=exits("it ran, and the answer is no")
    + " Each command says what its 1 means. 130 is Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command, no in (
    (status.status, "no call may get through, or a person is needed"),
    (status.history, ""),
    (explain.explain, "the journal has no entry of it"),
    (act.failover, RAN),
    (act.failback, RAN),
    (act.rollback, RAN),
    (act.restore, RAN),
    (act.drill, RAN),
    (act.reconcile, RAN),
    (answers.approve, f"{RAN}, or the question had expired"),
    (answers.reject, RAN),
    (answers.resolve, f"{SAID_NO}, or the link does not wait for an operator"),
    (hold_commands.pause, HELD),
    (hold_commands.resume, HELD),
    (hold_commands.quarantine, HELD),
    (route_commands.trace, ""),
    (route_commands.validate, "something blocks"),
    (route_commands.snapshot, ""),
    (simulate.simulate, ""),
    (console.console, ""),
):
    app.command(epilog=exits(no))(command)
app.add_typer(journal_commands.journal_app, name="journal")
app.add_typer(key_commands.key_app, name="key")
app.add_typer(policy_commands.policy_app, name="policy")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinspan {version()}")
        raise typer.Exit


def version() -> str:
    """The version that is installed; `0+source` where the command runs from the source tree."""
    try:
        return metadata.version("twinspan")
    except metadata.PackageNotFoundError:
        return "0+source"


@app.callback()
def twinspan(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print it, and exit."),
    ] = False,
) -> None:
    """Keeps cross-partition AI inference on a working network path."""


def main() -> None:
    """Run the command line."""
    app()
