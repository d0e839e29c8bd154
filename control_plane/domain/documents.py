"""Reading JSON documents with errors that name the field and the reason.

Shared by the topology, the policy, intents and step inputs: one bad field gives one line, never a
page of validator output, and never the offending value (it might be a secret pasted in the wrong place).
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from control_plane.errors import InvalidDocument

Model = TypeVar("Model", bound=BaseModel)


class Document(BaseModel):
    """Base of the documents: frozen, and a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def problems(error: ValidationError) -> list[tuple[str, str]]:
    """(dotted field, reason) of each problem in a validation error, in document order."""
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in item["loc"]) or "document"
        found.append((field, item["msg"].removeprefix("Value error, ")))
    return found


def parse(model: type[Model], value: Any, error: type[InvalidDocument]) -> Model:
    """Validate a Python value.

    Raises:
        InvalidDocument: the given subclass, naming the first field that is wrong and how many more are.
    """
    try:
        return model.model_validate(value)
    except ValidationError as caught:
        found = problems(caught)
        field, reason = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise error(field, reason + more) from None


def parse_json(model: type[Model], text: str, error: type[InvalidDocument]) -> Model:
    """Validate JSON text; see `parse`."""
    return parse(model, load_json(text, error), error)


def load_json(text: str, error: type[InvalidDocument]) -> Any:
    """Decode JSON text, naming the line and column where it breaks."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as caught:
        raise error(f"line {caught.lineno} column {caught.colno}", caught.msg) from None


def canonical_json(value: Any) -> str:
    """The one serialisation that is hashed, stored and compared: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
