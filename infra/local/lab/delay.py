"""Holds packets for a while: what a long way does, on kernels without `netem`.

A TUN device into which a namespace leads its packets; each is read, kept, and written back. Run by path in
that namespace, standard library only: `delay.py DEVICE SOCKET`. Over the unix socket comes one JSON object
per datagram, the delay in seconds for each of AWS's addresses, and holds for packets to and from it.

Not guaranteed: precision below a millisecond; order is kept as long as delays do not change.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST_PACKET = 1 << 16


class Control:
    """The lab's end of a relay's socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(5.0)
        self._socket.connect(str(path))

    def set_delays(self, seconds_by_address: Mapping[str, float]) -> None:
        """Takes effect for packets that come from now on."""
        self._socket.send(json.dumps(dict(seconds_by_address)).encode())
        self._socket.recv(1)  # it is in force

    def close(self) -> None:
        """The relay goes on with what it was told."""
        self._socket.close()


def relay(device: str, path: str) -> None:
    """Carry packets until killed."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH", device.encode(), _IFF_TUN | _IFF_NO_PI))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen(1)
    delays: dict[bytes, float] = {}
    held: list[tuple[float, int, bytes]] = []
    order = itertools.count()
    controls: list[socket.socket] = []
    while True:
        timeout = max(0.0, held[0][0] - time.monotonic()) if held else None
        watched: list[int | socket.socket] = [tun, listening, *controls]
        readable, _, _ = select.select(watched, [], [], timeout)
        if listening in readable:
            controls.append(listening.accept()[0])
        for control in [control for control in controls if control in readable]:
            message = control.recv(_LARGEST_PACKET)
            if not message:
                controls.remove(control)
                control.close()
                continue
            delays = {socket.inet_aton(a): s for a, s in json.loads(message).items()}
            control.send(b".")
        if tun in readable:
            with contextlib.suppress(BlockingIOError):
                while True:
                    packet = os.read(tun, _LARGEST_PACKET)
                    seconds = delays.get(packet[12:16], delays.get(packet[16:20], 0.0))
                    heapq.heappush(held, (time.monotonic() + seconds, next(order), packet))
        now = time.monotonic()
        while held and held[0][0] <= now:
            with contextlib.suppress(OSError):  # as any router does with what it cannot send
                os.write(tun, heapq.heappop(held)[2])


if __name__ == "__main__":
    relay(sys.argv[1], sys.argv[2])
