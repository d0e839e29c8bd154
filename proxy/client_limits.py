"""What a client may take its time with, and how much of it, around the bodies of its requests.

uvicorn bounds neither the time nor the size of a request's head, nor what comes within a body and is no body
(trailers, chunk extensions), nor how many requests wait on a connection for the answer to an earlier one, nor how long
an answer waits to be taken. And it answers what it cannot parse at once, even when the answer to an earlier request has yet to come or has begun, so that
the client would take the one for the other. This protocol bounds and mends these; a request that comes in one piece,
as nearly all do, costs it no timer, and neither does a connection that waits for its next one.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from proxy.request_cycle import JoiningCycle, parsed_target

HEAD_SECONDS = 10.0
HEAD_LIMIT_BYTES = 64 * 1024
"""Of a head, and of what comes in a row within a body without adding to it."""
UNTAKEN_SECONDS = 120.0
"""An answer of which a client takes nothing for so long (its window is shut, or nothing is acknowledged) is given up."""
WAITING_LIMIT = 64
"""Requests on one connection that wait for the answer to an earlier one."""


class TooManyWaiting(Exception):
    """The client sends requests faster than it takes answers."""


async def _not_understood(_scope: Any, _receive: Any, send: Any) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol with bounds, and with one answer for each request."""

    _in_head = True
    _head_bytes = 0
    _bare_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _idle_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio."""
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = int(UNTAKEN_SECONDS * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._disarm()
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        cycle: RequestResponseCycle | None = self.cycle
        receiving = cycle if cycle is not None and cycle.more_body else None
        before = len(receiving.body) if receiving is not None else 0
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._turn_away(b"431 Request Header Fields Too Large")
            elif self._head_timer is None:
                self._arm()
            return
        self._disarm()
        if receiving is not None:
            self._count_bare(receiving, before, len(data))

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools. The request goes to the application, or behind those that came before it."""
        self._in_head = False
        if self.parser.should_upgrade() and self._should_upgrade():
            return
        parser, scope = self.parser, self.scope
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version = parser.get_http_version()
        scope["raw_path"], scope["path"], scope["query_string"] = parsed_target(self.url)
        earlier: RequestResponseCycle | None = self.cycle
        self.cycle = JoiningCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        # Trailers come by the same callback as headers, and the application must not take them for such.
        self.headers = []
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
            return
        self.flow.pause_reading()
        self.pipeline.appendleft((self.cycle, self.app))
        if len(self.pipeline) > WAITING_LIMIT:
            raise TooManyWaiting

    def on_response_complete(self) -> None:
        """See uvicorn. The next request begins, or the connection waits for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm_keep_alive(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn. One timer goes on through all of a connection's requests, and looks for how long it was idle."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None or self.transport.is_closing():
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self._arm_keep_alive(left)

    def _unset_keepalive_if_required(self) -> None:
        """Bytes have come."""
        self._idle_since = None

    def _arm_keep_alive(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed: told where it can be told, and the end of the connection in any case."""
        if self._may_speak():
            self._leave_body()
            super().send_400_response(msg)
        elif self.pipeline and self.cycle.more_body:
            # It waits its turn behind whole requests, and is the last.
            self.pipeline[0] = (self.cycle, _not_understood)
        elif self.cycle.more_body:
            self.transport.close()
        else:
            # Whole requests came before it: they are answered, and nothing after them.
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """An offer of another protocol is not taken up: the request is answered as it stands, and is the last.

        The parser takes what follows such an offer for the other protocol, so nothing can be read after it.
        """
        self.cycle.keep_alive = False

    def _count_bare(self, cycle: RequestResponseCycle, before: int, size: int) -> None:
        """Bound what comes within a body and is none of it."""
        if not cycle.more_body or len(cycle.body) != before or cycle.response_complete:
            self._bare_bytes = 0
            return
        self._bare_bytes += size
        if self._bare_bytes > HEAD_LIMIT_BYTES:
            self._turn_away(b"431 Request Header Fields Too Large")

    def _arm(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _disarm(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if self._may_speak():
            self._turn_away(b"408 Request Timeout")
        else:
            # An earlier request is still being answered; this one may wait for as long.
            self._arm()

    def _may_speak(self) -> bool:
        """Whether an answer that is written now is one to the request that is being received."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        return cycle.more_body and not cycle.response_started and not self.pipeline

    def _turn_away(self, status: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._may_speak():
            self._leave_body()
            head = b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(head)
        self.transport.close()

    def _leave_body(self) -> None:
        """The application gets no more of the request, and what it may still answer goes nowhere."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
