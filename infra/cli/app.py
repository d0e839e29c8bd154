"""The whole `twinspan`: exit codes as in `control_plane.cli.app`."""

from __future__ import annotations

from control_plane.cli.app import app
from infra.cli import deploy_commands, doctor_command

__all__ = ["app", "main"]

for command in (deploy_commands.deploy, deploy_commands.destroy, doctor_command.doctor):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    app()
