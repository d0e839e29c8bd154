"""Golden events for tests: read, packed and unpacked, with the link that they are about."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

from control_plane.domain.topology import Topology
from tests.builders import topology_document

_HERE = Path(__file__).parent
GOLDEN = sorted(path.stem for path in _HERE.glob("*.json"))


def _topology() -> Topology:
    document = topology_document()
    document["managed_route_tables"].append("tgw-rtb-1")
    return Topology.model_validate(document)


LINKS = {"bedrock": _topology()}


def event(name: str) -> dict[str, Any]:
    """A fresh copy of the golden event."""
    return dict(json.loads((_HERE / f"{name}.json").read_text()))


def unpack(document: dict[str, Any]) -> dict[str, Any]:
    """What a log subscription's payload holds."""
    return dict(json.loads(gzip.decompress(base64.b64decode(document["awslogs"]["data"]))))


def pack(payload: Any) -> dict[str, Any]:
    """A log subscription's payload that holds this."""
    packed = gzip.compress(json.dumps(payload).encode(), mtime=0)
    return {"awslogs": {"data": base64.b64encode(packed).decode()}}
