"""Snapshots on disk: one JSON file, or a folder of AWS CLI outputs, in subfolders for accounts and regions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from control_plane.domain.route_model.snapshot import InvalidSnapshot, Snapshot, parse_json_text


def load_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        InvalidSnapshot: naming the file, and the place in it.
    """
    if path.is_dir():
        files = sorted(
            file
            for file in path.rglob("*.json")
            if file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not files:
            raise InvalidSnapshot(str(path), "has no .json file")
        return Snapshot.from_documents(
            (file.relative_to(path).as_posix(), _read(file)) for file in files
        )
    if not path.exists():
        raise InvalidSnapshot(str(path), "there is no such file or folder")
    return Snapshot.from_describe(_object(path))


def save_side(folder: Path, side: Mapping[str, Any]) -> None:
    """Write one side as the AWS CLI would: a file per kind, `{"Vpcs": [...]}`."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, items in side.items():
        text = json.dumps({kind: items}, indent=2) + "\n"
        (folder / f"{kind}.json").write_text(text, encoding="utf-8")


def _object(path: Path) -> Any:
    data = _read(path)
    if not isinstance(data, dict):
        raise InvalidSnapshot(str(path), "is not a JSON object of describe outputs")
    return data


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidSnapshot(str(path), f"not UTF-8 at byte {error.start}") from None
    except OSError as error:
        raise InvalidSnapshot(str(path), f"cannot be read: {error.strerror}") from None
    if not text.strip():
        raise InvalidSnapshot(str(path), "the file is empty")
    return parse_json_text(str(path), text)
