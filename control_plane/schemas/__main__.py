"""Writes the schemas and their tables."""

from __future__ import annotations

from pathlib import Path

from control_plane.schemas import FOLDER, tables, texts

for name, text in texts().items():
    (FOLDER / name).write_text(text)
reference = Path(__file__).parents[2] / "docs" / "reference" / "documents.md"
reference.parent.mkdir(parents=True, exist_ok=True)
reference.write_text(tables())
