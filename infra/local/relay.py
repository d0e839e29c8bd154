"""One loopback TCP relay: what a network path looks like from a socket.

A relay listens on an address of its own, so that a peer address tells the path, and forwards to one
upstream address while its path is open. A path that loses packets does not refuse connections and does
not reset them, it goes silent; the relay imitates that:

- open: connections are accepted and forwarded, with added delay if wanted;
- silent: a new connection gets no answer, an established one stalls with its bytes kept; opening the
  path again makes both go on, as TCP's retransmissions would;
- refusing: a new connection is refused and established ones are reset, as by a host without the
  service.

How silence works: the relay stops accepting and fills its own accept queue, and Linux then drops further
SYNs (with `tcp_abort_on_overflow` = 0, the default). A client's SYN is retransmitted after 1, 3, 7 …
seconds, so a client that kept waiting connects that much later.

Not guaranteed: no packet is lost singly, bandwidth is the loopback's, and the delay of a TCP handshake is
added to the connection's first bytes because the kernel answers the handshake itself. Linux only: other
systems have no 127.0.0.0/8 to listen on by default.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import enum
import select
import socket
import struct
from dataclasses import dataclass

_BACKLOG = 1024
_FILLERS_AT_MOST = 64
_FILLER_WAIT_SECONDS = 0.005
_HIGH_WATER_BYTES = 1 << 20
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class RelayMode(enum.StrEnum):
    """How a relay treats connections; see the module's description."""

    OPEN = "open"
    SILENT = "silent"
    REFUSING = "refusing"


@dataclass
class RelayCounters:
    """What has passed. `bytes_out` flows from client to service, `bytes_in` back."""

    connections: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


class Relay:
    """All methods but `__init__` must be called on the event loop's thread."""

    def __init__(self, name: str, host: str, upstream: tuple[str, int], port: int = 0) -> None:
        """`port` 0 takes a free one. Nothing is bound yet."""
        self.name = name
        self.host = host
        self.port = port
        self.upstream = upstream
        self.mode = RelayMode.SILENT
        self.round_trip_delay_seconds = 0.0
        self.counters = RelayCounters()
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def active_connections(self) -> int:
        return len(self._pairs)

    def start(self) -> None:
        """Bind and go silent: a path carries nothing until somebody says that it does."""
        self._listener = self._bound_socket()
        self.port = self._listener.getsockname()[1]
        self._listener.listen(_BACKLOG)
        self._go_silent()

    async def stop(self) -> None:
        self._stop_accepting()
        self._close_fillers()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pair in list(self._pairs):
            pair.reset()

    def set_mode(self, mode: RelayMode) -> None:
        if mode is self.mode:
            return
        previous, self.mode = self.mode, mode
        if previous is RelayMode.REFUSING:
            assert self._listener is not None
            self._listener.listen(_BACKLOG)
        if mode is RelayMode.SILENT:
            self._go_silent()
        elif mode is RelayMode.REFUSING:
            self._refuse()
        else:
            self._open()

    def _bound_socket(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        try:
            listener.bind((self.host, self.port))
        except OSError:
            listener.close()
            raise
        return listener

    def _open(self) -> None:
        assert self._listener is not None
        own = {filler.getsockname() for filler in self._fillers}
        self._listener.listen(_BACKLOG)
        # Those who waited in the queue are served now, all but our own fillers.
        while (accepted := self._accept_one()) is not None:
            connection, peer = accepted
            if peer in own:
                connection.close()
            else:
                self._serve(connection)
        self._close_fillers()
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept_ready)
        for pair in list(self._pairs):
            pair.go_on()

    def _go_silent(self) -> None:
        assert self._listener is not None
        self._stop_accepting()
        for pair in list(self._pairs):
            pair.stall()
        self._listener.listen(0)
        for _ in range(_FILLERS_AT_MOST):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            _, established, _ = select.select([], [filler], [], _FILLER_WAIT_SECONDS)
            if not established:
                filler.close()
                return
            self._fillers.append(filler)
        raise OSError(
            f"the accept queue of {self.host}:{self.port} does not fill: this system does not drop "
            "SYNs when it is full, so a silent path cannot be imitated"
        )

    def _refuse(self) -> None:
        assert self._listener is not None
        self._stop_accepting()
        self._listener.close()
        self._close_fillers()
        # Bound but not listening: the kernel refuses, and nobody else can take the port.
        self._listener = self._bound_socket()
        for pair in list(self._pairs):
            pair.reset()

    def _stop_accepting(self) -> None:
        if self._listener is not None and self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())

    def _close_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _accept_one(self) -> tuple[socket.socket, tuple[str, int]] | None:
        assert self._listener is not None
        try:
            connection, peer = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return None
        connection.setblocking(False)
        return connection, peer

    def _accept_ready(self) -> None:
        while (accepted := self._accept_one()) is not None:
            self._serve(accepted[0])

    def _serve(self, connection: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._join(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, connection: socket.socket) -> None:
        self.counters.connections += 1
        loop = asyncio.get_running_loop()
        pair = _Pair(self)
        if self.round_trip_delay_seconds:
            await asyncio.sleep(self.round_trip_delay_seconds)
        try:
            await loop.create_connection(lambda: pair.service, *self.upstream)
        except OSError:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            connection.close()
            self.parted(pair)
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        await loop.connect_accepted_socket(lambda: pair.client, connection)
        # The path may have changed while the two connections were being joined.
        if self.mode is RelayMode.SILENT:
            pair.stall()
        elif self.mode is RelayMode.REFUSING:
            pair.reset()

    def joined(self, pair: _Pair) -> None:
        self._pairs.add(pair)

    def parted(self, pair: _Pair) -> None:
        self._pairs.discard(pair)


class _Pair:
    """A client's connection and its counterpart to the service."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.client = _Half(self, towards_service=True)
        self.service = _Half(self, towards_service=False)
        relay.joined(self)

    def other(self, half: _Half) -> _Half:
        return self.service if half is self.client else self.client

    def stall(self) -> None:
        for half in (self.client, self.service):
            half.stall()

    def go_on(self) -> None:
        for half in (self.client, self.service):
            half.go_on()

    def reset(self) -> None:
        for half in (self.client, self.service):
            half.reset()
        self.relay.parted(self)


class _Half(asyncio.Protocol):
    """One of the two connections; what it receives, it queues for the other."""

    def __init__(self, pair: _Pair, towards_service: bool) -> None:
        self._pair = pair
        self._towards_service = towards_service
        self._transport: asyncio.Transport | None = None
        self._queue: collections.deque[tuple[float, bytes | None]] = collections.deque()
        self._queued_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stalled = False
        self._peer_is_full = False
        self._is_lost = False
        self._has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._stalled:
            transport.pause_reading()
        if self._pair.other(self)._is_lost:
            self.reset()

    def data_received(self, data: bytes) -> None:
        relay = self._pair.relay
        if self._towards_service:
            relay.counters.bytes_out += len(data)
        else:
            relay.counters.bytes_in += len(data)
        if not self._queue and not relay.round_trip_delay_seconds and not self._stalled:
            self._write(data)
            return
        self._enqueue(data)

    def eof_received(self) -> bool:
        self._enqueue(None)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._is_lost = True
        other = self._pair.other(self)
        if error is not None:
            other.reset()
        elif not self._has_ended:
            self._enqueue(None)  # after what is still under way
        if other._transport is None:
            self._pair.relay.parted(self._pair)

    def pause_writing(self) -> None:
        self._pair.other(self).hold_reading(True)

    def resume_writing(self) -> None:
        self._pair.other(self).hold_reading(False)

    def hold_reading(self, peer_is_full: bool) -> None:
        self._peer_is_full = peer_is_full
        self._match_reading()

    def stall(self) -> None:
        self._stalled = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._match_reading()

    def go_on(self) -> None:
        self._stalled = False
        self.deliver()
        self._match_reading()

    def reset(self) -> None:
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            with contextlib.suppress(OSError):  # the peer may have gone already
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()
        self._queue.clear()
        self._queued_bytes = 0

    def deliver(self) -> None:
        """Pass on what is due, and come back when the next chunk is."""
        self._timer = None
        if self._stalled:
            return
        loop = asyncio.get_running_loop()
        while self._queue:
            due, chunk = self._queue[0]
            if due > loop.time():
                self._timer = loop.call_at(due, self.deliver)
                break
            self._queue.popleft()
            if chunk is None:
                self._end()
            else:
                self._queued_bytes -= len(chunk)
                self._write(chunk)
        self._match_reading()

    def _enqueue(self, chunk: bytes | None) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._pair.relay.round_trip_delay_seconds / 2
        if self._queue:
            due = max(due, self._queue[-1][0])  # bytes stay in order when the delay shrinks
        self._queue.append((due, chunk))
        self._queued_bytes += len(chunk or b"")
        if self._timer is None:
            self.deliver()
        else:
            self._match_reading()

    def _write(self, data: bytes) -> None:
        transport = self._pair.other(self)._transport
        if transport is not None:
            transport.write(data)

    def _end(self) -> None:
        """Pass on that this side will send no more; close both once neither will."""
        self._has_ended = True
        other = self._pair.other(self)
        if other._transport is None:
            return
        if self._is_lost or other._has_ended:
            other._transport.close()
            if self._transport is not None:
                self._transport.close()
        elif other._transport.can_write_eof():
            other._transport.write_eof()

    def _match_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        read = (
            not self._stalled and not self._peer_is_full and self._queued_bytes < _HIGH_WATER_BYTES
        )
        if read and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not read and self._transport.is_reading():
            self._transport.pause_reading()
