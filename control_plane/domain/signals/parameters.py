"""Parameter Store: one of a link's documents changed.

The event tells neither who wrote nor what. For the routing config, which Twinspan itself publishes, the caller
compares what is stored with the journal; topology and policy are written by deployments and operators only.
Shape: EventBridge reference, `aws.ssm`, "Parameter Store Change".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from control_plane.domain.signals.fields import text
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Topologies

ROUTING_CONFIG = "routing-config"
_NAME = re.compile(r"^/twinspan/(?P<link>[^/]+)/(?P<document>routing-config|topology|policy)$")
_WRITES = frozenset({"Create", "Update", "Delete"})


def read_parameter_change(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """A document of a link was created, changed or deleted."""
    name, operation = text(detail.get("name")), text(detail.get("operation"))
    if name is None:
        return Ignored("a parameter's change names it", malformed="detail.name")
    if operation is None:
        return Ignored("a parameter's change says what was done", malformed="detail.operation")
    found = _NAME.match(name)
    if found is None:
        return Ignored(f"{name} is not a document of a link")
    if found["link"] not in topologies:
        return Ignored(f"{name}: not a document of a known link", unmatched=name)
    if operation not in _WRITES:
        return Ignored(f"{operation} of {name} changes no value")
    about = f"{operation} of {name}"
    return signal(SignalKind.PARAMETER_CHANGE, found["link"], about, event, resource=name)


def is_routing_config(found: Signal) -> bool:
    """Whether the signal is a change of what proxies follow."""
    changed = found.kind is SignalKind.PARAMETER_CHANGE
    return changed and (found.resource or "").endswith(f"/{ROUTING_CONFIG}")
