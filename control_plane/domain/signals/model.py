"""What reading yields: a signal to follow, or the reason why there is nothing to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from control_plane.domain.documents import Document
from control_plane.domain.signals.fields import at, clean, moment, text

MAXIMUM_TEXT = 300


class SignalKind(StrEnum):
    """Where a signal came from."""

    ALARM = "alarm"
    CANARY = "canary"
    TUNNEL_EVENT = "tunnel-event"
    TUNNEL_LOG = "tunnel-log"
    ROUTING_EVENT = "routing-event"
    API_CALL = "api-call"
    PARAMETER_CHANGE = "parameter-change"
    PATH_REPORT = "path-report"
    SWEEP = "sweep"
    INTENT = "intent"


class Signal(Document):
    """Look at this link.

    `about` says in words what drew attention to it, `path` which of its paths that is, where it is one,
    and `resource` which resource (an AWS id, a parameter's name), where the source names one. `trouble` when it
    tells of something that stopped working, rather than of a change, of a recovery, or of nothing.
    """

    kind: SignalKind
    link_id: str
    about: str
    path: str | None = None
    resource: str | None = None
    trouble: bool = False
    occurred_at: datetime | None = None
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to look at, and why.

    `malformed` names the field when the document is not one that we know. `unmatched` names the resource
    that belongs to no known link, `audit` an occurrence worth an entry in the journal: each is
    journaled when it is first met, and not again.
    """

    reason: str
    malformed: str | None = None
    unmatched: str | None = None
    audit: str | None = None


def signal(
    kind: SignalKind,
    link_id: str,
    about: str,
    event: Mapping[str, Any],
    path: str | None = None,
    resource: str | None = None,
    *,
    trouble: bool = False,
) -> Signal:
    """A signal with the event's own id and time, if it has them."""
    return Signal(
        kind=kind,
        link_id=link_id,
        about=clean(about, MAXIMUM_TEXT),
        path=path,
        resource=resource,
        trouble=trouble,
        occurred_at=moment(at(event, "time")),
        event_id=text(at(event, "id")),
    )
