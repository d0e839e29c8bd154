"""Metrics that services publish of themselves, and the alarm that rests on one: nobody sweeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.clock import CloudClock
from infra.local.server import EmbeddedCloud
from infra.rendering import EVERYTHING, render
from tests.embedded_cloud.conftest import FAST, Workbench, eventually

TEMPLATES = render("govcloud", EVERYTHING["govcloud"])
SWEPT = {"StartAt": "Swept", "States": {"Swept": {"Type": "Succeed"}}}
NOT_SWEPT = {"StartAt": "NotSwept", "States": {"NotSwept": {"Type": "Fail", "Error": "NotSwept"}}}


@pytest.fixture(scope="module")
def cloud() -> Iterator[EmbeddedCloud]:
    """One whose alarms and schedules run by themselves."""
    with EmbeddedCloud(clock=CloudClock(FAST)) as running:
        yield running
        assert running.failures == []


def properties(logical_id: str) -> dict[str, Any]:
    """A resource's properties, as the templates render them."""
    (item,) = (item for key, item in TEMPLATES.items() if key.endswith(logical_id))
    return dict(item.properties)


def becomes(bench: Workbench, alarm: str, state: str) -> None:
    """Wait for an alarm to be in a state."""
    cloudwatch = bench.cloud.client("cloudwatch")

    def is_there() -> bool:
        (found,) = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        return bool(found["StateValue"] == state)

    eventually(is_there)


class Swept:
    """A sweep on the templates' own schedule, watched by the templates' own alarm."""

    def __init__(self, bench: Workbench, definition: dict[str, Any]) -> None:
        self.bench = bench
        machine = bench.state_machine(definition)
        schedule = properties("SweepRule")["ScheduleExpression"]
        role = bench.role("events.amazonaws.com")
        self.rule = bench.rule({"Arn": machine, "RoleArn": role}, ScheduleExpression=schedule)
        self.pages, queue = bench.queue(open_to_events=False)
        topic = bench.cloud.client("sns").create_topic(Name=bench.name("page"))["TopicArn"]
        bench.cloud.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
        self.alarm = bench.name("not-swept")
        settings = properties("NotSweptAlarm") | {
            "AlarmName": self.alarm,
            "Dimensions": [{"Name": "StateMachineArn", "Value": machine}],
            "AlarmActions": [topic],
            "OKActions": [topic],
        }
        bench.cloud.client("cloudwatch").put_metric_alarm(**settings)

    def becomes(self, state: str) -> None:
        """Wait for the alarm to be in a state."""
        becomes(self.bench, self.alarm, state)


def test_a_sweep_that_stops_rings_and_one_that_goes_on_ends_it(bench: Workbench) -> None:
    """The schedule is switched off: people are paged. It is switched on again: they are told that it is over."""
    sweep, events = Swept(bench, SWEPT), bench.cloud.client("events")
    sweep.becomes("OK")
    events.disable_rule(Name=sweep.rule)
    sweep.becomes("ALARM")
    events.enable_rule(Name=sweep.rule)
    sweep.becomes("OK")
    told = [
        json.loads(json.loads(message["Body"])["Message"])["NewStateValue"]
        for message in bench.messages(sweep.pages, at_least=2)
    ]
    assert {"ALARM", "OK"} <= set(told)
    events.disable_rule(Name=sweep.rule)


def test_a_sweep_that_always_fails_rings(bench: Workbench) -> None:
    """An execution that was started and did not come to its end has swept nothing."""
    sweep = Swept(bench, NOT_SWEPT)
    sweep.becomes("ALARM")
    assert (
        "no datapoints were received"
        in bench.cloud.client("cloudwatch").describe_alarms(AlarmNames=[sweep.alarm])[
            "MetricAlarms"
        ][0]["StateReason"]
    )
    bench.cloud.client("events").disable_rule(Name=sweep.rule)


@pytest.mark.parametrize(
    ("definition", "metric"), [(SWEPT, "ExecutionsSucceeded"), (NOT_SWEPT, "ExecutionsFailed")]
)
def test_executions_are_counted_by_how_they_end(
    bench: Workbench, definition: dict[str, Any], metric: str
) -> None:
    """Each execution is one datapoint of its start, one of its end, and one of the time that it took."""
    machine = bench.state_machine(definition)
    for _ in range(2):
        bench.cloud.client("stepfunctions").start_execution(stateMachineArn=machine)
    expected = dict.fromkeys(("ExecutionsStarted", metric, "ExecutionTime"), 2)
    eventually(lambda: counted(bench, "AWS/States", "StateMachineArn", machine) == expected)


def test_queues_are_measured(bench: Workbench) -> None:
    """A message that nobody takes rings the templates' own alarm; an empty queue ends it."""
    url, _ = bench.queue()
    bench.cloud.client("sqs").send_message(QueueUrl=url, MessageBody="undelivered")
    alarm = bench.name("undelivered")
    settings = properties("UndeliveredAlarm") | {
        "AlarmName": alarm,
        "Dimensions": [{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
        "AlarmActions": [],
        "OKActions": [],
    }
    bench.cloud.client("cloudwatch").put_metric_alarm(**settings)
    becomes(bench, alarm, "ALARM")
    bench.cloud.client("sqs").purge_queue(QueueUrl=url)
    becomes(bench, alarm, "OK")


def test_an_alarm_on_what_nothing_publishes_is_refused(bench: Workbench) -> None:
    """It would never ring here while it rings in AWS."""
    settings = properties("NotSweptAlarm") | {
        "AlarmName": bench.name("alarm"),
        "MetricName": "ExecutionThrottled",
        "AlarmActions": [],
        "OKActions": [],
    }
    with pytest.raises(ClientError, match="ExecutionThrottled"):
        bench.cloud.client("cloudwatch").put_metric_alarm(**settings)


def counted(bench: Workbench, namespace: str, dimension: str, value: str) -> dict[str, float]:
    """How many datapoints each metric of one thing has had, by the metric's name."""
    cloudwatch, now = bench.cloud.client("cloudwatch"), datetime.now(UTC)
    wanted = [{"Name": dimension, "Value": value}]
    found = cloudwatch.list_metrics(Namespace=namespace, Dimensions=wanted)["Metrics"]
    return {
        name: sum(
            point["SampleCount"]
            for point in cloudwatch.get_metric_statistics(
                Namespace=namespace,
                MetricName=name,
                Dimensions=wanted,
                StartTime=now - timedelta(hours=1),
                EndTime=now + timedelta(hours=1),
                Period=3600,
                Statistics=["SampleCount"],
            )["Datapoints"]
        )
        for name in {metric["MetricName"] for metric in found}
    }
