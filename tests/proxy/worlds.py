"""A small world for the proxy: two paths on loopback addresses, each with an upstream that behaves as told.

AWS is played by plain objects that hold a document, a secret, rows and reports, so that a test changes the
world by assignment and asserts on what is in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.audit_rows import Row
from proxy.core import Core, Outside
from proxy.credentials import CURRENT
from proxy.messages import Request, Response
from proxy.reports import Detail
from proxy.settings import Settings

ADDRESSES = {"tunnel-1": "127.0.11.1", "tunnel-2": "127.0.12.1", "internet": "127.0.13.1"}
SECRET = json.dumps(
    {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "stand-in", "region": "us-east-1"}
)
MODEL_ROUTE = "/model/stand-in.model-v1%3A0/converse"
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "pong"}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8},
    "metrics": {"latencyMs": 1},
}


@dataclass
class Seen:
    """A request as the upstream saw it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run an async test in an event loop of its own."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return wrapper


Behaviour = Callable[["Upstream", Seen, asyncio.StreamWriter], Awaitable[None]]


class Upstream:
    """A tiny HTTP/1.1 server on one address. `behaviour` decides each answer; probes are GETs."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self.behaviour: Behaviour = answer_well
        self.probe_behaviour: Behaviour = answer_probe
        self.calls: list[Seen] = []
        self.probes = 0
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._full: list[socket.socket] = []
        self.closed = asyncio.Event()

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{self.address}:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self.address, self.port, backlog=512, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Stop listening and reset what is connected: a path whose far end is gone."""
        assert self._server is not None
        self._server.close()
        self.reset_all()
        await asyncio.sleep(0)

    def reset_all(self) -> None:
        for writer in list(self._writers):
            reset(writer)

    async def blackhole(self) -> None:
        """Nothing more is accepted or answered, and nothing is refused: a full backlog."""
        await self.refuse()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(0)
        self._full.append(listener)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((self.address, self.port))
            self._full.append(filler)

    def clear_backlog(self) -> None:
        """End a blackhole; `start` listens anew."""
        while self._full:
            self._full.pop().close()

    async def close(self) -> None:
        self.closed.set()
        if self._server is not None:
            self._server.close()
        self.reset_all()
        self.clear_backlog()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                seen = await _read_request(reader)
                if seen is None:
                    break
                if seen.method == "GET":
                    self.probes += 1
                    await self.probe_behaviour(self, seen, writer)
                else:
                    self.calls.append(seen)
                    await self.behaviour(self, seen, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = dict(line.lower().split(": ", 1) for line in lines if line)
    raw = dict(line.split(": ", 1) for line in lines if line)
    headers |= {name.lower(): value for name, value in raw.items()}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, body)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with a RST."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def answer_well(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    answer = ANSWER | {"served_by": upstream.address}
    writer.write(http(200, json.dumps(answer).encode(), "x-amzn-RequestId: up-1"))
    await writer.drain()


async def answer_probe(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(http(404, b"{}"))
    await writer.drain()


def answer_with(data: bytes) -> Behaviour:
    """Answer with exactly these bytes."""

    async def behaviour(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return behaviour


async def hang(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    await upstream.closed.wait()


async def reset_unanswered(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    reset(writer)


def answer_then_reset(data: bytes) -> Behaviour:
    """Send these bytes and then reset the connection."""

    async def behaviour(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.05)  # let the bytes leave: a RST would overtake them
        reset(writer)

    return behaviour


class Parameters:
    """SSM, as far as the proxy reads it."""

    def __init__(self) -> None:
        self.text: str | None = None
        self.out = False
        self.reads = 0

    def get(self, name: str) -> str:
        self.reads += 1
        if self.out or self.text is None:
            raise ConnectionError("SSM is out")
        return self.text


class Secrets:
    """Secrets Manager, as far as the proxy reads it."""

    def __init__(self, text: str = SECRET) -> None:
        self.text = text
        self.previous: str | None = None
        self.out = False
        self.reads = 0

    def get(self, secret_id: str, stage: str) -> str:
        self.reads += 1
        if self.out:
            raise ConnectionError("Secrets Manager is out")
        text = self.text if stage == CURRENT else self.previous
        if text is None:
            raise LookupError(f"ResourceNotFoundException: no version at {stage}")
        return text


class Reports:
    """EventBridge."""

    def __init__(self) -> None:
        self.sent: list[Detail] = []

    def send(self, detail: Detail) -> None:
        self.sent.append(detail)


class Rows:
    """DynamoDB's audit table."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.out = False
        self.refuse_rows = 0

    async def write(self, rows: list[bytes]) -> list[Row]:
        if self.out:
            raise ConnectionError("DynamoDB is out")
        offered: list[Row] = [json.loads(row) for row in rows]
        refused, self.refuse_rows = min(self.refuse_rows, len(rows)), 0
        self.rows += offered[refused:]
        return offered[:refused]

    def close(self) -> None:
        """Nothing is kept."""


@dataclass
class World:
    """Two upstreams, an AWS, and the proxy's core between them."""

    upstreams: dict[str, Upstream]
    parameters: Parameters
    secrets: Secrets
    reports: Reports
    rows: Rows
    core: Core
    generation: int = 1

    def publish(self, active: str = "tunnel-1", **changes: Any) -> str:
        """Put the next generation into SSM."""
        self.generation = changes.pop("generation", self.generation + 1)
        self.parameters.text = config_text(self.upstreams, active, self.generation, **changes)
        return self.parameters.text

    async def adopt(self, active: str = "tunnel-1", **changes: Any) -> None:
        """Publish, and let the proxy read it."""
        self.core.source.adopt(self.publish(active, **changes))

    async def call(
        self, path: str = MODEL_ROUTE, body: bytes = b"{}", method: str = "POST", **headers: str
    ) -> Answer:
        """One request through the core; header names with underscores for dashes."""
        named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
        request = Request(
            method=method,
            path=path,
            headers={"content-type": "application/json"} | named,
            body=body,
            source_ip="10.0.1.7",
            caller="tester",
        )
        return await Answer.of(await self.core.handle(request))

    def calls(self, path: str) -> int:
        return len(self.upstreams[path].calls)


@dataclass
class Answer:
    """A response with its body read."""

    status: int
    headers: dict[str, str]
    body: bytes
    broke: bool = False
    chunks: list[bytes] = field(default_factory=list)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def tunnel(self) -> str:
        return self.headers["x-tunnel-used"]

    @classmethod
    async def of(cls, response: Response) -> Answer:
        from proxy.messages import StreamBroke

        headers = {n.decode(): v.decode("latin-1") for n, v in response.headers}
        if isinstance(response.body, bytes):
            return cls(response.status, headers, response.body)
        chunks: list[bytes] = []
        try:
            async for chunk in response.body:
                chunks.append(chunk)
        except StreamBroke:
            return cls(response.status, headers, b"".join(chunks), broke=True, chunks=chunks)
        return cls(response.status, headers, b"".join(chunks), chunks=chunks)


def config_document(
    upstreams: dict[str, Upstream], active: str = "tunnel-1", generation: int = 1, **changes: Any
) -> dict[str, Any]:
    excluded = changes.pop("excluded", ())
    document = {
        "schema_version": 1,
        "link_id": "bedrock",
        "generation": generation,
        "active_path": active,
        "paths": [
            {
                "name": name,
                "routing_method": "internet" if name == "internet" else "vpn",
                "endpoint_url": upstream.url,
                "peer_networks": [f"{upstream.address}/32"],
                "state": "excluded" if name in excluded else "enabled",
            }
            for name, upstream in upstreams.items()
        ],
        "data_classes": {"default": ["vpn"]},
        "published_at": "2026-01-01T00:00:00Z",
        "published_by": "test",
        "reason": "test",
    }
    return document | changes


def config_text(
    upstreams: dict[str, Upstream], active: str = "tunnel-1", generation: int = 1, **changes: Any
) -> str:
    return json.dumps(config_document(upstreams, active, generation, **changes))


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "link_id": "bedrock",
        "allowed_hosts": "127.0.11.1,127.0.12.1,127.0.13.1",
        "allowed_networks": "127.0.0.0/8",
        "routing_config_parameter": "/twinspan/bedrock/routing-config",
        "credentials_secret_id": "twinspan/bedrock/commercial",
    }
    return Settings.from_environment(
        {
            f"TWINSPAN_{name.upper()}": _as_variable(value)
            for name, value in (fields | changes).items()
        }
    )


def _as_variable(value: Any) -> str:
    return ",".join(value) if isinstance(value, (tuple, list)) else str(value)


# Short timers for tests of silence; what they assert is the order of events, not how long they took.
IMPATIENT: dict[str, Any] = {"silence_seconds": 0.2, "probe_timeout_seconds": 0.3}


@contextlib.asynccontextmanager
async def world(
    *names: str,
    settings_changes: dict[str, Any] | None = None,
    keep_house: bool = False,
    tls: dict[str, ssl.SSLContext] | None = None,
    secret: str = SECRET,
) -> AsyncIterator[World]:
    """Upstreams for these paths (both tunnels unless named), and a started core."""
    upstreams = {name: Upstream(ADDRESSES[name]) for name in names or ("tunnel-1", "tunnel-2")}
    for name, upstream in upstreams.items():
        upstream.tls = (tls or {}).get(name)
        await upstream.start()
    outside = Outside(Parameters(), Secrets(secret), Reports(), Rows())
    assert isinstance(outside.parameters, Parameters)
    outside.parameters.text = config_text(upstreams)
    core = Core(settings(**(settings_changes or {})), outside)
    await core.start()
    if keep_house:
        core.keep_house()
    try:
        yield World(
            upstreams,
            outside.parameters,
            outside.secrets,  # type: ignore[arg-type]
            outside.reports,  # type: ignore[arg-type]
            outside.rows,  # type: ignore[arg-type]
            core,
        )
    finally:
        await core.stop()
        for upstream in upstreams.values():
            await upstream.close()
        await asyncio.sleep(0.01)  # transports close in the next turns of the loop
