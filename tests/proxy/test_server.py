"""The server as its users meet it: a process, spoken to by a stock boto3 client."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from moto.server import ThreadedMotoServer
from uvicorn.server import ServerState

from proxy import client_limits
from proxy.client_limits import GuardedProtocol
from proxy.event_stream import exception_frame
from tests.proxy.test_streams import HEAD, chunk
from tests.proxy.worlds import (
    ADDRESSES,
    SECRET,
    Upstream,
    answer_then_reset,
    answer_well,
    answer_with,
    config_text,
    hang,
    run,
)
from tests.proxy.worlds import http as http_answer

ROOT = Path(__file__).parents[2]
MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
KEY = "a-callers-key"
MESSAGES = [{"role": "user", "content": [{"text": "ping"}]}]


@dataclass
class Background:
    """Upstreams in an event loop of their own thread."""

    loop: asyncio.AbstractEventLoop
    upstreams: dict[str, Upstream]

    def do(self, step: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(step, self.loop).result(10)


@dataclass
class Server:
    """A running `python -m proxy.server`."""

    process: subprocess.Popen[str]
    port: int
    aws: str
    clients: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, service: str) -> Any:
        self.clients.append(
            boto3.client(service, endpoint_url=self.aws, region_name="us-gov-west-1")
        )
        return self.clients[-1]

    def bedrock(self) -> Any:
        """A stock client: nothing but the endpoint differs. No retries, so that each call is one."""
        config = Config(retries={"total_max_attempts": 1})
        client = boto3.client(
            "bedrock-runtime", endpoint_url=self.url, region_name="us-east-1", config=config
        )
        self.clients.append(client)
        return client

    def get(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def background() -> Iterator[Background]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    found = Background(loop, {})

    async def start() -> None:
        for name in ("tunnel-1", "tunnel-2"):
            found.upstreams[name] = Upstream(ADDRESSES[name])
            await found.upstreams[name].start()

    async def close() -> None:
        for upstream in found.upstreams.values():
            await upstream.close()
        await asyncio.sleep(0.05)

    found.do(start())
    yield found
    found.do(close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


Start = Callable[..., "contextlib.AbstractContextManager[Server]"]


@pytest.fixture
def start(aws: str, background: Background) -> Iterator[Start]:
    """Publish to AWS and start a server; further environment by keyword."""
    secrets = boto3.client("secretsmanager", endpoint_url=aws, region_name="us-gov-west-1")
    dynamodb = boto3.client("dynamodb", endpoint_url=aws, region_name="us-gov-west-1")
    ssm = boto3.client("ssm", endpoint_url=aws, region_name="us-gov-west-1")
    ssm.put_parameter(
        Name="/twinspan/bedrock/routing-config",
        Value=config_text(background.upstreams),
        Type="String",
        Overwrite=True,
    )
    with contextlib.suppress(secrets.exceptions.ResourceExistsException):
        secrets.create_secret(Name="twinspan/bedrock/commercial", SecretString=SECRET)
    with contextlib.suppress(dynamodb.exceptions.ResourceInUseException):
        dynamodb.create_table(
            TableName="cross-partition-requests",
            KeySchema=[
                {"AttributeName": "requestId", "KeyType": "HASH"},
                {"AttributeName": "timestamp", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "requestId", "AttributeType": "S"},
                {"AttributeName": "timestamp", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )

    @contextlib.contextmanager
    def started(**environment: str) -> Iterator[Server]:
        surroundings = {
            name: value for name, value in os.environ.items() if not name.startswith("TWINSPAN_")
        }
        surroundings |= {
            "AWS_ENDPOINT_URL": aws,
            "TWINSPAN_LINK_ID": "bedrock",
            "TWINSPAN_ALLOWED_HOSTS": "127.0.11.1,127.0.12.1",
            "TWINSPAN_ALLOWED_NETWORKS": "127.0.0.0/8",
            "TWINSPAN_ALLOW_ANONYMOUS": "true",
            "TWINSPAN_CONFIG_TTL_SECONDS": "0.2",
        } | environment
        process = subprocess.Popen(
            [sys.executable, "-m", "proxy.server", "--port", "0"],
            cwd=ROOT,
            env=surroundings,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            assert line.startswith("proxy listening on http://127.0.0.1:")
            server = Server(process, int(line.rpartition(":")[2]), aws)
            try:
                yield server
            finally:
                for client in server.clients:
                    client.close()
        finally:
            process.kill()
            process.wait(10)
            process.stdout.close()

    yield started
    for client in (secrets, dynamodb, ssm):
        client.close()


def test_a_stock_sdk_client_works_and_survives_a_dead_path(
    start: Start, background: Background
) -> None:
    """boto3 with only `endpoint_url` changed infers by both APIs, before and after tunnel-1 is cut."""
    with start() as server:
        bedrock = server.bedrock()
        for expected in ("tunnel-1", "tunnel-2"):
            conversed = bedrock.converse(modelId=MODEL, messages=MESSAGES)
            assert conversed["output"]["message"]["content"] == [{"text": "pong"}]
            headers = conversed["ResponseMetadata"]["HTTPHeaders"]
            assert headers["x-tunnel-used"] == expected
            invoked = bedrock.invoke_model(modelId=MODEL, body=b'{"messages":[]}')
            assert json.loads(invoked["body"].read())["stopReason"] == "end_turn"
            if expected == "tunnel-1":
                background.do(background.upstreams["tunnel-1"].refuse())
        (first, *_) = background.upstreams["tunnel-1"].calls
        assert first.target == "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"
        assert "Credential=AKIDEXAMPLE/" in first.headers["authorization"]


def test_an_sdk_raises_its_own_exceptions(start: Start, background: Background) -> None:
    """A 429 of the upstream and a 503 of ours arrive as the SDK's own exception classes."""
    with start() as server:
        bedrock = server.bedrock()
        throttled = http_answer(429, b'{"message":"slow"}', "x-amzn-ErrorType: ThrottlingException")
        background.upstreams["tunnel-1"].behaviour = answer_with(throttled)
        with pytest.raises(bedrock.exceptions.ThrottlingException):
            bedrock.converse(modelId=MODEL, messages=MESSAGES)
        for upstream in background.upstreams.values():
            background.do(upstream.refuse())
        with pytest.raises(bedrock.exceptions.ServiceUnavailableException) as caught:
            bedrock.invoke_model(modelId=MODEL, body=b"{}")
        metadata = caught.value.response["ResponseMetadata"]
        assert metadata["HTTPStatusCode"] == 503
        assert metadata["HTTPHeaders"]["retry-after"].isdigit()
        with pytest.raises(ClientError, match="modelId: "):
            bedrock.invoke_model(modelId="not a model", body=b"{}")


def test_an_sdk_reads_a_stream_and_its_break(start: Start, background: Background) -> None:
    """A stock client reads an event stream through the proxy, and a break in it raises the SDK's error."""
    event = exception_frame("throttlingException", "passed through")
    whole = HEAD + chunk(event) + b"0\r\n\r\n"
    with start() as server:
        bedrock = server.bedrock()
        background.upstreams["tunnel-1"].behaviour = answer_with(whole)
        answer = bedrock.converse_stream(modelId=MODEL, messages=MESSAGES)
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-tunnel-used"] == "tunnel-1"
        with pytest.raises(EventStreamError, match="passed through"):
            list(answer["stream"])
        answer["stream"].close()
        background.upstreams["tunnel-1"].behaviour = answer_then_reset(HEAD + chunk(event)[:-20])
        answer = bedrock.converse_stream(modelId=MODEL, messages=MESSAGES)
        with pytest.raises(EventStreamError, match="broke off"):
            list(answer["stream"])
        answer["stream"].close()


def test_the_server_follows_what_is_published(start: Start, background: Background) -> None:
    """A generation put into SSM is in use within the time to live, with no request to ask for it."""
    with start() as server:
        server.client("ssm").put_parameter(
            Name="/twinspan/bedrock/routing-config",
            Value=config_text(background.upstreams, "tunnel-2", 2),
            Type="String",
            Overwrite=True,
        )
        until = time.monotonic() + 20
        while b'"generation":2' not in server.get("/readyz")[2]:
            assert time.monotonic() < until
            time.sleep(0.05)
        _, headers, _ = server.get("/model/a/converse", "POST", b"{}")
        assert headers["x-tunnel-used"] == "tunnel-2"
        assert headers["x-routing-generation"] == "2"


def test_anonymous_callers_are_refused_unless_invited(start: Start, background: Background) -> None:
    """Without a known key there is 401 and no call; health and metrics are open; the key itself works."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    with start(TWINSPAN_ALLOW_ANONYMOUS="false", TWINSPAN_BEARER_KEY_SHA256=digest) as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            status, found, body = server.get("/model/a/converse", "POST", b"{}", **headers)
            assert status == 401
            assert found["www-authenticate"] == "Bearer"
            assert found["x-tunnel-used"] == "none"
            assert json.loads(body)["__type"] == "AccessDeniedException"
        assert server.get("/healthz")[0] == 200
        assert server.get("/readyz")[0] == 200
        assert b"twinspan_proxy_routing_generation" in server.get("/metrics")[2]
        assert background.upstreams["tunnel-1"].calls == []
        status, _, _ = server.get("/model/a/converse", "POST", b"{}", Authorization=f"Bearer {KEY}")
        assert status == 200
        (seen,) = background.upstreams["tunnel-1"].calls
        assert KEY not in json.dumps(seen.headers)


def test_sigterm_lets_calls_end_and_flushes_the_audit(start: Start, background: Background) -> None:
    """On SIGTERM the call under way is answered, its row is in the table, and the exit code is 0."""
    release = threading.Event()

    async def wait(upstream: Upstream, seen: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.get_running_loop().run_in_executor(None, release.wait, 30)
        await answer_well(upstream, seen, writer)

    background.upstreams["tunnel-1"].behaviour = wait
    with start() as server:
        answers: list[tuple[int, dict[str, str], bytes]] = []
        headers = {"X-Request-ID": "at-the-end"}
        caller = threading.Thread(
            target=lambda: answers.append(server.get("/model/a/converse", "POST", b"{}", **headers))
        )
        caller.start()
        until = time.monotonic() + 20
        while not background.upstreams["tunnel-1"].calls:
            assert time.monotonic() < until
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 20
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            while time.monotonic() < until:
                socket.create_connection(("127.0.0.1", server.port), 5).close()
        release.set()
        caller.join(20)
        assert [answer[0] for answer in answers] == [200]
        assert server.process.wait(20) == 0
        rows = server.client("dynamodb").scan(TableName="cross-partition-requests")["Items"]
        assert [row["tunnelUsed"] for row in rows if row["requestId"] == {"S": "at-the-end"}] == [
            {"S": "tunnel-1"}
        ]


def test_the_server_says_why_it_does_not_start() -> None:
    """A missing setting is named on stderr, and the process ends with 2."""
    environment = {n: v for n, v in os.environ.items() if not n.startswith("TWINSPAN_")}
    ended = subprocess.run(
        [sys.executable, "-m", "proxy.server"],
        cwd=ROOT,
        env=environment | {"TWINSPAN_LINK_ID": "bedrock"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("TWINSPAN_ALLOWED_HOSTS: ")


def raw(port: int, data: bytes) -> bytes:
    """Send bytes as they are and read until the server closes or pauses."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.sendall(data)
        sock.settimeout(2)
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while part := sock.recv(65536):
                received += part
        return received


def test_hostile_requests_cost_only_themselves(start: Start, background: Background) -> None:
    """Smuggling, garbage, false lengths and oversize get an error or a closed door; others are served."""
    post = b"POST /model/a/converse HTTP/1.1\r\nHost: x\r\n"
    hostile = [
        b"garbage\r\n\r\n",
        post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        post + b"Content-Length: -1\r\n\r\n",
        post + b"Content-Length : 2\r\n\r\n{}",
        post + b"Transfer-Encoding: xchunked\r\n\r\n{}",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        post + b"Content-Length: 99999999999\r\n\r\n{}",
        post + b"X-A: b\r\n c: d\r\nContent-Length: 2\r\n\r\n{}",
    ]
    with start() as server:
        for request in hostile:
            received = raw(server.port, request)
            assert not received.startswith(b"HTTP/1.1 2"), request
        assert background.upstreams["tunnel-1"].calls == []
        assert server.get("/model/a/converse", "POST", b"{}")[0] == 200


def test_a_hung_path_delays_no_other_caller(start: Start, background: Background) -> None:
    """While a call waits on a hung upstream, the server goes on answering, and the call gets its answer."""
    with start() as server:
        background.upstreams["tunnel-1"].behaviour = hang
        background.upstreams["tunnel-1"].probe_behaviour = hang
        answers: list[int] = []
        callers = [
            threading.Thread(
                target=lambda: answers.append(server.get("/model/a/converse", "POST", b"{}")[0])
            )
            for _ in range(5)
        ]
        for caller in callers:
            caller.start()
        assert server.get("/healthz")[0] == 200
        for caller in callers:
            caller.join(20)
        assert answers == [200] * 5


def test_a_head_without_end_is_cut_off(start: Start, background: Background) -> None:
    """A request line or header that never ends is turned away with 431 after 64 KiB, not remembered."""
    endless = b"x" * 200_000
    with start() as server:
        for beginning in (b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nA: "):
            received = b""
            with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
                sock.settimeout(5)
                # The server may close before all of it is sent; what it said may be lost with the reset.
                with contextlib.suppress(ConnectionError):
                    sock.sendall(beginning + endless)
                    received = sock.recv(1000)
            assert received[:12] in (b"HTTP/1.1 431", b"")
        assert server.get("/healthz")[0] == 200


def test_a_client_that_dawdles_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which no request's head is complete in time is closed; others go on."""
    monkeypatch.setattr(client_limits, "HEAD_SECONDS", 0.2)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @run
    async def test() -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None, http=GuardedProtocol)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(
            lambda: GuardedProtocol(config, state, {}), "127.0.0.1", 0
        )
        port = listening.sockets[0].getsockname()[1]
        whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for said, expected in (
            (b"", b"HTTP/1.1 408"),
            (b"GET / HT", b"HTTP/1.1 408"),
            (whole + b"GET / HT", b"HTTP/1.1 204"),
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            received = await asyncio.wait_for(reader.read(), 20)
            assert received.startswith(expected)
            if said.startswith(whole):
                assert b"HTTP/1.1 408" in received
            writer.close()
        listening.close()

    test()


def test_thousands_of_idle_connections_harm_nobody(start: Start, background: Background) -> None:
    """With two thousand connections held open and silent, calls are answered, and little memory is taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2_000 if hard == resource.RLIM_INFINITY else min(2_000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 200), hard))
    try:
        with start() as server, contextlib.ExitStack() as held:

            def resident_kib() -> int:
                status = Path(f"/proc/{server.process.pid}/status").read_text()
                return int(status.partition("VmRSS:")[2].split()[0])

            assert server.get("/model/a/converse", "POST", b"{}")[0] == 200
            before = resident_kib()
            for _ in range(wanted):
                held.enter_context(socket.create_connection(("127.0.0.1", server.port), 10))
            assert server.get("/model/a/converse", "POST", b"{}")[0] == 200
            assert resident_kib() - before < wanted * 32
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
