"""Whether a resource's own policy lets an AWS service act on it.

IAM is not evaluated in the embedded cloud, with this one exception: a function without an
`AWS::Lambda::Permission`, a queue without a policy, or a topic whose policy names other alarms, silently
receives nothing in AWS. That mistake must show here, so deliveries by a service ask first.

Not evaluated: `Deny`, `NotPrincipal`, `NotAction`, and condition operators other than those below (a
statement with another one does not allow).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

_EQUALITY = {"stringequals", "arnequals", "stringequalsignorecase"}
_LIKENESS = {"stringlike", "arnlike"}


def allows(
    statements: Iterable[Mapping[str, Any]],
    *,
    service: str,
    action: str,
    source_arn: str,
    source_account: str,
) -> bool:
    """True if a statement allows `service` (`events.amazonaws.com`) to do `action` for `source_arn`."""
    context = {
        "aws:sourcearn": source_arn,
        "aws:sourceaccount": source_account,
        "aws:sourceowner": source_account,  # what a topic's first policy goes by
    }
    return any(
        statement.get("Effect") == "Allow"
        and _names_service(statement.get("Principal"), service)
        and _names_action(statement.get("Action"), action)
        and _conditions_hold(statement.get("Condition", {}), context)
        for statement in statements
    )


def _names_service(principal: Any, service: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, Mapping):
        return bool(principal == service)
    return "*" in _listed(principal.get("AWS")) or service in _listed(principal.get("Service"))


def _names_action(actions: Any, action: str) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), a.lower()) for a in _listed(actions))


def _conditions_hold(conditions: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    for operator, keys in conditions.items():
        for key, wanted in keys.items():
            value = context.get(key.lower())
            if value is None or operator.lower() not in _EQUALITY | _LIKENESS:
                return False
            patterns = _listed(wanted)
            if operator.lower() in _LIKENESS or operator.lower() == "arnequals":
                if not any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns):
                    return False
            elif value not in patterns:
                return False
    return True


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(member) for member in value] if isinstance(value, list) else [str(value)]
