"""The proxy's own AWS calls: what botocore would send, and what becomes of each kind of answer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.session
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.credentials import Credentials
from freezegun import freeze_time

from proxy import aws_json
from proxy.aws import AuditTable
from proxy.aws_json import (
    DYNAMODB,
    EVENTS,
    SECRETS_MANAGER,
    SSM,
    AwsCallFailed,
    AwsCalls,
    AwsRequests,
    Service,
)
from proxy.aws_loop import LoopCalls
from proxy.errors import InvalidSettings

AT = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-gov-west-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    "AWS_SESSION_TOKEN": "a/session+token==",
}
ROW = {"requestId": {"S": "one"}, "latencyMs": {"N": "12.5"}}
OPERATIONS: list[tuple[Service, str, str, dict[str, Any]]] = [
    (SSM, "GetParameter", "get_parameter", {"Name": "/twinspan/bedrock/routing-config"}),
    (SECRETS_MANAGER, "GetSecretValue", "get_secret_value", {"SecretId": "twinspan/commercial"}),
    (EVENTS, "PutEvents", "put_events", {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}]}),
    (DYNAMODB, "BatchWriteItem", "batch_write_item", {"RequestItems": {"t": [{"PutRequest": {"Item": ROW}}]}}),
    (DYNAMODB, "GetItem", "get_item", {"TableName": "t", "Key": {"k": {"S": "v"}}, "ConsistentRead": True}),
]  # fmt: skip


Caller = Callable[[Service, str, Any], dict[str, Any]]


def by_thread() -> Caller:
    """A caller in a thread, with connections of its own."""
    return AwsCalls().call


def in_loop() -> Caller:
    """A caller in an event loop, likewise: one loop for each call, as none of these tests keeps a connection."""
    requests = AwsRequests()

    async def call(service: Service, operation: str, request: Any) -> dict[str, Any]:
        calls = LoopCalls(requests)
        try:
            return await calls.call(service, operation, request)
        finally:
            calls.close()
            await asyncio.sleep(0)  # its transports close in the next turn

    return lambda *asked: asyncio.run(call(*asked))


both_ways = pytest.mark.parametrize("caller", [by_thread, in_loop])


class PlayedService:
    """A service on loopback that gives the answers it was told to give, in their order, the last for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes]] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                played.requests.append((headers, body))
                status, answer = played.answers[min(len(played.requests), len(played.answers)) - 1]
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is said."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Lambda's: a region and credentials, and no endpoint."""
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws_json, "BACK_OFF_SECONDS", 0.0)
    return monkeypatch


@pytest.fixture
def service(environment: pytest.MonkeyPatch) -> Iterator[PlayedService]:
    played = PlayedService()
    environment.setenv("AWS_ENDPOINT_URL", played.url)
    serving = threading.Thread(target=played.server.serve_forever, args=(0.01,))
    serving.start()
    yield played
    played.server.shutdown()
    serving.join()
    played.server.server_close()


def sent_by_botocore(service: Service, method: str, arguments: dict[str, Any]) -> AWSRequest:
    """What botocore would have sent."""
    seen = []

    def answer(request: AWSRequest, **_: Any) -> AWSResponse:
        seen.append(request)
        raw = mock.Mock(stream=lambda *_: iter([b"{}"]))
        return AWSResponse(request.url, 200, {}, raw)

    client = botocore.session.Session().create_client(service.name)
    client.meta.events.register("before-send", answer)
    getattr(client, method)(**arguments)
    return seen[0]


def sent_by_us(service: Service, operation: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
    calls = AwsCalls()
    with mock.patch.object(calls._pool, "request") as request, freeze_time(AT):
        request.return_value = mock.Mock(status=200, data=b"{}")
        calls.call(service, operation, arguments)
    return request.call_args.args[1], request.call_args.kwargs


@pytest.mark.parametrize(
    ("service", "operation", "method", "arguments"), OPERATIONS, ids=[o[1] for o in OPERATIONS]
)
def test_a_call_is_what_botocore_would_send(environment, service, operation, method, arguments):
    """The same endpoint, target, kind of content and body, signed as botocore signs it."""
    theirs = sent_by_botocore(service, method, arguments)
    url, ours = sent_by_us(service, operation, arguments)
    assert url == theirs.url
    assert json.loads(ours["body"]) == json.loads(theirs.body)
    for name in ("Content-Type", "X-Amz-Target"):
        value = theirs.headers[name]
        assert ours["headers"][name.lower()] == (
            value if isinstance(value, str) else value.decode()
        )

    signed = ("content-type", "x-amz-target")
    again = AWSRequest(
        "POST", url, data=ours["body"], headers={n: ours["headers"][n] for n in signed}
    )
    credentials = Credentials(
        ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        ENVIRONMENT["AWS_SESSION_TOKEN"],
    )
    with mock.patch("botocore.auth.get_current_datetime", return_value=AT.replace(tzinfo=None)):
        SigV4Auth(credentials, service.name, ENVIRONMENT["AWS_DEFAULT_REGION"]).add_auth(again)
    assert ours["headers"]["authorization"] == again.headers["Authorization"]


@pytest.mark.parametrize("service", [SSM, SECRETS_MANAGER, EVENTS, DYNAMODB], ids=lambda s: s.name)
@pytest.mark.parametrize(
    ("region", "fips"),
    [("us-gov-west-1", "false"), ("us-gov-west-1", "true"), ("cn-north-1", "false")],
)
def test_an_endpoint_is_the_one_botocore_would_call(environment, service, region, fips):
    """In every partition, with FIPS endpoints where the environment wants them."""
    environment.setenv("AWS_DEFAULT_REGION", region)
    environment.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    theirs = botocore.session.Session().create_client(service.name).meta.endpoint_url
    url, _ = sent_by_us(service, "Any", {})
    assert urlsplit(url).netloc == urlsplit(theirs).netloc


@pytest.mark.parametrize("service", [SSM, SECRETS_MANAGER, EVENTS, DYNAMODB], ids=lambda s: s.name)
def test_a_services_own_endpoint_in_the_environment_comes_first(environment, service):
    """Its name there is AWS's, and a general one is for the others."""
    environment.setenv("AWS_ENDPOINT_URL", "https://general.test")
    variable = f"AWS_ENDPOINT_URL_{botocore.session.Session().get_service_model(service.name).service_id.replace(' ', '_').upper()}"
    assert sent_by_us(service, "Any", {})[0] == "https://general.test/"
    environment.setenv(variable, "https://special.test/")
    assert sent_by_us(service, "Any", {})[0] == "https://special.test/"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (400, b'{"__type": "com.amazonaws.dynamodb#ProvisionedThroughputExceededException"}'),
        (400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'),
        (500, b'{"__type": "InternalServerError"}'),
        (503, b"<html>busy</html>"),
        (200, b"not JSON"),
    ],
    ids=["throughput", "throttled", "internal", "busy", "garbage"],
)
@both_ways
def test_what_may_pass_is_tried_once_more(service, caller, status, answer):
    """A second attempt that is answered is as good as a first."""
    service.answers = [(status, answer), (200, b'{"Parameter": {"Value": "here"}}')]
    assert caller()(SSM, "GetParameter", {})["Parameter"]["Value"] == "here"
    assert len(service.requests) == 2


@both_ways
def test_what_stays_is_told_with_awss_own_code(service, caller):
    """After the second attempt it is a failure."""
    service.answers = [(400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}')]
    with pytest.raises(
        AwsCallFailed, match=r"^ssm:GetParameter: ThrottlingException: Rate exceeded$"
    ):
        caller()(SSM, "GetParameter", {})
    assert len(service.requests) == 2


@both_ways
def test_a_refusal_is_not_asked_again(service, caller):
    """A right that is missing now is missing in half a second as well."""
    service.answers = [(400, b'{"__type": "AccessDeniedException", "Message": "not authorized"}')]
    with pytest.raises(AwsCallFailed, match="AccessDeniedException") as failed:
        caller()(SSM, "GetParameter", {})
    assert failed.value.code == "AccessDeniedException"
    assert len(service.requests) == 1


@both_ways
def test_a_service_that_nobody_answers_for_is_a_failure(service, caller):
    """A refused connection names the operation."""
    service.answers = [(200, b"{}")]
    with (
        mock.patch.dict("os.environ", {"AWS_ENDPOINT_URL_SSM": "http://127.0.0.1:1"}),
        pytest.raises(AwsCallFailed, match=r"^ssm:GetParameter: "),
    ):
        caller()(SSM, "GetParameter", {})
    assert service.requests == []


def test_rows_that_the_table_did_not_take_come_back(service):
    """DynamoDB may take a part of a batch: the rest is offered once more, and then handed back."""
    left = {"UnprocessedItems": {"audit": [{"PutRequest": {"Item": ROW}}]}}
    service.answers = [(200, json.dumps(left).encode())]
    other = {"requestId": {"S": "two"}}

    async def write() -> list[Any]:
        table = AuditTable(LoopCalls(AwsRequests()), "audit")
        try:
            return await table.write([json.dumps(row).encode() for row in (other, ROW)])
        finally:
            table.close()
            await asyncio.sleep(0)

    assert asyncio.run(write()) == [ROW]
    offered = [
        [put["PutRequest"]["Item"] for put in json.loads(body)["RequestItems"]["audit"]]
        for _, body in service.requests
    ]
    assert offered == [[other, ROW], [ROW]]


@both_ways
def test_credentials_that_change_are_used_at_once(service, caller):
    """A renewed session's token signs the next call."""
    service.answers = [(200, b"{}")]
    call = caller()
    call(SSM, "GetParameter", {})
    with mock.patch.dict("os.environ", {"AWS_SESSION_TOKEN": "another"}):
        call(SSM, "GetParameter", {})
    tokens = [headers["x-amz-security-token"] for headers, _ in service.requests]
    assert tokens == [ENVIRONMENT["AWS_SESSION_TOKEN"], "another"]


@both_ways
def test_without_a_credential_of_its_own_the_process_asks_botocore(
    service, caller, environment, tmp_path
):
    """A profile, a container's role, an instance's: found as everywhere else, or missed by name."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        environment.delenv(name)
    environment.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environment.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    service.answers = [(200, b"{}")]
    with pytest.raises(InvalidSettings, match="credentials"):
        caller()(SSM, "GetParameter", {})
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = FROMFILE\naws_secret_access_key = secret\n"
    )
    caller()(SSM, "GetParameter", {})
    assert "Credential=FROMFILE/" in service.requests[0][0]["authorization"]


def test_a_call_in_the_loop_is_the_one_that_a_thread_makes(service):
    """Of the same document, to the letter, but for the moment of signing."""
    service.answers = [(200, b"{}")]
    for call in (by_thread(), in_loop()):
        call(DYNAMODB, "BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": {"Item": ROW}}]}})
    (theirs, their_body), (ours, our_body) = service.requests
    moving = {"x-amz-date", "authorization", "user-agent"}
    assert our_body == their_body
    assert {n: v for n, v in ours.items() if n not in moving} == {
        n: v for n, v in theirs.items() if n not in moving
    }
    assert (
        ours["authorization"].partition("Signature=")[0]
        == (theirs["authorization"].partition("Signature=")[0])
    )


def test_connections_of_the_loop_are_kept_and_replaced_when_their_peer_has_closed_them(service):
    """A batch a second needs no connection a second, and a service that closed one costs no rows."""
    service.answers = [(200, b"{}")]

    async def test() -> int:
        calls, opened = LoopCalls(AwsRequests()), set()
        for _ in range(3):
            await calls.call(DYNAMODB, "BatchWriteItem", {})
            [kept] = next(iter(calls._idle.values()))
            opened.add(id(kept))
        kept.abort()  # as a peer's reset does
        await calls.call(DYNAMODB, "BatchWriteItem", {})
        calls.close()
        await asyncio.sleep(0)
        return len(opened)

    assert asyncio.run(test()) == 1
    assert len(service.requests) == 4
