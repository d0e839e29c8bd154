"""Alarms in the embedded cloud: from a metric to a state, and from its change to an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.embedded_cloud.conftest import FAST, Workbench

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


class AlarmBench:
    """One alarm on one metric of its own, and a queue that gets its events."""

    def __init__(self, bench: Workbench, **settings: Any) -> None:
        self.bench = bench
        self.cloudwatch = bench.cloud.client("cloudwatch")
        self.name = bench.name("alarm")
        self.url, queue = bench.queue()
        bench.rule(
            {"Arn": queue},
            EventPattern=json.dumps(
                {"source": ["aws.cloudwatch"], "detail": {"alarmName": [self.name]}}
            ),
        )
        self.cloudwatch.put_metric_alarm(
            **{
                "AlarmName": self.name,
                "AlarmDescription": "all tunnels down",
                "Namespace": "AWS/VPN",
                "MetricName": "TunnelState",
                "Dimensions": [{"Name": "VpnId", "Value": self.name}],
                "Statistic": "Maximum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 1.0,
                "ComparisonOperator": "LessThanThreshold",
                "TreatMissingData": "breaching",
                **settings,
            }
        )
        self.period = 0
        bench.cloud.alarms.run_due(self.now)

    @property
    def now(self) -> datetime:
        """Shortly after the beginning of the current period."""
        return NOON + timedelta(seconds=(self.period + 0.25) * FAST)

    def minute(self, *values: float) -> None:
        """Let AWS's minute pass, with these values published in it."""
        if values:
            self.cloudwatch.put_metric_data(
                Namespace="AWS/VPN",
                MetricData=[
                    {
                        "MetricName": "TunnelState",
                        "Dimensions": [{"Name": "VpnId", "Value": self.name}],
                        "Timestamp": self.now + timedelta(seconds=FAST / 4),
                        "Value": value,
                    }
                    for value in values
                ],
            )
        self.period += 1
        self.bench.cloud.alarms.run_due(self.now)

    @property
    def state(self) -> str:
        answer = self.cloudwatch.describe_alarms(AlarmNames=[self.name])
        (alarm,) = answer["MetricAlarms"]
        return str(alarm["StateValue"])

    def events(self, at_least: int = 1) -> list[dict[str, Any]]:
        messages = self.bench.messages(self.url, at_least=at_least)
        bodies = [json.loads(message["Body"]) for message in messages]
        return sorted(bodies, key=lambda e: e["detail"]["state"]["timestamp"])


def test_new_alarm_has_insufficient_data(bench: Workbench) -> None:
    """An alarm starts as INSUFFICIENT_DATA, not as OK."""
    assert AlarmBench(bench).state == "INSUFFICIENT_DATA"


def test_breaching_metric_puts_the_alarm_in_alarm_and_back(bench: Workbench) -> None:
    """The alarm follows its metric: OK, ALARM when the tunnel is down, OK when it is up again."""
    alarm = AlarmBench(bench)
    states = []
    for value in (1.0, 0.0, 0.0, 1.0):
        alarm.minute(value)
        states.append(alarm.state)
    assert states == ["OK", "ALARM", "ALARM", "OK"]


def test_change_of_state_emits_the_documented_event(bench: Workbench) -> None:
    """The event of a change has the shape that AWS sends for a single-metric alarm."""
    alarm = AlarmBench(bench)
    alarm.minute(1.0)
    alarm.minute(0.0)
    up, down = alarm.events(at_least=2)
    arn = f"arn:aws-us-gov:cloudwatch:us-gov-west-1:111111111111:alarm:{alarm.name}"
    assert up["detail"]["state"]["value"] == "OK"
    assert down["source"] == "aws.cloudwatch"
    assert down["detail-type"] == "CloudWatch Alarm State Change"
    assert down["resources"] == [arn]
    detail = down["detail"]
    assert detail["alarmName"] == alarm.name
    assert detail["previousState"]["value"] == "OK"
    assert detail["state"]["value"] == "ALARM"
    assert detail["configuration"] == {
        "description": "all tunnels down",
        "metrics": [
            {
                "id": "m1",
                "metricStat": {
                    "metric": {
                        "namespace": "AWS/VPN",
                        "name": "TunnelState",
                        "dimensions": {"VpnId": alarm.name},
                    },
                    "period": 60,
                    "stat": "Maximum",
                },
                "returnData": True,
            }
        ],
    }
    datetime.strptime(detail["state"]["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert detail["state"]["timestamp"].endswith("+0000")
    data = json.loads(detail["state"]["reasonData"])
    assert data["recentDatapoints"] == [0.0]
    assert data["threshold"] == 1.0
    assert detail["state"]["reason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints")


def test_silence_is_breaching_only_when_it_lasts(bench: Workbench) -> None:
    """With missing data breaching, the alarm fires when the whole evaluation range is silent."""
    alarm = AlarmBench(bench)
    alarm.minute(1.0)
    states = []
    for _ in range(3):
        alarm.minute()
        states.append(alarm.state)
    assert states == ["OK", "OK", "ALARM"]


def test_m_of_n(bench: Workbench) -> None:
    """An alarm on 2 of 3 datapoints needs two breaching ones."""
    alarm = AlarmBench(bench, EvaluationPeriods=3, DatapointsToAlarm=2, TreatMissingData="missing")
    states = []
    for value in (1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0):
        alarm.minute(value)
        states.append(alarm.state)
    assert states[2:] == ["OK", "ALARM", "ALARM", "ALARM", "OK"]


@pytest.mark.parametrize(
    ("statistic", "expected"), [("Minimum", "ALARM"), ("Maximum", "OK"), ("Average", "ALARM")]
)
def test_statistics(bench: Workbench, statistic: str, expected: str) -> None:
    """One tunnel of two down: `Minimum` and `Average` see it, `Maximum` does not."""
    alarm = AlarmBench(bench, Statistic=statistic)
    alarm.minute(1.0, 0.0)
    assert alarm.state == expected


def test_other_dimensions_are_another_metric(bench: Workbench) -> None:
    """A datapoint with more dimensions than the alarm's is no datapoint of it."""
    alarm = AlarmBench(bench, TreatMissingData="missing")
    alarm.cloudwatch.put_metric_data(
        Namespace="AWS/VPN",
        MetricData=[
            {
                "MetricName": "TunnelState",
                "Dimensions": [
                    {"Name": "VpnId", "Value": alarm.name},
                    {"Name": "TunnelIpAddress", "Value": "198.51.100.1"},
                ],
                "Timestamp": alarm.now,
                "Value": 0.0,
            }
        ],
    )
    alarm.minute()
    assert alarm.state == "INSUFFICIENT_DATA"


def test_set_alarm_state_emits_an_event(bench: Workbench) -> None:
    """SetAlarmState announces the change as an evaluation does."""
    alarm = AlarmBench(bench)
    alarm.cloudwatch.set_alarm_state(
        AlarmName=alarm.name, StateValue="ALARM", StateReason="drill", StateReasonData='{"a": 1}'
    )
    (event,) = alarm.events()
    assert event["detail"]["state"]["reason"] == "drill"
    assert event["detail"]["state"]["reasonData"] == '{"a": 1}'


def test_alarm_action_publishes_to_the_topic(bench: Workbench) -> None:
    """The alarm's SNS action sends CloudWatch's notification, another shape than the event's."""
    sns = bench.cloud.client("sns")
    url, queue = bench.queue()
    topic = sns.create_topic(Name=bench.name("topic"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    alarm = AlarmBench(bench, AlarmActions=[topic])
    alarm.minute(0.0)
    (message,) = bench.messages(url)
    envelope = json.loads(message["Body"])
    notification = json.loads(envelope["Message"])
    assert notification["AlarmName"] == alarm.name
    assert notification["NewStateValue"] == "ALARM"
    assert notification["Trigger"]["MetricName"] == "TunnelState"


@pytest.mark.parametrize(("named", "messages"), [("{name}", 1), ("another", 0)])
def test_an_alarm_that_the_topics_policy_does_not_name_tells_nobody(
    bench: Workbench, named: str, messages: int
) -> None:
    """As in AWS: the alarm rings, and nothing comes."""
    sns = bench.cloud.client("sns")
    url, queue = bench.queue()
    topic = sns.create_topic(Name=bench.name("topic"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    alarm = AlarmBench(bench, AlarmActions=[topic])
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": {"ArnLike": {"aws:SourceArn": "*:alarm:" + named.format(name=alarm.name)}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    alarm.minute(0.0)
    assert alarm.state == "ALARM"
    sns.publish(TopicArn=topic, Message="the last one")
    told = [json.loads(m["Body"])["Message"] for m in bench.messages(url, at_least=1 + messages)]
    assert "the last one" in told
    assert len(told) == 1 + messages


def test_replacing_an_alarm_keeps_its_state(bench: Workbench) -> None:
    """Putting an alarm again changes its settings and not its state."""
    alarm = AlarmBench(bench)
    alarm.minute(1.0)
    alarm.cloudwatch.put_metric_alarm(
        AlarmName=alarm.name,
        Namespace="AWS/VPN",
        MetricName="TunnelState",
        Statistic="Minimum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="LessThanThreshold",
    )
    assert alarm.state == "OK"


def test_composite_alarm_follows_its_children(bench: Workbench) -> None:
    """A composite alarm changes with its children, and its event has no `metrics`."""
    child = AlarmBench(bench)
    composite = bench.name("composite")
    url, queue = bench.queue()
    bench.rule({"Arn": queue}, EventPattern=json.dumps({"detail": {"alarmName": [composite]}}))
    child.cloudwatch.put_composite_alarm(
        AlarmName=composite, AlarmRule=f'ALARM("{child.name}") AND NOT OK({child.name})'
    )
    child.minute(1.0)
    child.minute(0.0)
    events = [json.loads(message["Body"]) for message in bench.messages(url, at_least=2)]
    events.sort(key=lambda e: e["detail"]["state"]["timestamp"])
    assert [event["detail"]["state"]["value"] for event in events] == ["OK", "ALARM"]
    assert "metrics" not in events[1]["detail"]["configuration"]
    data = json.loads(events[1]["detail"]["state"]["reasonData"])
    assert data["triggeringAlarms"][0]["arn"].endswith(f":alarm:{child.name}")


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"ComparisonOperator": "LessThanLowerThreshold"}, "LessThanLowerThreshold"),
        ({"Statistic": None, "ExtendedStatistic": "p99"}, "percentile"),
        (
            {"AlarmActions": ["arn:aws-us-gov:ssm:us-gov-west-1:111111111111:opsitem:1"]},
            "alarm action",
        ),
        ({"DatapointsToAlarm": 2}, "DatapointsToAlarm"),
        ({"TreatMissingData": "bogus"}, "TreatMissingData"),
        ({"Period": 45}, "Period"),
    ],
)
def test_alarm_that_cannot_be_evaluated_is_refused(
    bench: Workbench, settings: dict[str, Any], named: str
) -> None:
    """A setting that would be ignored makes PutMetricAlarm fail, naming it."""
    base = {
        "AlarmName": bench.name("alarm"),
        "Namespace": "N",
        "MetricName": "M",
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "LessThanThreshold",
    }
    given = {k: v for k, v in {**base, **settings}.items() if v is not None}
    with pytest.raises(ClientError, match=named):
        bench.cloud.client("cloudwatch").put_metric_alarm(**given)


def _query(identifier: str, metric: str, period_seconds: int = 60) -> dict[str, Any]:
    stat = {
        "Metric": {"Namespace": "N", "MetricName": metric},
        "Period": period_seconds,
        "Stat": "Sum",
    }
    return {"Id": identifier, "MetricStat": stat, "ReturnData": False}


@pytest.mark.parametrize(
    ("expression", "others"),
    [
        ("FILL(a, 0)", [_query("a", "A")]),
        ("a * b", [_query("a", "A")]),
        ("a / b", [_query("a", "A"), _query("b", "B", 120)]),
        ("a +", [_query("a", "A")]),
        ("2 * 2", []),
    ],
)
def test_metric_math_beyond_arithmetic_is_refused(
    bench: Workbench, expression: str, others: list[dict[str, Any]]
) -> None:
    """A metric-math alarm that could not be evaluated is an error, not an alarm that never fires."""
    with pytest.raises(ClientError, match="metric math"):
        bench.cloud.client("cloudwatch").put_metric_alarm(
            AlarmName=bench.name("alarm"),
            Metrics=[{"Id": "e1", "Expression": expression, "ReturnData": True}, *others],
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="LessThanThreshold",
        )


@pytest.mark.parametrize(
    ("errors", "requests", "state"),
    [(3, 20, "ALARM"), (1, 20, "OK"), (None, 20, "OK"), (1, 0, "OK")],
)
def test_an_alarm_on_a_ratio_compares_the_ratio(
    bench: Workbench, errors: float | None, requests: float, state: str
) -> None:
    """A share of failures over a tenth rings; a period without a ratio counts as the alarm treats missing data."""
    cloudwatch, namespace = bench.cloud.client("cloudwatch"), bench.name("namespace")
    alarm = bench.name("alarm")
    queries = [_query("errors", "Errors"), _query("requests", "Requests")]
    for query in queries:
        query["MetricStat"]["Metric"]["Namespace"] = namespace
    cloudwatch.put_metric_alarm(
        AlarmName=alarm,
        Metrics=[
            {"Id": "rate", "Expression": "100 * errors / requests", "ReturnData": True},
            *queries,
        ],
        EvaluationPeriods=1,
        Threshold=10.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    now = datetime.now(UTC)
    bench.cloud.alarms.run_due(now)
    data = [("Errors", errors), ("Requests", requests)]
    cloudwatch.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {"MetricName": name, "Value": value, "Timestamp": now}
            for name, value in data
            if value is not None
        ],
    )
    length = bench.cloud.clock.real_seconds(60)
    bench.cloud.alarms.run_due(now + timedelta(seconds=length))
    (described,) = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    assert described["StateValue"] == state


def test_composite_of_unknown_alarms_is_refused(bench: Workbench) -> None:
    """A composite alarm that names no existing alarm is an error that names it."""
    with pytest.raises(ClientError, match="nowhere"):
        bench.cloud.client("cloudwatch").put_composite_alarm(
            AlarmName=bench.name("composite"), AlarmRule="ALARM(nowhere)"
        )
