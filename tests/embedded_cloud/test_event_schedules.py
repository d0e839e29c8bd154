"""Schedules: when rate and cron rules fire, and what they send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from infra.local.clock import CloudClock
from infra.local.schedules import Cron, InvalidSchedule, Rate, parse_schedule
from tests.embedded_cloud.conftest import FAST, Workbench

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)  # a Monday


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("cron(0 12 * * ? *)", NOON, NOON + timedelta(days=1)),
        ("cron(0/15 * * * ? *)", NOON, NOON + timedelta(minutes=15)),
        ("cron(30 8 ? * MON-FRI *)", NOON, datetime(2026, 6, 2, 8, 30, tzinfo=UTC)),
        ("cron(0 0 1 JAN ? *)", NOON, datetime(2027, 1, 1, tzinfo=UTC)),
        ("cron(5,10 12 * * ? *)", NOON, NOON + timedelta(minutes=5)),
        ("cron(0 12 ? * SUN *)", NOON, datetime(2026, 6, 7, 12, tzinfo=UTC)),
        ("cron(0 12 * * ? 2020)", NOON, None),
    ],
)
def test_cron_fires_next(expression: str, after: datetime, expected: datetime | None) -> None:
    """A cron expression names the next minute that matches all six fields, in UTC."""
    schedule = parse_schedule(expression)
    assert isinstance(schedule, Cron)
    assert schedule.next_after(after) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "rate(0 minutes)",
        "rate(1 minutes)",
        "rate(5 minute)",
        "rate(1 fortnight)",
        "cron(0 12 * * * *)",
        "cron(0 12 ? * ? *)",
        "cron(61 * * * ? *)",
        "cron(0 12 L * ? *)",
        "cron(* * * * ?)",
        "at(2026-01-01T00:00:00)",
    ],
)
def test_unusable_schedule_is_refused(expression: str) -> None:
    """A schedule that EventBridge refuses, or that cannot be emulated, is an error that names it."""
    with pytest.raises(InvalidSchedule, match="ScheduleExpression is not valid"):
        parse_schedule(expression)


def test_rate_is_in_seconds() -> None:
    """Rates come out in seconds of AWS time."""
    assert parse_schedule("rate(1 minute)") == Rate(60)
    assert parse_schedule("rate(2 hours)") == Rate(7200)


def test_clock_maps_back_and_forth() -> None:
    """The clock's wall time and real time are inverses, and its factor is the documented one."""
    clock = CloudClock(seconds_per_minute=3.0, origin=NOON)
    assert clock.real_seconds(60) == 3.0
    assert clock.wall_time(NOON + timedelta(seconds=3)) == NOON + timedelta(minutes=1)
    assert clock.real_time(clock.wall_time(NOON + timedelta(seconds=7))) == NOON + timedelta(
        seconds=7
    )
    with pytest.raises(ValueError, match="seconds_per_minute"):
        CloudClock(seconds_per_minute=0)


def test_rate_rule_fires_once_per_interval(bench: Workbench) -> None:
    """A rate rule sends its constant input once each interval, the first time after one interval."""
    url, queue = bench.queue()
    name = bench.rule(
        {"Arn": queue, "Input": '{"source": "twinspan.sweep"}'}, ScheduleExpression="rate(1 minute)"
    )
    run = bench.cloud.scheduler.run_due
    start = datetime.now(UTC)
    for tick in range(9):
        run(start + timedelta(seconds=FAST / 3 * tick))
    bench.cloud.client("events").disable_rule(Name=name)
    for tick in range(9, 20):
        run(start + timedelta(seconds=FAST / 3 * tick))
    bench.cloud.wait_until_idle()
    messages = bench.messages(url, at_least=2)
    assert [json.loads(m["Body"]) for m in messages] == [{"source": "twinspan.sweep"}] * 2


def test_scheduled_event_has_the_documented_shape(bench: Workbench) -> None:
    """Without an input of its own, a schedule's target gets AWS's Scheduled Event."""
    url, queue = bench.queue()
    name = bench.rule({"Arn": queue}, ScheduleExpression="rate(1 minute)")
    start = datetime.now(UTC)
    bench.cloud.scheduler.run_due(start)
    bench.cloud.scheduler.run_due(start + timedelta(seconds=FAST * 1.1))
    bench.cloud.client("events").disable_rule(Name=name)
    (message,) = bench.messages(url)
    event = json.loads(message["Body"])
    assert event["detail-type"] == "Scheduled Event"
    assert event["source"] == "aws.events"
    assert event["detail"] == {}
    assert event["resources"] == [f"arn:aws-us-gov:events:us-gov-west-1:111111111111:rule/{name}"]


def test_events_do_not_reach_schedule_rules(bench: Workbench) -> None:
    """A rule with a schedule and no pattern matches no event."""
    url, queue = bench.queue()
    bench.rule({"Arn": queue}, ScheduleExpression="rate(1 day)")
    bench.send("anything")
    bench.cloud.wait_until_idle()
    answer = bench.cloud.client("sqs").receive_message(QueueUrl=url)
    assert "Messages" not in answer


def test_bad_schedule_is_refused_by_put_rule(bench: Workbench) -> None:
    """PutRule refuses a schedule that could not fire."""
    with pytest.raises(ClientError, match="ScheduleExpression"):
        bench.rule({"Arn": bench.queue()[1]}, ScheduleExpression="cron(0 12 * * * *)")


def test_eventbridge_scheduler_is_refused(bench: Workbench) -> None:
    """A schedule of EventBridge Scheduler would never fire here, so it cannot be made."""
    with pytest.raises(ClientError, match="EventBridge Scheduler"):
        bench.cloud.client("scheduler").create_schedule(
            Name="sweep",
            ScheduleExpression="rate(1 minute)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={"Arn": bench.queue()[1], "RoleArn": "arn:aws-us-gov:iam::111111111111:role/r"},
        )
