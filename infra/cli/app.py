"""The whole `twinspan`."""

from __future__ import annotations

from control_plane.cli.app import app
from control_plane.cli.exits import exits
from infra.cli import deploy_commands, doctor_command

__all__ = ["app", "main"]

for command, no in (
    (deploy_commands.deploy, "a phase failed, or you said no"),
    (deploy_commands.destroy, "something was left standing, or you said no"),
    (doctor_command.doctor, "something stands in the way"),
):
    app.command(epilog=exits(no))(command)


def main() -> None:
    """Run the command line."""
    app()
