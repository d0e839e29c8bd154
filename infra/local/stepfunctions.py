"""Step Functions: moto's ASL interpreter, made to behave as the service does.

What moto lacks and this adds: an execution without a name gets a unique one; state machines made by
CloudFormation run too; tasks call this cloud, in the account of the state machine's region, with clients that
are made once; a definition is parsed once; task tokens and histories work while an execution is starting;
`SendTaskFailure` carries its cause.

Not covered: JSONata (needs a JVM), Express workflows, delivery of logs, IAM of the state machine's role.
`Wait` and `Retry` take real time.
"""

from __future__ import annotations

import copy
import functools
import json
import re
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.client import BaseClient
from botocore.config import Config
from botocore.model import ServiceModel
from moto.stepfunctions.exceptions import InvalidName, NameTooLongException
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.utils import boto_client
from moto.stepfunctions.parser.backend.execution import Execution
from moto.stepfunctions.parser.models import (
    StepFunctionsParserBackend,
    stepfunctions_parser_backends,
)
from moto.stepfunctions.parser.utils import TMP_THREADS

from infra.local.call_record import session_token
from infra.local.errors import NotEmulated, PatchPointMissing
from infra.local.moto_state import every_backend
from infra.local.sides import account_of_region, connect

_LONGEST_TASK_SECONDS = 900 + 60
_TASK_CLIENT = Config(
    parameter_validation=False,
    retries={"total_max_attempts": 1},
    connect_timeout=5,
    read_timeout=_LONGEST_TASK_SECONDS,
    max_pool_connections=50,
)
_PARSED_DEFINITIONS = 64
_KEPT_EXECUTIONS = 1000
_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]+")
_MAXIMUM_NAME_LENGTH = 80


class MissingSubstitution(ValueError):
    """A definition names a placeholder that `DefinitionSubstitutions` does not give, or the reverse."""

    def __init__(self, names: set[str], reason: str) -> None:
        self.names = names
        super().__init__(f"DefinitionSubstitutions: {', '.join(sorted(names))} {reason}")


def substitute(definition: str, substitutions: Mapping[str, Any]) -> str:
    """Replace `${Name}` in a definition, as CloudFormation's `DefinitionSubstitutions` does.

    Raises `MissingSubstitution` for a placeholder without a value: AWS leaves it in the text, where it
    makes an execution fail, long after the deployment.
    """
    if missing := set(_PLACEHOLDER.findall(definition)) - set(substitutions):
        raise MissingSubstitution(missing, "used in the definition but not given")
    return _PLACEHOLDER.sub(lambda match: str(substitutions[match[1]]), definition)


def create_state_machine(
    *,
    account_id: str,
    region: str,
    name: str,
    definition: str,
    role_arn: str,
    substitutions: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    logging_configuration: Mapping[str, Any] | None = None,
    tracing_configuration: Mapping[str, Any] | None = None,
    machine_type: str = "STANDARD",
) -> str:
    """Create a state machine that can be executed; returns its ARN.

    For CloudFormation's `AWS::StepFunctions::StateMachine`. `definition` is JSON text. Raises
    `MissingSubstitution`, moto's `InvalidDefinition`, and `NotEmulated` for Express workflows.
    """
    if machine_type != "STANDARD":
        raise NotEmulated(f"Step Functions workflow type {machine_type} (state machine {name})")
    backend: Any = stepfunctions_parser_backends[account_id][region]
    machine = backend.create_state_machine(
        name=name,
        definition=substitute(definition, substitutions or {}),
        roleArn=role_arn,
        tags=[{"key": key, "value": value} for key, value in (tags or {}).items()],
        loggingConfiguration=logging_configuration,
        tracingConfiguration=tracing_configuration,
        sm_type=machine_type,
    )
    return str(machine.arn)


def execution_name(name: str | None) -> str:
    """The name of a new execution: the one given, checked as AWS does, or a new UUID."""
    if not name:
        return str(uuid.uuid4())
    if len(name) > _MAXIMUM_NAME_LENGTH:
        raise NameTooLongException(name)
    if not _NAME.fullmatch(name):
        raise InvalidName(f"Invalid Name: '{name}'")
    return name


class ClientCache:
    """The clients with which the interpreter's tasks call this cloud: one per region, service and role.

    Making a boto3 client takes longer than most tasks. Parameters are not validated, as in the service itself.
    """

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str | None], Any] = {}

    def client_for(self, region: str, service: str, state_credentials: Any = None) -> Any:
        """Has the signature of the interpreter's own `boto_client_for`."""
        role = state_credentials.role_arn if state_credentials is not None else None
        with self._lock:
            client = self._clients.get((region, service, role))
            if client is None:
                client = self._clients[region, service, role] = connect(
                    account_of_region(region),
                    service,
                    self._endpoint_url,
                    region=region,
                    config=_TASK_CLIENT,
                    session_token=session_token(role) if role is not None else None,
                )
            return client

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()


class DefinitionCache:
    """Parses a definition once. Each use gets its own copy, as evaluation may leave traces in it."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse
        self._lock = threading.Lock()
        self._parsed: dict[str, Any] = {}

    def parse(self, definition: str) -> Any:
        """What `AmazonStateLanguageParser.parse` returns: the program and its parse tree."""
        with self._lock:
            parsed = self._parsed.get(definition)
        if parsed is None:
            parsed = self._parse(definition)
            with self._lock:
                if len(self._parsed) >= _PARSED_DEFINITIONS:
                    self._parsed.pop(next(iter(self._parsed)))
                self._parsed[definition] = parsed
        program, tree = parsed
        return copy.deepcopy(program), tree


def replace_task_clients(client_for: Callable[..., BaseClient]) -> Callable[..., BaseClient]:
    """Make every module of the interpreter take its clients from `client_for`; returns its own."""
    original = boto_client.boto_client_for
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("moto.stepfunctions.parser")
        and getattr(module, "boto_client_for", None) is original
    ]
    if len(modules) < 2:
        raise PatchPointMissing("boto_client_for in its Step Functions interpreter")
    for module in modules:
        module.boto_client_for = client_for  # type: ignore[attr-defined]
    return original


def description(execution: Execution) -> dict[str, Any]:
    """DescribeExecution's answer. moto's own is wrong for a text as output, fails for a time in it, and leaves out
    the end of an execution that timed out; its interpreter has a right one."""
    described = {**execution.to_describe_output(), "input": execution.execution_input}
    return {name: value for name, value in described.items() if value is not None}


def history_page(
    events: Sequence[Mapping[str, Any]], *, reverse: bool, limit: int, token: str | None
) -> dict[str, Any]:
    """A page of an execution's history, as GetExecutionHistory returns it. The token is an offset."""
    ordered = list(reversed(events)) if reverse else list(events)
    start = int(token or 0)
    page: dict[str, Any] = {"events": ordered[start : start + limit]}
    if start + limit < len(ordered):
        page["nextToken"] = str(start + limit)
    return page


def _executions(backend: StepFunctionsParserBackend) -> list[Execution]:
    # moto declares the executions of its backend that only pretends, and fills in the interpreter's.
    machines: list[Any] = list(backend.state_machines)
    return [execution for machine in machines for execution in list(machine.executions)]


def name_as_in_the_api(task: Any, parameters: dict[str, Any], action: str | None) -> None:
    """Rename a nested execution's parameters from ASL's spelling (`StateMachineArn`) to the API's.

    moto's interpreter has the conversion and leaves it out, so that a nested execution cannot start.
    """
    task._to_boto_request(parameters, _operation(task, action).input_shape)


def name_as_in_states(task: Any, response: Any, action: str | None) -> None:
    """The reverse, for a nested execution's answer; times become milliseconds since the epoch."""
    task._from_boto_response(response, _operation(task, action).output_shape)
    for name, value in response.items():
        if isinstance(value, datetime):
            response[name] = int(value.timestamp() * 1000)


def _operation(task: Any, action: str | None) -> Any:
    model = _service_model()
    wanted = task._get_boto_service_action(action)
    return next(
        model.operation_model(name) for name in model.operation_names if xform_name(name) == wanted
    )


@functools.cache
def _service_model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("stepfunctions")


def forget_old_executions(backend: StepFunctionsParserBackend) -> None:
    """Keep the executions of a cloud that runs for days from filling the memory: AWS forgets after 90 days."""
    for machine in backend.state_machines:
        executions: list[Any] = machine.executions
        surplus = len(executions) - _KEPT_EXECUTIONS
        ended = [e for e in executions if e.exec_status not in (None, ExecutionStatus.RUNNING)]
        for execution in ended[: max(0, surplus)]:
            executions.remove(execution)
    TMP_THREADS[:] = [thread for thread in TMP_THREADS if thread.is_alive()]


def status(execution: Execution) -> str:
    """An execution's status, also in the moment in which moto has not set it yet."""
    return str((execution.exec_status or ExecutionStatus.RUNNING).value)


def running_executions() -> list[Execution]:
    """The executions of every account that have not ended."""
    return [
        execution
        for backend in every_backend(stepfunctions_parser_backends)
        for execution in _executions(backend)
        if execution.exec_status == ExecutionStatus.RUNNING
    ]


def has_environment(execution: Execution) -> bool:
    """Whether the interpreter has set an execution up: before that, moto's code fails on it."""
    return execution.exec_worker is not None and execution.exec_worker.env is not None


def started_executions(
    backend: StepFunctionsParserBackend, status: ExecutionStatus | None
) -> list[Execution]:
    """Replaces the interpreter's own listing, which trips over executions that are starting."""
    return [
        execution
        for execution in _executions(backend)
        if has_environment(execution) and status in (None, execution.exec_status)
    ]


def validate_definition(definition: str) -> None:
    """Refuse what the interpreter cannot run."""
    try:
        document = json.loads(definition)
    except ValueError:
        return  # the interpreter's own parser words this error
    if isinstance(document, dict) and _uses_jsonata(document):
        raise NotEmulated("the JSONata query language in state machines")


def _uses_jsonata(document: Any) -> bool:
    if isinstance(document, dict):
        if document.get("QueryLanguage") == "JSONata":
            return True
        return any(_uses_jsonata(value) for value in document.values())
    if isinstance(document, list):
        return any(_uses_jsonata(value) for value in document)
    return False


def stop_running_executions() -> None:
    """Stop every execution, so that none goes on calling a cloud that is gone."""
    for execution in running_executions():
        if has_environment(execution):
            execution.stop(datetime.now(UTC), "CloudStopped", "the embedded cloud stopped")
