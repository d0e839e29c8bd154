"""A stand-in for Amazon Bedrock's runtime on the loopback interface.

It answers `InvokeModel` and `InvokeModelWithResponseStream` (Anthropic's Messages API), `Converse`,
`ConverseStream` and `CountTokens` so that a stock boto3 client accepts the answers, checks who signed
the request, and can be told to be slow, to throttle or to fail.

It runs on a thread of its own, or as a process: `python -m infra.local.bedrock --port 8080`. TLS is left
out: there is no name to hold a certificate for.

Not guaranteed: see `bedrock_models` for what is canned and `bedrock_signature` for what is not checked.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import json
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import httptools

from infra.local import bedrock_event_stream as event_stream
from infra.local import bedrock_models as models
from infra.local.bedrock_signature import Callers, Refused, authenticate
from infra.local.sides import COMMERCIAL

_START_TIMEOUT_SECONDS = 10.0
_LARGEST_BODY_BYTES = 25_000_000
_CONNECTIONS_KEPT = 20_000
_REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Payload Too Large",
    424: "Failed Dependency",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
_THROTTLED = models.ModelError(
    429, "ThrottlingException", "Too many requests, please wait before trying again."
)
_UNAVAILABLE = models.ModelError(
    503, "ServiceUnavailableException", "Bedrock is unable to process your request."
)


@dataclass
class Behaviour:
    """How the stand-in behaves; change it at any time.

    `latency_seconds` passes before each answer, `chunk_interval_seconds` between a stream's events.
    `throttle_next` and `fail_next` count the requests that get 429 and 503 before the usual answers
    resume; a negative number means all of them.
    """

    latency_seconds: float = 0.0
    chunk_interval_seconds: float = 0.0
    throttle_next: int = 0
    fail_next: int = 0

    def next_refusal(self) -> models.ModelError | None:
        if self.throttle_next:
            self.throttle_next -= self.throttle_next > 0
            return _THROTTLED
        if self.fail_next:
            self.fail_next -= self.fail_next > 0
            return _UNAVAILABLE
        return None


Address = tuple[str, int]


@dataclass
class Served:
    """What has been answered: `requests` counts all, `inferences` those that got an answer.

    `connections`: by the request id of an answer, which the caller gets as `x-amzn-requestid`, the
    client's and the service's address of the connection that it went over; of the last 20,000.
    """

    requests: int = 0
    inferences: int = 0
    connections: dict[str, tuple[Address, Address]] = field(default_factory=dict)

    def note(self, request_id: str, client: Address, service: Address) -> None:
        """Remember which connection an answer went over."""
        if len(self.connections) >= _CONNECTIONS_KEPT:
            del self.connections[next(iter(self.connections))]
        self.connections[request_id] = (client, service)


def default_callers() -> Callers:
    """The commercial side's stand-in access key, in its region."""
    return Callers(
        region=COMMERCIAL.region,
        secret_key_of={COMMERCIAL.access_key_id: COMMERCIAL.secret_access_key}.get,
    )


class BedrockStandIn:
    """The stand-in's server on a thread. `address` is known once `start()` has returned."""

    def __init__(
        self,
        callers: Callers | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listeners: Sequence[socket.socket] = (),
        tls: ssl.SSLContext | None = None,
        on_call: Callable[[str, str, Mapping[str, str], bytes], None] | None = None,
    ) -> None:
        """`listeners`: further sockets that listen already, of other network namespaces for example; they
        speak TLS if `tls` is given, and are closed with the stand-in. `on_call` is given method,
        target and headers of each authentic call, without its body."""
        self._listeners = tuple(listeners)
        self._tls = tls
        self.on_call = on_call
        self.behaviour = Behaviour()
        self.served = Served()
        self.callers = callers or default_callers()
        self.address = (host, port)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._connections: set[_Connection] = set()

    def start(self) -> None:
        """Listen. Raises `OSError` when the address is not to be had."""
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.run(started)), name="twinspan-bedrock", daemon=True
        )
        self._thread.start()
        started.result(_START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Stop listening and drop connections. Safe to call twice."""
        loop, self._loop = self._loop, None
        if loop is None or self._stopping is None or self._thread is None:
            return
        loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_START_TIMEOUT_SECONDS)

    async def run(self, started: concurrent.futures.Future[None]) -> None:
        """Serve on the running loop until `stop()`."""
        loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            server = await loop.create_server(
                lambda: _Connection(self), *self.address, backlog=1024, start_serving=True
            )
        except OSError as error:
            started.set_exception(error)
            return
        further = [
            await loop.create_server(
                lambda: _Connection(self), sock=listener, backlog=1024, ssl=self._tls
            )
            for listener in self._listeners
        ]
        self.address = server.sockets[0].getsockname()[:2]
        self._loop = loop
        started.set_result(None)
        await self._stopping.wait()
        for listening in (server, *further):
            listening.close()
        for connection in list(self._connections):
            connection.drop()

    def opened(self, connection: _Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._connections.discard(connection)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    events: Iterator[bytes] | None = None


class _Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection; requests on it are answered in order."""

    def __init__(self, stand_in: BedrockStandIn) -> None:
        self._stand_in = stand_in
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._waiting: asyncio.Queue[tuple[str, str, dict[str, str], bytes, bool]]
        self._worker: asyncio.Task[None] | None = None
        self._may_write = asyncio.Event()
        self._may_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._waiting = asyncio.Queue()
        self._worker = asyncio.get_running_loop().create_task(self._answer_in_order())
        self._stand_in.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._worker is not None:
            self._worker.cancel()
        self._stand_in.closed(self)

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.drop()

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body, self._body_bytes = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > _LARGEST_BODY_BYTES:
            self.drop()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("latin-1")
        self._waiting.put_nowait(
            (
                method,
                self._target.decode("latin-1"),
                self._headers,
                b"".join(self._body),
                self._parser.should_keep_alive(),
            )
        )

    async def _answer_in_order(self) -> None:
        while True:
            method, target, headers, body, keep_alive = await self._waiting.get()
            answer = await self._answer(method, target, headers, body)
            await self._send(answer, keep_alive)
            if not keep_alive and self._transport is not None:
                self._transport.close()

    async def _answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> _Answer:
        stand_in = self._stand_in
        stand_in.served.requests += 1
        began = time.monotonic()
        try:
            authenticate(stand_in.callers, method, target, headers, body)
            if stand_in.on_call is not None:
                stand_in.on_call(method, target, headers, b"")
            refusal = stand_in.behaviour.next_refusal()
            if refusal is not None:
                raise refusal
            if stand_in.behaviour.latency_seconds:
                await asyncio.sleep(stand_in.behaviour.latency_seconds)
            answer = _inference(method, target, body, began)
        except Refused as refused:
            return _error(403, refused.code, str(refused))
        except models.ModelError as error:
            return _error(error.status, error.code, str(error))
        stand_in.served.inferences += 1
        return answer

    async def _send(self, answer: _Answer, keep_alive: bool) -> None:
        head = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}"]
        request_id = str(uuid.uuid4())
        if self._transport is not None:
            client, service = (
                self._transport.get_extra_info(end)[:2] for end in ("peername", "sockname")
            )
            self._stand_in.served.note(request_id, client, service)
        headers = {
            **answer.headers,
            "x-amzn-RequestId": request_id,
            "Connection": "keep-alive" if keep_alive else "close",
        }
        if answer.events is None:
            headers["Content-Length"] = str(len(answer.body))
        else:
            headers["Transfer-Encoding"] = "chunked"
        head += [f"{name}: {value}" for name, value in headers.items()]
        encoded = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        if answer.events is None:
            self._write(encoded + answer.body)
            return
        self._write(encoded)
        interval = self._stand_in.behaviour.chunk_interval_seconds
        for index, message in enumerate(answer.events):
            if interval and index:
                await asyncio.sleep(interval)
            await self._may_write.wait()
            self._write(b"%x\r\n%s\r\n" % (len(message), message))
        self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def _inference(method: str, target: str, body: bytes, began: float) -> _Answer:
    parts = target.partition("?")[0].split("/")
    if len(parts) < 4 or parts[0] != "" or parts[1] != "model" or method != "POST":
        raise models.ModelError(
            404, "UnknownOperationException", "The requested operation is not recognized."
        )
    # A model ARN may come with its slash unencoded.
    model = models.find_model("/".join(parts[2:-1]))
    request = models.parse_object(body)
    operation = parts[-1]
    if operation == "invoke":
        completion = models.complete_messages(model, request)
        return _json(
            models.messages_answer(model, completion, _message_id()),
            _token_headers(completion, began),
        )
    if operation == "converse":
        completion = models.complete_converse(request)
        return _json(models.converse_answer(completion, _milliseconds_since(began)), {})
    if operation == "count-tokens":
        return _json(models.count_tokens(model, request), {})
    if operation == "invoke-with-response-stream":
        completion = models.complete_messages(model, request)
        return _stream(
            event_stream.chunk(document)
            for document in models.messages_events(
                model, completion, _message_id(), _milliseconds_since(began)
            )
        )
    if operation == "converse-stream":
        completion = models.complete_converse(request)
        return _stream(
            event_stream.event(kind, payload)
            for kind, payload in models.converse_events(completion, _milliseconds_since(began))
        )
    raise models.ModelError(
        404, "UnknownOperationException", "The requested operation is not recognized."
    )


def _json(document: object, headers: dict[str, str]) -> _Answer:
    return _Answer(
        200,
        {"Content-Type": "application/json", **headers},
        json.dumps(document, separators=(",", ":")).encode(),
    )


def _stream(events: Iterator[bytes]) -> _Answer:
    return _Answer(
        200,
        {
            "Content-Type": "application/vnd.amazon.eventstream",
            "X-Amzn-Bedrock-Content-Type": "application/json",
        },
        events=events,
    )


def _error(status: int, code: str, message: str) -> _Answer:
    return _Answer(
        status,
        {"Content-Type": "application/json", "x-amzn-ErrorType": f"{code}:"},
        json.dumps({"message": message}).encode(),
    )


def _token_headers(completion: models.Completion, began: float) -> dict[str, str]:
    return {
        "X-Amzn-Bedrock-Input-Token-Count": str(completion.input_tokens),
        "X-Amzn-Bedrock-Output-Token-Count": str(completion.output_tokens),
        "X-Amzn-Bedrock-Invocation-Latency": str(_milliseconds_since(began)),
    }


def _message_id() -> str:
    return f"msg_bdrk_{uuid.uuid4().hex[:24]}"


def _milliseconds_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def main() -> None:
    """Serve until interrupted, and print the address."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.bedrock", description="A stand-in for Amazon Bedrock's runtime."
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)"
    )
    stand_in = BedrockStandIn(port=parser.parse_args().port)
    stand_in.start()
    host, port = stand_in.address
    print(f"http://{host}:{port}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        stand_in.stop()


if __name__ == "__main__":
    main()
