"""EventBridge as AWS runs it: events matched against rules and delivered, retried, dead-lettered.

moto matches events inside `put_events` and raises for Step Functions and Lambda targets. Here an event is
accepted first and delivered afterwards on worker threads, as in AWS: in no order, at least once, with
the target's retry policy and dead-letter queue.

Guarantees: an accepted event reaches each matching target once, unless the target refuses it; then it is
retried (with the delays and ages of AWS, shrunk by the `CloudClock`) and in the end sent to the dead-letter
queue, or dropped with a warning where there is none. Not covered: archives, replays, pipes, API destinations,
delivery more than once (nothing here loses an acknowledgement).
"""

from __future__ import annotations

import functools
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from moto.core.exceptions import ServiceException
from moto.events.models import EventsBackend, Rule, events_backends
from moto.logs.models import logs_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.stepfunctions.exceptions import ExecutionAlreadyExists, StateMachineDoesNotExist
from moto.stepfunctions.parser.models import stepfunctions_parser_backends
from werkzeug.exceptions import HTTPException

from infra.local import event_patterns, event_targets, resource_policies
from infra.local.background import BackgroundTasks
from infra.local.call_record import CallRecord
from infra.local.clock import CloudClock
from infra.local.event_targets import RetryPolicy, TargetKind
from infra.local.sides import account_of_region

logger = logging.getLogger(__name__)

_SERVICE = "events.amazonaws.com"
_FIRST_RETRY_AWS_SECONDS = 1.0
_LONGEST_RETRY_AWS_SECONDS = 60.0


class FunctionInvoker(Protocol):
    """What delivery needs of the Lambda runtime."""

    def invoke_async(self, account_id: str, region: str, function: str, payload: str) -> None:
        """Queue an asynchronous invocation. Raises moto's error for an unknown function."""

    def policy_statements(
        self, account_id: str, region: str, function: str
    ) -> Sequence[Mapping[str, Any]]:
        """The statements of the function's own policy."""


class DeliveryFailed(Exception):
    """A target did not take an event. `code` is EventBridge's (`NO_RESOURCE`, `NO_PERMISSIONS`…)."""

    def __init__(self, code: str, message: str, *, retryable: bool) -> None:
        self.code = code
        self.message = message
        self.retryable = retryable
        super().__init__(f"{code}: {message}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one target of one rule. `accepted_at` is a monotonic time."""

    account_id: str
    region: str
    rule_arn: str
    target: Mapping[str, Any]
    event: Mapping[str, Any]
    payload: str
    accepted_at: float
    retries: int = 0

    @property
    def target_arn(self) -> str:
        return str(self.target["Arn"])


def event_time(moment: datetime) -> str:
    """A moment in the form of an event's `time` field."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_event(
    *,
    account_id: str,
    region: str,
    source: str,
    detail_type: str,
    detail: Mapping[str, Any],
    resources: Sequence[str] = (),
    at: datetime | None = None,
) -> dict[str, Any]:
    """An event as a target receives it, with a new id."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": detail_type,
        "source": source,
        "account": account_id,
        "time": event_time(at or datetime.now(UTC)),
        "region": region,
        "resources": list(resources),
        "detail": detail,
    }


class EventRouter:
    """Matches events against the rules of moto's buses and delivers them to the rules' targets."""

    def __init__(
        self,
        clock: CloudClock,
        tasks: BackgroundTasks,
        functions: FunctionInvoker,
        calls: CallRecord | None = None,
    ) -> None:
        self._calls = calls
        self._clock = clock
        self._tasks = tasks
        self._functions = functions
        self._lock = threading.Lock()
        self._injected: dict[str, int] = {}

    # -- events in --------------------------------------------------------------------------------

    def emit(
        self,
        *,
        account_id: str,
        region: str,
        source: str,
        detail_type: str,
        detail: Mapping[str, Any],
        resources: Sequence[str] = (),
        at: datetime | None = None,
    ) -> str:
        """Put an AWS service's own event on the default bus; returns its id."""
        event = new_event(
            account_id=account_id,
            region=region,
            source=source,
            detail_type=detail_type,
            detail=detail,
            resources=resources,
            at=at,
        )
        self.route(events_backends[account_id][region], "default", event)
        return str(event["id"])

    def put_entry(self, backend: EventsBackend, entry: Mapping[str, Any]) -> dict[str, str]:
        """Accept one entry of a PutEvents call; returns the entry of the answer."""
        for field in ("Source", "DetailType", "Detail"):
            if not entry.get(field):
                return _refused(
                    f"Parameter {field} is not valid. Reason: {field} is a required argument."
                )
        if str(entry["Source"]).startswith("aws."):
            return {
                "ErrorCode": "NotAuthorizedForSourceException",
                "ErrorMessage": "Not authorized for the source.",
            }
        try:
            detail = json.loads(entry["Detail"])
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        event = new_event(
            account_id=backend.account_id,
            region=backend.region_name,
            source=entry["Source"],
            detail_type=entry["DetailType"],
            detail=detail,
            resources=entry.get("Resources", []),
            at=_entry_time(entry.get("Time")),
        )
        bus = str(entry.get("EventBusName") or "default").rsplit("/", 1)[-1]
        backend.describe_event_bus(bus)  # raises ResourceNotFoundException for an unknown bus
        self.route(backend, bus, event)
        return {"EventId": event["id"]}

    def route(self, backend: EventsBackend, bus: str, event: Mapping[str, Any]) -> None:
        """Start a delivery to each target of each enabled rule whose pattern matches."""
        for rule in list(backend.describe_event_bus(bus).rules.values()):
            pattern = rule.event_pattern.get_pattern()
            if rule.state == "ENABLED" and pattern and event_patterns.matches(pattern, event):
                self.start_deliveries(rule, event)

    def start_deliveries(self, rule: Rule, event: Mapping[str, Any]) -> None:
        """Deliver an event to every target of a rule, without matching the rule's pattern."""
        source = event_targets.Source(rule.arn, rule.name, event_time(datetime.now(UTC)))
        for target in list(rule.targets):
            delivery = Delivery(
                account_id=rule.account_id,
                region=rule.region_name,
                rule_arn=rule.arn,
                target=target,
                event=event,
                payload=event_targets.target_input(target, event, source),
                accepted_at=time.monotonic(),
            )
            self._tasks.submit(
                f"delivery to {delivery.target_arn}", functools.partial(self._deliver, delivery)
            )

    # -- faults -----------------------------------------------------------------------------------

    def fail_deliveries(self, target_arn: str, times: int) -> None:
        """Make the next `times` attempts to deliver to a target fail as a throttled target does."""
        with self._lock:
            self._injected[target_arn] = times

    def _injected_fault(self, target_arn: str) -> bool:
        with self._lock:
            left = self._injected.get(target_arn, 0)
            self._injected[target_arn] = max(0, left - 1)
            return left > 0

    # -- delivery ---------------------------------------------------------------------------------

    def _deliver(self, delivery: Delivery) -> None:
        try:
            if self._injected_fault(delivery.target_arn):
                raise DeliveryFailed("THROTTLING", "Rate exceeded", retryable=True)
            self._send(delivery)
        except DeliveryFailed as failure:
            self._retry_or_give_up(delivery, failure)
        except (ServiceException, HTTPException) as refusal:
            code, message = _error_of(refusal)
            self._give_up(
                delivery, DeliveryFailed("SDK_CLIENT_ERROR", f"{code}: {message}", retryable=False)
            )

    def _retry_or_give_up(self, delivery: Delivery, failure: DeliveryFailed) -> None:
        policy = event_targets.retry_policy(delivery.target)
        age_aws_seconds = self._clock.aws_seconds(time.monotonic() - delivery.accepted_at)
        exhausted = _exhausted_condition(policy, delivery.retries, age_aws_seconds)
        if not failure.retryable or exhausted:
            self._give_up(delivery, failure, exhausted)
            return
        ceiling = min(_LONGEST_RETRY_AWS_SECONDS, _FIRST_RETRY_AWS_SECONDS * 2**delivery.retries)
        delay = self._clock.real_seconds(random.uniform(ceiling / 2, ceiling))  # noqa: S311 - jitter
        again = replace(delivery, retries=delivery.retries + 1)
        self._tasks.after(
            delay, f"retry of delivery to {again.target_arn}", lambda: self._deliver(again)
        )

    def _give_up(
        self, delivery: Delivery, failure: DeliveryFailed, exhausted: str | None = None
    ) -> None:
        queue_arn = (delivery.target.get("DeadLetterConfig") or {}).get("Arn")
        logger.warning(
            "event %s not delivered to %s: %s (%s)",
            delivery.event.get("id"),
            delivery.target_arn,
            failure,
            f"sent to {queue_arn}" if queue_arn else "dropped: the target has no dead-letter queue",
        )
        if not queue_arn:
            return
        attributes = {
            "RULE_ARN": delivery.rule_arn,
            "TARGET_ARN": delivery.target_arn,
            "ERROR_CODE": failure.code,
            "ERROR_MESSAGE": failure.message,
            "RETRY_ATTEMPTS": str(delivery.retries),
        }
        if exhausted:
            attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
        try:
            self._send_to_queue(
                queue_arn,
                json.dumps(delivery.event),
                delivery.rule_arn,
                delivery.account_id,
                attributes,
            )
        except (DeliveryFailed, ServiceException, HTTPException) as error:
            logger.error("dead-letter queue %s refused the event: %s", queue_arn, error)

    def _send(self, delivery: Delivery) -> None:
        arn = delivery.target_arn
        region, account_id, resource = arn.split(":", 5)[3:]
        match event_targets.target_kind(arn):
            case TargetKind.STEP_FUNCTIONS:
                self._start_execution(delivery, account_id, region)
            case TargetKind.LAMBDA:
                statements = self._functions.policy_statements(account_id, region, arn)
                _require_permission(statements, "lambda:InvokeFunction", delivery)
                self._functions.invoke_async(account_id, region, arn, delivery.payload)
            case TargetKind.SQS:
                self._send_to_queue(
                    arn,
                    delivery.payload,
                    delivery.rule_arn,
                    delivery.account_id,
                    {},
                    (delivery.target.get("SqsParameters") or {}).get("MessageGroupId"),
                )
            case TargetKind.SNS:
                self._publish(delivery, account_id, region)
            case TargetKind.LOGS:
                _write_log(account_id, region, resource, delivery.payload)
            case TargetKind.EVENT_BUS:
                bus = resource.removeprefix("event-bus/")
                self.route(events_backends[account_id][region], bus, delivery.event)

    def _start_execution(self, delivery: Delivery, account_id: str, region: str) -> None:
        backend = stepfunctions_parser_backends[account_id][region]
        name = f"{delivery.event['id']}_{uuid.uuid4()}"  # EventBridge's own form, 73 characters
        if self._calls is not None and "RoleArn" in delivery.target:
            self._calls.add(
                delivery.target["RoleArn"],
                account_of_region(region),
                "states",
                "StartExecution",
                {"stateMachineArn": delivery.target_arn},
            )
        try:
            backend.start_execution(delivery.target_arn, name, delivery.payload)
        except StateMachineDoesNotExist as error:
            raise DeliveryFailed("NO_RESOURCE", str(error.message), retryable=False) from error
        except ExecutionAlreadyExists:  # a retry after the first attempt had succeeded
            logger.info("execution %s was already started", name)

    def _publish(self, delivery: Delivery, account_id: str, region: str) -> None:
        backend = sns_backends[account_id][region]
        topic = backend.get_topic(delivery.target_arn)
        statements = json.loads(topic.policy)["Statement"]
        _require_permission(statements, "sns:Publish", delivery)
        backend.publish(delivery.payload, delivery.target_arn)

    def _send_to_queue(
        self,
        queue_arn: str,
        body: str,
        rule_arn: str,
        source_account: str,
        attributes: Mapping[str, str],
        group_id: str | None = None,
    ) -> None:
        region, account_id, name = queue_arn.split(":")[3:]
        backend = sqs_backends[account_id][region]
        if name not in backend.queues:
            raise DeliveryFailed(
                "NO_RESOURCE", f"queue {queue_arn} does not exist", retryable=False
            )
        policy = backend.get_queue(name).policy
        statements = json.loads(policy)["Statement"] if policy else []
        if not resource_policies.allows(
            statements,
            service=_SERVICE,
            action="sqs:SendMessage",
            source_arn=rule_arn,
            source_account=source_account,
        ):
            raise DeliveryFailed(
                "NO_PERMISSIONS",
                f"the policy of {queue_arn} does not allow {_SERVICE} to sqs:SendMessage",
                retryable=False,
            )
        backend.send_message(
            name,
            body,
            message_attributes={
                key: {"DataType": "String", "StringValue": value}
                for key, value in attributes.items()
            },
            group_id=group_id,
        )


def _refused(message: str) -> dict[str, str]:
    return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}


def _entry_time(value: Any) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return datetime.fromisoformat(str(value))


def _exhausted_condition(policy: RetryPolicy, retries: int, age_aws_seconds: float) -> str | None:
    if retries >= policy.maximum_retry_attempts:
        return "MaximumRetryAttempts"
    if age_aws_seconds >= policy.maximum_event_age_seconds:
        return "MaximumEventAgeInSeconds"
    return None


def _error_of(error: ServiceException | HTTPException) -> tuple[str, str]:
    if isinstance(error, ServiceException):
        return error.code, str(error.message)
    code = getattr(error, "error_type", type(error).__name__)
    return str(code), str(getattr(error, "message", error.description))


def _require_permission(
    statements: Sequence[Mapping[str, Any]], action: str, delivery: Delivery
) -> None:
    if not resource_policies.allows(
        statements,
        service=_SERVICE,
        action=action,
        source_arn=delivery.rule_arn,
        source_account=delivery.account_id,
    ):
        raise DeliveryFailed(
            "NO_PERMISSIONS",
            f"the policy of {delivery.target_arn} does not allow {_SERVICE} to {action}",
            retryable=False,
        )


def _write_log(account_id: str, region: str, resource: str, payload: str) -> None:
    group = resource.removeprefix("log-group:").removesuffix(":*")
    backend = logs_backends[account_id][region]
    stream = str(uuid.uuid4())
    backend.create_log_stream(group, stream)
    backend.put_log_events(
        group, stream, [{"timestamp": int(time.time() * 1000), "message": payload}]
    )
