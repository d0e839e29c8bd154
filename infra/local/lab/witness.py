"""Which tunnels a call's packets really took: every packet in the gateway, on every tunnel device.

The endpoints speak TLS, so a call is known by its connection: the stand-in notes over which one it answered
each request, and here stands through which tunnels that connection's bytes went, when.

Not guaranteed: packets that the kernel dropped from the capture's buffer are missing; `lost` counts them.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from infra.local.lab.network import ALL_TUNNELS, GATEWAY, LabNetwork, TunnelId

Address = tuple[str, int]
Flow = tuple[Address, Address]
"""The functions' end and the endpoint's."""

_ETH_P_ALL = 0x0003  # what goes out is shown to nobody who asks for less
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_ANCILLARY_BYTES = 64
_BUFFER_BYTES = 4 << 20
_TCP = 6
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Ways:
    """The VPN connections, from 1, that bytes of a flow took: to the endpoint, and back."""

    outbound: frozenset[int]
    inbound: frozenset[int]


class Witness:
    """A context manager that watches while it is open."""

    def __init__(self, network: LabNetwork) -> None:
        self._network = network
        # When, through which connection, and whether outbound.
        self._flows: dict[Flow, list[tuple[float, int, bool]]] = defaultdict(list)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sockets: dict[socket.socket, TunnelId] = {}
        self._thread = threading.Thread(target=self._watch, name="lab-witness", daemon=True)
        self.lost = 0

    def __enter__(self) -> Self:
        for tunnel in ALL_TUNNELS:
            capture = self._network.spaces.new_socket(
                GATEWAY, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL)
            )
            capture.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            capture.bind((tunnel.device, _ETH_P_ALL))
            capture.setblocking(False)
            self._sockets[capture] = tunnel
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join(5)
        for capture in self._sockets:
            statistics = capture.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self.lost += struct.unpack("II", statistics)[1]
            capture.close()

    def ways(self, flow: Flow, since: float, until: float) -> Ways:
        """Where a flow's bytes went between two moments of the monotonic clock."""
        with self._lock:
            seen = self._flows.get(flow)
            if seen is None:
                return Ways(frozenset(), frozenset())
            steps = [step for step in seen if since <= step[0] <= until]
        return Ways(
            frozenset(connection for _, connection, outbound in steps if outbound),
            frozenset(connection for _, connection, outbound in steps if not outbound),
        )

    def _watch(self) -> None:
        while not self._stopping.is_set():
            readable, _, _ = select.select(list(self._sockets), [], [], _POLL_SECONDS)
            for capture in readable:
                self._drain(capture, self._sockets[capture])

    def _drain(self, capture: socket.socket, tunnel: TunnelId) -> None:
        while True:
            try:
                packet, ancillary, _, (_, _, kind, *_) = capture.recvmsg(1 << 16, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                return  # the device is gone; the kernel says so once
            found = _tcp_payload(packet)
            if found is None:
                continue
            source, destination = found
            outbound = kind == socket.PACKET_OUTGOING
            flow = (source, destination) if outbound else (destination, source)
            with self._lock:
                self._flows[flow].append((_kernel_time(ancillary), tunnel.connection, outbound))


def _kernel_time(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When the kernel saw a packet, by the monotonic clock: this thread may come late."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9 - (time.time() - time.monotonic()))
    return time.monotonic()


def _tcp_payload(packet: bytes) -> Flow | None:
    """Source and destination of a TCP packet that carries bytes; None for any other packet."""
    if len(packet) < 40 or packet[0] >> 4 != 4 or packet[9] != _TCP:
        return None
    header = (packet[0] & 0x0F) * 4
    total = int.from_bytes(packet[2:4], "big")
    if len(packet) < header + 20 or total <= header + (packet[header + 12] >> 4) * 4:
        return None
    source_port, destination_port = struct.unpack_from(">HH", packet, header)
    return (
        (socket.inet_ntoa(packet[12:16]), source_port),
        (socket.inet_ntoa(packet[16:20]), destination_port),
    )
