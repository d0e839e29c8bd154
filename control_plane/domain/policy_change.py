"""Changes to a policy: what differs between two, and the small ones that operators make in a hurry."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane.domain.policy import Mode, Policy
from control_plane.errors import InvalidPolicy


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of a policy in two versions; None where it is not set."""

    field: str
    before: Any
    after: Any

    def describe(self) -> str:
        """`hold_down_seconds: 300 → 60`."""
        return f"{self.field}: {_word(self.before)} → {_word(self.after)}"


def differences(before: Policy, after: Policy) -> tuple[Difference, ...]:
    """What differs, field by field, nested ones by their path; the version is no difference."""
    old, new = (dict(_fields(policy.model_dump(mode="json"))) for policy in (before, after))
    names = sorted((old.keys() | new.keys()) - {"version"})
    return tuple(
        Difference(name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )


def next_version(before: Policy, after: Policy) -> Policy:
    """The changed policy with a version above the one in force."""
    version = max(after.version, before.version + 1) if before.stored else max(1, after.version)
    return after.model_copy(update={"version": version})


def paused(policy: Policy, lasting: timedelta, reason: str, now: datetime) -> Policy:
    """No automatic action until `now + lasting`; a pause that is in force gives way to this one."""
    _stored(policy)
    return _with(policy, pause={"reason": reason, "until": (now + lasting).isoformat()})


def resumed(policy: Policy) -> Policy:
    """Automatic action as the mode has it.

    Raises:
        InvalidPolicy: the mode itself is `paused`, which no command can know the end of.
    """
    _stored(policy)
    if policy.mode is Mode.PAUSED:
        raise InvalidPolicy("mode", "is paused: store a policy with the mode that is to hold")
    return _with(policy, pause=None)


def quarantined(
    policy: Policy, path: str, lasting: timedelta, reason: str, now: datetime
) -> Policy:
    """Out of use until `now + lasting`; an earlier quarantine of the path gives way to this one."""
    _stored(policy)
    laid_on = {"path": path, "reason": reason, "until": (now + lasting).isoformat()}
    return _with(policy, quarantine=[*_others(policy, path), laid_on])


def unquarantined(policy: Policy, path: str) -> Policy:
    """Back in use, as far as the policy goes."""
    _stored(policy)
    return _with(policy, quarantine=_others(policy, path))


def _others(policy: Policy, path: str) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in policy.quarantine if one.path != path]


def _with(policy: Policy, **fields: Any) -> Policy:
    """The policy with other fields, validated anew.

    Raises:
        InvalidPolicy: naming the field.
    """
    return Policy.from_json(json.dumps(policy.model_dump(mode="json") | fields))


def _stored(policy: Policy) -> None:
    if not policy.stored:
        raise InvalidPolicy("policy", "none is stored for this link: `twinspan policy set` first")


def _fields(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by dotted path; lists are leaves, since their order is their meaning."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _fields(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _word(value: Any) -> str:
    return "none" if value is None or value == [] else str(value)
