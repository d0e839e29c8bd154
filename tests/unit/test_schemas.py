"""The published schemas are the models'; documents that parse satisfy them, and others do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import control_plane
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.domain.policy import Policy
from control_plane.schemas import FOLDER, schemas, tables, texts
from tests.builders import NOON, intent, topology

REFERENCE = Path(control_plane.__file__).parents[1] / "docs" / "reference" / "documents.md"
ENTRY = Entry("bedrock", 1, NOON, EntryKind.SIGNAL, "run-1", {"about": "an alarm"}, GENESIS)
VALID: dict[str, Any] = {
    "policy": Policy().model_dump(mode="json"),
    "topology": topology().model_dump(mode="json"),
    "intent": intent(to="tunnel-2").model_dump(mode="json"),
    "journal-entry": {
        "link_id": ENTRY.link_id,
        "sequence": ENTRY.sequence,
        "at": ENTRY.at.isoformat(),
        "kind": ENTRY.kind,
        "execution": ENTRY.execution,
        "data": ENTRY.data,
        "previous_hash": ENTRY.previous_hash,
    },
}


def test_the_published_files_are_current() -> None:
    """`python -m control_plane.schemas` writes them anew."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == texts()
    assert REFERENCE.read_text() == tables()


@pytest.mark.parametrize("name", schemas())
def test_a_schema_is_one(name: str) -> None:
    """By the dialect that it names."""
    jsonschema.Draft202012Validator.check_schema(schemas()[name])


@pytest.mark.parametrize("name", VALID)
def test_what_the_models_write_satisfies_the_schemas(name: str) -> None:
    """And a field that nobody knows does not."""
    validator = jsonschema.Draft202012Validator(schemas()[name])
    document = json.loads(json.dumps(VALID[name]))
    assert list(validator.iter_errors(document)) == []
    if name != "journal-entry":
        assert list(validator.iter_errors({**document, "hold_down_secnods": 1}))


def test_bounds_are_in_the_schema() -> None:
    """An editor that knows the schema marks a number that the parser would refuse."""
    validator = jsonschema.Draft202012Validator(schemas()["policy"])
    assert list(validator.iter_errors({"hold_down_seconds": -1}))
    assert list(validator.iter_errors({"mode": "autmatic"}))
