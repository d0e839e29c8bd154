"""Reading whatever started a run: an EventBridge event, untouched, or an operator's intent.

A signal only says which link to look at. Nothing here decides anything: what happens next depends on
observation alone, so duplicated, late and reordered events are harmless.

Event shapes are those of the EventBridge reference for `aws.cloudwatch` and `aws.networkmanager`, and
Twinspan's own `twinspan.proxy` and `twinspan.sweep`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from control_plane.domain.documents import Document, parse
from control_plane.domain.topology import LinkId, PathName, Topology
from control_plane.errors import InvalidIntent


class SignalKind(StrEnum):
    """Where a signal came from."""

    ALARM = "alarm"
    TUNNEL_EVENT = "tunnel-event"
    PATH_REPORT = "path-report"
    SWEEP = "sweep"
    INTENT = "intent"


class IntentKind(StrEnum):
    """What an operator may ask for."""

    FAILOVER = "failover"
    FAILBACK = "failback"
    ROLLBACK = "rollback"
    DRILL = "drill"
    RECONCILE = "reconcile"
    RESTORE = "restore"


class Intent(Document):
    """An operator's request, as the execution's input."""

    intent: Literal[
        IntentKind.FAILOVER, IntentKind.FAILBACK, IntentKind.ROLLBACK, IntentKind.RECONCILE
    ]
    link_id: LinkId
    to: PathName | None = None
    to_generation: int | None = Field(default=None, ge=1)
    reason: str = Field(default="", max_length=500)
    requested_by: str = Field(default="unnamed operator", max_length=200)
    dry_run: bool = False
    override: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.intent is IntentKind.ROLLBACK and self.to_generation is None:
            raise ValueError("to_generation: a rollback says to which generation")
        if self.override and not self.reason:
            raise ValueError("reason: an override must give one")
        return self

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Intent:
        """Parse an execution's input.

        Raises:
            InvalidIntent: naming the field and the reason.
        """
        return parse(cls, dict(value), InvalidIntent)

    def check_against(self, topology: Topology) -> None:
        """Refuse an intent for a path that the link does not have.

        Raises:
            InvalidIntent: naming the path and those that exist.
        """
        if self.to is not None and topology.path(self.to) is None:
            known = ", ".join(topology.path_names)
            raise InvalidIntent("to", f"no path {self.to!r} on {self.link_id} (has {known})")


class Signal(Document):
    """Look at this link: `about` says which path or resource drew attention to it."""

    kind: SignalKind
    link_id: LinkId
    about: str
    path: str | None = None
    occurred_at: datetime | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to look at. `malformed` names the field when the document is not one that we know."""

    reason: str
    malformed: str | None = None


def is_intent(document: Mapping[str, Any]) -> bool:
    """Whether an execution's input is an intent rather than an event."""
    return "intent" in document


def claimed_link(document: Mapping[str, Any]) -> str | None:
    """The link that the document itself names, if it does."""
    detail = document.get("detail")
    for value in (document, detail if isinstance(detail, Mapping) else {}):
        if isinstance(value.get("link_id"), str):
            return str(value["link_id"])
    return None


def parse_event(event: Mapping[str, Any], topologies: Mapping[str, Topology]) -> Signal | Ignored:
    """Turn an EventBridge event into a signal for one of the known links.

    Never raises for a JSON object: what cannot be used is `Ignored`, with the reason.
    """
    source, detail = event.get("source"), event.get("detail")
    if not isinstance(source, str):
        return Ignored("neither an intent nor an EventBridge event", malformed="source")
    if not isinstance(detail, Mapping):
        return Ignored("an EventBridge event carries an object as its detail", malformed="detail")
    kind = event.get("detail-type")
    reader = _READERS.get((source, kind if isinstance(kind, str) else ""))
    if reader is None:
        return Ignored(f"no reader for {source} / {kind}", malformed="detail-type")
    return reader(event, detail, topologies)


def _alarm(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Mapping[str, Topology]
) -> Signal | Ignored:
    name, state = detail.get("alarmName"), detail.get("state")
    value = state.get("value") if isinstance(state, Mapping) else None
    if not isinstance(name, str) or not isinstance(value, str):
        return Ignored("an alarm event names its alarm and its state", malformed="detail.alarmName")
    for link_id, topology in topologies.items():
        for connection in _alarm_connections(detail):
            if path := topology.path_of_connection(connection):
                return _signal(SignalKind.ALARM, link_id, f"{name} is {value}", event, path.name)
    for link_id, topology in sorted(topologies.items(), key=lambda item: -len(item[0])):
        prefix = f"twinspan-{link_id}-"
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            named = (p for p in topology.path_names if rest == p or rest.startswith(f"{p}-"))
            return _signal(
                SignalKind.ALARM, link_id, f"{name} is {value}", event, next(named, None)
            )
    return Ignored(f"alarm {name} watches nothing of a known link")


def _alarm_connections(detail: Mapping[str, Any]) -> Iterator[str]:
    configuration = detail.get("configuration")
    metrics = configuration.get("metrics") if isinstance(configuration, Mapping) else None
    for entry in metrics if isinstance(metrics, list) else []:
        stat = entry.get("metricStat") if isinstance(entry, Mapping) else None
        metric = stat.get("metric") if isinstance(stat, Mapping) else None
        dimensions = metric.get("dimensions") if isinstance(metric, Mapping) else None
        if isinstance(dimensions, Mapping) and isinstance(dimensions.get("VpnId"), str):
            yield dimensions["VpnId"]


def _tunnel_event(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Mapping[str, Topology]
) -> Signal | Ignored:
    change = detail.get("changeType", detail.get("change-type"))
    arn = detail.get("vpnConnectionArn", detail.get("vpn-connection-arn"))
    if not isinstance(change, str):
        return Ignored("a Network Manager event says what changed", malformed="detail.changeType")
    named = [arn] if isinstance(arn, str) else []
    resources = event.get("resources")
    named += [r for r in resources if isinstance(r, str)] if isinstance(resources, list) else []
    for connection in (item.rsplit("/", 1)[-1] for item in named if "vpn-connection/" in item):
        for link_id, topology in topologies.items():
            if path := topology.path_of_connection(connection):
                outside = detail.get("outsideIpAddress", detail.get("outside-ip-address", "?"))
                about = f"{change} on {connection} tunnel {outside}"
                return _signal(SignalKind.TUNNEL_EVENT, link_id, about, event, path.name)
    return Ignored(f"{change}: not a VPN connection of a known link")


def _path_report(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Mapping[str, Topology]
) -> Signal | Ignored:
    link_id, path, state = (detail.get(key) for key in ("link_id", "path", "state"))
    if not isinstance(link_id, str) or not isinstance(path, str) or not isinstance(state, str):
        return Ignored("a path report names its link, path and state", malformed="detail.link_id")
    if link_id not in topologies:
        return Ignored(f"no link {link_id!r} is known here")
    if topologies[link_id].path(path) is None:
        return Ignored(f"no path {path!r} on {link_id}")
    reason = detail.get("reason")
    about = f"proxy breaker {state} on {path}" + (f": {reason}" if reason else "")
    return _signal(SignalKind.PATH_REPORT, link_id, about, event, path)


def _sweep(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Mapping[str, Topology]
) -> Signal | Ignored:
    link_id = detail.get("link_id")
    if not isinstance(link_id, str) or link_id not in topologies:
        return Ignored(f"no link {link_id!r} is known here", malformed="detail.link_id")
    return _signal(SignalKind.SWEEP, link_id, "the periodic sweep", event, None)


_READERS = {
    ("aws.cloudwatch", "CloudWatch Alarm State Change"): _alarm,
    ("aws.networkmanager", "Network Manager Status Update"): _tunnel_event,
    ("twinspan.proxy", "Twinspan Path Report"): _path_report,
    ("twinspan.sweep", "Twinspan Sweep"): _sweep,
}


def _signal(
    kind: SignalKind, link_id: str, about: str, event: Mapping[str, Any], path: str | None
) -> Signal:
    event_id = event.get("id")
    return Signal(
        kind=kind,
        link_id=link_id,
        about=about,
        path=path,
        occurred_at=_timestamp(event.get("time")),
        event_id=event_id if isinstance(event_id, str) else None,
    )


def _timestamp(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
