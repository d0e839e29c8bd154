"""The proxy as a process of its own: an ASGI app on uvicorn, for containers, local use and streaming.

    python -m proxy.server --host 127.0.0.1 --port 8080

prints `proxy listening on http://127.0.0.1:8080` when it is ready. SIGTERM or SIGINT stops the listening,
lets calls under way end, flushes the audit, and exits with 0. Callers show a bearer key; a server that lets
anybody in must be told so (`TWINSPAN_ALLOW_ANONYMOUS=true`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import ipaddress
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from proxy.caller_keys import Grant
from proxy.core import Core, Outside
from proxy.errors import InvalidSettings
from proxy.logs import log_to_stderr
from proxy.messages import Refused, Request, Response
from proxy.request_bodies import Body, CallerLeft, HeldBodies, Message, Receive
from proxy.settings import Settings

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_SECONDS = 2.0
"""How long a refused caller's body is still taken, so that the refusal is read and not lost in a reset."""
LINGER_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 30
KEEP_ALIVE_SECONDS = 75
"""Longer than SDKs keep idle connections for, so that seldom a request meets a closing one."""
COLLECTOR_THRESHOLDS = (10_000, 20, 50)
OPEN_TO_ALL = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})


class Callers:
    """Who may come in. Keys are known by their SHA-256 alone."""

    def __init__(self, *, allow_anonymous: bool, key_digests: tuple[str, ...]) -> None:
        self._allow_anonymous = allow_anonymous
        self._digests = frozenset(key_digests)

    def recognise(self, authorization: str | None) -> str:
        """The caller's name for the records: `key-` and the digest's beginning, or `anonymous`.

        Raises:
            Refused: 401.
        """
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and self._digests:
            digest = hashlib.sha256(key.strip().encode()).hexdigest()
            if digest in self._digests:
                return f"key-{digest[:12]}"
        if self._allow_anonymous:
            return "anonymous"
        challenge = [(b"www-authenticate", b"Bearer")]
        message = "A bearer key that this proxy knows is required."
        raise Refused(401, "AccessDeniedException", message, headers=challenge)


class CallerAddresses:
    """Where a request comes from: its socket's peer, or whom a load balancer of ours names.

    A load balancer appends the address that it saw to `X-Forwarded-For`; what stands before it is the caller's own
    word, and from anybody else all of it is.
    """

    KNOWN = 4096

    def __init__(self, load_balancer_networks: tuple[str, ...]) -> None:
        self._networks = [ipaddress.ip_network(item) for item in load_balancer_networks]
        self._balancers: dict[str, bool] = {}

    def of(self, peer: str, headers: dict[str, str]) -> str:
        """The address for the records; the peer's where the header names none."""
        if not self._networks or not self._is_balancer(peer):
            return peer
        named = headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        try:
            return str(ipaddress.ip_address(named))
        except ValueError:
            return peer

    def _is_balancer(self, peer: str) -> bool:
        known = self._balancers.get(peer)
        if known is None:
            if len(self._balancers) >= self.KNOWN:
                self._balancers.clear()
            try:
                address = ipaddress.ip_address(peer)
            except ValueError:
                return False
            known = any(address in network for network in self._networks)
            self._balancers[peer] = known
        return known


def create_app(settings: Settings, outside: Outside | None = None) -> AsgiApp:
    """The ASGI app. Its core is made at the lifespan's startup, in the server's event loop."""
    callers = Callers(
        allow_anonymous=settings.allow_anonymous, key_digests=settings.bearer_key_sha256
    )
    held = HeldBodies(settings.body_memory_bytes)
    addresses = CallerAddresses(settings.load_balancer_networks)
    core: Core | None = None

    async def lifespan(receive: Receive, send: Send) -> None:
        nonlocal core
        await receive()
        core = Core(settings, outside or Outside.aws(settings))
        await core.start()
        core.keep_house()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await core.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        elif scope["type"] == "http":
            assert core is not None
            body = Body(held)
            try:
                await _serve(core, callers, addresses, body, scope, receive, send)
            finally:
                body.let_go()
        else:
            await send({"type": "websocket.close", "code": 1003})

    return app


async def _serve(
    core: Core,
    callers: Callers,
    addresses: CallerAddresses,
    held: Body,
    scope: Scope,
    receive: Receive,
    send: Send,
) -> None:
    headers = _headers(scope["headers"])
    path = scope["raw_path"].decode("latin-1")
    client = scope.get("client")
    grant: Grant | None = None
    caller = None
    try:
        if path in OPEN_TO_ALL:
            caller = "anonymous"
        elif core.keys is not None and (
            grant := await core.keys.grant(headers.get("authorization"))
        ):
            caller = grant.principal
        else:
            caller = callers.recognise(headers.get("authorization"))
        body = await held.read(receive, headers, core.api.body_limit_bytes)
    except Refused as refused:
        source_ip = addresses.of(client[0], headers) if client else ""
        known = None if caller == "anonymous" else caller
        response = core.api.turned_away(refused, headers, source_ip, known)
        # The rest of a body that nobody will read must not be taken for the next request.
        response.headers.append((b"connection", b"close"))
        await _refuse(response, held, receive, send)
        return
    except CallerLeft:
        return
    request = Request(
        method=scope["method"],
        path=path,
        headers=headers,
        body=body,
        source_ip=addresses.of(client[0], headers) if client else "",
        caller=caller,
        grant=grant,
    )
    await _answer(await core.handle(request), receive, send)


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    if len(headers) < len(raw):
        headers.clear()
        for raw_name, raw_value in raw:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _answer(response: Response, receive: Receive, send: Send) -> None:
    start = {
        "type": "http.response.start",
        "status": response.status,
        "headers": response.headers,
    }
    body = response.body
    if isinstance(body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": body})
        return
    await _stream(start, body, receive, send)


async def _refuse(response: Response, held: Body, receive: Receive, send: Send) -> None:
    """Answer, and take what the caller still sends, for a bounded while.

    A connection that is closed upon unread bytes is reset, and the caller may never see the answer.
    """
    head = {"status": response.status, "headers": response.headers}
    await send({"type": "http.response.start"} | head)
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    taken = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while not held.whole and taken < LINGER_BYTES:
                message = await receive()
                taken += len(message.get("body", b""))
                held.whole = not message.get("more_body", False)
    await send({"type": "http.response.body", "body": b""})


async def _stream(start: Message, body: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Pass a body on as it comes, for as long as the caller is there to take it.

    When it breaks off, the answer is left unended: uvicorn then drops the connection, which is what the
    reader of an incomplete answer must see.
    """
    passing = asyncio.ensure_future(_pass_on(start, body, send))
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait([passing, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        passing.cancel()
        leaving.cancel()
        await asyncio.wait([passing, leaving])
        if close := getattr(body, "aclose", None):
            await close()
    if not passing.cancelled() and (error := passing.exception()) is not None:
        logger.warning("stream broke", extra={"error": type(error).__name__})


async def _pass_on(start: Message, body: AsyncIterator[bytes], send: Send) -> None:
    await send(start)
    # The head leaves now, however long the first bytes take.
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    async for data in body:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _spare_the_collector() -> None:
    """What is here now stays; a request leaves next to nothing in cycles, so looking for them can wait for longer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


def main(arguments: list[str] | None = None) -> int:
    """Run the server until a signal; the process's exit code."""
    parser = argparse.ArgumentParser(prog="python -m proxy.server", description="The proxy.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 lets the system choose")
    options = parser.parse_args(arguments)
    log_to_stderr()
    try:
        settings = Settings.from_environment()
    except InvalidSettings as error:
        print(error, file=sys.stderr)  # noqa: T201 -- the reason why nothing starts
        return 2

    import uvicorn

    from proxy.client_limits import GuardedProtocol

    class Server(uvicorn.Server):
        """Says when it is ready, and takes a signal for a wish to end in order."""

        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                _spare_the_collector()
                port = self.servers[0].sockets[0].getsockname()[1]
                print(  # noqa: T201 -- whoever started the process waits for this line
                    f"proxy listening on http://{options.host}:{port}", flush=True
                )

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self.handle_exit)
            yield

    config = uvicorn.Config(
        create_app(settings),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=GuardedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        # It would believe any process of this machine about whom it speaks for; see `CallerAddresses`.
        proxy_headers=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        backlog=4096,
    )
    server = Server(config)
    server.run()
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
