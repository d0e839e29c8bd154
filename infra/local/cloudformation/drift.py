"""Drift: what a stack's resources are now, held against the properties that made them.

As AWS says it of itself: only properties that the template sets are compared, a resource that is gone is `DELETED`, and a
type that nothing here reads is `NOT_CHECKED` (`checked_types()` are the others). Resources of nested stacks are those
stacks' own.

Not guaranteed: the form of AWS's `PropertyDifferences`. Paths name the property and not the place inside of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.local.cloudformation.drift_readers import READERS
from infra.local.cloudformation.resource_type import Existing, ResourceType, Surroundings, is_gone


@dataclass(frozen=True, slots=True)
class Difference:
    """A property that is not as the template has it."""

    name: str
    expected: Any
    actual: Any


@dataclass(frozen=True, slots=True)
class Drift:
    """One resource. `status`: IN_SYNC, MODIFIED, DELETED or NOT_CHECKED, as AWS's."""

    status: str
    differences: tuple[Difference, ...] = ()


def checked_types() -> frozenset[str]:
    """The types whose live state is read."""
    return frozenset(READERS)


def drift_of(
    kind: ResourceType, aws: Surroundings, existing: Existing, properties: Mapping[str, Any]
) -> Drift:
    """How a resource differs from the resolved properties that made it, save for those without effect here."""
    reader = READERS.get(kind.name)
    if reader is None:
        return Drift("NOT_CHECKED")
    try:
        actual = reader(aws, existing, properties)
    except ClientError as error:
        if not is_gone(error):
            raise
        actual = None
    if actual is None:
        return Drift("DELETED")
    differences = tuple(
        Difference(name, properties[name], value)
        for name, value in sorted(actual.items())
        if name in properties
        and name not in kind.no_effect
        and canonical(properties[name]) != canonical(value)
    )
    return Drift("MODIFIED" if differences else "IN_SYNC", differences)


def canonical(value: Any) -> Any:
    """Values that mean the same in one form: CloudFormation takes numbers and booleans as text, and lists are sets."""
    if isinstance(value, Mapping):
        return {key: canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return sorted((canonical(item) for item in value), key=json.dumps)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(int(value)) if value == int(value) else str(value)
    return value.strip() if isinstance(value, str) else value
