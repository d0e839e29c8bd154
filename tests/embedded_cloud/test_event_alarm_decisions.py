"""Alarm decisions on given datapoints: CloudWatch's own documented tables, and composite rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from infra.local.alarm_evaluation import (
    AlarmCondition,
    AlarmState,
    Datapoint,
    MissingData,
    evaluate,
)
from infra.local.alarm_rules import InvalidAlarmRule, parse_rule

START = datetime(2026, 1, 1, tzinfo=UTC)
KEEP = None
OK, ALARM, INSUFFICIENT = AlarmState.OK, AlarmState.ALARM, AlarmState.INSUFFICIENT_DATA


def decision(points: str, wanted: int, missing: MissingData, periods: int = 3) -> AlarmState | None:
    """`points` as in CloudWatch's tables: 0 not breaching, X breaching, - missing, oldest first."""
    values = [
        None if p == "-" else Datapoint(START + timedelta(minutes=i), float(p == "X"), 1.0)
        for i, p in enumerate(points.split())
    ]
    condition = AlarmCondition("GreaterThanThreshold", 0.5, periods, wanted, missing)
    verdict = evaluate(values, condition)
    return verdict.state if verdict else None


@pytest.mark.parametrize(
    ("points", "wanted", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0 - X - X", 3, OK, OK, OK, OK),
        ("0 - - - -", 3, OK, OK, OK, OK),
        ("- - - - -", 3, INSUFFICIENT, KEEP, ALARM, OK),
        ("0 X X - X", 3, ALARM, ALARM, ALARM, ALARM),
        ("- - X - -", 3, ALARM, KEEP, ALARM, OK),
        ("0 - X - X", 2, ALARM, ALARM, ALARM, ALARM),
        ("0 0 X 0 X", 2, ALARM, ALARM, ALARM, ALARM),
        ("0 - X - -", 2, OK, OK, ALARM, OK),
        ("- - - - 0", 2, OK, OK, ALARM, OK),
        ("- - - X -", 2, ALARM, KEEP, ALARM, OK),
    ],
)
def test_missing_data_is_treated_as_cloudwatch_documents(
    points: str,
    wanted: int,
    missing: AlarmState | None,
    ignore: AlarmState | None,
    breaching: AlarmState | None,
    not_breaching: AlarmState | None,
) -> None:
    """The tables of "Configuring how CloudWatch alarms treat missing data" hold, row by row."""
    assert decision(points, wanted, MissingData.MISSING) == missing
    assert decision(points, wanted, MissingData.IGNORE) == ignore
    assert decision(points, wanted, MissingData.BREACHING) == breaching
    assert decision(points, wanted, MissingData.NOT_BREACHING) == not_breaching


def test_one_late_datapoint_does_not_raise_a_breaching_alarm() -> None:
    """With missing data breaching, silence counts when it fills the whole evaluation range."""
    assert decision("0 0 -", 1, MissingData.BREACHING, periods=1) is OK
    assert decision("- - -", 1, MissingData.BREACHING, periods=1) is ALARM


@pytest.mark.parametrize(
    ("comparison", "value", "expected"),
    [
        ("GreaterThanOrEqualToThreshold", 1.0, ALARM),
        ("GreaterThanThreshold", 1.0, OK),
        ("LessThanThreshold", 1.0, OK),
        ("LessThanThreshold", 0.9, ALARM),
        ("LessThanOrEqualToThreshold", 1.0, ALARM),
    ],
)
def test_comparison_operators(comparison: str, value: float, expected: AlarmState) -> None:
    """Each comparison operator treats the threshold itself as its name says."""
    condition = AlarmCondition(comparison, 1.0, 1, 1, MissingData.MISSING)
    verdict = evaluate([None, None, Datapoint(START, value, 1.0)], condition)
    assert verdict is not None
    assert verdict.state is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("ALARM(a)", True),
        ('ALARM("a") AND OK(b)', True),
        ("ALARM(a) AND ALARM(b)", False),
        ("ALARM(b) OR ALARM(a) AND NOT OK(c)", True),
        ("NOT (ALARM(a) OR TRUE)", False),
        ("(ALARM(a)) AND FALSE", False),
        ("INSUFFICIENT_DATA(c)", True),
        ("ALARM(arn:aws-us-gov:cloudwatch:us-gov-west-1:111111111111:alarm:a)", True),
        ("OK(absent) OR ALARM(absent)", False),
    ],
)
def test_composite_rules(rule: str, expected: bool) -> None:
    """A composite rule is evaluated over the states of the alarms it names."""
    states = {"a": ALARM, "b": OK, "c": INSUFFICIENT}
    assert parse_rule(rule).evaluate(states.get) is expected


@pytest.mark.parametrize(
    "rule", ["", "ALARM(a", "ALARM(a) ALARM(b)", "AND", "AT_LEAST(1, ALARM, (a))"]
)
def test_unparsable_composite_rule_is_refused(rule: str) -> None:
    """A rule that cannot be read is an error that says where."""
    with pytest.raises(InvalidAlarmRule, match="character"):
        parse_rule(rule)
