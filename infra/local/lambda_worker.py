"""One Lambda execution environment: runs a function's handler in a process of its own.

Runs in a process forked by `lambda_forkserver`, standard library only, loaded by file path: neither the
repository nor the embedded cloud can be imported from here, because a function must find the project's
code in its own package or not at all.

The conversation on the control socket, frames of a 4-byte length and a body:

    worker → runtime   {"kind": "ready", "init_ms": …}
    runtime → worker   {"request_id", "arn", "deadline_ms", "fault"} , event (JSON text)
    worker → runtime   {"kind": "result" | "error" | "hung", "max_memory_kb", "fault_fired", "ending"} , answer (JSON);
                       ending: initialisation failed, the process ends after this

Standard output and error go to a pipe as they are; a marker line ends each invocation's output.

What it does not guarantee: the memory limit is not enforced, and the process is not frozen between
invocations, so background threads that AWS would stop keep running.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

END_OF_OUTPUT = "\0end-of-output "
_MAXIMUM_REMAINING_MS = 2**31

Handler = Callable[[Any, Any], Any]


class InjectedFault(Exception):
    """Raised in place of the handler when a test asked for it."""


def write_frame(connection: socket.socket, body: bytes) -> None:
    """Send one frame."""
    connection.sendall(struct.pack(">I", len(body)) + body)


def read_frame(connection: socket.socket) -> bytes:
    """One frame. Raises `EOFError` when the other end is gone."""
    (length,) = struct.unpack(">I", _read_exactly(connection, 4))
    return _read_exactly(connection, length)


def _read_exactly(connection: socket.socket, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        try:
            part = connection.recv(min(count, 1 << 20))
        except ConnectionResetError:
            part = b""
        if not part:
            raise EOFError("the connection was closed")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


class OwnPackagesOnly:
    """Finds the project's packages in the function's own package and nowhere else.

    Without it a package missing from the zip would be found in the virtual environment, and the
    mistake would show in AWS only.
    """

    def __init__(self, task_root: str, packages: Sequence[str]) -> None:
        self._task_root = task_root
        self._packages = frozenset(packages)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] not in self._packages:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path or [self._task_root], target)
        if spec is None or (path is None and not _is_below(spec, self._task_root)):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return spec


def _is_below(spec: ModuleSpec, root: str) -> bool:
    places = list(spec.submodule_search_locations or [])
    if spec.origin:
        places.append(spec.origin)
    return any(os.path.realpath(place).startswith(os.path.realpath(root)) for place in places)


class ClientIdentity:
    """The caller's Cognito identity, which there never is here."""

    cognito_identity_id = None
    cognito_identity_pool_id = None


class Context:
    """The handler's second argument, with the fields that AWS documents."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn: str = request["arn"]
        self.aws_request_id: str = request["request_id"]
        self.identity = ClientIdentity()
        self.client_context = None
        self._deadline_ms: int = request["deadline_ms"]

    def get_remaining_time_in_millis(self) -> int:
        remaining = self._deadline_ms - int(time.time() * 1000)
        return min(_MAXIMUM_REMAINING_MS, max(0, remaining))


class _RequestIdFilter(logging.Filter):
    request_id = ""

    def filter(self, record: logging.LogRecord) -> bool:
        record.aws_request_id = self.request_id
        return True


def _configure_root_logger() -> _RequestIdFilter:
    """The handler that Lambda's Python runtime puts on the root logger, with its format."""
    formatter = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
        "%Y-%m-%dT%H:%M:%S",
    )
    formatter.converter = time.gmtime
    request_id = _RequestIdFilter()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    handler.addFilter(request_id)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    return request_id


def serve(control: socket.socket, spec: Mapping[str, Any]) -> None:
    """Load the handler, then answer invocations until the runtime closes the connection."""
    started = time.monotonic()
    task_root: str = spec["task_root"]
    sys.meta_path.insert(0, OwnPackagesOnly(task_root, spec["own_packages"]))
    sys.path.insert(0, task_root)
    os.chdir(task_root)
    request_id = _configure_root_logger()
    handler, init_error = _load(spec["handler"])
    ready = {"kind": "ready", "init_ms": (time.monotonic() - started) * 1000}
    write_frame(control, json.dumps(ready).encode())
    while True:
        try:
            request = json.loads(read_frame(control))
            event_text = read_frame(control).decode()
        except EOFError:
            return
        request_id.request_id = request["request_id"]
        os.environ["_X_AMZN_TRACE_ID"] = request["trace_id"]
        fault = FaultInvocation(request.get("fault"))
        if handler is None:
            kind, answer = "error", {**(init_error or {}), "requestId": request["request_id"]}
            body = json.dumps(answer)
        else:
            kind, body = _invoke(handler, event_text, Context(request), fault)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f"{END_OF_OUTPUT}{request['request_id']}\n".encode())
        head = {
            "kind": kind,
            "max_memory_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "fault_fired": fault.fired,
            "ending": handler is None,
        }
        write_frame(control, json.dumps(head).encode())
        write_frame(control, body.encode())
        if handler is None:
            return  # AWS starts a new environment after a failed initialisation


def _load(handler: str) -> tuple[Handler | None, dict[str, Any] | None]:
    module_name, _, function_name = handler.rpartition(".")
    module_name = module_name.replace("/", ".")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        traceback.print_exc()
        message = f"Unable to import module '{module_name}': {error}"
        return None, _error("Runtime.ImportModuleError", message, [])
    except SyntaxError as error:
        traceback.print_exc()
        message = f"Syntax error in module '{module_name}': {error}"
        return None, _error("Runtime.UserCodeSyntaxError", message, [])
    except Exception as error:  # noqa: BLE001 - whatever the module's top level raises is the function's answer
        traceback.print_exc()
        return None, _error(type(error).__name__, str(error), _stack(error))
    function = getattr(module, function_name, None)
    if function is None:
        message = f"Handler '{function_name}' missing on module '{module_name}'"
        return None, _error("Runtime.HandlerNotFound", message, [])
    return function, None


def _invoke(
    handler: Handler, event_text: str, context: Context, fault: FaultInvocation
) -> tuple[str, str]:
    try:
        event = json.loads(event_text)
    except ValueError as error:
        return "error", json.dumps(_error("Runtime.UnmarshalError", str(error), []))
    try:
        if fault.before():
            return "hung", "null"
        result = handler(event, context)
        if fault.after():
            return "hung", "null"
    except Exception as error:
        own = error.__traceback__.tb_next if error.__traceback__ else None
        logging.getLogger().error(
            "%s: %s", type(error).__name__, error, exc_info=(type(error), error, own)
        )
        answer = _error(type(error).__name__, str(error), _stack(error))
        return "error", json.dumps({**answer, "requestId": context.aws_request_id})
    finally:
        fault.disarm()
    try:
        return "result", json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"Unable to marshal response: {error}"
        answer = _error("Runtime.MarshalError", message, [])
        return "error", json.dumps({**answer, "requestId": context.aws_request_id})


def _error(error_type: str, message: str, stack: list[str]) -> dict[str, Any]:
    return {"errorMessage": message, "errorType": error_type, "stackTrace": stack}


def _stack(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename != __file__]
    return traceback.format_list(own)


_READS = ("BatchGet", "Describe", "Get", "Head", "List", "Query", "Scan", "Search")


class FaultInvocation:
    """Carries out the fault that a test injected into one invocation, if any."""

    def __init__(self, fault: Mapping[str, Any] | None) -> None:
        self._kind: str | None = fault["kind"] if fault else None
        self._call_number: int = (fault or {}).get("call_number") or 0
        self._original: Callable[..., Any] | None = None
        self.fired = False

    def before(self) -> bool:
        """Act before the handler runs; True if the function is to hang."""
        match self._kind:
            case "raise":
                self.fired = True
                raise InjectedFault("injected by a test")
            case "kill_before":
                _die()
            case "kill_before_call" | "kill_after_call" | "kill_after_write":
                self._arm()
            case "timeout_before":
                self.fired = True
                return True
        return False

    def after(self) -> bool:
        """Act when the handler has returned; True if the function is to hang."""
        if self._kind == "kill_after":
            _die()
        if self._kind == "timeout_after":
            self.fired = True
            return True
        return False

    def disarm(self) -> None:
        if self._original is not None:
            from botocore.endpoint import Endpoint

            setattr(Endpoint, "make_request", self._original)  # noqa: B010 - a method
            self._original = None

    def _arm(self) -> None:
        from botocore.endpoint import Endpoint

        original = self._original = Endpoint.make_request
        calls = 0

        def make_request(endpoint: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            counts = self._kind != "kill_after_write" or not operation.name.startswith(_READS)
            calls += counts
            its_turn = counts and calls == self._call_number
            if its_turn and self._kind == "kill_before_call":
                _die()
            answer = original(endpoint, operation, *args, **kwargs)
            if its_turn:
                _die()
            return answer

        setattr(Endpoint, "make_request", make_request)  # noqa: B010 - a method


def _die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)
