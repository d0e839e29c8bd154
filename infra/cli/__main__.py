"""Writes the reference of all commands."""

from __future__ import annotations

from pathlib import Path

from control_plane.cli.reference import page
from infra.cli.app import app

reference = Path(__file__).parents[2] / "docs" / "reference" / "commands.md"
reference.parent.mkdir(parents=True, exist_ok=True)
reference.write_text(page(app))
