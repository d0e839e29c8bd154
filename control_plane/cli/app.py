"""`twinspan`: the same commands against AWS and the embedded cloud, through the usual AWS settings.

Exit codes: 0 done; 1 it ran, and the answer is no; 2 bad input, or nobody was there to be asked; 3 AWS was busy,
try again.
"""

from __future__ import annotations

import typer

from control_plane.cli import (
    act,
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

app = typer.Typer(
    name="twinspan",
    help="Keeps cross-partition AI inference on a working network path.",
    epilog="Exit codes: 0 done; 1 it ran, and the answer is no; 2 bad input, or nobody was there to be asked; 3 AWS was busy, try again.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    status.status,
    status.history,
    explain.explain,
    act.failover,
    act.failback,
    act.rollback,
    act.restore,
    act.drill,
    act.reconcile,
    act.approve,
    act.reject,
    act.resolve,
    hold_commands.pause,
    hold_commands.resume,
    hold_commands.quarantine,
    route_commands.trace,
    route_commands.validate,
    route_commands.snapshot,
    simulate.simulate,
    console.console,
):
    app.command()(command)
app.add_typer(journal_commands.journal_app, name="journal")
app.add_typer(key_commands.key_app, name="key")
app.add_typer(policy_commands.policy_app, name="policy")


def main() -> None:
    """Run the command line."""
    app()
