"""AWS calls inside the event loop, for what is called all the time: the audit's batches.

A thread would have to be given the interpreter several times for each call, by a loop that is busy with requests: at
a few thousand requests a second that cost more than carrying them. So these calls go over the same connections as
the proxy's own (`connection`), by the same requests as the threads' calls (`aws_json`).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import msgspec

from proxy.aws_json import (
    ATTEMPTS,
    CONNECT_SECONDS,
    READ_SECONDS,
    AwsCallFailed,
    AwsRequests,
    MayPass,
    Service,
    back_off_seconds,
    content,
    trusting,
)
from proxy.connection import Exchange, UpstreamConnection, connect, resolve
from proxy.errors import AttemptFailed

IDLE_SECONDS = 20.0
"""AWS closes idle connections after a minute or less; an older one is not tried."""


class LoopCalls:
    """Calls of one event loop. Connections are kept, by endpoint."""

    def __init__(self, requests: AwsRequests) -> None:
        self._requests = requests
        self._idle: dict[str, deque[UpstreamConnection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def call(self, service: Service, operation: str, request: Any) -> dict[str, Any]:
        """As `AwsCalls.call`."""
        body = msgspec.json.encode(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(service, operation, body, fresh=attempt > 1)
            except MayPass as passing:
                if attempt == ATTEMPTS:
                    raise passing.failure from None
                await asyncio.sleep(back_off_seconds())

    def close(self) -> None:
        """Close what is kept."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    async def _attempt(
        self, service: Service, operation: str, body: bytes, *, fresh: bool
    ) -> dict[str, Any]:
        name = f"{service.name}:{operation}"
        if self._requests.is_quick:
            url, headers = self._requests.signed(service, operation, body)
        else:  # a container's credential is asked for over the network, now and then
            url, headers = await asyncio.to_thread(self._requests.signed, service, operation, body)
        lines = [f"POST / HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"]
        lines += [f"{header}: {value}\r\n" for header, value in headers]
        lines.append(f"content-length: {len(body)}\r\n\r\n")
        head = "".join(lines).encode("latin-1")
        try:
            async with asyncio.timeout(CONNECT_SECONDS + READ_SECONDS):
                connection = await self._connection(url, fresh=fresh)
                exchange = connection.send(head, body, float("inf"))
                try:
                    await exchange.head()
                    parts = []
                    while data := await exchange.chunk():
                        parts.append(data)
                finally:
                    exchange.give_up()
        except AttemptFailed as error:
            raise MayPass(AwsCallFailed(name, error.reason)) from None
        except TimeoutError:
            raise MayPass(AwsCallFailed(name, "TimeoutError")) from None
        return content(name, exchange.status, b"".join(parts))

    async def _connection(self, url: str, *, fresh: bool) -> UpstreamConnection:
        """One that is kept, or a new one.

        Raises:
            NotSent: none could be made.
        """
        loop = asyncio.get_running_loop()
        kept = self._idle.setdefault(url, deque())
        while kept:
            connection = kept.pop()
            if (
                connection.usable
                and not fresh
                and connection.idle_since > loop.time() - IDLE_SECONDS
            ):
                return connection
            connection.close()
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        if secure and self._tls is None:
            self._tls = trusting()

        def ended(connection: UpstreamConnection, exchange: Exchange, reusable: bool) -> None:
            if reusable and connection.usable:
                connection.idle_since = loop.time()
                kept.append(connection)
            else:
                connection.close()

        host = parts.hostname or ""
        return await connect(
            await resolve(host, parts.port or (443 if secure else 80)),
            lambda _: True,
            self._tls if secure else None,
            host,
            connect_timeout_seconds=CONNECT_SECONDS,
            tls_timeout_seconds=CONNECT_SECONDS,
            user_timeout_seconds=READ_SECONDS,
            make=lambda peer: UpstreamConnection(loop, peer, 0, ended),
        )
