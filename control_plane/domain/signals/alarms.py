"""CloudWatch alarms: of one metric, of metric math, composite; in every state.

What an alarm is about is told by its metrics' dimensions, then by its name (`twinspan-{link}-{path}-…`), then by
the alarms that a composite one is made of. A state of OK or INSUFFICIENT_DATA is looked into as well: the
one may allow a return, the other is no proof of health. An alarm whose actions are suppressed still says
that something changed, and looking does no harm.

Shapes: Amazon CloudWatch user guide, "Alarm events and EventBridge". The shapes of the same alarm sent by SNS or
straight to a function are not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from control_plane.domain.signals.fields import at, mappings, text
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Owner, Topologies, owner_of

STATES = frozenset({"OK", "ALARM", "INSUFFICIENT_DATA"})
_RESOURCE_DIMENSIONS = ("VpnId", "VPC Endpoint Id", "TransitGatewayAttachment", "TransitGateway")
_CANARY_METRICS = frozenset({"PathProbeSuccess", "PathProbeLatency"})
_RULE_FUNCTION = re.compile(r"""\b(?:ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*["']?([^"')]+)["']?\s*\)""")


def read_alarm(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """A state change of an alarm, or of one contributor to it."""
    name, state = text(detail.get("alarmName")), at(detail, "state", "value")
    if name is None:
        return Ignored("an alarm event names its alarm", malformed="detail.alarmName")
    if not isinstance(state, str) or state not in STATES:
        return Ignored(f"{name}: not a state of an alarm", malformed="detail.state.value")
    metrics = [_metric(entry) for entry in mappings(at(detail, "configuration", "metrics"))]
    owner = (
        _by_dimensions(name, metrics, topologies)
        or _by_name(name, topologies)
        or _by_children(detail, topologies)
    )
    if owner is None:
        reason = f"alarm {name} watches nothing of a known link"
        return Ignored(reason, unmatched=f"alarm {name}")
    probed = any(text(metric.get("name")) in _CANARY_METRICS for metric in metrics)
    kind = SignalKind.CANARY if probed else SignalKind.ALARM
    suppressed = text(at(detail, "state", "actionsSuppressedBy"))
    about = f"{name} is {state}" + (f", suppressed by {suppressed}" if suppressed else "")
    rings = state == "ALARM"
    return signal(kind, owner.link_id, about, event, owner.path, owner.resource, trouble=rings)


def _metric(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metric of one entry; an expression of metric math has none."""
    metric = at(entry, "metricStat", "metric")
    return metric if isinstance(metric, Mapping) else {}


def _by_dimensions(
    name: str, metrics: list[Mapping[str, Any]], topologies: Topologies
) -> Owner | None:
    dimensions = [
        found for metric in metrics if isinstance(found := metric.get("dimensions"), Mapping)
    ]
    named = [text(found.get(key)) for found in dimensions for key in _RESOURCE_DIMENSIONS]
    if owner := owner_of([item for item in named if item], topologies):
        return owner
    for found in dimensions:
        topology = topologies.get(text(found.get("LinkId")) or "")
        if topology is not None:
            path = topology.path(text(found.get("Path")) or "")
            return Owner(name, topology.link_id, path.name if path else None)
    return None


def _by_name(name: str, topologies: Topologies) -> Owner | None:
    # The longest first: link "a-b" is not link "a" with an alarm "b-…".
    for link_id in sorted(topologies, key=lambda item: (-len(item), item)):
        prefix = f"twinspan-{link_id}-"
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            names = topologies[link_id].path_names
            path = next((p for p in names if rest == p or rest.startswith(f"{p}-")), None)
            return Owner(name, link_id, path)
    return None


def _by_children(detail: Mapping[str, Any], topologies: Topologies) -> Owner | None:
    found = (_by_name(name, topologies) for name in _children(detail))
    return next((owner for owner in found if owner is not None), None)


def _children(detail: Mapping[str, Any]) -> Iterator[str]:
    """Names of the alarms that triggered a composite one, then of those in its rule."""
    yield from map(_alarm_name, _triggering(at(detail, "state", "reasonData")))
    rule = text(at(detail, "configuration", "alarmRule")) or ""
    yield from (_alarm_name(match.strip()) for match in _RULE_FUNCTION.findall(rule))


def _triggering(reason_data: object) -> Iterator[str]:
    if not isinstance(reason_data, str):
        return
    try:
        document = json.loads(reason_data)
    except (ValueError, RecursionError):
        return
    for child in mappings(at(document, "triggeringAlarms")):
        if (arn := text(child.get("arn"))) is not None:
            yield arn


def _alarm_name(name: str) -> str:
    return name.rpartition(":alarm:")[2]
