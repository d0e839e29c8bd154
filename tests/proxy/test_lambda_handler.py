from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core import Outside
from proxy.lambda_handler import ANSWER_LIMIT_BYTES, Edge
from tests.property.test_proxy_parsers import JSON, places, put
from tests.proxy.test_server import Background
from tests.proxy.test_streams import HEAD, chunk
from tests.proxy.worlds import (
    ADDRESSES,
    Parameters,
    Reports,
    Rows,
    Secrets,
    Upstream,
    answer_then_reset,
    answer_with,
    config_text,
    hang,
    http,
)
from tests.proxy.worlds import settings as proxy_settings


class Context:
    """Lambda's, with as much time left as a test wants."""

    def __init__(self, seconds: float = 30.0) -> None:
        self.seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


class Function:
    """A warm function between two upstreams."""

    def __init__(self, background: Background) -> None:
        self.upstreams = background.upstreams
        self.background = background
        self.parameters, self.rows, self.reports = Parameters(), Rows(), Reports()
        self.parameters.text = config_text(self.upstreams)
        outside = Outside(self.parameters, Secrets(), self.reports, self.rows)
        self.edge = Edge(proxy_settings(), outside)

    def publish(self, **changes: Any) -> None:
        """Have the next generation adopted."""
        self.parameters.text = config_text(self.upstreams, generation=2, **changes)
        assert self.edge._core.source.adopt(self.parameters.text)

    def invoke(self, event: dict[str, Any], context: Context | None = None) -> dict[str, Any]:
        answer = self.edge.invoke(event, context or Context())
        assert json.loads(json.dumps(answer)) == answer, "Lambda must be able to serialise it"
        return answer


@pytest.fixture
def function() -> Iterator[Function]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    background = Background(loop, {})

    async def start() -> None:
        for name in ("tunnel-1", "tunnel-2"):
            background.upstreams[name] = Upstream(ADDRESSES[name])
            await background.upstreams[name].start()

    async def close() -> None:
        for upstream in background.upstreams.values():
            await upstream.close()
        await asyncio.sleep(0.05)

    background.do(start())
    found = Function(background)
    yield found
    found.edge.close()
    background.do(close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def event(
    path: str = "/model/a.model-v1:0/converse",
    body: str | None = "{}",
    method: str = "POST",
    **changes: Any,
) -> dict[str, Any]:
    """An API Gateway REST proxy event."""
    headers = {"Content-Type": "application/json"} | changes.pop("headers", {})
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "requestContext": {
            "requestId": "gateway-1",
            "identity": {
                "sourceIp": "10.0.2.9",
                "userArn": "arn:aws-us-gov:iam::111111111111:user/analyst",
            },
        },
        "body": body,
        "isBase64Encoded": False,
    } | changes


def test_an_event_is_answered_in_kind(function: Function) -> None:
    """Status, labels and body come back in API Gateway's shape, and the upstream got the encoded path."""
    answer = function.invoke(event())
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False
    assert answer["headers"]["x-tunnel-used"] == "tunnel-1"
    assert answer["multiValueHeaders"]["x-routing-generation"] == ["1"]
    assert json.loads(answer["body"])["stopReason"] == "end_turn"
    assert function.upstreams["tunnel-1"].calls[0].target == "/model/a.model-v1%3A0/converse"


def test_what_the_function_turns_away_is_recorded(function: Function) -> None:
    """A body that cannot be read has its row, with the caller that API Gateway named and the id that the caller got."""
    answer = function.invoke(event(body="no!", isBase64Encoded=True))
    (row,) = function.rows.rows
    assert (row["operation"], row["statusCode"]) == ({"S": "turned-away"}, {"N": "400"})
    assert row["caller"] == {"S": "arn:aws-us-gov:iam::111111111111:user/analyst"}
    assert (row["sourceIp"], row["success"]) == ({"S": "10.0.2.9"}, {"BOOL": False})
    assert row["requestId"] == {"S": answer["headers"]["x-request-id"]}


def test_a_base64_body_arrives_decoded(function: Function) -> None:
    """Binary bodies reach the upstream as the bytes that they are."""
    body = bytes(range(256))
    encoded = base64.b64encode(body).decode()
    assert function.invoke(event(body=encoded, isBase64Encoded=True))["statusCode"] == 200
    assert function.upstreams["tunnel-1"].calls[0].body == body
    assert function.invoke(event(body="no!", isBase64Encoded=True))["statusCode"] == 400


def test_an_event_stream_comes_back_whole_in_base64(function: Function) -> None:
    """A streamed answer is buffered and returned as binary, byte for byte."""
    frames = b"\x00\x00\x00\x10" + bytes(12)
    function.upstreams["tunnel-1"].behaviour = answer_with(
        HEAD + chunk(frames) + chunk(frames) + b"0\r\n\r\n"
    )
    answer = function.invoke(event("/model/a/converse-stream"))
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == frames * 2


def test_a_broken_answer_is_an_error_not_a_part(function: Function) -> None:
    """Since nothing was passed on yet, a body that breaks off is told as 502 and not sent again."""
    half = http(200, b"x" * 100)[:-50]
    function.upstreams["tunnel-1"].behaviour = answer_then_reset(half)
    answer = function.invoke(event())
    assert answer["statusCode"] == 502
    assert json.loads(answer["body"])["__type"] == "AnswerBroke"
    assert function.upstreams["tunnel-2"].calls == []


def test_the_function_fails_over_between_invocations_and_reports(function: Function) -> None:
    """A path that dies while the function sleeps costs no call, and the report is out before the freeze."""
    assert function.invoke(event())["headers"]["x-tunnel-used"] == "tunnel-1"
    function.background.do(function.upstreams["tunnel-1"].refuse())
    answer = function.invoke(event())
    assert (answer["statusCode"], answer["headers"]["x-tunnel-used"]) == (200, "tunnel-2")
    assert [report["path"] for report in function.reports.sent] == ["tunnel-1"]


def test_rows_are_written_before_the_freeze(function: Function) -> None:
    """When an invocation returns, its audit row is in the table, with the caller API Gateway named."""
    function.invoke(event())
    (row,) = function.rows.rows
    assert row["caller"] == {"S": "arn:aws-us-gov:iam::111111111111:user/analyst"}
    assert row["sourceIp"] == {"S": "10.0.2.9"}


def test_the_authorizers_context_says_who_calls_and_what_they_may(function: Function) -> None:
    """Principal, models and data class come from the authorizer, which no caller can write, and bind the call."""
    granted = {"principalId": "team-a", "allowedModels": "a.*", "dataClass": "default"}

    def called(authorizer: dict[str, str], **changes: Any) -> int:
        asked = event(**changes)
        asked["requestContext"]["authorizer"] = authorizer
        return int(function.invoke(asked)["statusCode"])

    assert called(granted) == 200
    assert called(granted, path="/model/b.model-v1:0/converse") == 403
    assert called(granted, headers={"X-Twinspan-Data-Class": "another"}) == 403
    assert called({"principalId": "team-b"}, path="/model/b.model-v1:0/converse") == 200
    rows = [(row["caller"]["S"], row["statusCode"]["N"]) for row in function.rows.rows]
    assert rows == [("team-a", "200"), ("team-a", "403"), ("team-a", "403"), ("team-b", "200")]


OPEN = {"default": ["vpn"], "open": ["vpn", "internet"], "closed": []}


@pytest.mark.parametrize(
    ("key", "asked", "status", "recorded"),
    [
        ("k1", None, 503, "closed"),
        ("k1", "default", 403, "default"),
        ("k2", None, 200, "open"),
        ("k2", "default", 200, "default"),
        ("k2", "unheard-of", 400, "unheard-of"),
        ("unnamed", None, 200, "default"),
        ("unnamed", "open", 403, "open"),
        ("unnamed", "closed", 503, "closed"),
        (None, "open", 200, "open"),
    ],
)
def test_an_api_key_bounds_the_data_class(
    function: Function, key: str | None, asked: str | None, status: int, recorded: str
) -> None:
    """What the stage says of a key binds its calls; a header may ask for fewer paths and never for more; a key that
    is not named is one of the default class."""
    function.publish(data_classes=OPEN)
    called = event(
        headers={"X-Twinspan-Data-Class": asked} if asked else {},
        stageVariables={"apiKeyDataClasses": "k1=closed,k2=open"},
    )
    called["requestContext"]["identity"]["apiKeyId"] = key
    assert function.invoke(called)["statusCode"] == status
    (row,) = function.rows.rows
    assert (row["dataClass"], row["caller"]) == (
        {"S": recorded},
        {"S": "arn:aws-us-gov:iam::111111111111:user/analyst"},
    )


@pytest.mark.parametrize(("granted", "status"), [("default", 200), ("open", 403), (None, 200)])
def test_a_bearer_key_and_its_api_key_bind_both(
    function: Function, granted: str | None, status: int
) -> None:
    """A bearer key that names an API key gets no further than either: its class must be within the API key's."""
    function.publish(data_classes=OPEN)
    called = event(stageVariables={"apiKeyDataClasses": "k1=default"})
    called["requestContext"]["identity"]["apiKeyId"] = "k1"
    called["requestContext"]["authorizer"] = {"principalId": "team-a"}
    if granted is not None:
        called["requestContext"]["authorizer"]["dataClass"] = granted
    assert function.invoke(called)["statusCode"] == status


@pytest.mark.parametrize("said", ["k1", "k1=open,k1=default", "k1=Open", 7, ["k1=open"]])
def test_an_unreadable_map_of_api_keys_widens_nothing(function: Function, said: Any) -> None:
    """Where the stage's variable cannot be read, every API key stands for the default class."""
    function.publish(data_classes=OPEN)
    called = event(
        headers={"X-Twinspan-Data-Class": "open"},
        stageVariables={"apiKeyDataClasses": said},
    )
    called["requestContext"]["identity"]["apiKeyId"] = "k1"
    assert function.invoke(called)["statusCode"] == 403


def test_an_audit_outage_does_not_fail_the_call(function: Function) -> None:
    """With DynamoDB out the caller is answered, and the row is written by a later invocation."""
    function.rows.out = True
    assert function.invoke(event())["statusCode"] == 200
    function.rows.out = False
    function.invoke(event())
    assert len(function.rows.rows) == 2


def test_the_call_ends_before_the_function_does(function: Function) -> None:
    """With little time left, a silent model gives a clean 504 instead of a killed function."""
    function.upstreams["tunnel-1"].behaviour = hang
    answer = function.invoke(event(), Context(1.2))
    assert answer["statusCode"] == 504
    assert json.loads(answer["body"])["__type"] == "OutOfTime"


def test_read_your_writes_after_a_publication(function: Function) -> None:
    """The control plane's verification call is carried under the generation that it asks for."""
    function.invoke(event())
    function.parameters.text = config_text(function.upstreams, "tunnel-2", 2)
    function.edge._core.source._asked_at -= 1
    asking = event(headers={"X-Twinspan-Min-Generation": "2"})
    answer = function.invoke(asking)
    assert answer["headers"]["x-routing-generation"] == "2"
    assert answer["headers"]["x-tunnel-used"] == "tunnel-2"


def test_an_answer_too_large_for_lambda_is_told(function: Function) -> None:
    """An answer beyond Lambda's limit gives 502 with the reason, rather than a failed invocation."""
    body = b'"' + b"x" * ANSWER_LIMIT_BYTES + b'"'
    function.upstreams["tunnel-1"].behaviour = answer_with(http(200, body))
    answer = function.invoke(event())
    assert answer["statusCode"] == 502
    assert json.loads(answer["body"])["__type"] == "AnswerTooLarge"


@pytest.mark.parametrize(
    "changes",
    [
        {"path": None},
        {"httpMethod": None},
        {"headers": {}, "multiValueHeaders": None},
        {"requestContext": None},
        {"body": None},
        {"path": "/model/a/converse\n"},
        {"path": "/model/../x/invoke"},
    ],
)
def test_odd_events_are_answered(function: Function, changes: dict[str, Any]) -> None:
    """An event with parts missing or odd gets an answer with a status, never a crashed function."""
    answer = function.invoke(event() | changes)
    assert 200 <= answer["statusCode"] < 500


EVENT = event()
EVENT["requestContext"] |= {
    "requestTimeEpoch": 4_102_444_800_000,
    "authorizer": {"principalId": "team-a", "allowedModels": "a.*", "dataClass": "default"},
    "identity": {"sourceIp": "10.0.2.9", "apiKeyId": "k1"},
}
EVENT["stageVariables"] = {"apiKeyDataClasses": "k1=default"}


@settings(max_examples=150, derandomize=True, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(places(EVENT)), value=JSON)
def test_an_event_with_anything_anywhere_is_answered(
    function: Function, place: tuple[Any, ...], value: Any
) -> None:
    """Whatever stands in whatever field of an event, there is an answer that Lambda can return, and it is no 500."""
    changed = put(EVENT, place, value)
    answer = function.invoke(changed if isinstance(changed, dict) else {"event": changed})
    assert 200 <= answer["statusCode"] < 500


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amzn-bedrock-a\r\nx-evil: b", "1"),
        ("x-amzn-bedrock-a b", "1"),
        ("x-amzn-bedrock-\u00fc", "1"),
        ("x-amzn-bedrock-a", "b\r\nx-evil: c"),
        ("x-amzn-bedrock-a", "\u20ac"),
        ("accept", "\ud800"),
    ],
)
def test_an_event_smuggles_no_header(function: Function, name: str, value: str) -> None:
    """A header whose name or value could end its line is refused; nothing of it reaches the upstream."""
    assert function.invoke(event(headers={name: value}))["statusCode"] == 400
    assert function.upstreams["tunnel-1"].calls == []


def test_a_path_that_is_no_text_is_refused(function: Function) -> None:
    """Half of a surrogate pair in a path is the caller's 400, not a fault of the function's."""
    assert function.invoke(event("/model/\ud800/invoke"))["statusCode"] == 400


def test_one_executor_serves_the_function(function: Function) -> None:
    """Between invocations no thread pool piles up: the same one is used throughout."""
    before = function.edge._core._executor
    for _ in range(3):
        function.invoke(event())
    assert function.edge._core._executor is before
    assert isinstance(before, ThreadPoolExecutor)
    assert len(before._threads) <= 4
