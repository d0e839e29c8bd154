"""Where the embedded cloud's behaviour is put into moto's classes.

Installed once per process, and asleep until a cloud runs: without one, moto behaves as it always does, so
that tests with `mock_aws` can share the process. Both at once cannot be, since moto's state is global:
starting `mock_aws` while a cloud runs is an error, because it would wipe the cloud's state.

Replaces methods of moto by name. That is why versions are pinned (`SUPPORTED_MOTO_VERSIONS`) and why a
missing name is an error at installation.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import moto
from moto.apigateway.models import APIGatewayBackend, Authorizer
from moto.apigateway.responses import APIGatewayResponse
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.cloudtrail.models import cloudtrail_backends
from moto.cloudwatch.exceptions import ResourceNotFound
from moto.cloudwatch.models import Alarm, CloudWatchBackend, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.errors import COMMON_ERROR_CODES
from moto.core.models import DEFAULT_ACCOUNT_ID, MockAWS, botocore_stubber
from moto.core.responses import ActionResult, BaseResponse, EmptyResult
from moto.ec2.models import ec2_backends
from moto.events.exceptions import InvalidEventPatternException, ValidationException
from moto.events.models import EventsBackend, Rule
from moto.iam import models as iam_models
from moto.iam.access_control import IAMPolicyStatement, PermissionResult
from moto.logs.models import LogsBackend
from moto.scheduler.models import EventBridgeSchedulerBackend
from moto.sns.models import Subscription
from moto.stepfunctions import models as stepfunctions_models
from moto.stepfunctions import responses as stepfunctions_responses
from moto.stepfunctions.models import StateMachine
from moto.stepfunctions.parser import models as parser_models
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_sfn import (
    StateTaskServiceSfn,
)
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution import (
    BaseExecutionWorkerCommunication,
    Execution,
)
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.responses import StepFunctionResponse

from infra.local import (
    alarms,
    apigateway_authorizers,
    apigateway_functions,
    emf,
    event_patterns,
    event_targets,
    lambda_runtime,
    metrics,
    schedules,
    service_metrics,
)
from infra.local import stepfunctions as step_functions
from infra.local.alarms import AlarmEvaluator
from infra.local.errors import (
    CloudAlreadyRunning,
    CloudStopped,
    NotEmulated,
    PatchPointMissing,
    UnsupportedMotoVersion,
)
from infra.local.events import EventRouter
from infra.local.lambda_runtime import LambdaRuntime
from infra.local.sides import COMMERCIAL, GOVCLOUD
from infra.local.stepfunctions import ClientCache, DefinitionCache
from infra.permissions import of_documents

SUPPORTED_MOTO_VERSIONS = ("5.2.5",)
_MAXIMUM_ENTRIES = 10

# The methods replaced here are untyped or typed differently from version to version in moto, so they are
# passed through as Any; each replacement states the part of the signature that it uses.
Original = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class RunningCloud:
    """The parts of a running cloud that moto's methods are led to."""

    router: EventRouter
    alarms: AlarmEvaluator
    lambdas: LambdaRuntime
    task_clients: ClientCache


_owner: object | None = None
_running: RunningCloud | None = None
_installed = False


def claim(owner: object) -> None:
    """Take moto's state, which is global, for one cloud. Raises `CloudAlreadyRunning`."""
    global _owner
    if _owner is not None:
        raise CloudAlreadyRunning
    _owner = owner


def attach(cloud: RunningCloud) -> None:
    """Lead moto's methods to the parts of the cloud that has claimed moto's state."""
    global _running
    _running = cloud


def release() -> None:
    """Give moto its own behaviour back, and its state to the next cloud."""
    global _owner, _running
    _owner = _running = None


def install() -> None:
    """Put the extensions into moto. Safe to call again. Raises `UnsupportedMotoVersion`."""
    global _installed
    if _installed:
        return
    if moto.__version__ not in SUPPORTED_MOTO_VERSIONS:
        raise UnsupportedMotoVersion(moto.__version__, SUPPORTED_MOTO_VERSIONS)
    # Otherwise moto warns that no service model knows the code.
    COMMON_ERROR_CODES.append(NotEmulated.code)
    _guard_against_mock_aws()
    _serialise_requests()
    _extend_accounts()
    _extend_events()
    _extend_alarms()
    _extend_lambda()
    _extend_bucket_policies()
    _extend_logs_and_sns()
    _extend_step_functions()
    _extend_api_gateway()
    _installed = True


def _wrap(owner: Any, name: str, replacement: Callable[..., Any], *, alone: bool = False) -> None:
    """Replace `owner.name` by `replacement(cloud, original, *its own arguments)` while a cloud runs.

    `alone`: the replacement wants neither the cloud nor moto's own method to exist.
    """
    original: Original | None = getattr(owner, name, None)
    if original is None and not alone:
        raise PatchPointMissing(f"{getattr(owner, '__name__', owner)}.{name}")

    def method(*args: Any, **kwargs: Any) -> Any:
        if _running is not None:
            return replacement(_running, original, *args, **kwargs)
        if original is None:
            raise NotImplementedError(f"{name} needs a running embedded cloud")
        return original(*args, **kwargs)

    method.__name__ = name
    method.__doc__ = getattr(original, "__doc__", None)
    setattr(owner, name, method)


def _guard_against_mock_aws() -> None:
    def start(cloud: RunningCloud, original: Original, *args: Any, **kwargs: Any) -> None:
        raise CloudAlreadyRunning

    _wrap(MockAWS, "start", start)


# moto's models are not thread-safe: a conditional write of DynamoDB is a check followed by a change. Requests to
# these services run one at a time, as their handlers neither wait nor call back into the same service.
_SERIALISED_SERVICES = ("dynamodb", "ec2", "iam", "secretsmanager", "ssm")


def _serialise_requests() -> None:
    locks = {service: threading.RLock() for service in _SERIALISED_SERVICES}

    def dispatch(
        cloud: RunningCloud, original: Original, response: BaseResponse, *args: Any, **kwargs: Any
    ) -> Any:
        lock = locks.get(response.service_name or "")
        if lock is None:
            return original(response, *args, **kwargs)
        with lock:
            return original(response, *args, **kwargs)

    _wrap(BaseResponse, "_dispatch", dispatch)


# -- accounts ---------------------------------------------------------------------------------------


def _extend_accounts() -> None:
    def get_account_id_from(cloud: RunningCloud, original: Original, access_key: str) -> str:
        if access_key == COMMERCIAL.access_key_id:
            return COMMERCIAL.account_id
        if access_key == GOVCLOUD.access_key_id:
            return GOVCLOUD.account_id
        account_id = str(original(access_key))
        return GOVCLOUD.account_id if account_id == DEFAULT_ACCOUNT_ID else account_id

    _wrap(iam_models, "get_account_id_from", get_account_id_from)


# -- EventBridge ------------------------------------------------------------------------------------


def _extend_events() -> None:
    def put_events(
        cloud: RunningCloud,
        original: Original,
        backend: EventsBackend,
        events: list[dict[str, Any]],
    ) -> list[dict[str, str]]:
        if not 1 <= len(events) <= _MAXIMUM_ENTRIES:
            raise ValidationException(
                "1 validation error detected: Value at 'entries' failed to satisfy constraint: "
                f"Member must have length between 1 and {_MAXIMUM_ENTRIES}"
            )
        return [cloud.router.put_entry(backend, entry) for entry in events]

    def put_rule(
        cloud: RunningCloud,
        original: Original,
        backend: EventsBackend,
        name: str,
        *args: Any,
        **kwargs: Any,
    ) -> Rule:
        if pattern := kwargs.get("event_pattern"):
            try:
                event_patterns.validate_pattern(json.loads(pattern))
            except ValueError as error:  # InvalidPattern, or no JSON
                raise InvalidEventPatternException(f"{error} (rule {name})") from None
        if expression := kwargs.get("scheduled_expression"):
            try:
                schedules.parse_schedule(expression)
            except schedules.InvalidSchedule as error:
                raise ValidationException(f"{error} (rule {name})") from None
        rule: Rule = original(backend, name, *args, **kwargs)
        return rule

    def put_targets(
        cloud: RunningCloud,
        original: Original,
        backend: EventsBackend,
        name: str,
        event_bus_arn: str | None,
        targets: list[dict[str, Any]],
    ) -> None:
        for target in targets:
            try:
                event_targets.validate_target(target)
            except event_targets.UnsupportedTarget as error:
                raise NotEmulated(f"{error} (rule {name})") from None
            except event_targets.InvalidTarget as error:
                raise ValidationException(f"{error} (rule {name})") from None
        original(backend, name, event_bus_arn, targets)

    def create_schedule(cloud: RunningCloud, original: Original, *args: Any, **kwargs: Any) -> None:
        raise NotEmulated("EventBridge Scheduler (schedule rules are)")

    def create_archive(cloud: RunningCloud, original: Original, *args: Any, **kwargs: Any) -> None:
        raise NotEmulated("EventBridge archives")

    _wrap(EventBridgeSchedulerBackend, "create_schedule", create_schedule)
    _wrap(EventsBackend, "create_archive", create_archive)
    _wrap(EventsBackend, "put_events", put_events)
    _wrap(EventsBackend, "put_rule", put_rule)
    _wrap(EventsBackend, "put_targets", put_targets)


# -- CloudWatch alarms ------------------------------------------------------------------------------


def _extend_alarms() -> None:
    def put_metric_alarm(
        cloud: RunningCloud, original: Original, backend: CloudWatchBackend, **parameters: Any
    ) -> Alarm:
        name = parameters["name"]
        if parameters.get("rule") is None:
            alarms.validate_metric_alarm(name, parameters)
        else:
            alarms.validate_composite_alarm(backend, name, parameters["rule"])
        for kind in ("alarm_actions", "ok_actions", "insufficient_data_actions"):
            alarms.validate_actions(name, parameters.get(kind) or [])
        previous = backend.alarms.get(name)
        alarm: Alarm = original(backend, **parameters)
        alarms.prepare_new_alarm(alarm, previous)
        return alarm

    def put_composite_alarm(
        cloud: RunningCloud, original: Original | None, response: CloudWatchResponse
    ) -> EmptyResult:
        if response._get_param("ActionsSuppressor"):
            raise NotEmulated("action suppression of composite alarms")
        _put_composite_alarm(response)
        return EmptyResult()

    def describe_alarms(
        cloud: RunningCloud, original: Original, response: CloudWatchResponse
    ) -> ActionResult:
        # moto lets one filter win; CloudWatch wants all of them met, and tells of metric alarms unless asked.
        found = original(response).result
        state = response._get_param("StateValue")
        types = response._get_param("AlarmTypes", []) or ["MetricAlarm"]
        return ActionResult(
            {
                f"{kind}s": [
                    alarm
                    for alarm in found[f"{kind}s"]
                    if kind in types and state in (None, alarm.state_value)
                ]
                for kind in ("MetricAlarm", "CompositeAlarm")
            }
        )

    def set_alarm_state(
        cloud: RunningCloud,
        original: Original,
        backend: CloudWatchBackend,
        alarm_name: str,
        reason: str,
        reason_data: str | None,
        state_value: str,
    ) -> None:
        if alarm_name not in backend.alarms:
            raise ResourceNotFound
        alarms.validate_state(state_value, reason_data)
        cloud.alarms.set_state(backend, alarm_name, state_value, reason, reason_data)

    def get_metric_statistics(
        cloud: RunningCloud,
        original: Original,
        backend: CloudWatchBackend,
        namespace: str,
        metric_name: str,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        dimensions = kwargs.get("dimensions") or []
        view = metrics.only(backend, namespace, metric_name, dimensions)
        return original(view, namespace, metric_name, *args, **kwargs)

    def get_metric_data(
        cloud: RunningCloud,
        original: Original,
        backend: CloudWatchBackend,
        queries: list[dict[str, Any]],
        *args: Any,
        **kwargs: Any,
    ) -> list[Any]:
        metrics.refuse_expressions(queries)
        results: list[Any] = []
        for query in queries:
            metric = query["MetricStat"]["Metric"]
            view = metrics.only(
                backend, metric["Namespace"], metric["MetricName"], metric.get("Dimensions", [])
            )
            results += original(view, [query], *args, **kwargs)
        return results

    _wrap(CloudWatchBackend, "get_metric_statistics", get_metric_statistics)
    _wrap(CloudWatchBackend, "get_metric_data", get_metric_data)
    _wrap(CloudWatchBackend, "put_metric_alarm", put_metric_alarm)
    _wrap(CloudWatchBackend, "set_alarm_state", set_alarm_state)
    _wrap(CloudWatchResponse, "describe_alarms", describe_alarms)
    _wrap(CloudWatchResponse, "put_composite_alarm", put_composite_alarm, alone=True)


def _put_composite_alarm(response: CloudWatchResponse) -> None:
    backend = cloudwatch_backends[response.current_account][response.region]
    backend.put_metric_alarm(
        name=response._get_param("AlarmName"),
        rule=response._get_param("AlarmRule"),
        description=response._get_param("AlarmDescription"),
        alarm_actions=response._get_param("AlarmActions", []),
        ok_actions=response._get_param("OKActions", []),
        insufficient_data_actions=response._get_param("InsufficientDataActions", []),
        actions_enabled=response._get_bool_param("ActionsEnabled"),
        tags=response._get_param("Tags", []),
        dimensions=[],
        # moto keeps both kinds of alarm in one class, whose other fields a composite alarm lacks
        namespace=None,  # type: ignore[arg-type]
        metric_name=None,  # type: ignore[arg-type]
        comparison_operator=None,  # type: ignore[arg-type]
        evaluation_periods=None,  # type: ignore[arg-type]
        period=None,  # type: ignore[arg-type]
        threshold=None,  # type: ignore[arg-type]
        statistic=None,  # type: ignore[arg-type]
    )


# -- Lambda -----------------------------------------------------------------------------------------


def _extend_lambda() -> None:
    def invoke(
        cloud: RunningCloud,
        original: Original,
        backend: LambdaSimpleBackend,
        function_name: str,
        qualifier: str | None,
        body: Any,
        headers: Any,
        response_headers: Any,
    ) -> bytes:
        """moto's seam for an Invoke call; the headers of the answer are filled in."""
        function = backend.get_function(function_name, qualifier)
        kind = headers.get("X-Amz-Invocation-Type") or "RequestResponse"
        if kind == "Event":
            arn = function.function_arn
            cloud.lambdas.invoke_async(backend.account_id, backend.region_name, arn, body or "{}")
            return b""
        if kind == "DryRun":
            return b""
        invocation = cloud.lambdas.invoke(function, body)
        if invocation.function_error is not None:
            response_headers["x-amz-function-error"] = invocation.function_error
        response_headers["x-amz-executed-version"] = invocation.executed_version
        response_headers["x-amz-log-result"] = base64.b64encode(
            invocation.log_tail.encode()
        ).decode()
        return invocation.payload

    def invoke_for_service(
        cloud: RunningCloud,
        original: Original,
        function: LambdaFunction,
        body: str,
        request_headers: Any,
        response_headers: Any,
    ) -> str:
        """How moto's other services call a function: always asynchronously, as AWS's do."""
        arn = function.function_arn
        cloud.lambdas.invoke_async(function.account_id, function.region, arn, body)
        return ""

    def create_function(
        cloud: RunningCloud, original: Original, backend: LambdaBackend, spec: dict[str, Any]
    ) -> LambdaFunction:
        lambda_runtime.validate_function(spec)
        function: LambdaFunction = original(backend, spec)
        dead_letter = (spec.get("DeadLetterConfig") or {}).get("TargetArn")
        if dead_letter:
            function.dead_letter_arn = dead_letter  # type: ignore[attr-defined]
        return function

    def send_log_event(
        cloud: RunningCloud,
        original: Original,
        backend: LambdaBackend,
        function_arn: str,
        filter_name: str,
        log_group_name: str,
        log_stream_name: str,
        log_events: list[dict[str, Any]],
    ) -> None:
        event = lambda_runtime.log_subscription_event(
            account_id=backend.account_id,
            group=log_group_name,
            stream=log_stream_name,
            filter_name=filter_name,
            events=log_events,
        )
        cloud.lambdas.invoke_async(backend.account_id, backend.region_name, function_arn, event)

    def put_event_invoke_config(
        cloud: RunningCloud,
        original: Original,
        backend: LambdaBackend,
        function_name: str,
        config: dict[str, Any],
    ) -> Any:
        lambda_runtime.validate_event_invoke_config(config)
        return original(backend, function_name, config)

    _wrap(LambdaSimpleBackend, "invoke", invoke)
    _wrap(LambdaFunction, "invoke", invoke_for_service)
    _wrap(LambdaBackend, "create_function", create_function)
    _wrap(LambdaBackend, "send_log_event", send_log_event)
    _wrap(LambdaBackend, "put_function_event_invoke_config", put_event_invoke_config)


# -- logs and topics --------------------------------------------------------------------------------


def _is_never_written(backend: LogsBackend, log_group_name: str) -> bool:
    """Whether only a flow log or a trail writes to this group; neither records anything here."""
    flow_logs = ec2_backends[backend.account_id][backend.region_name].flow_logs.values()
    trails = cloudtrail_backends[backend.account_id][backend.region_name].trails.values()
    return any(log.log_group_name == log_group_name for log in flow_logs) or any(
        f":log-group:{log_group_name}:" in (trail.cw_log_group_arn or "") for trail in trails
    )


# What a connection of the embedded cloud stands for, where a bucket's policy asks how one came.
_CONNECTION = {"aws:SecureTransport": ("true",), "s3:TlsVersion": ("1.3",)}


def _extend_bucket_policies() -> None:
    def is_action_permitted(
        cloud: RunningCloud,
        original: Original,
        statement: IAMPolicyStatement,
        *args: Any,
        **kwargs: Any,
    ) -> PermissionResult:
        """moto takes a denial whose condition does not hold for one that does."""
        written = statement._statement
        if "Condition" not in written:
            return original(statement, *args, **kwargs)  # type: ignore[no-any-return]
        (parsed,) = of_documents([{"Statement": [written]}]).statements
        if not parsed.holds(_CONNECTION):
            return PermissionResult.NEUTRAL
        plain = {key: value for key, value in written.items() if key != "Condition"}
        return original(IAMPolicyStatement(plain), *args, **kwargs)  # type: ignore[no-any-return]

    _wrap(IAMPolicyStatement, "is_action_permitted", is_action_permitted)


def _extend_logs_and_sns() -> None:
    def put_log_events(
        cloud: RunningCloud,
        original: Original,
        backend: LogsBackend,
        log_group_name: str,
        log_stream_name: str,
        log_events: list[dict[str, Any]],
    ) -> Any:
        answer = original(backend, log_group_name, log_stream_name, log_events)
        cloudwatch = cloudwatch_backends[backend.account_id][backend.region_name]
        for event in log_events:
            for sample in emf.parse_line(event["message"]):
                cloudwatch.put_metric_data(
                    sample.namespace,
                    [
                        {
                            "MetricName": sample.name,
                            "Dimensions": [{"Name": n, "Value": v} for n, v in sample.dimensions],
                            "Values": list(sample.values),
                            "Unit": sample.unit,
                            "Timestamp": sample.timestamp.replace(tzinfo=None),
                        }
                    ],
                )
        return answer

    def publish(
        cloud: RunningCloud,
        original: Original,
        subscription: Subscription,
        message: str,
        message_id: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if subscription.protocol != "lambda":
            original(subscription, message, message_id, subject, message_attributes, **kwargs)
            return
        matcher = subscription._filter_policy_matcher
        if matcher is not None and not matcher.matches(message_attributes, message):
            return
        region, account_id = subscription.endpoint.split(":")[3:5]
        event = lambda_runtime.sns_event(
            topic_arn=subscription.topic_arn,
            subscription_arn=subscription.arn,
            message=message,
            message_id=message_id,
            subject=subject,
        )
        cloud.lambdas.invoke_async(account_id, region, subscription.endpoint, event)

    def put_metric_filter(
        cloud: RunningCloud,
        original: Original,
        backend: LogsBackend,
        filter_name: str,
        filter_pattern: str,
        log_group_name: str,
        metric_transformations: list[Any],
    ) -> None:
        # Lines are not counted. Where none is ever written there is nothing to count.
        if not _is_never_written(backend, log_group_name):
            raise NotEmulated(f"metric filters of log groups ({log_group_name})")
        original(backend, filter_name, filter_pattern, log_group_name, metric_transformations)

    def put_subscription_filter(
        cloud: RunningCloud,
        original: Original,
        backend: LogsBackend,
        log_group_name: str,
        filter_name: str,
        filter_pattern: str,
        destination_arn: str,
        role_arn: str,
    ) -> None:
        where = f"filter {filter_name} of {log_group_name}"
        if filter_pattern.strip():
            raise NotEmulated(f"the pattern {filter_pattern!r} of a log subscription ({where})")
        if destination_arn.split(":")[2] != "lambda":
            raise NotEmulated(f"log subscriptions to {destination_arn} ({where})")
        original(backend, log_group_name, filter_name, filter_pattern, destination_arn, role_arn)

    _wrap(LogsBackend, "put_metric_filter", put_metric_filter)
    _wrap(LogsBackend, "put_subscription_filter", put_subscription_filter)
    _wrap(LogsBackend, "put_log_events", put_log_events)
    _wrap(Subscription, "publish", publish)


# -- Step Functions ---------------------------------------------------------------------------------


def _extend_step_functions() -> None:
    def start_execution(
        cloud: RunningCloud,
        original: Original,
        backend: StepFunctionsParserBackend,
        state_machine_arn: str,
        name: str | None = None,
        execution_input: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Execution:
        step_functions.forget_old_executions(backend)
        execution: Execution = original(
            backend,
            state_machine_arn,
            step_functions.execution_name(name),
            execution_input,
            *args,
            **kwargs,
        )
        service_metrics.count_start(execution)
        return execution

    def terminated(
        cloud: RunningCloud, original: Original, worker: BaseExecutionWorkerCommunication
    ) -> None:
        original(worker)
        service_metrics.count_end(worker.execution)

    def create_state_machine(
        cloud: RunningCloud,
        original: Original,
        backend: StepFunctionsParserBackend,
        name: str,
        definition: str,
        *args: Any,
        **kwargs: Any,
    ) -> StateMachine:
        step_functions.validate_definition(definition)
        machine: StateMachine = original(backend, name, definition, *args, **kwargs)
        return machine

    def get_executions(
        cloud: RunningCloud,
        original: Original,
        backend: StepFunctionsParserBackend,
        execution_status: ExecutionStatus | None = None,
    ) -> list[Execution]:
        return step_functions.started_executions(backend, execution_status)

    def to_history_output(cloud: RunningCloud, original: Original, execution: Execution) -> Any:
        if not step_functions.has_environment(execution):
            return {"events": []}
        return original(execution)

    def get_execution_history(
        cloud: RunningCloud, original: Original, response: StepFunctionResponse
    ) -> ActionResult:
        return ActionResult(
            step_functions.history_page(
                response.stepfunction_backend.get_execution_history(
                    response._get_param("executionArn")
                )["events"],
                reverse=bool(response._get_param("reverseOrder")),
                limit=response._get_int_param("maxResults") or 1000,
                token=response._get_param("nextToken"),
            )
        )

    def describe_execution(
        cloud: RunningCloud, original: Original, response: StepFunctionResponse
    ) -> ActionResult:
        execution: Any = response.stepfunction_backend.describe_execution(
            response._get_param("executionArn")
        )
        return ActionResult(step_functions.description(execution))

    def send_task_failure(
        cloud: RunningCloud, original: Original, response: StepFunctionResponse
    ) -> EmptyResult:
        backend: Any = response.stepfunction_backend
        backend.send_task_failure(
            response._get_param("taskToken"),
            error=response._get_param("error"),
            cause=response._get_param("cause"),
        )
        return EmptyResult()

    def normalise_parameters(
        cloud: RunningCloud,
        original: Original,
        task: StateTaskServiceSfn,
        parameters: dict[str, Any],
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        original(task, parameters, boto_service_name, service_action_name)
        step_functions.name_as_in_the_api(task, parameters, service_action_name)

    def normalise_response(
        cloud: RunningCloud,
        original: Original,
        task: StateTaskServiceSfn,
        response: Any,
        boto_service_name: str | None = None,
        service_action_name: str | None = None,
    ) -> None:
        step_functions.name_as_in_states(task, response, service_action_name)

    definitions = DefinitionCache(AmazonStateLanguageParser.parse)

    def parse(definition: str) -> Any:
        return definitions.parse(definition)

    def client_for(*args: Any, **kwargs: Any) -> Any:
        if _running is None and not botocore_stubber.enabled:
            raise CloudStopped  # an execution that outlived its cloud; moto would call port 5000
        if _running is None:
            return original_client_for(*args, **kwargs)
        return _running.task_clients.client_for(*args, **kwargs)

    _wrap(StateTaskServiceSfn, "_normalise_parameters", normalise_parameters)
    _wrap(StateTaskServiceSfn, "_normalise_response", normalise_response)
    _wrap(StepFunctionsParserBackend, "start_execution", start_execution)
    _wrap(StepFunctionsParserBackend, "create_state_machine", create_state_machine)
    _wrap(StepFunctionsParserBackend, "_get_executions", get_executions)
    _wrap(BaseExecutionWorkerCommunication, "terminated", terminated)
    _wrap(Execution, "to_history_output", to_history_output)
    setattr(Execution, "status", property(step_functions.status))  # noqa: B010
    _wrap(StepFunctionResponse, "get_execution_history", get_execution_history)
    _wrap(StepFunctionResponse, "describe_execution", describe_execution)
    _wrap(StepFunctionResponse, "send_task_failure", send_task_failure)
    # Parsing is a pure function of the definition, so the cache serves moto without a cloud as well.
    setattr(AmazonStateLanguageParser, "parse", staticmethod(parse))  # noqa: B010
    original_client_for = step_functions.replace_task_clients(client_for)
    # CloudFormation's own class reaches for the backend that only pretends to execute.
    for module in (stepfunctions_models, stepfunctions_responses):
        if not hasattr(module, "stepfunctions_backends"):
            raise PatchPointMissing(f"{module.__name__}.stepfunctions_backends")
    stepfunctions_models.stepfunctions_backends = parser_models.stepfunctions_parser_backends  # type: ignore[assignment]
    setattr(StateMachine, "get_cfn_attribute", _with_arn(StateMachine.get_cfn_attribute))  # noqa: B010
    has_attribute = StateMachine.has_cfn_attr
    setattr(  # noqa: B010 - mypy refuses a plain assignment to a method
        StateMachine,
        "has_cfn_attr",
        classmethod(lambda cls, attr: attr == "Arn" or has_attribute(attr)),
    )


def _with_arn(original: Original) -> Original:
    def get_cfn_attribute(machine: StateMachine, attribute_name: str) -> Any:
        return machine.arn if attribute_name == "Arn" else original(machine, attribute_name)

    return get_cfn_attribute


# -- API Gateway ------------------------------------------------------------------------------------


def _extend_api_gateway() -> None:
    def put_method(
        cloud: RunningCloud,
        original: Original,
        backend: APIGatewayBackend,
        api_id: str,
        resource_id: str,
        method_type: str,
        authorization_type: str | None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        apigateway_authorizers.validate_method(
            authorization_type,
            kwargs.get("authorizer_id"),
            backend.get_rest_api(api_id),
            f"{method_type} of API {api_id}",
        )
        return original(
            backend, api_id, resource_id, method_type, authorization_type, *args, **kwargs
        )

    def put_integration(
        cloud: RunningCloud,
        original: Original,
        backend: APIGatewayBackend,
        api_id: str,
        resource_id: str,
        method_type: str,
        integration_type: str,
        uri: str | None,
        **kwargs: Any,
    ) -> Any:
        where = f"{method_type} of API {api_id}"
        apigateway_functions.validate_integration(integration_type, uri, where)
        return original(backend, api_id, resource_id, method_type, integration_type, uri, **kwargs)

    def create_rest_api(
        cloud: RunningCloud, original: Original, response: APIGatewayResponse
    ) -> Any:
        """moto drops the binary media types given at creation."""
        status, headers, body = original(response)
        binary_types = response._get_param("binaryMediaTypes")
        if status >= 300 or not binary_types:
            return status, headers, body
        api = response.backend.get_rest_api(json.loads(body)["id"])
        api.binaryMediaTypes = list(binary_types)
        return status, headers, json.dumps(api.to_dict())

    def create_authorizer(
        cloud: RunningCloud,
        original: Original,
        backend: APIGatewayBackend,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """moto loses the validation expression over the spelling of its name."""
        expression = kwargs["identiy_validation_expression"]
        wanted = {name: value for name, value in kwargs.items() if name != "restapi_id"}
        apigateway_authorizers.validate_authorizer(
            Authorizer(authorizer_id=None, identity_validation_expression=expression, **wanted)
        )
        made = original(backend, *args, **kwargs)
        made.identity_validation_expression = expression
        return made

    def update_authorizer(
        cloud: RunningCloud,
        original: Original,
        backend: APIGatewayBackend,
        api_id: str,
        authorizer_id: str,
        patch_operations: Any,
    ) -> Any:
        wanted = copy.copy(backend.get_authorizer(api_id, authorizer_id))
        apigateway_authorizers.validate_authorizer(wanted.apply_operations(patch_operations))
        return original(backend, api_id, authorizer_id, patch_operations)

    def delete_authorizer(
        cloud: RunningCloud,
        original: Original,
        backend: APIGatewayBackend,
        api_id: str,
        authorizer_id: str,
    ) -> Any:
        backend.get_authorizer(api_id, authorizer_id)  # moto's own answer to an unknown one
        apigateway_authorizers.validate_deletion(backend.get_rest_api(api_id), authorizer_id)
        return original(backend, api_id, authorizer_id)

    _wrap(APIGatewayResponse, "create_rest_api", create_rest_api)
    _wrap(APIGatewayBackend, "create_authorizer", create_authorizer)
    _wrap(APIGatewayBackend, "update_authorizer", update_authorizer)
    _wrap(APIGatewayBackend, "delete_authorizer", delete_authorizer)
    _wrap(APIGatewayBackend, "put_method", put_method)
    _wrap(APIGatewayBackend, "put_integration", put_integration)
