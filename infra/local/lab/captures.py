"""What is on a wire: packets captured by tcpdump, sorted into IKE, ESP and everything else."""

from __future__ import annotations

import contextlib
import struct
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.lab.namespaces import LabError, Namespaces, captured

_MAGIC = 0xA1B2C3D4
_LINK_HEADERS = {101: (0, None), 113: (16, 14), 276: (20, 0)}
"""By pcap's link type (raw IP, Linux cooked 1 and 2): the header's length, and where its protocol stands."""
_ETHERNET_IP, _ETHERNET_ARP = 0x0800, 0x0806
_UDP = 17
_IKE_PORT, _NAT_PORT = 500, 4500
_SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Captured:
    """What a capture holds. `kinds` counts packets by `IKE`, `ESP`, `keepalive`, `ARP`, and others by name."""

    packets: tuple[bytes, ...]
    kinds: Counter[str]

    def holds(self, marker: bytes) -> bool:
        """Whether the bytes stand in any packet, or across two that follow one another."""
        return marker in b"".join(self.packets)


@contextlib.contextmanager
def on(namespaces: Namespaces, *places: tuple[str, str]) -> Iterator[list[Captured]]:
    """Capture on (namespace, device) pairs while the block runs; the list is filled when it ends."""
    found: list[Captured] = []
    files = [
        namespaces.directory / f"{namespace}-{device}-{time.monotonic_ns()}.pcap"
        for namespace, device in places
    ]
    with contextlib.ExitStack() as captures:
        for (namespace, device), file in zip(places, files, strict=True):
            captures.enter_context(captured(namespaces, namespace, device, file))
        yield found
        time.sleep(_SETTLE_SECONDS)  # the last packets are on their way into the file
    for file in files:
        found.append(read(file))
        file.unlink()


def read(file: Path) -> Captured:
    """Read a pcap file. Raises `LabError` if it is none, or of a link type that is not known here."""
    content = file.read_bytes()
    if len(content) < 24 or struct.unpack_from("<I", content)[0] != _MAGIC:
        raise LabError(f"{file.name} is no capture")
    (link_type,) = struct.unpack_from("<I", content, 20)
    if link_type not in _LINK_HEADERS:
        raise LabError(f"{file.name} is of link type {link_type}")
    packets = []
    kinds: Counter[str] = Counter()
    position = 24
    while position + 16 <= len(content):
        (length,) = struct.unpack_from("<I", content, position + 8)
        packet = content[position + 16 : position + 16 + length]
        position += 16 + length
        packets.append(packet)
        kinds[_kind(packet, link_type)] += 1
    return Captured(tuple(packets), kinds)


def _kind(packet: bytes, link_type: int) -> str:
    length, where = _LINK_HEADERS[link_type]
    if where is not None:
        (protocol,) = struct.unpack_from(">H", packet, where)
        if protocol == _ETHERNET_ARP:
            return "ARP"
        if protocol != _ETHERNET_IP:
            return f"ethernet {protocol:#06x}"
    inside = packet[length:]
    header = (inside[0] & 0x0F) * 4
    if inside[9] != _UDP:
        return f"IP protocol {inside[9]}"
    ports = struct.unpack_from(">HH", inside, header)
    payload = inside[header + 8 :]
    if _IKE_PORT in ports:
        return "IKE"
    if _NAT_PORT not in ports:
        return f"UDP {ports[0]} to {ports[1]}"
    # RFC 3948: a lone 0xff keeps a translation alive, four zero bytes mark IKE, all else begins with an SPI.
    if payload == b"\xff":
        return "keepalive"
    return "IKE" if payload[:4] == b"\0\0\0\0" else "ESP"
