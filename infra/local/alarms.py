"""CloudWatch alarms that change state by themselves and say so, as in AWS.

moto stores alarms and never looks at a metric. Here each alarm is evaluated once per period of the
`CloudClock`'s minute, over complete periods only; a change of state puts a `CloudWatch Alarm State Change`
event on the default bus and runs the alarm's actions. A new alarm starts as INSUFFICIENT_DATA.

Not covered, and refused when the alarm is put: metrics that nothing here publishes, metric math beyond arithmetic,
anomaly detection, percentiles, actions other than SNS and Lambda, action suppression, `AT_LEAST` in composite rules.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.exceptions import InvalidFormat, ValidationError
from moto.cloudwatch.models import (
    Alarm,
    CloudWatchBackend,
    MetricAggregatedDatum,
    MetricDatum,
    MetricDatumBase,
    cloudwatch_backends,
)
from moto.core.exceptions import ServiceException
from moto.sns.models import sns_backends
from werkzeug.exceptions import HTTPException

from infra.local import resource_policies
from infra.local.alarm_evaluation import (
    COMPARISONS,
    AlarmCondition,
    AlarmState,
    Datapoint,
    MissingData,
    Verdict,
    evaluate,
)
from infra.local.alarm_math import Expression, InvalidExpression
from infra.local.alarm_math import parse as parse_expression
from infra.local.alarm_rules import InvalidAlarmRule, parse_rule
from infra.local.clock import CloudClock
from infra.local.errors import NotEmulated
from infra.local.events import EventRouter, FunctionInvoker
from infra.local.metrics import Dimensions, MetricIndex, dimensions_of
from infra.local.moto_state import every_backend
from infra.local.service_metrics import is_published

logger = logging.getLogger(__name__)

_OF_SCALING = "TargetTracking-"
"""How Application Auto Scaling names the alarms that it makes for itself. Nothing is scaled here, as the limits say."""
_STATISTICS = {"Average", "Sum", "Minimum", "Maximum", "SampleCount"}
# Recovery of instances and scaling of containers can be asked for; carrying them out is refused.
_NOT_CARRIED_OUT = {"automate", "autoscaling"}
_ACTION_SERVICES = {"sns", "lambda", *_NOT_CARRIED_OUT}
_REGION_NAMES = {"us-gov-west-1": "AWS GovCloud (US-West)", "us-east-1": "US East (N. Virginia)"}
_INITIAL_REASON = "Unchecked: Initial alarm creation"
_STANDARD_SECONDS = 60
_HIGH_RESOLUTION_SECONDS = 10
_COMPOSITE_DEPTH = 8


@dataclass(frozen=True, slots=True)
class AlarmMetric:
    """The one metric that a metric alarm looks at. `period_seconds` is AWS's."""

    query_id: str
    namespace: str
    name: str
    dimensions: Dimensions
    statistic: str
    period_seconds: int
    unit: str | None


def alarm_metrics(alarm: Alarm) -> list[AlarmMetric]:
    """The metrics of an alarm that passed `validate_metric_alarm`: one, or all that its expression is made of."""
    if alarm.metric_data_queries:
        return [
            AlarmMetric(
                query.id,
                query.metric_stat.metric.namespace,
                query.metric_stat.metric.metric_name,
                dimensions_of(query.metric_stat.metric.dimensions),
                query.metric_stat.stat,
                int(query.metric_stat.period),
                query.metric_stat.unit,
            )
            for query in alarm.metric_data_queries
            if query.metric_stat is not None
        ]
    return [_single_metric(alarm)]


def alarm_metric(alarm: Alarm) -> AlarmMetric:
    """The first metric of an alarm; all have the same period."""
    return alarm_metrics(alarm)[0]


def alarm_expression(alarm: Alarm) -> tuple[str, Expression] | None:
    """Id and expression of an alarm on metric math."""
    for query in alarm.metric_data_queries or []:
        if query.metric_stat is None:
            return query.id, parse_expression(query.expression or "")
    return None


def _single_metric(alarm: Alarm) -> AlarmMetric:
    return AlarmMetric(
        "m1",
        alarm.namespace,
        alarm.metric_name,
        dimensions_of(alarm.dimensions),
        alarm.statistic,
        int(alarm.period),
        alarm.unit,
    )


def alarm_condition(alarm: Alarm) -> AlarmCondition:
    """The comparison of an alarm that passed `validate_alarm`."""
    periods = int(alarm.evaluation_periods)
    return AlarmCondition(
        comparison=alarm.comparison_operator,
        threshold=float(alarm.threshold),
        evaluation_periods=periods,
        datapoints_to_alarm=int(alarm.datapoints_to_alarm or periods),
        missing_data=MissingData(alarm.treat_missing_data or MissingData.MISSING),
    )


def validate_metric_alarm(name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse a metric alarm that AWS would refuse or that `AlarmEvaluator` cannot evaluate.

    `parameters` are the arguments of moto's `put_metric_alarm`.
    """
    queries = parameters.get("metric_data_queries") or []
    stats = [query.metric_stat for query in queries if query.metric_stat is not None]
    if len(queries) > 1 or len(stats) != len(queries):
        _validate_math(name, queries)
    if parameters.get("extended_statistic"):
        raise NotEmulated(f"percentile statistics (alarm {name})")
    if parameters.get("threshold_metric_id"):
        raise NotEmulated(f"anomaly detection (alarm {name})")
    statistics = [stat.stat for stat in stats] or [parameters.get("statistic")]
    for statistic in statistics:
        if statistic not in _STATISTICS:
            raise NotEmulated(f"statistic {statistic!r} (alarm {name})")
    if parameters.get("comparison_operator") not in COMPARISONS:
        raise NotEmulated(
            f"comparison operator {parameters.get('comparison_operator')!r} (alarm {name})"
        )
    if parameters.get("threshold") is None:
        raise ValidationError(f"Threshold is required (alarm {name})")
    if not queries and not (parameters.get("namespace") and parameters.get("metric_name")):
        raise ValidationError(f"Namespace and MetricName are required (alarm {name})")
    looked_at = [(stat.metric.namespace, stat.metric.metric_name) for stat in stats]
    for metric in looked_at or [(parameters["namespace"], parameters["metric_name"])]:
        if not is_published(*metric) and not name.startswith(_OF_SCALING):
            raise NotEmulated(f"metric {' '.join(metric)} (alarm {name})")
    period = int((stats[0].period if stats else parameters.get("period")) or 0)
    if period not in (10, 20, 30) and (period < 60 or period % 60):
        raise ValidationError(f"Period must be 10, 20, 30 or a multiple of 60 (alarm {name})")
    evaluation_periods = int(parameters.get("evaluation_periods") or 0)
    datapoints = int(parameters.get("datapoints_to_alarm") or evaluation_periods)
    if not 1 <= datapoints <= evaluation_periods:
        raise ValidationError(
            f"DatapointsToAlarm must be between 1 and EvaluationPeriods ({evaluation_periods}) "
            f"(alarm {name})"
        )
    missing = parameters.get("treat_missing_data")
    if missing and missing not in list(MissingData):
        raise ValidationError(f"TreatMissingData {missing!r} is not supported (alarm {name})")


def _validate_math(name: str, queries: Sequence[Any]) -> None:
    """Refuse metric math beyond one arithmetic expression over metrics of one period."""
    expressions = [query for query in queries if query.metric_stat is None]
    stats = {query.id: query.metric_stat for query in queries if query.metric_stat is not None}
    if len(expressions) != 1 or not stats:
        raise NotEmulated(f"metric math without exactly one expression over metrics (alarm {name})")
    try:
        expression = parse_expression(expressions[0].expression)
    except InvalidExpression as error:
        raise NotEmulated(f"metric math: {error} (alarm {name})") from None
    if expression.metrics != set(stats):
        raise NotEmulated(f"metric math whose expression uses not each metric (alarm {name})")
    if len({int(stat.period) for stat in stats.values()}) != 1:
        raise NotEmulated(f"metric math over different periods (alarm {name})")


def validate_composite_alarm(backend: CloudWatchBackend, name: str, rule: str) -> None:
    """Refuse a composite alarm whose rule cannot be parsed or refers to no alarm."""
    try:
        parsed = parse_rule(rule)
    except InvalidAlarmRule as error:
        raise ValidationError(f"{error} (alarm {name})") from None
    if unknown := [alarm for alarm in parsed.alarms if alarm not in backend.alarms]:
        raise ValidationError(
            f"AlarmRule of {name} refers to alarms that do not exist: {', '.join(unknown)}"
        )


def validate_actions(name: str, actions: Iterable[str]) -> None:
    """Refuse alarm actions that would have no effect here."""
    for arn in actions:
        if arn.split(":")[2:3] not in [[service] for service in _ACTION_SERVICES]:
            raise NotEmulated(f"alarm action {arn} (alarm {name})")


def validate_state(value: str, reason_data: str | None) -> None:
    """Refuse the arguments of SetAlarmState that CloudWatch refuses."""
    if value not in list(AlarmState):
        raise ValidationError(
            f"1 validation error detected: Value '{value}' at 'stateValue' failed to satisfy constraint: "
            "Member must satisfy enum value set: [INSUFFICIENT_DATA, ALARM, OK]"
        )
    if reason_data:
        try:
            json.loads(reason_data)
        except ValueError:
            raise InvalidFormat("StateReasonData is not valid JSON") from None


def prepare_new_alarm(alarm: Alarm, previous: Alarm | None) -> None:
    """Give an alarm the state that AWS gives it: the previous one's, or INSUFFICIENT_DATA."""
    if previous is None:
        alarm.state_value = AlarmState.INSUFFICIENT_DATA.value
        alarm.state_reason = _INITIAL_REASON
        return
    alarm.state_value = previous.state_value
    alarm.state_reason = previous.state_reason
    alarm.state_reason_data = previous.state_reason_data
    alarm.state_updated_timestamp = previous.state_updated_timestamp
    alarm.history = previous.history


class AlarmEvaluator:
    """Evaluates the alarms of every account. `run_due` is called often; `now` is real time."""

    def __init__(self, clock: CloudClock, router: EventRouter, functions: FunctionInvoker) -> None:
        self._clock = clock
        self._router = router
        self._functions = functions
        self._lock = threading.RLock()
        self._evaluated: dict[str, int] = {}
        self._index = MetricIndex()

    @property
    def tick_seconds(self) -> float:
        """Real seconds between calls of `run_due`: half the shortest alarm period."""
        return self._clock.real_seconds(_HIGH_RESOLUTION_SECONDS / 2)

    def run_due(self, now: datetime | None = None) -> None:
        """Evaluate each metric alarm for which a period has ended, then the composite alarms."""
        moment = now or datetime.now(UTC)
        for backend in every_backend(cloudwatch_backends):
            for alarm in list(backend.alarms.values()):
                if alarm.rule is None and self._is_due(alarm, moment):
                    self._evaluate_metric_alarm(backend, alarm, moment)
            self._evaluate_composites(backend)

    def set_state(
        self,
        backend: CloudWatchBackend,
        name: str,
        value: str,
        reason: str,
        reason_data: str | None,
    ) -> None:
        """Put an alarm in a state, with the event and actions of the change, if it is one."""
        alarm = backend.alarms[name]
        with self._lock:
            previous = _state_of(alarm)
            changed = alarm.state_value != value
            alarm.update_state(reason, reason_data or "", value)
            current = _state_of(alarm)
        if not changed:
            return
        logger.info("alarm %s: %s -> %s", name, previous["value"], value)
        self._router.emit(
            account_id=backend.account_id,
            region=backend.region_name,
            source="aws.cloudwatch",
            detail_type="CloudWatch Alarm State Change",
            resources=[alarm.alarm_arn],
            detail={
                "alarmName": alarm.name,
                "state": current,
                "previousState": previous,
                "configuration": _configuration(alarm),
            },
        )
        self._run_actions(backend, alarm, previous, current)

    # -- metric alarms ----------------------------------------------------------------------------

    def _resolution_seconds(self, metric: AlarmMetric) -> float:
        short = metric.period_seconds < _STANDARD_SECONDS
        return self._clock.real_seconds(_HIGH_RESOLUTION_SECONDS if short else _STANDARD_SECONDS)

    def _is_due(self, alarm: Alarm, now: datetime) -> bool:
        index = math.floor(now.timestamp() / self._resolution_seconds(alarm_metric(alarm)))
        if self._evaluated.get(alarm.alarm_arn) == index:
            return False
        first = alarm.alarm_arn not in self._evaluated
        self._evaluated[alarm.alarm_arn] = index
        return not first  # the period in which the alarm was put is not complete

    def _evaluate_metric_alarm(
        self, backend: CloudWatchBackend, alarm: Alarm, now: datetime
    ) -> None:
        metric, condition = alarm_metric(alarm), alarm_condition(alarm)
        periods = self._periods(backend, alarm, condition.evaluation_range, now)
        verdict = evaluate(periods, condition)
        if verdict is None or verdict.state.value == alarm.state_value:
            return
        data = _reason_data(verdict, metric, condition, now)
        reason = _reason(verdict, condition, AlarmState(alarm.state_value))
        self.set_state(backend, alarm.name, verdict.state.value, reason, json.dumps(data))

    def _periods(
        self, backend: CloudWatchBackend, alarm: Alarm, count: int, now: datetime
    ) -> list[Datapoint | None]:
        """What the alarm compares in each period: its metric, or its expression's value."""
        metrics = alarm_metrics(alarm)
        series = [self.datapoints(backend, metric, count, now) for metric in metrics]
        math_alarm = alarm_expression(alarm)
        if math_alarm is None:
            return series[0]
        periods: list[Datapoint | None] = []
        for points in zip(*series, strict=True):
            known = {
                metric.query_id: point.value
                for metric, point in zip(metrics, points, strict=True)
                if point is not None
            }
            value = math_alarm[1].value(known)
            first = next((point for point in points if point is not None), None)
            periods.append(
                None if value is None or first is None else Datapoint(first.timestamp, value, 1.0)
            )
        return periods

    def datapoints(
        self, backend: CloudWatchBackend, metric: AlarmMetric, count: int, now: datetime
    ) -> list[Datapoint | None]:
        """The metric's last `count` complete periods before `now`, oldest first."""
        resolution = self._resolution_seconds(metric)
        end = math.floor(now.timestamp() / resolution) * resolution
        length = self._clock.real_seconds(metric.period_seconds)
        start = end - count * length
        buckets: list[list[MetricDatumBase]] = [[] for _ in range(count)]
        found = self._index.datapoints(backend, metric.namespace, metric.name, metric.dimensions)
        for datum in found:
            if metric.unit is None or datum.unit == metric.unit:
                position = (_aware(datum.timestamp).timestamp() - start) / length
                if 0 <= position < count:
                    buckets[int(position)].append(datum)
        return [
            _datapoint(bucket, metric.statistic, start + index * length)
            for index, bucket in enumerate(buckets)
        ]

    # -- composite alarms -------------------------------------------------------------------------

    def _evaluate_composites(self, backend: CloudWatchBackend) -> None:
        composites = [alarm for alarm in list(backend.alarms.values()) if alarm.rule is not None]
        for _ in range(_COMPOSITE_DEPTH):  # a composite may rest on composites
            changed = [alarm for alarm in composites if self._evaluate_composite(backend, alarm)]
            if not changed:
                return

    def _evaluate_composite(self, backend: CloudWatchBackend, alarm: Alarm) -> bool:
        rule = parse_rule(alarm.rule or "")
        states = {
            name: AlarmState(backend.alarms[name].state_value)
            for name in rule.alarms
            if name in backend.alarms
        }
        state = AlarmState.ALARM if rule.evaluate(states.get) else AlarmState.OK
        if state.value == alarm.state_value:
            return False
        children = [backend.alarms[name] for name in rule.alarms if name in backend.alarms]
        last = max(children, key=lambda child: child.state_updated_timestamp, default=None)
        reason = f"AlarmRule was evaluated to {'TRUE' if state is AlarmState.ALARM else 'FALSE'}"
        if last is not None:
            reason = f"{last.alarm_arn} transitioned to {last.state_value} at {_stamp(last.state_updated_timestamp)}"
        data = {
            "triggeringAlarms": [
                {
                    "arn": child.alarm_arn,
                    "state": {
                        "value": child.state_value,
                        "timestamp": _stamp(child.state_updated_timestamp),
                    },
                }
                for child in children
            ]
        }
        self.set_state(backend, alarm.name, state.value, reason, json.dumps(data))
        return True

    # -- actions ----------------------------------------------------------------------------------

    def _run_actions(
        self,
        backend: CloudWatchBackend,
        alarm: Alarm,
        previous: Mapping[str, Any],
        current: Mapping[str, Any],
    ) -> None:
        if not alarm.actions_enabled:
            return
        actions = {
            AlarmState.ALARM: alarm.alarm_actions,
            AlarmState.OK: alarm.ok_actions,
            AlarmState.INSUFFICIENT_DATA: alarm.insufficient_data_actions,
        }[AlarmState(current["value"])]
        message = _notification(backend, alarm, previous, current)
        region_name = _REGION_NAMES.get(backend.region_name, backend.region_name)
        subject = f'{current["value"]}: "{alarm.name}" in {region_name}'
        for arn in actions or []:
            region, account_id = arn.split(":")[3:5]
            if arn.split(":")[2] in _NOT_CARRIED_OUT:
                # Instances and containers have no metrics here, so this alarm was set by hand.
                raise NotEmulated(f"alarm action {arn} (alarm {alarm.name})")
            try:
                if arn.split(":")[2] == "sns":
                    topics = sns_backends[account_id][region]
                    if _may_publish(topics.get_topic(arn).policy, alarm.alarm_arn, account_id):
                        topics.publish(message, arn, subject=subject[:99])
                    else:
                        logger.error("the policy of %s does not let %s publish", arn, alarm.name)
                else:
                    self._functions.invoke_async(
                        account_id, region, arn, json.dumps(_direct_event(backend, alarm, current))
                    )
            except (ServiceException, HTTPException) as error:
                logger.error("action %s of alarm %s failed: %s", arn, alarm.name, error)


def _may_publish(policy: str, alarm_arn: str, account_id: str) -> bool:
    return resource_policies.allows(
        json.loads(policy)["Statement"],
        service="cloudwatch.amazonaws.com",
        action="sns:Publish",
        source_arn=alarm_arn,
        source_account=account_id,
    )


def _datapoint(data: Sequence[MetricDatumBase], statistic: str, start: float) -> Datapoint | None:
    if not data:
        return None
    values = [d.value for d in data if isinstance(d, MetricDatum)]
    sets = [d for d in data if isinstance(d, MetricAggregatedDatum)]
    count = len(values) + sum(s.sample_count for s in sets)
    total = sum(values) + sum(s.sum for s in sets)
    value = {
        "Average": total / count if count else 0.0,
        "Sum": total,
        "Minimum": min([*values, *(s.min for s in sets)]),
        "Maximum": max([*values, *(s.max for s in sets)]),
        "SampleCount": count,
    }[statistic]
    return Datapoint(datetime.fromtimestamp(start, UTC), float(value), float(count))


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _stamp(moment: datetime) -> str:
    """CloudWatch's timestamp in events: milliseconds and `+0000`."""
    moment = _aware(moment).astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def _state_of(alarm: Alarm) -> dict[str, str]:
    state = {
        "value": alarm.state_value,
        "reason": alarm.state_reason,
        "timestamp": _stamp(alarm.state_updated_timestamp),
    }
    if alarm.state_reason_data and alarm.state_reason_data != "{}":
        state["reasonData"] = alarm.state_reason_data
    return state


def _configuration(alarm: Alarm) -> dict[str, Any]:
    described = {"description": alarm.description} if alarm.description else {}
    if alarm.rule is not None:
        return {"alarmRule": alarm.rule, **described}
    math_alarm = alarm_expression(alarm)
    queries: list[dict[str, Any]] = [
        {
            "id": metric.query_id,
            "metricStat": {
                "metric": {
                    "namespace": metric.namespace,
                    "name": metric.name,
                    "dimensions": dict(metric.dimensions),
                },
                "period": metric.period_seconds,
                "stat": metric.statistic,
            },
            "returnData": math_alarm is None,
        }
        for metric in alarm_metrics(alarm)
    ]
    if math_alarm is not None:
        identifier, expression = math_alarm
        queries.insert(0, {"id": identifier, "expression": expression.text, "returnData": True})
    return {"metrics": queries, **described}


def _reason_data(
    verdict: Verdict, metric: AlarmMetric, condition: AlarmCondition, now: datetime
) -> dict[str, Any]:
    data: dict[str, Any] = {
        "version": "1.0",
        "queryDate": _stamp(now),
        "statistic": metric.statistic,
        "period": metric.period_seconds,
        "recentDatapoints": [point.value for point in reversed(verdict.datapoints)],
        "threshold": condition.threshold,
        "evaluatedDatapoints": [
            {
                "timestamp": _stamp(point.timestamp),
                "sampleCount": point.sample_count,
                "value": point.value,
            }
            for point in verdict.datapoints
        ],
    }
    if verdict.datapoints:
        data["startDate"] = _stamp(verdict.datapoints[-1].timestamp)
    return data


def _reason(verdict: Verdict, condition: AlarmCondition, before: AlarmState) -> str:
    if verdict.state is AlarmState.INSUFFICIENT_DATA:
        return "Insufficient Data: no datapoints were received in the evaluation range."
    if not verdict.datapoints:
        treated = "breaching" if verdict.state is AlarmState.ALARM else "nonBreaching"
        return (
            f"Threshold Crossed: no datapoints were received for {condition.evaluation_periods} "
            f"period(s) and {condition.evaluation_periods} missing datapoint(s) were treated as [{treated.title()}]."
        )
    points = [f"{p.value} ({p.timestamp:%d/%m/%y %H:%M:%S})" for p in verdict.datapoints]
    breaching = sum(condition.is_breaching(point.value) for point in verdict.datapoints)
    alarmed = verdict.state is AlarmState.ALARM
    shown = breaching if alarmed else len(points) - breaching
    words = COMPARISONS[condition.comparison][1]
    return (
        f"Threshold Crossed: {shown} out of the last {condition.evaluation_periods} datapoints "
        f"[{', '.join(points)}] {'was' if shown == 1 else 'were'}{'' if alarmed else ' not'} {words} "
        f"the threshold ({condition.threshold}) (minimum {condition.datapoints_to_alarm} datapoint"
        f"{'' if condition.datapoints_to_alarm == 1 else 's'} for {before} -> {verdict.state} transition)."
    )


def _notification(
    backend: CloudWatchBackend,
    alarm: Alarm,
    previous: Mapping[str, Any],
    current: Mapping[str, Any],
) -> str:
    """The message that CloudWatch publishes to a topic; another shape than the event's."""
    message: dict[str, Any] = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": backend.account_id,
        "AlarmConfigurationUpdatedTimestamp": _stamp(alarm.configuration_updated_timestamp),
        "NewStateValue": current["value"],
        "NewStateReason": current["reason"],
        "StateChangeTime": current["timestamp"],
        "Region": _REGION_NAMES.get(backend.region_name, backend.region_name),
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": previous["value"],
        "OKActions": alarm.ok_actions,
        "AlarmActions": alarm.alarm_actions,
        "InsufficientDataActions": alarm.insufficient_data_actions,
    }
    if alarm.rule is not None:
        message["AlarmRule"] = alarm.rule
    else:
        metric = alarm_metric(alarm)
        message["Trigger"] = {
            "MetricName": metric.name,
            "Namespace": metric.namespace,
            "StatisticType": "Statistic",
            "Statistic": metric.statistic.upper(),
            "Unit": metric.unit,
            "Dimensions": [{"name": name, "value": value} for name, value in metric.dimensions],
            "Period": metric.period_seconds,
            "EvaluationPeriods": int(alarm.evaluation_periods),
            "DatapointsToAlarm": int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
            "ComparisonOperator": alarm.comparison_operator,
            "Threshold": float(alarm.threshold),
            "TreatMissingData": alarm.treat_missing_data or "missing",
            "EvaluateLowSampleCountPercentile": "",
        }
    return json.dumps(message)


def _direct_event(
    backend: CloudWatchBackend, alarm: Alarm, current: Mapping[str, Any]
) -> dict[str, Any]:
    """What a Lambda alarm action receives: AWS's third shape for the same change."""
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.alarm_arn,
        "accountId": backend.account_id,
        "time": current["timestamp"],
        "region": backend.region_name,
        "alarmData": {
            "alarmName": alarm.name,
            "state": dict(current),
            "configuration": _configuration(alarm),
        },
    }
