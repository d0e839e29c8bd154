"""Data classes by API key, from the stack's parameter to the paths that a call may take, as deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
import urllib3

from infra.deploy import deploy
from infra.local.environment import Environment
from infra.local.sides import GOVCLOUD
from tests.embedded_cloud.conftest import eventually
from tests.embedded_cloud.test_event_apigateway import signed

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
BODY = json.dumps(
    {
        "modelId": MODEL,
        "body": {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 10,
            "messages": [{"role": "user", "content": "hello"}],
        },
    }
).encode()
POLICY = {"data_classes": {"default": ["vpn"], "closed": [], "open": ["vpn", "internet"]}}

pytestmark = pytest.mark.slow


class Link:
    """A running link that counts by API keys, with one for the class `closed`, one for `open`, and one unnamed."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        client = environment.client("apigateway")
        (plan,) = client.get_usage_plans()["items"]
        self.keys: dict[str, dict[str, Any]] = {}
        for name in ("closed", "open", "unnamed"):
            key = self.keys[name] = client.create_api_key(name=name, enabled=True)
            client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
        self.own_key = environment.deployment.govcloud["ApiKeyId"]

    def give_classes(self, classes: Mapping[str, str]) -> None:
        named = ",".join(f"{key}={data_class}" for key, data_class in classes.items())
        settings = self.environment.deploy_settings()
        given = {**settings.govcloud_parameters, "ApiKeyDataClasses": named}
        deploy(self.environment.cloud, replace(settings, govcloud_parameters=given))

    def call(self, key: str, data_class: str | None = None) -> tuple[int, Any]:
        url = f"{self.environment.api_url}/v1/bedrock/invoke-model"
        headers = signed(url, GOVCLOUD, "execute-api", GOVCLOUD.region)
        headers |= {"Content-Type": "application/json", "x-api-key": self.keys[key]["value"]}
        if data_class is not None:
            headers["X-Twinspan-Data-Class"] = data_class
        with urllib3.PoolManager() as pool:
            answer = pool.request("POST", url, body=BODY, headers=headers, retries=False)
        return answer.status, json.loads(answer.data)

    def audited(self) -> set[tuple[str, str]]:
        table = self.environment.deployment.govcloud["AuditTableName"]
        rows = self.environment.client("dynamodb").scan(TableName=table)["Items"]
        return {(row["dataClass"]["S"], row["statusCode"]["N"]) for row in rows}


@pytest.fixture(scope="module")
def link() -> Iterator[Link]:
    given = {"ApiKeyFrom": "header"}
    with Environment(timers=False, policy=POLICY, govcloud_parameters=given) as environment:
        link = Link(environment)
        closed, wide = (link.keys[name]["id"] for name in ("closed", "open"))
        link.give_classes({closed: "closed", wide: "open"})
        yield link
        assert environment.failures == []


def test_a_key_takes_the_paths_of_its_class_and_no_others(link: Link) -> None:
    """A call without a header is of its key's class, and one of a key that is not named of the default class."""
    assert link.call("open")[0] == 200
    status, refused = link.call("closed")
    assert (status, refused["__type"]) == (503, "NoAllowedPath")
    assert link.call("unnamed")[0] == 200
    wanted = {("open", "200"), ("closed", "503"), ("default", "200")}
    eventually(lambda: wanted <= link.audited())


def test_a_header_narrows_what_a_key_may_and_never_widens_it(link: Link) -> None:
    """From `open` a caller may go down to `default`; from `closed`, or without a class, nobody goes up."""
    assert link.call("open", "default")[0] == 200
    assert link.call("open", "closed")[0] == 503
    for key, asked in (("closed", "default"), ("closed", "open"), ("unnamed", "open")):
        status, refused = link.call(key, asked)
        assert status == 403, (key, asked)
        assert refused["message"].startswith("x-twinspan-data-class: ")


def test_the_stacks_own_key_can_be_given_a_class_and_lose_it(link: Link) -> None:
    """The stack tells the id of its key; without the parameter keys say nothing of data classes again."""
    link.give_classes({link.own_key: "closed", link.keys["open"]["id"]: "closed"})
    assert link.call("open")[0] == 503
    link.give_classes({})
    assert link.call("open", "open")[0] == 200
    assert link.call("closed")[0] == 200
