from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from moto.dynamodb.models import dynamodb_backends
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from control_plane.cli.app import app
from proxy.authorizer import Unauthorized, authorize
from proxy.aws import KeyTable
from proxy.aws_json import AwsCalls
from proxy.caller_keys import OUTAGE_SECONDS, CallerKeys, InvalidKeyItem, grant_from_item
from proxy.messages import Refused
from tests.unit.test_proxy_config_source import Clock

TABLE = "twinspan-caller-keys"
METHOD = "arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:api/prod/POST/model/m/converse"
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyTable]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-gov-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    boto3.client("dynamodb").create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": "keyDigest", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "keyDigest", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield KeyTable(AwsCalls(), TABLE)
    server.stop()
    dynamodb_backends.reset()


def twinspan(*arguments: str, code: int = 0) -> str:
    agreed = [] if arguments[0] == "list" else ["--yes"]
    result = CliRunner().invoke(app, ["key", *arguments, *agreed])
    assert result.exit_code == code, result.output
    return result.stdout


def request_event(key: str) -> dict[str, Any]:
    return {
        "type": "REQUEST",
        "methodArn": METHOD,
        "headers": {"Authorization": f"Bearer {key}"},
    }


def test_a_created_key_opens_the_stage_with_what_it_grants(keys: KeyTable) -> None:
    """The command's key is accepted from both kinds of event; data class, models and plan go with it."""
    key = twinspan(
        "create", "team-a", "--data-class", "cui", "--model", "Anthropic.*", "--usage-plan", "plan"
    ).strip()
    token_event = {"type": "TOKEN", "methodArn": METHOD, "authorizationToken": f"Bearer {key}"}
    for event in (request_event(key), token_event):
        answer = authorize(event, keys, time.time())
        assert answer["principalId"] == "team-a"
        assert answer["context"] == {"dataClass": "cui", "allowedModels": "anthropic.*"}
        assert answer["usageIdentifierKey"] == "plan"
        (statement,) = answer["policyDocument"]["Statement"]
        assert statement["Effect"] == "Allow"
        assert statement["Resource"] == METHOD.split("/")[0] + "/prod/*"


def test_the_key_itself_is_kept_nowhere(keys: KeyTable) -> None:
    """Neither the table nor the list holds the key or its secret."""
    key = twinspan("create", "team-a").strip()
    stored = str(boto3.client("dynamodb").scan(TableName=TABLE)["Items"])
    secret = key.split("_", 2)[2]
    assert secret not in stored
    assert secret not in twinspan("list", "--json")


def test_a_revoked_an_expired_and_a_made_up_key_open_nothing(keys: KeyTable) -> None:
    """Each is `Unauthorized`, which API Gateway answers with 401; revoking twice says so."""
    key = twinspan("create", "team-a", "--days", "1").strip()
    with pytest.raises(Unauthorized, match="^Unauthorized$"):
        authorize(request_event(key), keys, time.time() + 2 * 86_400)
    twinspan("revoke", key.split("_")[1])
    for wrong in (key, "made-up", ""):
        with pytest.raises(Unauthorized):
            authorize(request_event(wrong), keys, time.time())
    assert "revoked" in twinspan("list")
    twinspan("revoke", key.split("_")[1], code=1)
    twinspan("revoke", "unknown", code=1)


@pytest.mark.parametrize("arguments", [("",), ("a", "--model", "a*b"), ("a", "--model", "")])
def test_a_wrong_field_makes_no_key(keys: KeyTable, arguments: tuple[str, ...]) -> None:
    """An empty principal or a pattern that would match nothing is bad input; the table stays empty."""
    twinspan("create", *arguments, code=2)
    assert boto3.client("dynamodb").scan(TableName=TABLE)["Items"] == []


def test_the_server_remembers_a_key_through_an_outage_and_forgets_a_revoked_one(
    keys: KeyTable,
) -> None:
    """A remembered key outlives the table's outage for a while; an unknown one is 503, not 401."""
    key = twinspan("create", "team-a", "--model", "anthropic.*").strip()
    assert keys.get("0" * 64) is None  # makes the client, which is slow on a busy machine

    class Getter:
        out = False

        def get(self, digest: str) -> dict[str, Any] | None:
            if self.out:
                raise ConnectionError("DynamoDB is out")
            return keys.get(digest)

    async def test() -> None:
        clock, getter = Clock(), Getter()
        with ThreadPoolExecutor(1) as executor:
            callers = CallerKeys(getter, executor, clock, ttl_seconds=30)
            grant = await callers.grant(f"Bearer {key}")
            assert grant is not None
            assert grant.principal == "team-a"
            assert grant.permits(MODEL)
            assert not grant.permits("amazon.nova-lite-v1:0")
            assert await callers.grant("Bearer unknown") is None
            assert await callers.grant(None) is None
            getter.out = True
            clock.now += 31
            assert await callers.grant(f"Bearer {key}") == grant
            with pytest.raises(Refused) as caught:
                await callers.grant("Bearer another")
            assert caught.value.status == 503
            clock.now += OUTAGE_SECONDS
            with pytest.raises(Refused):
                await callers.grant(f"Bearer {key}")
            getter.out = False
            twinspan("revoke", key.split("_")[1])
            assert await callers.grant(f"Bearer {key}") is None

    asyncio.run(test())


@pytest.mark.parametrize(
    "item",
    [
        {},
        {"principal": {"S": "a"}},
        {"principal": {"S": ""}, "expiresAt": {"N": "1"}},
        {"principal": {"S": "a"}, "expiresAt": {"N": "soon"}},
        {"principal": {"S": "a"}, "expiresAt": {"N": "1"}, "allowedModels": {"S": "a"}},
    ],
)
def test_a_spoilt_item_grants_nothing(item: dict[str, Any]) -> None:
    """A stored key with a missing or mistyped field is refused rather than read as unlimited."""
    with pytest.raises(InvalidKeyItem):
        grant_from_item(item)
