"""Bearer keys from the command that makes them to the call that they open, at both edges, as deployed.

The templates make table and authorizer; API Gateway's authorizer and the server look keys up each time here
(`BearerKeyCacheSeconds` 0), so that a revoked one stops at once. A stock client shows a key over HTTPS only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import boto3
import pytest
import urllib3
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from control_plane.cli.app import app
from infra.local.environment import Environment
from infra.local.lab.certificates import Authority
from tests.embedded_cloud.conftest import eventually
from tests.embedded_cloud.tls_front import https

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
EDGES = ("server", "API Gateway")

pytestmark = pytest.mark.slow


class Link:
    """A running link whose edges speak HTTPS too."""

    def __init__(self, environment: Environment, urls: dict[str, str], trusted: str) -> None:
        self.environment = environment
        self._urls = urls
        self._trusted = trusted

    def client(self, edge: str) -> Any:
        """A stock client with only its endpoint changed, and whom it trusts."""
        return boto3.client("bedrock-runtime", endpoint_url=self._urls[edge], verify=self._trusted)

    def callers_in_the_audit(self) -> set[str]:
        table = self.environment.deployment.govcloud["AuditTableName"]
        rows = self.environment.client("dynamodb").scan(TableName=table)["Items"]
        return {row["caller"]["S"] for row in rows}


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    with (
        Environment(
            timers=False,
            govcloud_parameters={"BearerKeyCacheSeconds": "0"},
            callers_need_keys=True,
        ) as environment,
        ExitStack() as fronts,
    ):
        edges = {"server": environment.proxy_url, "API Gateway": environment.api_url}
        urls = {edge: fronts.enter_context(https(url, authority)) for edge, url in edges.items()}
        yield Link(environment, urls, str(authority.file))
        assert environment.failures == []


@pytest.fixture(autouse=True)
def surroundings(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `python -m infra.local env` prints."""
    for name, value in link.environment.exports().items():
        monkeypatch.setenv(name, value)


def twinspan(*arguments: str) -> Any:
    agreed = [] if arguments[0] == "list" else ["--yes"]
    result = CliRunner().invoke(app, ["key", *arguments, *agreed, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def converse(client: Any, model: str = MODEL) -> str:
    conversation = [{"role": "user", "content": [{"text": "hello"}]}]
    answer = client.converse(modelId=model, messages=conversation)
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-tunnel-used"])


def refused(client: Any, model: str = MODEL) -> int:
    with pytest.raises(ClientError) as caught:
        converse(client, model)
    return int(caught.value.response["ResponseMetadata"]["HTTPStatusCode"])


@pytest.mark.parametrize("edge", EDGES)
def test_a_stock_client_with_a_key_gets_in_until_it_is_revoked(
    link: Link, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `key create` prints, put into AWS_BEARER_TOKEN_BEDROCK, opens the edge; the audit names its principal;
    once `key revoke` has been called it is 401."""
    principal = f"team at the {edge}"
    made = twinspan("create", principal)
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", made["key"])
    client = link.client(edge)
    assert converse(client) == "tunnel-1"
    eventually(lambda: principal in link.callers_in_the_audit())
    twinspan("revoke", made["key_id"])
    assert refused(client) == 401
    assert {key["key_id"]: key["state"] for key in twinspan("list")}[made["key_id"]] == "revoked"


@pytest.mark.parametrize("edge", EDGES)
def test_a_key_opens_the_models_and_data_class_that_it_names(
    link: Link, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the table says of a key holds at the edge: another model, or another data class, is 403."""
    made = twinspan("create", "a narrow one", "--model", "anthropic.*", "--data-class", "default")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", made["key"])
    client = link.client(edge)
    assert converse(client) == "tunnel-1"
    assert refused(client, "amazon.nova-lite-v1:0") == 403
    client.meta.events.register(
        "before-send.bedrock-runtime.Converse",
        lambda request, **_: request.headers.__setitem__("X-Twinspan-Data-Class", "another"),
    )
    assert refused(client) == 403


@pytest.mark.parametrize("edge", EDGES)
def test_without_a_key_nobody_gets_in(
    link: Link, edge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up key is 401, and so is a stock client's signature, which neither edge can verify."""
    assert refused(link.client(edge)) == 401
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "twk_made_up")
    assert refused(link.client(edge)) == 401


def test_a_key_is_none_for_the_existing_interface(link: Link) -> None:
    """At API Gateway those routes take signatures for execute-api, and a bearer key is none."""
    key = twinspan("create", "team-a")["key"]
    with urllib3.PoolManager() as pool:
        answer = pool.request(
            "GET",
            f"{link.environment.api_url}/v1/bedrock/models",
            headers={"Authorization": f"Bearer {key}"},
            retries=False,
        )
    assert answer.status == 403
