"""EventBridge event patterns: checked when a rule is put, matched when an event arrives.

moto's matcher takes an operator it does not know as a match and a rule without pattern (a schedule) as
matching everything. Here an unknown operator is an error that names its place.

Source of the semantics: EventBridge user guide, "Event patterns" and "comparison operators". Not covered:
the limit on wildcard complexity.
"""

from __future__ import annotations

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_ABSENT = object()
_NUMERIC: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_ANYTHING_BUT_FORMS = {"prefix", "suffix", "equals-ignore-case", "wildcard"}


class InvalidPattern(ValueError):
    """An event pattern that EventBridge would refuse. `path` names the field."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"event pattern at {path or 'its top'}: {reason}")


def validate_pattern(pattern: Any) -> None:
    """Raise `InvalidPattern` for anything that `matches` could not decide."""
    _validate_object(pattern, "")


def matches(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Whether a validated pattern matches an event (both plain JSON values)."""
    return _object_matches(pattern, event)


# -- validation -------------------------------------------------------------------------------------


def _validate_object(pattern: Any, path: str) -> None:
    if not isinstance(pattern, Mapping) or not pattern:
        raise InvalidPattern(path, "must be an object with at least one field")
    for key, value in pattern.items():
        here = f"{path}.{key}" if path else key
        if key == "$or":
            if not isinstance(value, list) or len(value) < 2:
                raise InvalidPattern(here, "$or needs an array of at least two patterns")
            for index, alternative in enumerate(value):
                _validate_object(alternative, f"{here}[{index}]")
        elif isinstance(value, Mapping):
            _validate_object(value, here)
        elif isinstance(value, list):
            if not value:
                raise InvalidPattern(here, "empty arrays are not allowed")
            for condition in value:
                _validate_condition(condition, here)
        else:
            raise InvalidPattern(here, "must be an object or an array")


def _validate_condition(condition: Any, path: str) -> None:
    if not isinstance(condition, Mapping):
        if isinstance(condition, list):
            raise InvalidPattern(path, "arrays cannot be nested")
        return
    if len(condition) != 1:
        raise InvalidPattern(path, "a condition has exactly one operator")
    (name, argument), *_ = condition.items()
    match name:
        case "exists":
            ok = isinstance(argument, bool)
        case "prefix" | "suffix":
            ok = isinstance(argument, str) or (
                isinstance(argument, Mapping)
                and list(argument) == ["equals-ignore-case"]
                and isinstance(argument["equals-ignore-case"], str)
            )
        case "equals-ignore-case" | "wildcard":
            ok = isinstance(argument, str)
        case "numeric":
            ok = _is_numeric_argument(argument)
        case "cidr":
            ok = isinstance(argument, str) and _is_network(argument)
        case "anything-but":
            ok = _is_anything_but_argument(argument)
        case _:
            raise InvalidPattern(path, f"unknown operator {name!r}")
    if not ok:
        raise InvalidPattern(path, f"operator {name!r} cannot take {argument!r}")


def _is_numeric_argument(argument: Any) -> bool:
    if not isinstance(argument, list) or len(argument) not in (2, 4):
        return False
    return all(
        isinstance(sign, str) and sign in _NUMERIC and _is_number(bound)
        for sign, bound in zip(argument[::2], argument[1::2], strict=True)
    )


def _is_anything_but_argument(argument: Any) -> bool:
    if isinstance(argument, Mapping):
        if len(argument) != 1 or next(iter(argument)) not in _ANYTHING_BUT_FORMS:
            return False
        values = next(iter(argument.values()))
        return isinstance(values, str) or _is_list_of(values, lambda v: isinstance(v, str))
    if isinstance(argument, list):
        return _is_list_of(argument, lambda v: isinstance(v, str)) or _is_list_of(
            argument, _is_number
        )
    return isinstance(argument, str) or _is_number(argument)


def _is_list_of(values: Any, is_member: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(map(is_member, values))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_network(value: str) -> bool:
    try:
        ipaddress.ip_network(value)
    except ValueError:
        return False
    return True


# -- matching ---------------------------------------------------------------------------------------


def _object_matches(pattern: Mapping[str, Any], event: Any) -> bool:
    if isinstance(event, list):  # an array of objects matches if one of its members does
        return any(_object_matches(pattern, member) for member in event)
    fields = event if isinstance(event, Mapping) else {}
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(_object_matches(alternative, fields) for alternative in wanted):
                return False
        elif isinstance(wanted, Mapping):
            if not _object_matches(wanted, fields.get(key, {})):
                return False
        elif not _field_matches(wanted, fields.get(key, _ABSENT)):
            return False
    return True


def _field_matches(conditions: Sequence[Any], value: Any) -> bool:
    return any(_condition_matches(condition, value) for condition in conditions)


def _condition_matches(condition: Any, value: Any) -> bool:
    is_leaf = value is not _ABSENT and not isinstance(value, Mapping)
    if isinstance(condition, Mapping):
        (name, argument), *_ = condition.items()
        if name == "exists":  # only leaves exist for EventBridge
            return is_leaf is argument
        if not is_leaf:
            return False
        members = value if isinstance(value, list) else [value]
        return any(_operator_matches(name, argument, member) for member in members)
    if not is_leaf:
        return False
    members = value if isinstance(value, list) else [value]
    return any(_equals(condition, member) for member in members)


def _equals(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    return bool(wanted == value) and _is_number(wanted) == _is_number(value)


def _operator_matches(name: str, argument: Any, value: Any) -> bool:
    match name:
        case "numeric":
            return _is_number(value) and all(
                _NUMERIC[sign](value, bound)
                for sign, bound in zip(argument[::2], argument[1::2], strict=True)
            )
        case "cidr":
            return isinstance(value, str) and _address_in(value, argument)
        case "anything-but":
            return _differs(argument, value)
        case _:
            return isinstance(value, str) and _string_matches(name, argument, value)


def _differs(argument: Any, value: Any) -> bool:
    if isinstance(argument, Mapping):
        (form, given), *_ = argument.items()
        forms = given if isinstance(given, list) else [given]
        return isinstance(value, str) and not any(_string_matches(form, f, value) for f in forms)
    return not any(
        _equals(unwanted, value)
        for unwanted in (argument if isinstance(argument, list) else [argument])
    )


def _string_matches(name: str, argument: Any, value: str) -> bool:
    if isinstance(argument, Mapping):
        argument, value = argument["equals-ignore-case"].lower(), value.lower()
    match name:
        case "prefix":
            return value.startswith(argument)
        case "suffix":
            return value.endswith(argument)
        case "equals-ignore-case":
            return value.lower() == str(argument).lower()
        case _:
            return re.fullmatch(_wildcard_expression(argument), value, re.DOTALL) is not None


def _wildcard_expression(pattern: str) -> str:
    parts = re.findall(r"\\[*\\]|\*|[^*\\]+|\\", pattern)
    return "".join(
        ".*" if part == "*" else re.escape(part[1] if part in (r"\*", r"\\") else part)
        for part in parts
    )


def _address_in(value: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(network)
    except ValueError:
        return False
