"""Taking fields out of documents that others wrote: what is not there, or is of another type, is None.

Nothing here raises for any value that JSON can hold, lone surrogates and absurd dates included: these would
otherwise fail later, where the text is stored or the date compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

LONGEST_TEXT = 1000
_PLAUSIBLE_YEARS = range(2000, 9000)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def at(value: object, *names: str) -> Any:
    """What lies under these names, one inside the other; None where the way there breaks off."""
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def either_case(detail: Mapping[str, Any], name: str) -> Any:
    """A field by its camelCase name or, as events of 2019 have it, by the kebab-case one."""
    found = detail.get(name)
    return found if found is not None else detail.get(_CAMEL.sub("-", name).lower())


def clean(value: str, longest: int = LONGEST_TEXT) -> str:
    """Text that can be stored and shown: encodable, and no longer than `longest` characters."""
    encodable = value.encode("utf-8", "replace").decode()
    return encodable if len(encodable) <= longest else encodable[: longest - 1] + "…"


def text(value: object) -> str | None:
    """A text that says something."""
    return clean(value) if isinstance(value, str) and value else None


def texts(value: object) -> list[str]:
    """The texts of a list; of anything else, none."""
    items = value if isinstance(value, list) else []
    return [found for item in items if (found := text(item)) is not None]


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects of a list; of anything else, none."""
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, Mapping)]


def every_text(value: object) -> Iterator[str]:
    """Each text anywhere inside, in the document's order."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting += reversed(list(item.values()))
        elif isinstance(item, list):
            waiting += reversed(item)
        elif (found := text(item)) is not None:
            yield found


def moment(value: object) -> datetime | None:
    """An ISO 8601 time with its zone (UTC where none is given), if it is a plausible one."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if found.year not in _PLAUSIBLE_YEARS:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
