"""The embedded cloud as one object: start it, talk to it with stock AWS tools, stop it.

One moto server on the loopback interface serves both partitions; the access key tells the account. Started
with it: the event router, the alarm evaluator, the scheduler and the Lambda runtime.

Guarantees: several clouds can run one after the other in a process, each beginning empty; nothing of the
process's environment or logging is left changed after `stop`. Only one runs at a time, since moto's state is
global. State lives in memory and ends with the cloud.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.config import Config
from moto.core.config import default_user_config
from moto.iam.models import AccessKey, iam_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from infra.local import cloudformation, extensions, moto_state, service_metrics
from infra.local import stepfunctions as step_functions
from infra.local.alarms import AlarmEvaluator
from infra.local.apigateway import ApiGateway
from infra.local.background import BackgroundTasks, TaskFailure
from infra.local.call_record import CallRecord
from infra.local.clock import CloudClock
from infra.local.events import EventRouter
from infra.local.extensions import RunningCloud
from infra.local.lambda_runtime import LambdaRuntime
from infra.local.schedules import Scheduler
from infra.local.sides import SIDES, Side, account_of, connect

ADDRESS = "127.0.0.1"
OWN_PACKAGES = ("control_plane", "infra", "proxy", "state_machine")
_CONFIGURATION: Mapping[str, Mapping[str, Any]] = {
    "stepfunctions": {"execute_state_machine": True},
    "lambda": {"use_docker": False},
    "core": {"mock_credentials": False, "reset_boto3_session": False},
}
_CLIENT = Config(retries={"total_max_attempts": 2}, max_pool_connections=32)
_QUIET_LOGGERS = {
    "werkzeug": logging.ERROR,  # one line per request would bury everything else
    "moto.stepfunctions": logging.CRITICAL,  # a dump per failed task, which its history tells better
}
_DELIVERY_THREADS = 8
_FUNCTION_THREADS = 8
_WORKERS_PER_FUNCTION = 8
_STAND_IN_USER = "local-operator"


class EmbeddedCloud:
    """Both partitions, in this process.

    `clock` shrinks AWS's own timers (see `CloudClock`). `port` 0 takes a free one. `log_directory` gets one
    file per function with what it wrote. With `timers` False alarms and schedules stand still until
    `start_timers`, or a test calls `alarms.run_due(now)` and `scheduler.run_due(now)` with a time of its own.
    `function_command` is put before the command that starts the functions' processes, for example to enter a
    network namespace; `function_environment` is added to every function's variables. With `record_calls`
    every call that a role or user makes is kept, for a check of what they may do.

    Attributes of a started cloud: `endpoint_url` (the AWS APIs), `router` (put an AWS service's own event; fail
    deliveries), `lambdas` (faults, history), `alarms`, `scheduler`, `api_gateway`, `clock`, `calls` (None without
    `record_calls`).
    """

    def __init__(
        self,
        *,
        clock: CloudClock | None = None,
        port: int = 0,
        log_directory: Path | None = None,
        workers_per_function: int = _WORKERS_PER_FUNCTION,
        timers: bool = True,
        function_command: Sequence[str] = (),
        function_environment: Mapping[str, str] | None = None,
        record_calls: bool = False,
    ) -> None:
        self.calls = CallRecord() if record_calls else None
        self._function_command = function_command
        self._function_environment = function_environment
        self.clock = clock or CloudClock()
        self._port = port
        self._log_directory = log_directory
        self._workers_per_function = workers_per_function
        self._timers = timers
        self._clients: dict[tuple[str, Side], Any] = {}
        self._client_lock = threading.Lock()
        self._parts = contextlib.ExitStack()

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start serving. Raises `CloudAlreadyRunning`, `UnsupportedMotoVersion`, `OSError` for a port in use."""
        extensions.install()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        # What stops first is started last: timers, executions, the gateway, functions, deliveries, the server.
        extensions.claim(self)
        self._parts.callback(extensions.release)
        moto_state.reset()
        self._parts.callback(moto_state.reset)
        self._configure()
        self._parts.callback(self._close_clients)
        server = _Server(self._port, self.calls)
        self._parts.callback(server.stop)
        server.start()
        self.endpoint_url = f"http://{ADDRESS}:{server.port}"
        task_clients = step_functions.ClientCache(self.endpoint_url)
        self._parts.callback(task_clients.close)
        deliveries = self._tasks("deliveries", _DELIVERY_THREADS)
        functions = self._tasks("functions", _FUNCTION_THREADS)
        self.lambdas = LambdaRuntime(
            clock=self.clock,
            tasks=functions,
            endpoint_url=self.endpoint_url,
            own_packages=OWN_PACKAGES,
            log_directory=self._log_directory,
            workers_per_function=self._workers_per_function,
            command=self._function_command,
            further_environment=self._function_environment,
        )
        self.router = EventRouter(self.clock, deliveries, self.lambdas, self.calls)
        self.alarms = AlarmEvaluator(self.clock, self.router, self.lambdas)
        self.scheduler = Scheduler(self.clock, self.router)
        extensions.attach(RunningCloud(self.router, self.alarms, self.lambdas, task_clients))
        cloudformation.install(self.endpoint_url)
        _register_access_keys()
        self.lambdas.start()
        self._parts.callback(self.lambdas.stop)
        self.api_gateway = ApiGateway(self.lambdas, self.clock, ADDRESS)
        self.api_gateway.start()
        self._parts.callback(self.api_gateway.stop)
        self._parts.callback(step_functions.stop_running_executions)
        self._timer_tasks = self._tasks("timers", 1)
        self._all_tasks = (deliveries, functions, self._timer_tasks)
        if self._timers:
            self.start_timers()

    def start_timers(self) -> None:
        """Let alarms and schedules run by the clock, in a cloud that was made with `timers` False. Once."""
        tasks = self._timer_tasks
        tasks.every(self.alarms.tick_seconds, "alarm evaluation", self.alarms.run_due)
        tasks.every(self.scheduler.tick_seconds, "schedules", self.scheduler.run_due)
        minute = self.clock.real_seconds(60)
        tasks.every(minute, "metrics of queues", service_metrics.measure_queues)

    def stop(self) -> None:
        """End everything that was started. Safe to call twice."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def on_stop(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the cloud stops, before anything else of it ends; last given, first called."""
        self._parts.callback(callback)

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _tasks(self, name: str, workers: int) -> BackgroundTasks:
        tasks = BackgroundTasks(name, workers)
        tasks.start()
        self._parts.callback(tasks.stop)
        return tasks

    def _configure(self) -> None:
        saved = {key: default_user_config.get(key) for key in _CONFIGURATION}
        default_user_config.update({key: dict(value) for key, value in _CONFIGURATION.items()})  # type: ignore[typeddict-item]

        def restore() -> None:
            default_user_config.update(saved)  # type: ignore[typeddict-item]

        self._parts.callback(restore)
        for name, level in _QUIET_LOGGERS.items():
            quiet = logging.getLogger(name)
            self._parts.callback(quiet.setLevel, quiet.level)
            quiet.setLevel(level)

    # -- use --------------------------------------------------------------------------------------

    def client(self, service: str, side: Side | str = Side.GOVCLOUD) -> Any:
        """A boto3 client for a side's account and region; made once, safe to share between threads."""
        account = account_of(side)
        with self._client_lock:
            client = self._clients.get((service, account.side))
            if client is None:
                client = self._clients[service, account.side] = connect(
                    account, service, self.endpoint_url, config=_CLIENT
                )
            return client

    def environment(self, side: Side | str = Side.GOVCLOUD) -> dict[str, str]:
        """The environment variables with which stock AWS tools talk to this cloud."""
        account = account_of(side)
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_REGION": account.region,
            "AWS_DEFAULT_REGION": account.region,
            "AWS_ACCESS_KEY_ID": account.access_key_id,
            "AWS_SECRET_ACCESS_KEY": account.secret_access_key,
        }

    def api_url(self, api_id: str, stage: str) -> str:
        """Where a stage of a REST API answers, for either side's APIs."""
        return f"{self.api_gateway.endpoint_url}/{api_id}/{stage}"

    @property
    def failures(self) -> list[TaskFailure]:
        """Defects of the cloud itself that its background threads met; empty when all is well."""
        return [failure for tasks in self._all_tasks for failure in tasks.failures]

    def wait_until_idle(self, timeout_seconds: float = 30.0) -> bool:
        """Wait until no delivery, invocation, retry or execution is under way; False if that took too long."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            for tasks in self._all_tasks:
                if not tasks.wait_until_idle(max(0.0, deadline - time.monotonic())):
                    return False
            if not step_functions.running_executions():
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)


class _Server(ThreadedMotoServer):
    """moto's server, which tells its port, says when it cannot bind, closes its socket, and has its calls noted."""

    def __init__(self, port: int, calls: CallRecord | None) -> None:
        self._calls = calls
        super().__init__(ip_address=ADDRESS, port=port, verbose=False)
        self._failure: BaseException | None = None

    def _server_entry(self) -> None:
        try:
            super()._server_entry()
        except BaseException as error:  # noqa: BLE001 - handed to start(), on the thread that waits
            self._failure = error
            self._server_ready_event.set()

    def start(self) -> None:
        super().start()
        if self._failure is not None:
            raise self._failure
        if self._calls is not None and self._server is not None:
            self._server.app = self._calls.in_front_of(self._server.app)

    @property
    def port(self) -> int:
        return self.get_host_and_port()[1]

    def stop(self) -> None:
        if self._thread is not None and self._server is not None:
            super().stop()
            self._server.server_close()


def _register_access_keys() -> None:
    """One IAM user per account owns its stand-in key, so that `sts get-caller-identity` answers."""
    new_key: Any = AccessKey  # declared abstract by its base class, which moto itself ignores
    for account in SIDES:
        backend = iam_backends[account.account_id][account.partition]
        user = backend.create_user(account.region, _STAND_IN_USER)
        key = new_key(user.name, prefix="LOCAL", account_id=account.account_id)
        key.access_key_id = account.access_key_id
        key.secret_access_key = account.secret_access_key
        user.access_keys.append(key)
        backend.access_keys[account.access_key_id] = key
