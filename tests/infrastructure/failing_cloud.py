"""A deployed link whose cloud answers wrongly, time that passes at once, and what of the link can change."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from control_plane.adapters.journal import Journal
from control_plane.domain.journal import verify
from infra.deploy import (
    DeploymentError,
    DeploySettings,
    Trigger,
)
from infra.documents import EndpointOverride
from infra.local.server import EmbeddedCloud
from infra.stacks import Stacks
from infra.waiting import Clock
from tests.infrastructure.conftest import settings

COMMERCIAL_STACK, GOVCLOUD_STACK = "twinspan-bedrock-commercial", "twinspan-bedrock-govcloud"


@dataclass
class VirtualTime:
    """Seconds that pass only by sleeping."""

    seconds: float = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += max(seconds, 60.0)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self.sleep)


@dataclass
class Faulty:
    """Clients of a cloud in which some answers are changed, or calls refused.

    `answers`: by (service, side, operation), a function of the real answer. `refused`: operations to refuse.
    """

    cloud: EmbeddedCloud
    answers: dict[tuple[str, str, str], Callable[[Any], Any]] = field(default_factory=dict)
    refused: set[tuple[str, str, str]] = field(default_factory=set)

    def client(self, service: str, side: str) -> Any:
        return _FaultyClient(self, service, side)


class _FaultyClient:
    def __init__(self, faulty: Faulty, service: str, side: str) -> None:
        self._faulty, self._of = faulty, (service, side)
        self._client = faulty.cloud.client(service, side)

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._client, name)
        key = (*self._of, name)
        if key in self._faulty.refused:

            def refuse(**arguments: Any) -> Any:
                error = {"Code": "AccessDenied", "Message": "not today"}
                raise ClientError({"Error": error}, name)  # type: ignore[typeddict-item]

            return refuse
        if key in self._faulty.answers:
            return lambda **arguments: self._faulty.answers[key](member(**arguments))
        return member


def record(cloud: EmbeddedCloud) -> dict[str, Any]:
    s3 = cloud.client("s3")
    bucket = next(
        b["Name"]
        for b in s3.list_buckets()["Buckets"]
        if b["Name"].startswith("twinspan-artifacts")
    )
    answer = s3.get_object(Bucket=bucket, Key="deployments/bedrock.json")
    value: dict[str, Any] = json.loads(answer["Body"].read())
    return value


def state(cloud: EmbeddedCloud) -> dict[str, Any]:
    """What a deployment can change of a link that is there: parameters, secrets' versions, keys, documents."""
    found: dict[str, Any] = {}
    for side, name in (("commercial", COMMERCIAL_STACK), ("govcloud", GOVCLOUD_STACK)):
        stack = Stacks(cloud.client("cloudformation", side)).describe(name)
        assert stack is not None
        found[name] = sorted(
            (p["ParameterKey"], p["ParameterValue"])
            for p in stack["Parameters"]
            if not p["ParameterKey"].endswith("Key")
        )
        outputs = {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}
        found[f"{name} outputs"] = outputs
        secrets = cloud.client("secretsmanager", side)
        for key in (
            "RouterConfigurationAArn",
            "RouterConfigurationBArn",
            "CommercialCredentialArn",
        ):
            if key in outputs:
                found[key] = secrets.get_secret_value(SecretId=outputs[key])["SecretString"]
    user = found[f"{COMMERCIAL_STACK} outputs"]["CrossPartitionUserName"]
    keys = cloud.client("iam", "commercial").list_access_keys(UserName=user)["AccessKeyMetadata"]
    found["keys"] = [key["AccessKeyId"] for key in keys]
    for kind in ("topology", "policy", "routing-config"):
        found[kind] = cloud.client("ssm").get_parameter(Name=f"/twinspan/bedrock/{kind}")[
            "Parameter"
        ]["Value"]
    proxy = cloud.client("lambda").get_function_configuration(FunctionName="twinspan-bedrock-proxy")
    found["proxy"] = proxy["Environment"]["Variables"]
    return found


def journal(cloud: EmbeddedCloud) -> list[dict[str, Any]]:
    """What deployments told the link's journal, whose chain must hold."""

    class Session:
        def client(self, service: str) -> Any:
            return cloud.client(service)

    entries = Journal(Session(), "twinspan-state").entries("bedrock")  # type: ignore[arg-type]
    assert verify(entries, None) is None
    return [entry.data["deployment"] for entry, _ in entries if "deployment" in entry.data]


def changed(**more: object) -> DeploySettings:
    """Settings that change both stacks, the topology and nothing that a VPN connection depends on."""
    return settings(
        govcloud_parameters={"ProxyConfigTtlSeconds": "9"},
        endpoint_overrides={
            "tunnel-1": EndpointOverride("http://127.0.11.1:9", ("127.0.11.1/32",))
        },
        **more,
    )


@contextmanager
def failing(trigger: Trigger | None) -> Iterator[pytest.ExceptionInfo[DeploymentError]]:
    with pytest.raises(DeploymentError) as raised:
        yield raised
    assert raised.value.trigger == trigger


def tunnels(status: str, routes: int) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        for connection in answer["VpnConnections"]:
            for tunnel in connection.get("VgwTelemetry", []):
                tunnel |= {"Status": status, "AcceptedRouteCount": routes}
        return answer

    return change


TELEMETRY = ("ec2", "govcloud", "describe_vpn_connections")
