"""Which data class an API key of API Gateway stands for, as the stage says.

The deployment writes the map into a variable of the stage (`ApiKeyDataClasses` of the stack). API Gateway puts the
stage's variables and the id of the API key into each event; callers can write neither. A usage plan is in no event, so
the keys of a plan are named one by one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from proxy.selection import DEFAULT_DATA_CLASS

logger = logging.getLogger(__name__)

STAGE_VARIABLE = "apiKeyDataClasses"
_ENTRY = re.compile(r"(?P<key>[A-Za-z0-9]{1,64})=(?P<data_class>[a-z][a-z0-9-]{0,39})")


def bound_of(stage_variables: Mapping[str, Any], identity: Mapping[str, Any]) -> str | None:
    """The data class whose paths this caller's API key may use and no others; None where keys say nothing of it.

    A key that the map does not name stands for the default class, and so does every key of a map that cannot be read.
    """
    said, key = stage_variables.get(STAGE_VARIABLE), identity.get("apiKeyId")
    if not said or not isinstance(key, str):
        return None
    classes = _classes(said) if isinstance(said, str) else {}
    return classes.get(key, DEFAULT_DATA_CLASS)


@lru_cache(maxsize=4)
def _classes(said: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for position, entry in enumerate(said.split(",")):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None or match["key"] in found:
            reason = "is not of the form id=class" if match is None else "names a key again"
            field = f"{STAGE_VARIABLE}: entry {position} {reason}"
            logger.error("API keys' data classes refused", extra={"reason": field})
            return {}
        found[match["key"]] = match["data_class"]
    return found
