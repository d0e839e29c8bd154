"""From a template's property values to the parameters of a service API.

CloudFormation takes text for numbers and booleans, mappings for JSON documents, and capitals where some
APIs want small letters. The service model of botocore says what the API wants, so one function serves
every type, and a nested property that the API does not know is found here instead of being dropped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud


def to_shape(value: Any, shape: Shape, where: str) -> Any:
    """`value` in the form that `shape` wants.

    Raises:
        UnsupportedByEmbeddedCloud: a member that the API does not have.
        TemplateProblem: a value of the wrong kind.
    """
    if isinstance(shape, StructureShape):
        if not isinstance(value, Mapping):
            raise TemplateProblem(where, f"a mapping is wanted, not {value!r}")
        return {
            (member := _member(key, shape, where)): to_shape(
                item, shape.members[member], f"{where}.{key}"
            )
            for key, item in value.items()
        }
    if isinstance(shape, ListShape):
        if not isinstance(value, list):
            raise TemplateProblem(where, f"a list is wanted, not {value!r}")
        return [to_shape(item, shape.member, f"{where}.{i}") for i, item in enumerate(value)]
    if isinstance(shape, MapShape):
        if not isinstance(value, Mapping):
            raise TemplateProblem(where, f"a mapping is wanted, not {value!r}")
        return {
            str(key): to_shape(item, shape.value, f"{where}.{key}") for key, item in value.items()
        }
    return _scalar(value, shape.type_name, where)


def _member(key: str, shape: StructureShape, where: str) -> str:
    if key in shape.members:
        return key
    folded = [name for name in shape.members if name.lower() == key.lower()]
    if len(folded) != 1:
        raise UnsupportedByEmbeddedCloud(f"{where}.{key}", "this property")
    return folded[0]


def _scalar(value: Any, kind: str, where: str) -> Any:
    try:
        if kind == "string":
            if isinstance(value, (Mapping, list)):
                return json.dumps(value, separators=(",", ":"))
            if isinstance(value, bool):
                return "true" if value else "false"
            return str(value)
        if kind in ("integer", "long"):
            return int(value)
        if kind in ("float", "double"):
            return float(value)
        if kind == "boolean":
            return _boolean(value)
        if kind == "blob":
            return value.encode()
    except (TypeError, ValueError, AttributeError):
        raise TemplateProblem(where, f"{value!r} is no {kind}") from None
    raise UnsupportedByEmbeddedCloud(where, f"values of the kind {kind}")


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise ValueError


def is_true(value: Any, where: str = "value") -> bool:
    """A template's boolean, which may be text."""
    try:
        return _boolean(value)
    except ValueError:
        raise TemplateProblem(where, f"{value!r} is no boolean") from None
