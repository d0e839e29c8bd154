"""Everything at once: the embedded cloud, the deployed link, its network, Bedrock's stand-in, the proxy.

`Environment` is what the demo, the scenario tests and `python -m infra.local up` run. It deploys the
project's own templates with the project's own deployment, then starts the proxy's own server in its own
process with the environment that the deployed proxy function has.

AWS's timers start only when the tunnels are up: alarms on a half-built network would call the control
plane to it.

Not guaranteed: nothing is kept from one environment to the next, and one process runs one at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends

from infra.deploy import Deployment, DeploySettings, deploy
from infra.local.bedrock import BedrockStandIn
from infra.local.bedrock_signature import Callers
from infra.local.call_record import session_token
from infra.local.clock import CloudClock
from infra.local.dataplane import DataPath
from infra.local.ec2_facts_vpn import TunnelStatus
from infra.local.errors import EmbeddedCloudError
from infra.local.faults import Faults
from infra.local.relay import RelayMode
from infra.local.server import EmbeddedCloud
from infra.local.sides import COMMERCIAL, Side
from infra.local.site import Loopback, Site
from infra.local.telemetry import DETECTION_AWS_SECONDS
from infra.local.tether import Child

SECONDS_PER_MINUTE = 3.0
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_HEALED_SECONDS = 15.0
_LAST_LINES = 20
_KEY_SECONDS = "60"
_LISTENING = re.compile(r"^proxy listening on (http://\S+)$", re.MULTILINE)


class NotReady(EmbeddedCloudError):
    """A part of the environment did not come up; the text says which and what it last said."""


class Environment:
    """A running link on this machine; a context manager.

    `policy`: the link's policy document, or parts of it; the deployment's defaults otherwise.
    `seconds_per_minute`: real seconds that AWS's minute takes. `detection_aws_seconds`: how long AWS takes
    to notice a dead tunnel, in AWS's time. `log_directory` gets a file per function and one of the proxy;
    without it they are gone with the environment. With `timers` False alarms and schedules stand still.
    `govcloud_parameters`: template parameters beside those that the machine asks for. With `callers_need_keys`
    the proxy's server lets nobody in without a bearer key, as on AWS; otherwise it takes strangers too.
    With `lab` the network is a real one (`infra.local.lab`), functions and proxy run in it, and dead tunnels
    are found by the lab's own timers. `record_calls` is the embedded cloud's.

    Attributes: `link_id`, `endpoint_url` (the AWS APIs), `proxy_url` (the proxy's server), `api_url` (the proxy
    function behind API Gateway), `state_machine_arn`, `faults`,
    `bedrock` (`behaviour`, `served`), `plane` (relays and their counters), `cloud`, `deployment`,
    `is_in_the_lab`.
    """

    def __init__(
        self,
        *,
        link_id: str = "bedrock",
        policy: Mapping[str, Any] | None = None,
        seconds_per_minute: float = SECONDS_PER_MINUTE,
        detection_aws_seconds: float = DETECTION_AWS_SECONDS,
        log_directory: Path | None = None,
        timers: bool = True,
        lab: bool = False,
        govcloud_parameters: Mapping[str, str] | None = None,
        callers_need_keys: bool = False,
        record_calls: bool = False,
    ) -> None:
        self._govcloud_parameters = govcloud_parameters or {}
        self._callers_need_keys = callers_need_keys
        self._record_calls = record_calls
        self.is_in_the_lab = lab
        self._runs_timers = timers
        self.link_id = link_id
        self.seconds_per_minute = seconds_per_minute
        self._policy = policy
        self._clock = CloudClock(seconds_per_minute)
        self._detection_aws_seconds = detection_aws_seconds
        self._log_directory = log_directory
        self._parts = contextlib.ExitStack()

    def start(self) -> Self:
        """Bring everything up, or nothing. Raises `NotReady` and what the deployment raises."""
        with contextlib.ExitStack() as parts:
            self._start(parts)
            self._parts = parts.pop_all()
        return self

    def stop(self) -> None:
        """Take everything down. Safe to call twice."""
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

    def _start(self, parts: contextlib.ExitStack) -> None:
        logs = self._log_directory or Path(tempfile.mkdtemp(prefix="twinspan-"))
        if self._log_directory is None:
            parts.callback(shutil.rmtree, logs, ignore_errors=True)
        site: Site = parts.enter_context(_lab_site()) if self.is_in_the_lab else Loopback()
        self.cloud = parts.enter_context(
            EmbeddedCloud(
                clock=self._clock,
                log_directory=logs,
                timers=False,
                function_command=site.function_command,
                function_environment=site.function_environment,
                record_calls=self._record_calls,
            )
        )
        self.endpoint_url = self.cloud.endpoint_url
        site.let_in(self.endpoint_url)
        self.bedrock = BedrockStandIn(
            Callers(COMMERCIAL.region, _commercial_secret_key),
            listeners=site.endpoint_listeners(),
            tls=site.endpoint_tls(),
            on_call=self.cloud.calls.note if self.cloud.calls is not None else None,
        )
        self.bedrock.start()
        parts.callback(self.bedrock.stop)
        self.plane = site.plane(self.bedrock.address, self._clock, self._detection_aws_seconds)
        self.plane.start()
        parts.callback(self.plane.stop)
        self.deployment = self._deploy()
        self.state_machine_arn = self.deployment.govcloud["RemediationStateMachineArn"]
        self.api_url = self.cloud.api_url(
            self.deployment.govcloud["ApiId"], self.deployment.govcloud["ApiStageName"]
        )
        self._connect_network()
        self._start_timers()
        self._start_proxy(parts, logs, site)

    def _deploy(self) -> Deployment:
        """The project's own deployment."""
        return deploy(self.cloud, self.deploy_settings())

    def deploy_settings(self) -> DeploySettings:
        """What the link was deployed with, told where the endpoints are reached instead of at their names."""
        overrides = self.plane.endpoint_overrides()
        hosts = [urlsplit(override.endpoint_url).hostname or "" for override in overrides.values()]
        networks = [
            network for override in overrides.values() for network in override.peer_networks
        ]
        return DeploySettings(
            link_id=self.link_id,
            commercial_parameters={"RouterImageId": _router_image_id()},
            govcloud_parameters={
                "ProxyAllowedHosts": ",".join(hosts),
                "ProxyAllowedNetworks": ",".join(networks),
                "ProxyConfigTtlSeconds": "1",
                **self._govcloud_parameters,
            },
            with_dependencies=False,
            endpoint_overrides=overrides,
            policy=self._policy,
            tunnels_up_seconds=_READY_SECONDS,
            # The tunnels are joined to the network only after it is there; `_connect_network` waits for them.
            connectivity_seconds=0,
            prove_routes=False,
            poll_seconds=_POLL_SECONDS,
        )

    def _connect_network(self) -> None:
        topology = self.deployment.topology
        functions = tuple(topology["sides"][Side.GOVCLOUD]["subnet_ids"])
        self.plane.attach(
            DataPath(
                name=path["name"],
                source_subnet_ids=functions,
                vpn_connection_id=path.get("vpn_connection_id"),
                vpc_endpoint_id=path.get("vpc_endpoint_id"),
                endpoint_subnet_id=path.get("endpoint_subnet_id"),
            )
            for path in topology["paths"]
        )
        if not self.plane.wait_until(lambda plane: plane.is_whole(), _READY_SECONDS):
            reasons = {report.name: report.reason for report in self.plane.reports()}
            raise NotReady(f"the deployed network does not carry: {reasons}")

    def _start_timers(self) -> None:
        if not self._runs_timers:
            return
        # Its alarms treat missing data as breaching: they had better find first datapoints of canary and sweep.
        self.client("lambda").invoke(FunctionName=f"twinspan-{self.link_id}-canary", Payload=b"{}")
        self.client("stepfunctions").start_execution(
            stateMachineArn=self.deployment.govcloud["SweepStateMachineArn"], input="{}"
        )
        self.cloud.start_timers()

    def _start_proxy(self, parts: contextlib.ExitStack, logs: Path, site: Site) -> None:
        variables, role = self._server_as_deployed()
        proxy = Child(
            "proxy.server",
            ["--port", str(site.proxy_port)],
            {
                "PATH": os.environ.get("PATH", os.defpath),
                **variables,
                **self.cloud.environment(Side.GOVCLOUD),
                "AWS_SESSION_TOKEN": session_token(role),
                **site.function_environment,
                # The container edge's, as its template has them. A stock client can show a key over HTTPS only, which
                # this server does not speak: so it takes callers without one too.
                "TWINSPAN_KEYS_TABLE": self.deployment.govcloud["KeysTableName"],
                "TWINSPAN_KEYS_TTL_SECONDS": self._govcloud_parameters.get(
                    "BearerKeyCacheSeconds", _KEY_SECONDS
                ),
                "TWINSPAN_ALLOW_ANONYMOUS": "false" if self._callers_need_keys else "true",
            },
            logs / "proxy.log",
            site.function_command,
        )
        parts.callback(proxy.stop)
        deadline = time.monotonic() + _READY_SECONDS
        while (url := _ready_url(proxy.log_file.read_text(errors="replace"), site)) is None:
            if proxy.exit_code is not None or time.monotonic() > deadline:
                said = proxy.log_file.read_text(errors="replace")
                last = "\n".join(said.splitlines()[-_LAST_LINES:])
                raise NotReady(f"the proxy did not come up; it said:\n{last}")
            time.sleep(_POLL_SECONDS)
        self.proxy_url = url

    def _server_as_deployed(self) -> tuple[dict[str, str], str]:
        """Variables and role of the proxy's server: those of the container edge or, without one, of the function."""
        if "EdgeDnsName" not in self.deployment.govcloud:
            function = self.client("lambda").get_function_configuration(
                FunctionName=self.deployment.govcloud["ProxyFunctionName"]
            )
            return dict(function["Environment"]["Variables"]), str(function["Role"])
        task = self.client("ecs").describe_task_definition(
            taskDefinition=f"twinspan-{self.link_id}-edge"
        )["taskDefinition"]
        (container,) = task["containerDefinitions"]
        variables = {item["name"]: item["value"] for item in container["environment"]}
        return variables, str(task["taskRoleArn"])

    # -- use --------------------------------------------------------------------------------------

    @property
    def faults(self) -> Faults:
        """What can be broken and mended."""
        return self.plane.faults

    @property
    def failures(self) -> list[Exception]:
        """Defects of the environment itself that its threads met; empty when all is well."""
        return [
            *(failure.error for failure in self.cloud.failures),
            *self.plane.failures,
        ]

    def client(self, service: str, side: Side | str = Side.GOVCLOUD) -> Any:
        """A boto3 client of a side's account; safe to share between threads."""
        return self.cloud.client(service, side)

    def exports(self, side: Side | str = Side.GOVCLOUD) -> dict[str, str]:
        """Environment variables with which the AWS CLI, boto3 and `twinspan` use this environment."""
        return {
            **self.cloud.environment(side),
            "TWINSPAN_API_URL": self.api_url,
            "TWINSPAN_KEYS_TABLE": self.deployment.govcloud["KeysTableName"],
            "TWINSPAN_LINK": self.link_id,
            "TWINSPAN_PROXY_URL": self.proxy_url,
            "TWINSPAN_STATE_MACHINE_ARN": self.state_machine_arn,
        }

    def routing_config(self) -> dict[str, Any]:
        """What is published."""
        return self._parameter("routing-config")

    def topology(self) -> dict[str, Any]:
        """What was deployed."""
        return self._parameter("topology")

    def executions(self) -> list[dict[str, Any]]:
        """The remediation workflow's executions as `ListExecutions` shows them, newest first."""
        pages = self.client("stepfunctions").get_paginator("list_executions")
        return [
            execution
            for page in pages.paginate(stateMachineArn=self.state_machine_arn)
            for execution in page["executions"]
        ]

    def heal(self, target: str) -> None:
        """Take a fault away, and wait until the network says so: tunnels need their time to come up again.

        What is broken otherwise stays broken, and is waited for no longer than that takes.
        """
        self.faults.heal(target)
        self.plane.wait_until(lambda plane: self._is_as_faults_say(plane), _HEALED_SECONDS)

    def _is_as_faults_say(self, plane: Any) -> bool:
        """Whether every path that nothing is wrong with carries, by tunnels that are all UP."""
        broken = {target.partition(":")[0] for target in self.faults.in_force()}
        return all(
            report.mode == RelayMode.OPEN
            and all(tunnel.status == TunnelStatus.UP for tunnel in report.tunnels)
            for report in plane.reports()
            if report.name not in broken and report.name.replace("tunnel", "endpoint") not in broken
        )

    def status(self) -> dict[str, Any]:
        """Config, paths with their tunnels and traffic, and faults in force; JSON-shaped."""
        config = self.routing_config()
        return {
            "generation": config["generation"],
            "active_path": config["active_path"],
            "paths": [asdict(report) for report in self.plane.reports()],
            "faults": {target: str(fault) for target, fault in self.faults.in_force().items()},
        }

    def _parameter(self, document: str) -> dict[str, Any]:
        answer = self.client("ssm").get_parameter(Name=f"/twinspan/{self.link_id}/{document}")
        return dict(json.loads(answer["Parameter"]["Value"]))


def _commercial_secret_key(access_key_id: str) -> str | None:
    """The secret of an access key of the commercial account, the deployment's own user included."""
    keys = iam_backends[COMMERCIAL.account_id][COMMERCIAL.partition].access_keys
    key = keys.get(access_key_id)
    return key.secret_access_key if key is not None and key.status == "Active" else None


def _router_image_id() -> str:
    """Any image that moto knows will do: no instance runs."""
    backend = ec2_backends[COMMERCIAL.account_id][COMMERCIAL.region]
    return str(next(iter(backend.amis)))


def _lab_site() -> AbstractContextManager[Site]:
    # Imported when it is asked for: it needs what only the lab needs.
    from infra.local.lab.site import LabSite

    return LabSite()


def _ready_url(said: str, site: Site) -> str | None:
    """Where the proxy is reached: None before it listens, by what it said, and is ready, by its own answer."""
    listening = _LISTENING.findall(said)
    if not listening:
        return None
    url = site.reached_from_here(listening[-1])
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return url if connection.getresponse().status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
