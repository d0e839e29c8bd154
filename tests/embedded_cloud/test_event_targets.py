"""What a target receives: the event, a part of it, a constant, or a transformed text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.event_targets import (
    InvalidTarget,
    Source,
    UnsupportedTarget,
    target_input,
    validate_target,
)

EVENT = {
    "id": "e-1",
    "detail-type": "Test",
    "detail": {"name": "x", "quote": 'say "hi"', "list": [1, {"k": "v"}], "count": 3},
}
SOURCE = Source("arn:rule", "rule", "2026-01-01T00:00:00Z")
QUEUE = "arn:aws-us-gov:sqs:us-gov-west-1:111111111111:q"


def transformed(template: str, **paths: str) -> str:
    target = {
        "Id": "t",
        "Arn": QUEUE,
        "InputTransformer": {"InputPathsMap": paths, "InputTemplate": template},
    }
    validate_target(target)
    return target_input(target, EVENT, SOURCE)


def test_without_settings_the_whole_event_is_sent() -> None:
    """The event itself is the default input."""
    assert json.loads(target_input({"Id": "t", "Arn": QUEUE}, EVENT, SOURCE)) == EVENT


def test_input_path_selects_a_part() -> None:
    """InputPath sends the selected value only, null if there is none."""
    target = {"Id": "t", "Arn": QUEUE, "InputPath": "$.detail.list[1].k"}
    assert target_input(target, EVENT, SOURCE) == '"v"'
    assert target_input({**target, "InputPath": "$.detail.absent"}, EVENT, SOURCE) == "null"


@pytest.mark.parametrize(
    ("template", "paths", "expected"),
    [
        ('{"n": <n>}', {"n": "$.detail.name"}, {"n": "x"}),
        ('{"n": "<n>"}', {"n": "$.detail.name"}, {"n": "x"}),
        ('{"n": "is <n>, <c>"}', {"n": "$.detail.name", "c": "$.detail.count"}, {"n": "is x, 3"}),
        ('{"q": "<q>"}', {"q": "$.detail.quote"}, {"q": 'say "hi"'}),
        ('{"d": <d>}', {"d": "$.detail-type"}, {"d": "Test"}),
        ('{"l": <l>}', {"l": "$.detail.list"}, {"l": [1, {"k": "v"}]}),
        ('{"r": "<aws.events.rule-arn>"}', {}, {"r": "arn:rule"}),
        ('{"e": <aws.events.event.json>}', {}, {"e": EVENT}),
        ('{"gone": "<g>"}', {"g": "$.detail.absent"}, {"gone": ""}),
    ],
)
def test_input_transformer_fills_placeholders(
    template: str, paths: dict[str, str], expected: Any
) -> None:
    """Placeholders become JSON values outside quotes and escaped text inside them."""
    assert json.loads(transformed(template, **paths)) == expected


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"Arn": "arn:aws:firehose:us-east-1:1:deliverystream/x"}, UnsupportedTarget, "firehose"),
        ({"KinesisParameters": {}}, UnsupportedTarget, "KinesisParameters"),
        ({"Input": "{no json"}, InvalidTarget, "Input of target t"),
        ({"InputPath": "$.detail.*"}, InvalidTarget, "JSON path"),
        ({"Input": "{}", "InputPath": "$"}, InvalidTarget, "Only one of"),
        ({"DeadLetterConfig": {"Arn": "arn:aws:sns:r:1:t"}}, InvalidTarget, "DeadLetterConfig"),
        ({"RetryPolicy": {"MaximumEventAgeInSeconds": 5}}, InvalidTarget, "MaximumEventAge"),
        ({"Arn": "arn:aws:states:r:1:stateMachine:m"}, InvalidTarget, "RoleArn"),
    ],
)
def test_bad_target_is_refused_by_name(
    change: dict[str, Any], error: type[ValueError], named: str
) -> None:
    """A target with a setting that AWS refuses, or that would have no effect here, names it."""
    with pytest.raises(error, match=named):
        validate_target({"Id": "t", "Arn": QUEUE, **change})
