"""`python -m control_plane.console`: the console as a process of its own."""

from __future__ import annotations

import typer

from control_plane.cli.console import console

typer.run(console)
