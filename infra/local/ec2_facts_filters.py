"""EC2's describe filters for the resources that these extensions describe.

A filter that is unknown is refused, where moto would let everything through: a describe call that
silently ignores a filter makes its caller act on the wrong resource.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from moto.ec2.exceptions import InvalidParameterValue

Resource = TypeVar("Resource")
Attribute = Callable[[Any], str | Iterable[str] | None]


def keep_matching(
    resources: Iterable[Resource],
    filters: Mapping[str, list[str]] | None,
    attributes: Mapping[str, Attribute],
) -> list[Resource]:
    """The resources that match every filter: any of a filter's values, with `*` and `?`.

    `attributes`: filter name → how to read the attribute. Raises EC2's `InvalidParameterValue` for a
    filter that is not among them.
    """
    kept = list(resources)
    for name, values in (filters or {}).items():
        if name not in attributes:
            raise InvalidParameterValue(f"The filter '{name}' is invalid")
        kept = [resource for resource in kept if _matches(attributes[name](resource), values)]
    return kept


def tag_filters(filters: Mapping[str, list[str]] | None) -> dict[str, Attribute]:
    """The attributes behind whatever `tag:<key>` and `tag-key` filters a call uses."""
    return {
        name: _tag_keys if name == "tag-key" else _tag_value(name.removeprefix("tag:"))
        for name in filters or {}
        if name == "tag-key" or name.startswith("tag:")
    }


def _tag_keys(resource: Any) -> list[str]:
    return [tag["key"] for tag in resource.get_tags()]


def _tag_value(key: str) -> Attribute:
    return lambda resource: [tag["value"] for tag in resource.get_tags() if tag["key"] == key]


def _matches(found: str | Iterable[str] | None, values: list[str]) -> bool:
    if found is None:
        return False
    candidates = [found] if isinstance(found, str) else list(found)
    return any(
        fnmatch.fnmatchcase(candidate, value) for candidate in candidates for value in values
    )
