"""Logs of VPN tunnels, as a CloudWatch Logs subscription delivers them, and the events made of them.

A tunnel writes lines all the time; only a line that speaks of a loss is followed: an IKE phase that is Down, a BGP session
that is DOWN, a route that the peer withdrew or that AWS denied. The way back is left to the sweep and the
alarms. One payload holds lines of one stream, which is one tunnel, and makes at most one signal for each.

Source: AWS Site-to-Site VPN user guide, "AWS Site-to-Site VPN logs": fields, and streams named after connection and outside
address. The separator between the two differs between examples there, so both are read. Lines in the
output format `text` are not read; the template asks for `json`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from control_plane.domain.signals.fields import at, mappings, text
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Topologies, owner_of

EVENT_SOURCE = "twinspan.vpn-logs"
EVENT_DETAIL_TYPE = "Twinspan Tunnel Log"
# A function is invoked with 6 MB at most; what unpacks to far more than logs do is not read.
MAXIMUM_UNPACKED_BYTES = 64_000_000
_TUNNEL = re.compile(r"(?P<connection>vpn-[0-9a-z]+)(?:[-_](?P<outside>[0-9a-fA-F.:]{2,45}))?")
_LOST_ROUTE = frozenset({"WITHDRAWN"})


def is_log_payload(document: Mapping[str, Any]) -> bool:
    """Whether this is what a log group's subscription sends."""
    return "awslogs" in document


def read_log_payload(
    document: Mapping[str, Any], topologies: Topologies
) -> tuple[Signal | Ignored, ...]:
    """A signal for each tunnel of which a loss was logged; where there is none, why not."""
    payload = _unpack(at(document, "awslogs", "data"))
    if payload is None:
        return (Ignored("not a packed JSON object", malformed="awslogs.data"),)
    if text(payload.get("messageType")) != "DATA_MESSAGE":
        return (Ignored("a message of the subscription itself"),)
    stream = text(payload.get("logStream")) or ""
    found: dict[str, Signal | Ignored] = {}
    for item in mappings(payload.get("logEvents")):
        line = _parsed(item.get("message"))
        loss = _loss(line) if line is not None else None
        if line is not None and loss is not None:
            tunnel, read = _read_loss(
                loss, text(line.get("resource_id")) or stream, item, topologies
            )
            found.setdefault(tunnel, read)
    return tuple(found.values()) or (Ignored("no line speaks of a loss"),)


def read_tunnel_log(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """The event that was made of a line, in `to_detail`'s shape."""
    connection, seen = text(detail.get("vpn_connection_id")), text(detail.get("seen"))
    if connection is None or seen is None:
        return Ignored("a tunnel's log names its connection", malformed="detail.vpn_connection_id")
    owner = owner_of([connection], topologies)
    if owner is None:
        reason = f"{seen}: not a VPN connection of a known link"
        return Ignored(reason, unmatched=connection)
    return signal(
        SignalKind.TUNNEL_LOG, owner.link_id, seen, event, owner.path, connection, trouble=True
    )


def to_detail(found: Signal) -> dict[str, Any]:
    """The detail of the event that tells the workflow of a logged loss."""
    return {
        "schema_version": 1,
        "link_id": found.link_id,
        "path": found.path,
        "vpn_connection_id": found.resource,
        "seen": found.about,
    }


def _unpack(data: object) -> Mapping[str, Any] | None:
    if not isinstance(data, str):
        return None
    try:
        packed = base64.b64decode(data.encode("ascii", "strict"), validate=True)
        unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip's header
        unpacked = unpacking.decompress(packed, MAXIMUM_UNPACKED_BYTES)
    except (binascii.Error, UnicodeError, zlib.error):
        return None
    return _parsed(unpacked.decode("utf-8", "replace")) if unpacking.eof else None


def _parsed(value: object) -> Mapping[str, Any] | None:
    if not isinstance(value, str):
        return None
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, Mapping) else None


def _loss(line: Mapping[str, Any]) -> str | None:
    """What the line says was lost, if it says so."""
    kind, status = text(line.get("type")), (text(line.get("status")) or "").upper()
    if kind == "BGPStatus":
        return f"BGP is {status}" if status == "DOWN" else None
    if kind == "RouteStatus":
        prefix = text(at(line, "message", "prefix")) or "?"
        denied = (text(at(line, "message", "details")) or "").startswith("DENIED")
        if status in _LOST_ROUTE or denied:
            return f"BGP route {prefix} was {'denied' if denied else 'withdrawn'}"
        return None
    for phase in (1, 2):
        if (text(line.get(f"ike_phase{phase}_state")) or "").lower() == "down":
            return f"IKE phase {phase} is down"
    return None


def _read_loss(
    loss: str, named: str, item: Mapping[str, Any], topologies: Topologies
) -> tuple[str, Signal | Ignored]:
    """The tunnel's name, and what its first line about a loss amounts to."""
    tunnel = _TUNNEL.search(named)
    if tunnel is None:
        reason = f"{loss}: the log stream names no VPN connection"
        return named, Ignored(reason, malformed="logStream")
    owner = owner_of([tunnel["connection"]], topologies)
    if owner is None:
        reason = f"{loss}: {tunnel['connection']} is no VPN connection of a known link"
        return tunnel[0], Ignored(reason, unmatched=tunnel["connection"])
    about = f"{loss} on {owner.resource} tunnel {tunnel['outside'] or '?'}"
    event = {"id": item.get("id"), "time": _iso(item.get("timestamp"))}
    return tunnel[0], signal(
        SignalKind.TUNNEL_LOG,
        owner.link_id,
        about,
        event,
        owner.path,
        owner.resource,
        trouble=True,
    )


def _iso(milliseconds: object) -> str | None:
    if not isinstance(milliseconds, int | float) or not 0 < milliseconds < 1e14:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
