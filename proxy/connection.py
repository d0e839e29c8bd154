"""One HTTP/1.1 connection to an upstream, and one exchange on it at a time.

Built on httptools' response parser (llhttp) rather than a client library, for two reasons: the proxy must
know exactly how far an exchange got when it died (nothing written, unanswered, a byte arrived), which no
client library tells; and it must cost microseconds. It speaks only what the proxy sends: a whole request
with a known length, never a pipeline, an upgrade or a trailer.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import httptools

from proxy.errors import BrokenAnswer, DeadlinePassed, NotSent, Unanswered

BARE_LIMIT_BYTES = 64 * 1024
"""Of an answer, what may come in a row without adding to its body: its head, chunk sizes, trailers."""
BUFFER_HIGH_BYTES = 256 * 1024
JOIN_LIMIT_BYTES = 64 * 1024
STALE_SECONDS = 1.0
"""A pooled connection that dies later than this after a write was not closed for having been idle."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect: a socket family and its address tuple."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """The IP address alone."""
        return str(self.sockaddr[0])


class NoStatus(Exception):
    """What stands in a status' place is none of HTTP's."""


class Exchange:
    """A request that was written and the answer as far as it has come."""

    __slots__ = (
        "_waiter",
        "buffered",
        "bytes_received",
        "chunks",
        "complete",
        "connection",
        "deadline",
        "error",
        "first_byte_at",
        "headers",
        "last_activity",
        "status",
        "timer",
        "written_at",
    )

    def __init__(self, connection: UpstreamConnection, now: float, deadline: float) -> None:
        self.connection = connection
        self.written_at = now
        self.last_activity = now
        self.deadline = deadline
        self.first_byte_at: float | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.chunks: list[bytes] = []
        self.buffered = 0
        self.bytes_received = 0
        self.complete = False
        self.error: Exception | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            Unanswered, BrokenAnswer, DeadlinePassed: the answer did not begin, or not properly.
        """
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()

    async def chunk(self) -> bytes:
        """The next bytes of the body; empty at its end.

        Raises:
            BrokenAnswer: the body ended before its time.
        """
        while True:
            if self.chunks:
                data = b"".join(self.chunks)
                self.chunks.clear()
                self.buffered = 0
                self.connection.resume()
                return data
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()

    def whole(self) -> bytes | None:
        """The rest of the body if all of it is here already, without waiting."""
        if not self.complete:
            return None
        data = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self.chunks.clear()
        return data

    def give_up(self) -> None:
        """Nobody wants the rest: close the connection unless the answer is complete."""
        if not self.complete and self.error is None:
            self.fail(BrokenAnswer("abandoned"))

    def expire(self) -> None:
        """The caller's time is up."""
        self.fail(DeadlinePassed() if self.first_byte_at is None else BrokenAnswer("deadline"))

    def path_died(self, reason: str) -> None:
        """The path carries nothing any more."""
        self.fail(Unanswered(reason) if self.first_byte_at is None else BrokenAnswer(reason))

    def fail(self, error: Exception) -> None:
        """End the exchange, and its connection with it."""
        if self.complete or self.error is not None:
            return
        self.error = error
        self.wake()
        self.connection.end_exchange(self)
        self.connection.abort()

    def wake(self) -> None:
        """Let a waiting reader look again."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self.connection.loop.create_future()
        await self._waiter


class UpstreamConnection(asyncio.Protocol):
    """A connected socket whose peer has been attested."""

    __slots__ = (
        "_bare_bytes",
        "_exchange",
        "_informational",
        "_keep_alive",
        "_on_end",
        "_parser",
        "_paused",
        "_transport",
        "_until_close",
        "epoch",
        "idle_since",
        "loop",
        "peer_ip",
        "used",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        peer_ip: str,
        epoch: int,
        on_end: Callable[[UpstreamConnection, Exchange, bool], None],
    ) -> None:
        self.loop = loop
        self.peer_ip = peer_ip
        self.epoch = epoch
        self.idle_since = 0.0
        self.used = False
        self._on_end = on_end
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._bare_bytes = 0
        self._informational = False
        self._keep_alive = False
        self._until_close = False
        self._paused = False

    @property
    def usable(self) -> bool:
        """Whether a request may be written on it now."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and self._exchange is None
        )

    def send(self, head: bytes, body: bytes, deadline: float) -> Exchange:
        """Write a request.

        Raises:
            NotSent: the connection is gone; nothing was written.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise NotSent("closed")
        exchange = Exchange(self, self.loop.time(), deadline)
        self._exchange = exchange
        self._bare_bytes = 0
        self._until_close = False
        if len(body) <= JOIN_LIMIT_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        return exchange

    def abort(self) -> None:
        """Close at once, dropping what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def resume(self) -> None:
        """The reader has caught up."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def end_exchange(self, exchange: Exchange, reusable: bool = False) -> None:
        """Let go of the exchange; the owner decides what becomes of the connection."""
        if self._exchange is exchange:
            self._exchange = None
            self.used = True
            self._on_end(self, exchange, reusable)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        exchange = self._exchange
        if exchange is None:
            # Bytes that nobody asked for would be taken for the next caller's answer.
            self.abort()
            return
        now = self.loop.time()
        exchange.last_activity = now
        exchange.bytes_received += len(data)
        if exchange.first_byte_at is None:
            exchange.first_byte_at = now
        before = exchange.buffered
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if exchange.complete:
                # The answer is whole; what follows it on the connection is not to be trusted.
                exchange.wake()
                self.end_exchange(exchange)
                self.abort()
            else:
                exchange.fail(BrokenAnswer("garbage"))
            return
        if exchange.complete:
            self.end_exchange(exchange, reusable=self._keep_alive)
        elif exchange.buffered == before:
            self._bare_bytes += len(data)
            if self._bare_bytes > BARE_LIMIT_BYTES:
                exchange.fail(BrokenAnswer("endless_headers"))
                return
        else:
            self._bare_bytes = 0
            if exchange.buffered > BUFFER_HIGH_BYTES and not self._paused:
                self._paused = True
                assert self._transport is not None
                self._transport.pause_reading()
        if exchange.status:
            exchange.wake()

    def eof_received(self) -> bool:
        """See asyncio. A body without a length ends here, all others break."""
        exchange = self._exchange
        if exchange is not None and exchange.status and self._until_close:
            exchange.complete = True
            exchange.wake()
            self.end_exchange(exchange)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.first_byte_at is not None:
            exchange.fail(BrokenAnswer("reset_in_answer"))
            return
        code = exc.errno if isinstance(exc, OSError) else None
        reason = "unacknowledged" if code == errno.ETIMEDOUT else "reset"
        at_once = self.loop.time() - exchange.written_at < STALE_SECONDS
        stale = self.used and reason == "reset" and at_once
        exchange.fail(Unanswered(reason, stale=stale))

    # httptools callbacks

    def on_message_begin(self) -> None:
        """See httptools. A second message on one request is not an answer to anything."""
        exchange = self._exchange
        if exchange is not None and exchange.complete:
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. A trailer comes after the status was set and is dropped."""
        if self._exchange is not None and not self._exchange.status:
            self._exchange.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """See httptools."""
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        status = self._parser.get_status_code()
        if not 100 <= status < 600:
            raise NoStatus
        self._informational = status < 200
        if self._informational:
            exchange.headers.clear()
            return
        exchange.status = status
        self._until_close = status not in (204, 304) and not any(
            name in (b"content-length", b"transfer-encoding") for name, _ in exchange.headers
        )

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        exchange = self._exchange
        if exchange is not None and not exchange.complete:
            exchange.chunks.append(body)
            exchange.buffered += len(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._exchange is not None and not self._informational:
            self._exchange.complete = True
            # llhttp forgets the answer's flags once this callback has returned.
            self._keep_alive = self._parser.should_keep_alive()


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host; a literal address needs no resolver.

    Raises:
        NotSent: the name does not resolve.
    """
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
        return [Address(family, (host, port) if ip.version == 4 else (host, port, 0, 0))]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise NotSent("dns") from None
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


async def connect(
    addresses: Sequence[Address],
    admits_peer: Callable[[str], bool],
    tls: ssl.SSLContext | None,
    server_name: str,
    *,
    connect_timeout_seconds: float,
    tls_timeout_seconds: float,
    user_timeout_seconds: float,
    make: Callable[[str], UpstreamConnection],
) -> UpstreamConnection:
    """Connect to the first address that takes it, among those that may be connected to at all.

    The peer is checked before the connection, so that nothing is sent to a forbidden address, and again
    on the connected socket, whose address is what the answer's labels are made from.

    Raises:
        NotSent: with the last reason.
    """
    loop = asyncio.get_running_loop()
    failure = NotSent("wrong_peer")
    for address in addresses:
        if not admits_peer(address.ip):
            continue
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                milliseconds = int(user_timeout_seconds * 1000)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
            async with asyncio.timeout(connect_timeout_seconds):
                await loop.sock_connect(sock, address.sockaddr)
            peer_ip = str(sock.getpeername()[0])
            if not admits_peer(peer_ip):
                raise NotSent("wrong_peer")
            async with asyncio.timeout(tls_timeout_seconds):
                _, connection = await loop.create_connection(
                    lambda peer=peer_ip: make(peer),
                    sock=sock,
                    ssl=tls,
                    server_hostname=server_name if tls is not None else None,
                )
        except TimeoutError:
            failure = NotSent("connect_timeout")
        except NotSent as error:
            failure = error
        except OSError as error:
            failure = NotSent(_reason(error))
        except BaseException:
            sock.close()
            raise
        else:
            return connection
        sock.close()
    raise failure


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "connect_refused"
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return "reset"
    if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return "unreachable"
    return "connect_failed"
