"""One road from any event to a signal: who sent it and of what kind decides who reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from control_plane.domain.signals.alarms import read_alarm
from control_plane.domain.signals.api_calls import read_api_call
from control_plane.domain.signals.fields import at, text
from control_plane.domain.signals.health_events import read_health_event
from control_plane.domain.signals.model import Ignored, Signal
from control_plane.domain.signals.network_manager import read_routing_update, read_status_update
from control_plane.domain.signals.own import (
    CANARY_DETAIL_TYPE,
    CANARY_SOURCE,
    read_canary_result,
    read_path_report,
    read_sweep,
)
from control_plane.domain.signals.parameters import read_parameter_change
from control_plane.domain.signals.resources import Topologies
from control_plane.domain.signals.vpn_logs import (
    EVENT_DETAIL_TYPE,
    EVENT_SOURCE,
    is_log_payload,
    read_log_payload,
    read_tunnel_log,
)

Reader = Callable[[Mapping[str, Any], Mapping[str, Any], Topologies], Signal | Ignored]

READERS: Mapping[tuple[str, str], Reader] = {
    ("aws.cloudwatch", "CloudWatch Alarm State Change"): read_alarm,
    ("aws.cloudwatch", "CloudWatch Alarm Contributor State Change"): read_alarm,
    ("aws.networkmanager", "Network Manager Status Update"): read_status_update,
    ("aws.networkmanager", "Network Manager Routing Update"): read_routing_update,
    ("aws.health", "AWS Health Event"): read_health_event,
    ("aws.ec2", "AWS API Call via CloudTrail"): read_api_call,
    ("aws.ssm", "Parameter Store Change"): read_parameter_change,
    (EVENT_SOURCE, EVENT_DETAIL_TYPE): read_tunnel_log,
    (CANARY_SOURCE, CANARY_DETAIL_TYPE): read_canary_result,
    ("twinspan.proxy", "Twinspan Path Report"): read_path_report,
    ("twinspan.sweep", "Twinspan Sweep"): read_sweep,
}


def parse_event(event: Mapping[str, Any], topologies: Topologies) -> Signal | Ignored:
    """Turn an EventBridge event, or a log subscription's payload, into a signal for one of the known links.

    Never raises for a JSON object: what cannot be used is `Ignored`, with the reason.
    """
    if is_log_payload(event):
        read = read_log_payload(event, topologies)
        return next((found for found in read if isinstance(found, Signal)), read[0])
    source, kind = text(event.get("source")), text(event.get("detail-type"))
    if source is None:
        return Ignored("neither an intent nor an EventBridge event", malformed="source")
    detail = event.get("detail")
    if not isinstance(detail, Mapping):
        return Ignored("an EventBridge event carries an object as its detail", malformed="detail")
    reader = READERS.get((source, kind or ""))
    if reader is None:
        return Ignored(f"no reader for {source} / {kind}", malformed="detail-type")
    return reader(event, detail, topologies)


def claimed_link(document: Mapping[str, Any]) -> str | None:
    """The link that the document itself names, if it does."""
    return text(document.get("link_id")) or text(at(document, "detail", "link_id"))
