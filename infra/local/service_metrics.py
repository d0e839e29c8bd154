"""Metrics that AWS's services publish of themselves, where alarms may look at them.

    AWS/States   ExecutionsStarted, …Succeeded, …Failed, …TimedOut, …Aborted, ExecutionTime   {StateMachineArn}
    AWS/SQS      ApproximateNumberOfMessagesVisible                                           {QueueName}
    AWS/VPN      see `infra.local.telemetry`
    AWS/EC2      StatusCheckFailed_…: no instance runs here, so none fails and no datapoint comes

Executions count at the moment in which they start and end; queues are measured once in AWS's minute. An alarm on any
other metric of a service would wait for ever, and is refused when it is put (`PUBLISHED`).

Sources: Step Functions developer guide, "Step Functions metrics for CloudWatch"; SQS developer guide, "Available
CloudWatch metrics". Not emulated: AWS's delay, and that it delivers these metrics by best effort only.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.sqs.models import sqs_backends
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.backend.execution import Execution

from infra.local.moto_state import every_backend

_ENDS: Mapping[ExecutionStatus, str] = {
    ExecutionStatus.SUCCEEDED: "ExecutionsSucceeded",
    ExecutionStatus.FAILED: "ExecutionsFailed",
    ExecutionStatus.TIMED_OUT: "ExecutionsTimedOut",
    ExecutionStatus.ABORTED: "ExecutionsAborted",
}
PUBLISHED: Mapping[str, frozenset[str]] = {
    "AWS/States": frozenset({"ExecutionsStarted", "ExecutionTime", *_ENDS.values()}),
    "AWS/SQS": frozenset({"ApproximateNumberOfMessagesVisible"}),
    "AWS/VPN": frozenset({"TunnelState", "TunnelDataIn", "TunnelDataOut"}),
    "AWS/EC2": frozenset({"StatusCheckFailed_System", "StatusCheckFailed_Instance"}),
}
"""Metric names by namespace. Namespaces that do not begin with `AWS/` are anybody's."""


def is_published(namespace: str, name: str) -> bool:
    """Whether an alarm on this metric can ever see what it would see in AWS."""
    return not namespace.startswith("AWS/") or name in PUBLISHED.get(namespace, ())


def count_start(execution: Execution) -> None:
    """An execution has started."""
    _put(execution, "ExecutionsStarted", 1.0, "Count")


def count_end(execution: Execution) -> None:
    """An execution has ended, one way or another."""
    assert execution.exec_status is not None
    _put(execution, _ENDS[execution.exec_status], 1.0, "Count")
    lasted = (execution.stop_date or datetime.now(UTC)) - execution.start_date
    _put(execution, "ExecutionTime", lasted.total_seconds() * 1000, "Milliseconds")


def measure_queues() -> None:
    """One minute's datapoint of each queue."""
    for backend in every_backend(sqs_backends):
        cloudwatch = cloudwatch_backends[backend.account_id][backend.region_name]
        for queue in list(backend.queues.values()):
            visible = float(queue.approximate_number_of_messages)
            name = "ApproximateNumberOfMessagesVisible"
            _put_datum(cloudwatch, "AWS/SQS", name, ("QueueName", queue.name), visible, "Count")


def _put(execution: Execution, name: str, value: float, unit: str) -> None:
    cloudwatch = cloudwatch_backends[execution.account_id][execution.region_name]
    dimension = ("StateMachineArn", execution.state_machine_arn)
    _put_datum(cloudwatch, "AWS/States", name, dimension, value, unit)


def _put_datum(
    cloudwatch: CloudWatchBackend,
    namespace: str,
    name: str,
    dimension: tuple[str, str],
    value: float,
    unit: str,
) -> None:
    dimensions = [{"Name": dimension[0], "Value": dimension[1]}]
    datum = {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": unit}
    cloudwatch.put_metric_data(namespace, [datum])
