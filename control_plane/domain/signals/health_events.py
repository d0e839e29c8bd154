"""AWS Health: told hours after the fact, so kept for the record and never followed.

`AWS_VPN_REDUNDANCY_LOSS` and `AWS_VPN_SINGLE_TUNNEL_NOTIFICATION` are the ones that concern a link. One occurrence comes
several times, as its status changes; each status is one entry in the journal. Shape: AWS Health user guide,
"Reference: AWS Health events Amazon EventBridge schema".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.domain.signals.fields import mappings, text, texts
from control_plane.domain.signals.model import Ignored, Signal
from control_plane.domain.signals.resources import Topologies, identifier, owner_of


def read_health_event(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """An event of AWS Health: never a signal."""
    code = text(detail.get("eventTypeCode"))
    if code is None:
        return Ignored("a Health event has a type code", malformed="detail.eventTypeCode")
    entities = [text(item.get("entityValue")) for item in mappings(detail.get("affectedEntities"))]
    named = [name for name in (*entities, *texts(event.get("resources"))) if name]
    owner = owner_of(named, topologies)
    if owner is None:
        resource = identifier(named[0]) if named else code
        return Ignored(f"{code}: about nothing of a known link", unmatched=resource)
    occurrence = text(detail.get("eventArn")) or text(event.get("id")) or code
    status = text(detail.get("statusCode")) or "reported"
    return Ignored(
        f"{code} on {owner.resource}: AWS Health is kept for the record, and not followed",
        audit=f"{occurrence} {status}",
    )
