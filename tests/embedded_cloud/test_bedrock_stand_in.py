"""The Bedrock stand-in, as a stock boto3 client sees it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from infra.local.bedrock import BedrockStandIn
from infra.local.bedrock_signature import Callers
from infra.local.sides import COMMERCIAL

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
TOKEN = "stand-in-api-key"
PROMPT = "How do two partitions meet?"
BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": PROMPT}],
}
CONVERSATION: list[Any] = [{"role": "user", "content": [{"text": PROMPT}]}]


@pytest.fixture(scope="module")
def server() -> Iterator[BedrockStandIn]:
    server = BedrockStandIn(
        Callers(
            region=COMMERCIAL.region,
            secret_key_of={COMMERCIAL.access_key_id: COMMERCIAL.secret_access_key}.get,
            bearer_tokens=frozenset({TOKEN}),
        )
    )
    server.start()
    yield server
    server.stop()


def client(server: BedrockStandIn, **settings: Any) -> Any:
    host, port = server.address
    return boto3.client(
        "bedrock-runtime",
        **{
            "endpoint_url": f"http://{host}:{port}",
            "region_name": COMMERCIAL.region,
            "aws_access_key_id": COMMERCIAL.access_key_id,
            "aws_secret_access_key": COMMERCIAL.secret_access_key,
            "config": Config(retries={"total_max_attempts": 1}),
            **settings,
        },
    )


@pytest.fixture
def bedrock(server: BedrockStandIn) -> Any:
    return client(server)


def invoke(bedrock: Any, model: str = MODEL, **changes: Any) -> dict[str, Any]:
    answer = bedrock.invoke_model(modelId=model, body=json.dumps({**BODY, **changes}))
    parsed: dict[str, Any] = json.loads(answer["body"].read())
    return parsed


def test_invoke_model_answers_in_the_messages_shape(bedrock: Any) -> None:
    """InvokeModel returns a message with text, a stop reason and usage; its limit cuts it short."""
    whole, short = invoke(bedrock), invoke(bedrock, max_tokens=3)
    assert (whole["type"], whole["role"], whole["stop_reason"]) == (
        "message",
        "assistant",
        "end_turn",
    )
    assert whole["model"] == "claude-3-haiku-20240307"
    assert whole["usage"]["output_tokens"] == len(whole["content"][0]["text"].split())
    assert (short["stop_reason"], short["usage"]["output_tokens"]) == ("max_tokens", 3)


def test_streams_carry_the_same_text(bedrock: Any) -> None:
    """Both streaming calls frame their events so that botocore reads them, and add up to the answer."""
    expected = invoke(bedrock)["content"][0]["text"]
    invoked = bedrock.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY))
    events = [json.loads(event["chunk"]["bytes"]) for event in invoked["body"]]
    assert events[0]["type"] == "message_start"
    assert "amazon-bedrock-invocationMetrics" in events[-1]
    assert "".join(e["delta"]["text"] for e in events if e["type"] == "content_block_delta") == (
        expected
    )
    conversed = list(bedrock.converse_stream(modelId=MODEL, messages=CONVERSATION)["stream"])
    assert [next(iter(event)) for event in (conversed[0], *conversed[-2:])] == [
        "messageStart",
        "messageStop",
        "metadata",
    ]
    assert expected == "".join(
        event["contentBlockDelta"]["delta"]["text"]
        for event in conversed
        if "contentBlockDelta" in event
    )


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        f"us.{MODEL}",
        f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}",
        f"arn:aws:bedrock:us-east-1:222222222222:inference-profile/us.{MODEL}",
        "amazon.nova-lite-v1:0",
    ],
)
def test_converse_knows_models_by_any_name(bedrock: Any, model: str) -> None:
    """Converse answers for ids, cross-region profiles and ARNs; tokens agree with CountTokens."""
    answer = bedrock.converse(modelId=model, messages=CONVERSATION)
    usage = answer["usage"]
    assert usage["totalTokens"] == usage["inputTokens"] + usage["outputTokens"]
    counted = bedrock.count_tokens(modelId=model, input={"converse": {"messages": CONVERSATION}})
    assert counted["inputTokens"] == usage["inputTokens"]


def test_nothing_of_the_prompt_comes_back(bedrock: Any) -> None:
    """The canned answer holds no part of the prompt, so that a leak elsewhere shows."""
    assert "zebra-crossing" not in json.dumps(
        invoke(bedrock, messages=[{"role": "user", "content": "zebra-crossing"}])
    )


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"aws_access_key_id": "LOCALNOBODY000000000"}, "UnrecognizedClientException"),
        ({"aws_secret_access_key": "wrong"}, "InvalidSignatureException"),
        ({"region_name": "eu-west-1"}, "InvalidSignatureException"),
    ],
)
def test_wrong_credentials_are_refused(
    server: BedrockStandIn, settings: dict[str, str], code: str
) -> None:
    """An unknown key, a signature by another secret, and a foreign region get 403 with AWS's error."""
    with pytest.raises(ClientError) as caught:
        invoke(client(server, **settings))
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


@pytest.mark.parametrize(
    ("authorization", "status"), [(f"Bearer {TOKEN}", 200), ("Bearer other", 403), (None, 403)]
)
def test_bearer_token(server: BedrockStandIn, authorization: str | None, status: int) -> None:
    """A Bedrock API key opens the door, another one and none at all do not."""
    connection = http.client.HTTPConnection(*server.address)
    headers = {"Authorization": authorization} if authorization else {}
    connection.request("POST", f"/model/{MODEL}/invoke", json.dumps(BODY), headers)
    answer = connection.getresponse()
    assert answer.status == status
    assert answer.getheader("x-amzn-RequestId")
    connection.close()


@pytest.mark.parametrize(
    ("model", "changes", "code", "status"),
    [
        ("no-such-model", {}, "ValidationException", 400),
        ("anthropic.claude-v2:1", {}, "ResourceNotFoundException", 404),
        (MODEL, {"anthropic_version": None}, "ValidationException", 400),
        (MODEL, {"max_tokens": None}, "ValidationException", 400),
        (MODEL, {"messages": []}, "ValidationException", 400),
        ("amazon.nova-lite-v1:0", {}, "ValidationException", 400),
    ],
)
def test_bad_requests_are_refused(
    bedrock: Any, model: str, changes: dict[str, Any], code: str, status: int
) -> None:
    """A model that does not exist or is retired, and a malformed body, get AWS's error and status."""
    with pytest.raises(ClientError) as caught:
        invoke(bedrock, model, **changes)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_throttling_and_failing_on_demand(server: BedrockStandIn, bedrock: Any) -> None:
    """The next requests are throttled or fail as often as told, then answers resume."""
    server.behaviour.throttle_next = 1
    with pytest.raises(ClientError, match="ThrottlingException"):
        invoke(bedrock)
    server.behaviour.fail_next = 1
    with pytest.raises(ClientError, match="ServiceUnavailableException"):
        invoke(bedrock)
    assert invoke(bedrock)["type"] == "message"
