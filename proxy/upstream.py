"""One path's way to the upstream: its pooled connections, and whether anything comes through at all.

A path is probed on a *fresh* connection, because that is what tells a dead or hung path from a slow model:
pooled connections may be silent for minutes while a model thinks. One watch per path serves all calls
that wait on it, so a call costs no timer. What is not guaranteed: a probe proves that something answers
HTTP at the path's end, not that a model would.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from proxy.connection import Address, Exchange, UpstreamConnection, connect, resolve
from proxy.errors import AttemptFailed, NotSent
from proxy.routing_config import PathConfig

logger = logging.getLogger(__name__)

RESOLVED_SECONDS = 30.0
PROBE_TARGET = "/"
NO_DEADLINE = float("inf")
NEAR_DEADLINE_SECONDS = 60.0
"""A nearer deadline gets a timer of its own; a farther one is left to the watch, to within a second or two."""


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Timeouts and limits that all paths share."""

    allowed_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    connect_timeout_seconds: float = 0.5
    tls_timeout_seconds: float = 1.0
    user_timeout_seconds: float = 2.0
    silence_seconds: float = 1.0
    probe_timeout_seconds: float = 0.5
    idle_seconds: float = 30.0
    tls: ssl.SSLContext | None = None


class PathUpstream:
    """Connections over one path, as one version of its config describes it."""

    def __init__(
        self,
        path: PathConfig,
        options: UpstreamOptions,
        on_dead: Callable[[PathUpstream, str], None],
    ) -> None:
        self.path = path
        self.suspect = False
        """One sign of trouble was seen and a probe has not yet cleared it."""
        parts = urlsplit(path.endpoint_url)
        self.scheme = parts.scheme
        self.server_name = parts.hostname or ""
        self.port = parts.port or (443 if self.scheme == "https" else 80)
        self.host_header = parts.netloc
        self.connects = 0
        self._options = options
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._idle: deque[UpstreamConnection] = deque()
        self._in_flight: dict[Exchange, None] = {}
        self._epoch = 0
        self._watch: asyncio.TimerHandle | None = None
        self._check: asyncio.Task[None] | None = None
        self._probe: asyncio.Task[int | None] | None = None
        self._resolved: list[Address] = []
        self._resolved_until = float("-inf")

    @property
    def in_flight(self) -> int:
        """Calls that are on this path now."""
        return len(self._in_flight)

    @property
    def idle(self) -> int:
        """Connections in the pool."""
        return len(self._idle)

    async def acquire(self, *, fresh: bool = False) -> UpstreamConnection:
        """A connection that is ready for a request, pooled if there is one.

        Raises:
            NotSent: none could be made.
        """
        if not fresh:
            oldest = self._loop.time() - self._options.idle_seconds
            while self._idle:
                connection = self._idle.pop()
                if connection.usable and connection.idle_since >= oldest:
                    return connection
                connection.close()
        return await self._connect(self._end)

    def send(
        self, connection: UpstreamConnection, head: bytes, body: bytes, deadline: float
    ) -> Exchange:
        """Write a request and watch for its answer.

        Raises:
            NotSent: the connection had gone; nothing was written.
        """
        exchange = connection.send(head, body, deadline)
        self._in_flight[exchange] = None
        if deadline - exchange.written_at < NEAR_DEADLINE_SECONDS:
            exchange.timer = self._loop.call_at(deadline, exchange.expire)
        if self._watch is None and self._check is None:
            self._arm(self._options.silence_seconds)
        return exchange

    async def probe(self) -> int | None:
        """Ask on a fresh connection for anything at all; the status of the answer, None for none.

        Callers at the same time share one probe.
        """
        if self._probe is None:
            self._probe = self._loop.create_task(self._probe_once())
            self._probe.add_done_callback(self._probe_done)
        return await asyncio.shield(self._probe)

    def drain(self) -> None:
        """Use no connection again that exists now; the calls on them end in peace."""
        self._epoch += 1
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Drop everything at once."""
        self.drain()
        if self._watch is not None:
            self._watch.cancel()
        for task in (self._check, self._probe):
            if task is not None:
                task.cancel()
        for exchange in list(self._in_flight):
            exchange.path_died("shutdown")

    def close_idle(self, now: float) -> None:
        """For housekeeping: close what has been idle for too long."""
        oldest = now - self._options.idle_seconds
        while self._idle and (self._idle[0].idle_since < oldest or not self._idle[0].usable):
            self._idle.popleft().close()

    def admits_peer(self, ip: str) -> bool:
        """Whether a peer at this address is on the path, and where the deployment allows peers."""
        address = ipaddress.ip_address(ip.partition("%")[0])
        allowed = any(address in network for network in self._options.allowed_networks)
        return allowed and self.path.matches(str(address))

    async def _connect(
        self, on_end: Callable[[UpstreamConnection, Exchange, bool], None]
    ) -> UpstreamConnection:
        self.connects += 1
        options = self._options
        return await connect(
            await self._addresses(),
            self.admits_peer,
            options.tls if self.scheme == "https" else None,
            self.server_name,
            connect_timeout_seconds=options.connect_timeout_seconds,
            tls_timeout_seconds=options.tls_timeout_seconds,
            user_timeout_seconds=options.user_timeout_seconds,
            make=lambda peer: UpstreamConnection(self._loop, peer, self._epoch, on_end),
        )

    async def _addresses(self) -> list[Address]:
        now = self._loop.time()
        if now < self._resolved_until:
            return self._resolved
        try:
            async with asyncio.timeout(self._options.connect_timeout_seconds):
                self._resolved = await resolve(self.server_name, self.port)
        except (NotSent, TimeoutError):
            if not self._resolved:
                raise NotSent("dns") from None
            # A zonal endpoint's address outlives its resolver: the last one known is the best guess.
            self._resolved_until = now + 1.0
        else:
            self._resolved_until = now + RESOLVED_SECONDS
        return self._resolved

    def _end(self, connection: UpstreamConnection, exchange: Exchange, reusable: bool) -> None:
        self._in_flight.pop(exchange, None)
        if exchange.timer is not None:
            exchange.timer.cancel()
        if reusable and connection.epoch == self._epoch and connection.usable:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)
        else:
            connection.close()

    def _arm(self, delay_seconds: float) -> None:
        self._watch = self._loop.call_later(delay_seconds, self._look)

    def _look(self) -> None:
        """Expire what is overdue; if some call has heard nothing for too long, ask the path itself."""
        self._watch = None
        now = self._loop.time()
        silence = self._options.silence_seconds
        for exchange in [e for e in self._in_flight if e.deadline <= now]:
            exchange.expire()
        if not self._in_flight:
            return
        quietest = min(exchange.last_activity for exchange in self._in_flight)
        if now - quietest < silence:
            soonest = min(exchange.deadline for exchange in self._in_flight)
            self._arm(max(0.01, min(quietest + silence, soonest) - now))
            return
        self._check = self._loop.create_task(self._check_path())
        self._check.add_done_callback(self._check_done)

    def _check_done(self, task: asyncio.Task[None]) -> None:
        self._check = None
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("path check failed", extra={"error": type(error).__name__})
        if self._in_flight and self._watch is None:
            self._arm(self._options.silence_seconds)

    async def _check_path(self) -> None:
        """Probe until the path answers or no call is left on it; two silent probes end the calls.

        A call written after the second probe had begun is judged by the next two.
        """
        while self._in_flight:
            if await self.probe() is not None:
                break
            self.suspect = True
            asked_at = self._loop.time()
            if await self.probe() is not None:
                break
            for exchange in [e for e in self._in_flight if e.last_activity <= asked_at]:
                exchange.path_died("no_response")
            self._on_dead(self, "no_response")
        self.suspect = False

    def _probe_done(self, task: asyncio.Task[int | None]) -> None:
        self._probe = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("probe failed", extra={"error": type(error).__name__})

    async def _probe_once(self) -> int | None:
        try:
            async with asyncio.timeout(self._options.probe_timeout_seconds):
                connection = await self._connect(_probe_end)
                head = f"GET {PROBE_TARGET} HTTP/1.1\r\nhost: {self.host_header}\r\nconnection: close\r\n\r\n"
                exchange: Exchange | None = None
                try:
                    exchange = connection.send(head.encode(), b"", NO_DEADLINE)
                    await exchange.head()
                    return exchange.status
                finally:
                    if exchange is not None:
                        exchange.give_up()
                    connection.abort()
        except (AttemptFailed, TimeoutError):
            return None


def _probe_end(connection: UpstreamConnection, exchange: Exchange, reusable: bool) -> None:
    """A probe's connection is never pooled; the probe itself closes it."""
