"""Lambda as AWS runs it: a function's own code, handler and environment, in a process of its own.

moto stores functions and answers every invocation with the same text. Here an invocation runs the code
in the function's zip. Third-party packages come from the virtual environment, which stands for the
function's layer; the project's own packages come from the zip alone.

Answers have AWS's shapes: an exception gives its class name as `errorType` (which is the error name that a
state machine sees), a timeout `Sandbox.Timedout`, a process that ends `Runtime.ExitError`. Output goes to the
log group `/aws/lambda/<name>` with START, END and REPORT lines, and embedded metrics in it to CloudWatch.

Not covered: container images, runtimes other than Python, the memory limit, provisioned concurrency, VPC
placement, and freezing the process between invocations.
"""

from __future__ import annotations

import base64
import enum
import gzip
import hashlib
import json
import logging
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, LambdaClientError
from moto.awslambda.models import LambdaFunction
from moto.awslambda_simple.models import lambda_simple_backends
from moto.logs.models import logs_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from infra.local.background import BackgroundTasks
from infra.local.call_record import session_token
from infra.local.clock import CloudClock
from infra.local.errors import NotEmulated
from infra.local.lambda_pool import (
    Answer,
    LogLine,
    Worker,
    WorkerCrashed,
    WorkerPool,
    WorkerSpec,
    WorkerTimedOut,
)
from infra.local.sides import account_of_region

logger = logging.getLogger(__name__)

_RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
_ASYNC_RETRY_AWS_SECONDS = (60.0, 120.0)
_DEFAULT_ASYNC_RETRIES = 2
_DEFAULT_ASYNC_AGE_AWS_SECONDS = 6 * 3600
_LOG_TAIL_BYTES = 4096
_DESTINATION_SERVICES = {"sqs", "sns"}


class FaultKind(enum.StrEnum):
    """What a test can make an invocation do."""

    RAISE = "raise"
    """Raise `InjectedFault` instead of running the handler."""
    KILL_BEFORE = "kill_before"
    """The process dies before the handler runs."""
    KILL_AFTER = "kill_after"
    """The process dies when the handler has returned, before it answers."""
    TIMEOUT_BEFORE = "timeout_before"
    """Reported as a timeout at once, without running the handler."""
    TIMEOUT_AFTER = "timeout_after"
    """Reported as a timeout when the handler has returned: its effects are there, its answer is lost."""
    KILL_BEFORE_CALL = "kill_before_call"
    """The process dies in place of its n-th AWS call."""
    KILL_AFTER_CALL = "kill_after_call"
    """The process dies after its n-th AWS call took effect, before it sees the answer."""
    KILL_AFTER_WRITE = "kill_after_write"
    """The same, with calls counted that change something: dying after a read leaves nothing else behind."""
    THROTTLE = "throttle"
    """Refused with `TooManyRequestsException`."""


_AT_A_CALL = (FaultKind.KILL_BEFORE_CALL, FaultKind.KILL_AFTER_CALL, FaultKind.KILL_AFTER_WRITE)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault for one invocation. `call_number` counts from 1 and is for the kinds that die at a call."""

    kind: FaultKind
    call_number: int | None = None

    def __post_init__(self) -> None:
        needs_number = self.kind in _AT_A_CALL
        if needs_number != (self.call_number is not None):
            raise ValueError(
                f"call_number is for {', '.join(_AT_A_CALL)}, not optional there: {self.kind}"
            )


@dataclass(frozen=True, slots=True)
class InvocationRecord:
    """One invocation as `LambdaRuntime.history` keeps it: how it ended, without what went in or came out."""

    function_name: str
    request_id: str
    error_type: str | None
    duration_ms: float
    fault_fired: bool


@dataclass(frozen=True, slots=True)
class Invocation:
    """What one invocation came to.

    `function_error` is None or `Unhandled`, as in AWS's answer. `fault_fired`: an injected fault took effect.
    """

    function_name: str
    request_id: str
    payload: bytes
    function_error: str | None
    log_tail: str
    executed_version: str
    duration_ms: float
    fault_fired: bool

    @property
    def error_type(self) -> str | None:
        if self.function_error is None:
            return None
        return str(json.loads(self.payload).get("errorType"))


class Throttled(LambdaClientError):
    """The function has reached its reserved concurrency, or a test says so."""

    code = 429

    def __init__(self) -> None:
        super().__init__("TooManyRequestsException", "Rate Exceeded.")


def timed_out(request_id: str, timeout_seconds: float) -> dict[str, Any]:
    """AWS's answer for a function that did not end in time."""
    message = f"RequestId: {request_id} Error: Task timed out after {timeout_seconds:.2f} seconds"
    return {"errorType": "Sandbox.Timedout", "errorMessage": message}


def crashed(request_id: str, status: int | None) -> dict[str, Any]:
    """AWS's answer for a function whose process ended. `status`: exit code, or negative for a signal."""
    if status is not None and status < 0:
        cause = "Runtime exited with error: signal: killed"
    elif status:
        cause = f"Runtime exited with error: exit status {status}"
    else:
        cause = "Runtime exited without providing a reason"
    message = f"RequestId: {request_id} Error: {cause}"
    return {"errorType": "Runtime.ExitError", "errorMessage": message}


class LambdaRuntime:
    """Runs the functions of both accounts. Created and started by `EmbeddedCloud`."""

    def __init__(
        self,
        *,
        clock: CloudClock,
        tasks: BackgroundTasks,
        endpoint_url: str,
        own_packages: Sequence[str],
        log_directory: Path | None,
        workers_per_function: int,
        idle_seconds: float = 300.0,
        command: Sequence[str] = (),
        further_environment: Mapping[str, str] | None = None,
    ) -> None:
        self._further_environment = dict(further_environment or {})
        self._clock = clock
        self._tasks = tasks
        self._endpoint_url = endpoint_url
        self._log_directory = log_directory
        self._pool = WorkerPool(own_packages, workers_per_function, idle_seconds, command)
        self._lock = threading.Lock()
        self._log_lock = threading.Lock()
        self._running: dict[str, int] = defaultdict(int)
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.history: deque[InvocationRecord] = deque(maxlen=10_000)

    def start(self) -> None:
        self._pool.start()
        self._tasks.every(15.0, "retiring idle workers", self._pool.retire_idle)

    def stop(self) -> None:
        self._pool.stop()

    # -- faults -----------------------------------------------------------------------------------

    def fail_next(self, function_name: str, fault: Fault | FaultKind, times: int = 1) -> None:
        """Give the next `times` invocations of a function this fault, after those given before."""
        given = fault if isinstance(fault, Fault) else Fault(fault)
        with self._lock:
            self._faults[function_name].extend([given] * times)

    def pending_faults(self, function_name: str) -> int:
        """How many injected faults of a function no invocation has met yet."""
        with self._lock:
            return len(self._faults[function_name])

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    # -- what the events side needs ---------------------------------------------------------------

    def policy_statements(
        self, account_id: str, region: str, function: str
    ) -> Sequence[Mapping[str, Any]]:
        """The statements of a function's own policy. Raises moto's error for an unknown function."""
        return list(_find(account_id, region, function).policy.statements)

    # -- invocation -------------------------------------------------------------------------------

    def invoke(self, function: LambdaFunction, payload: str) -> Invocation:
        """Run a function to its end. Raises `Throttled`; every other failure is in the answer."""
        payload = payload or "{}"
        _require_json(payload)
        fault = self._take_fault(function.function_name)
        if fault is not None and fault.kind is FaultKind.THROTTLE:
            raise Throttled
        arn = function.function_arn
        with self._lock:
            reserved = function.reserved_concurrency
            if reserved is not None and self._running[arn] >= int(reserved):
                raise Throttled
            self._running[arn] += 1
        try:
            invocation = self._run(function, payload, fault)
        finally:
            with self._lock:
                self._running[arn] -= 1
        self.history.append(
            InvocationRecord(
                function_name=invocation.function_name,
                request_id=invocation.request_id,
                error_type=invocation.error_type,
                duration_ms=invocation.duration_ms,
                fault_fired=invocation.fault_fired,
            )
        )
        return invocation

    def invoke_async(self, account_id: str, region: str, function: str, payload: str) -> None:
        """Queue an invocation, retried as AWS does. Raises moto's error for an unknown function."""
        self._submit(
            _find(account_id, region, function), payload, str(uuid.uuid4()), time.monotonic(), 0
        )

    def _submit(
        self,
        function: LambdaFunction,
        payload: str,
        request_id: str,
        accepted_at: float,
        attempt: int,
    ) -> None:
        self._tasks.submit(
            f"asynchronous invocation of {function.function_name}",
            lambda: self._run_async(function, payload, request_id, accepted_at, attempt),
        )

    def _run_async(
        self,
        function: LambdaFunction,
        payload: str,
        request_id: str,
        accepted_at: float,
        attempt: int,
    ) -> None:
        config = function.event_invoke_config[-1].config if function.event_invoke_config else {}
        retries = config.get("MaximumRetryAttempts")
        retries = _DEFAULT_ASYNC_RETRIES if retries is None else int(retries)
        age_limit = config.get("MaximumEventAgeInSeconds") or _DEFAULT_ASYNC_AGE_AWS_SECONDS
        invocation: Invocation | None = None
        try:
            invocation = self.invoke(function, payload)
            if invocation.function_error is None:
                return
            next_attempt = attempt + 1
        except Throttled:
            next_attempt = attempt  # a throttled event stays queued until it is too old
        delay = _ASYNC_RETRY_AWS_SECONDS[min(attempt, len(_ASYNC_RETRY_AWS_SECONDS) - 1)]
        age = self._clock.aws_seconds(time.monotonic() - accepted_at)
        if next_attempt <= retries and age + delay <= age_limit:
            self._tasks.after(
                self._clock.real_seconds(delay),
                f"retry of {function.function_name}",
                lambda: self._run_async(function, payload, request_id, accepted_at, next_attempt),
            )
            return
        condition = "RetriesExhausted" if next_attempt > retries else "EventAgeExceeded"
        self._report_failure(
            function, config, payload, request_id, invocation, condition, attempt + 1
        )

    def _report_failure(
        self,
        function: LambdaFunction,
        config: Mapping[str, Any],
        payload: str,
        request_id: str,
        invocation: Invocation | None,
        condition: str,
        count: int,
    ) -> None:
        destination = (
            (config.get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination")
        )
        queue = getattr(function, "dead_letter_arn", None)
        logger.warning(
            "asynchronous invocation of %s failed %d time(s): %s",
            function.function_name,
            count,
            condition,
        )
        if destination:
            context = {
                "requestId": request_id,
                "functionArn": _qualified_arn(function),
                "condition": condition,
                "approximateInvokeCount": count,
            }
            record: dict[str, Any] = {
                "version": "1.0",
                "timestamp": _iso_milliseconds(datetime.now(UTC)),
                "requestContext": context,
                "requestPayload": json.loads(payload),
            }
            if invocation is not None:
                record["responseContext"] = {
                    "statusCode": 200,
                    "executedVersion": invocation.executed_version,
                    "functionError": invocation.function_error,
                }
                record["responsePayload"] = json.loads(invocation.payload)
            _send_to(destination, json.dumps(record), {})
        if queue:
            message = (
                json.loads(invocation.payload).get("errorMessage", "") if invocation else condition
            )
            attributes = {
                "RequestID": request_id,
                "ErrorCode": "200",
                "ErrorMessage": message[:1024],
            }
            _send_to(queue, payload, attributes)

    def _run(self, function: LambdaFunction, payload: str, fault: Fault | None) -> Invocation:
        request_id = str(uuid.uuid4())
        timeout_seconds = float(function.timeout)
        spec = self._spec(function)
        worker = self._pool.acquire(spec)
        cold = worker.init_ms is None
        started = time.monotonic()
        answer: Answer | None = None
        error: dict[str, Any] | None = None
        try:
            if cold:
                worker.wait_until_ready()
                started = time.monotonic()
            head = {
                "request_id": request_id,
                "arn": function.function_arn,
                "deadline_ms": int((time.time() + timeout_seconds) * 1000),
                "trace_id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
                "fault": {"kind": fault.kind, "call_number": fault.call_number} if fault else None,
            }
            answer = worker.exchange(head, payload, timeout_seconds)
        except WorkerTimedOut:
            error = timed_out(request_id, timeout_seconds)
            self._pool.discard(worker)
        except WorkerCrashed as crash:
            error = crashed(request_id, crash.status)
            self._pool.discard(worker)
        duration_ms = (time.monotonic() - started) * 1000
        lines = worker.take_lines(ended=error is not None)
        if answer is not None and answer.ending:
            self._pool.discard(worker)
        elif answer is not None:
            self._pool.release(worker)
        body = answer.body if answer is not None else json.dumps(error).encode()
        failed = answer is None or answer.kind == "error"
        report = _Report(
            request_id,
            str(function.version),
            duration_ms,
            worker.init_ms if cold else None,
            int(function.memory_size),
            answer.max_memory_mb if answer is not None else None,
            error,
        )
        tail = self._write_logs(function, worker, lines, report)
        return Invocation(
            function_name=function.function_name,
            request_id=request_id,
            payload=body,
            function_error="Unhandled" if failed else None,
            log_tail=tail,
            executed_version=str(function.version),
            duration_ms=duration_ms,
            fault_fired=answer.fault_fired if answer is not None else fault is not None,
        )

    def _take_fault(self, function_name: str) -> Fault | None:
        with self._lock:
            faults = self._faults[function_name]
            return faults.popleft() if faults else None

    def _spec(self, function: LambdaFunction) -> WorkerSpec:
        task_root = self._pool.task_root(function.code_bytes)
        environment = self._environment(function, task_root)
        settings = json.dumps([function.handler, task_root, environment], sort_keys=True)
        return WorkerSpec(
            function=(
                function.account_id,
                function.region,
                function.function_name,
                str(function.version),
            ),
            handler=str(function.handler),
            task_root=task_root,
            environment=environment,
            fingerprint=hashlib.sha256(settings.encode()).hexdigest(),
        )

    def _environment(self, function: LambdaFunction, task_root: str) -> dict[str, str]:
        account = account_of_region(function.region)
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "HOME": "/tmp",  # noqa: S108 - as in Lambda, where it is the only writable directory
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_XRAY_SDK_ENABLED": "false",  # there is no X-Ray daemon to send segments to
            **{key: str(value) for key, value in function.environment_vars.items()},
            **self._further_environment,
            "_HANDLER": str(function.handler),
            "LAMBDA_TASK_ROOT": task_root,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_ENDPOINT_URL": self._endpoint_url,
            "AWS_ACCESS_KEY_ID": account.access_key_id,
            "AWS_SECRET_ACCESS_KEY": account.secret_access_key,
            "AWS_SESSION_TOKEN": session_token(function.role),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.run_time}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_VERSION": str(function.version),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.logs_group_name,
        }

    # -- logs -------------------------------------------------------------------------------------

    def _write_logs(
        self, function: LambdaFunction, worker: Worker, lines: list[LogLine], report: _Report
    ) -> str:
        records = report.frame(lines)
        with self._log_lock:
            backend = logs_backends[function.account_id][function.region]
            backend.ensure_log_group(function.logs_group_name)
            backend.ensure_log_stream(function.logs_group_name, worker.log_stream)
            events = [{"timestamp": r.timestamp_ms, "message": r.text} for r in records]
            backend.put_log_events(function.logs_group_name, worker.log_stream, events)
            text = "".join(f"{record.text}\n" for record in records)
            if self._log_directory is not None:
                path = self._log_directory / f"{function.function_name}.log"
                with path.open("a", encoding="utf-8") as file:
                    file.write(text)
        return text.encode()[-_LOG_TAIL_BYTES:].decode(errors="replace")


@dataclass(frozen=True, slots=True)
class _Report:
    request_id: str
    version: str
    duration_ms: float
    init_ms: float | None
    memory_mb: int
    used_mb: int | None
    error: Mapping[str, Any] | None

    def frame(self, lines: list[LogLine]) -> list[LogLine]:
        """The lines between Lambda's own START, END and REPORT lines, in order of time."""
        now_ms = int(time.time() * 1000)
        start_ms = min([now_ms - int(self.duration_ms), *(line.timestamp_ms for line in lines)])
        framed = [LogLine(start_ms, f"START RequestId: {self.request_id} Version: {self.version}")]
        framed += lines
        if self.error is not None and self.error["errorType"] == "Sandbox.Timedout":
            message = str(self.error["errorMessage"]).partition("Error: ")[2]
            stamp = _iso_milliseconds(datetime.now(UTC))
            framed.append(LogLine(now_ms, f"{stamp} {self.request_id} {message}"))
        elif self.error is not None:
            framed.append(LogLine(now_ms, str(self.error["errorMessage"])))
        framed.append(LogLine(now_ms, f"END RequestId: {self.request_id}"))
        fields = [
            f"REPORT RequestId: {self.request_id}",
            f"Duration: {self.duration_ms:.2f} ms",
            f"Billed Duration: {int(self.duration_ms) + 1} ms",
            f"Memory Size: {self.memory_mb} MB",
        ]
        if self.used_mb is not None:
            fields.append(f"Max Memory Used: {self.used_mb} MB")
        if self.init_ms is not None:
            fields.append(f"Init Duration: {self.init_ms:.2f} ms")
        framed.append(LogLine(now_ms, "\t".join(fields)))
        return framed


def validate_function(spec: Mapping[str, Any]) -> None:
    """Refuse, when it is created, a function that AWS would refuse or that could not be run here."""
    name = spec.get("FunctionName")
    if spec.get("PackageType", "Zip") != "Zip":
        raise NotEmulated(f"container images (function {name})")
    runtime = str(spec.get("Runtime") or "")
    if not runtime.startswith("python3."):
        raise NotEmulated(f"Lambda runtime {runtime or 'without a name'} (function {name})")
    if "." not in str(spec.get("Handler") or ""):
        raise InvalidParameterValueException(f"Handler of function {name} must be module.function")
    variables = (spec.get("Environment") or {}).get("Variables") or {}
    if reserved := sorted(_RESERVED_VARIABLES & set(variables)):
        raise InvalidParameterValueException(
            "Lambda was unable to configure your environment variables because the environment variables "
            f"you have provided contains reserved keys: {', '.join(reserved)}"
        )


def validate_event_invoke_config(config: Mapping[str, Any]) -> None:
    """Refuse asynchronous-invocation settings that would have no effect here."""
    for outcome, destination in (config.get("DestinationConfig") or {}).items():
        arn = (destination or {}).get("Destination")
        if arn and outcome != "OnFailure":
            raise NotEmulated(f"asynchronous invocation destination {outcome}")
        if arn and arn.split(":")[2] not in _DESTINATION_SERVICES:
            raise NotEmulated(f"asynchronous invocation destination {arn}")


def sns_event(
    *, topic_arn: str, subscription_arn: str, message: str, message_id: str, subject: str | None
) -> str:
    """What a function subscribed to a topic receives."""
    record = {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription_arn,
        "Sns": {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": topic_arn,
            "Subject": subject,
            "Message": message,
            "Timestamp": _iso_milliseconds(datetime.now(UTC)),
            "MessageAttributes": {},
        },
    }
    return json.dumps({"Records": [record]})


def log_subscription_event(
    *,
    account_id: str,
    group: str,
    stream: str,
    filter_name: str,
    events: Sequence[Mapping[str, Any]],
) -> str:
    """What a function behind a log subscription filter receives."""
    data = {
        "messageType": "DATA_MESSAGE",
        "owner": account_id,
        "logGroup": group,
        "logStream": stream,
        "subscriptionFilters": [filter_name],
        "logEvents": list(events),
    }
    packed = base64.b64encode(gzip.compress(json.dumps(data).encode())).decode()
    return json.dumps({"awslogs": {"data": packed}})


def _find(account_id: str, region: str, function: str) -> LambdaFunction:
    """A function by name or ARN, with or without version or alias."""
    return lambda_simple_backends[account_id][region].get_function(function)


def _require_json(payload: str) -> None:
    try:
        json.loads(payload)
    except ValueError as error:
        raise LambdaClientError(
            "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from None


def _qualified_arn(function: LambdaFunction) -> str:
    arn, version = str(function.function_arn), str(function.version)
    return arn if arn.endswith(f":{version}") else f"{arn}:{version}"


def _iso_milliseconds(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _send_to(arn: str, body: str, attributes: Mapping[str, str]) -> None:
    service, region, account_id, resource = arn.split(":", 5)[2:]
    if service == "sns":
        sns_backends[account_id][region].publish(body, arn)
        return
    sqs_backends[account_id][region].send_message(
        resource,
        body,
        message_attributes={
            key: {"DataType": "String", "StringValue": value} for key, value in attributes.items()
        },
    )
