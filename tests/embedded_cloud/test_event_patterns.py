"""Event patterns: EventBridge's operators, and nothing taken for granted that it does not know."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.event_patterns import InvalidPattern, matches, validate_pattern

EVENT: dict[str, Any] = {
    "source": "aws.cloudwatch",
    "resources": ["arn:a", "arn:b"],
    "detail": {
        "alarmName": "twinspan-bedrock-tunnel-1-down",
        "state": {"value": "ALARM"},
        "count": 5,
        "flag": True,
        "nothing": None,
        "address": "10.1.2.3",
        "members": [{"name": "x"}, {"name": "y"}],
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2", "aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2"]}, False),
        ({"resources": ["arn:b"]}, True),
        ({"resources": ["arn:c"]}, False),
        ({"detail": {"alarmName": [{"prefix": "twinspan-bedrock-"}]}}, True),
        ({"detail": {"alarmName": [{"prefix": {"equals-ignore-case": "TWINSPAN"}}]}}, True),
        ({"detail": {"alarmName": [{"suffix": "-down"}]}}, True),
        ({"detail": {"alarmName": [{"suffix": "-probe"}]}}, False),
        ({"detail": {"alarmName": [{"wildcard": "twinspan-*-down"}]}}, True),
        ({"detail": {"alarmName": [{"wildcard": "twinspan-*-probe"}]}}, False),
        ({"detail": {"alarmName": [{"wildcard": "twinspan-.*"}]}}, False),
        ({"detail": {"state": {"value": [{"equals-ignore-case": "alarm"}]}}}, True),
        ({"detail": {"state": {"value": [{"anything-but": "OK"}]}}}, True),
        ({"detail": {"state": {"value": [{"anything-but": ["OK", "ALARM"]}]}}}, False),
        ({"detail": {"state": {"value": [{"anything-but": {"prefix": "AL"}}]}}}, False),
        ({"detail": {"missing": [{"anything-but": "x"}]}}, False),
        ({"detail": {"count": [{"numeric": [">", 0, "<=", 5]}]}}, True),
        ({"detail": {"count": [{"numeric": ["<", 5]}]}}, False),
        ({"detail": {"count": [5.0]}}, True),
        ({"detail": {"count": ["5"]}}, False),
        ({"detail": {"flag": [True]}}, True),
        ({"detail": {"flag": [1]}}, False),
        ({"detail": {"nothing": [None]}}, True),
        ({"detail": {"missing": [None]}}, False),
        ({"detail": {"missing": [{"exists": False}]}}, True),
        ({"detail": {"count": [{"exists": True}]}}, True),
        ({"detail": {"state": [{"exists": True}]}}, False),
        ({"detail": {"missing": {"deeper": [{"exists": False}]}}}, True),
        ({"detail": {"address": [{"cidr": "10.0.0.0/8"}]}}, True),
        ({"detail": {"address": [{"cidr": "192.168.0.0/16"}]}}, False),
        ({"detail": {"members": {"name": ["y"]}}}, True),
        ({"detail": {"members": {"name": ["z"]}}}, False),
        ({"$or": [{"source": ["x"]}, {"detail": {"count": [5]}}]}, True),
        ({"source": ["aws.cloudwatch"], "$or": [{"source": ["x"]}, {"region": ["y"]}]}, False),
    ],
)
def test_pattern_decides_as_eventbridge_does(pattern: dict[str, Any], expected: bool) -> None:
    """Each operator matches exactly what EventBridge's documentation says it matches."""
    validate_pattern(pattern)
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("pattern", "path", "reason"),
    [
        ({"detail": {"state": [{"matches": "x"}]}}, "detail.state", "unknown operator 'matches'"),
        ({"source": "aws.ec2"}, "source", "object or an array"),
        ({"source": []}, "source", "empty arrays"),
        ({}, "", "at least one field"),
        ({"n": [{"numeric": [">", "1"]}]}, "n", "cannot take"),
        ({"n": [{"numeric": ["~", 1]}]}, "n", "cannot take"),
        ({"n": [{"exists": "yes"}]}, "n", "cannot take"),
        ({"n": [{"cidr": "10.0.0.1/8/8"}]}, "n", "cannot take"),
        ({"n": [{"anything-but": {"numeric": 1}}]}, "n", "cannot take"),
        ({"n": [{"prefix": "a", "suffix": "b"}]}, "n", "exactly one operator"),
        ({"$or": [{"a": [1]}]}, "$or", "at least two"),
        ({"$or": [{"a": [1]}, {"b": 2}]}, "$or[1].b", "object or an array"),
    ],
)
def test_invalid_pattern_is_refused_with_its_place(
    pattern: dict[str, Any], path: str, reason: str
) -> None:
    """A pattern that could not be decided is an error that names the field and the reason."""
    with pytest.raises(InvalidPattern) as refusal:
        validate_pattern(pattern)
    assert refusal.value.path == path
    assert reason in refusal.value.reason
