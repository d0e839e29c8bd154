"""Network Manager: tunnels going down and up, BGP sessions, routes of transit gateways.

Best effort by AWS's own word, and for gateways that are registered in a global network only. Both the current
camelCase keys and those of 2019 in kebab-case are read; a Cloud WAN event has `attachmentArn` and
`coreNetworkArn` where one of a transit gateway has its ARNs. A routing update does not say who made the change,
so our own come back as signals: they find the link as it should be.

Shapes: AWS Global Networks for Transit Gateways user guide, "Monitor with CloudWatch Events", and the same chapter of the
Cloud WAN guide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.domain.signals.fields import at, either_case, mappings, text, texts
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Topologies, identifier, owner_of

_MAXIMUM_ROUTES_NAMED = 3


def read_status_update(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """A tunnel's IPsec or BGP session changed."""
    change = text(either_case(detail, "changeType"))
    if change is None:
        return Ignored("a Network Manager event says what changed", malformed="detail.changeType")
    named = [text(either_case(detail, "vpnConnectionArn")), *texts(event.get("resources"))]
    connections = [name for name in named if name and "vpn-connection/" in name]
    if not connections:
        return Ignored(f"{change}: about no VPN connection", unmatched=_about(change, named))
    owner = owner_of(connections, topologies)
    if owner is None:
        reason = f"{change}: not a VPN connection of a known link"
        return Ignored(reason, unmatched=identifier(connections[0]))
    outside = text(either_case(detail, "outsideIpAddress")) or "?"
    about = f"{change} on {owner.resource} tunnel {outside}"
    return signal(
        SignalKind.TUNNEL_EVENT,
        owner.link_id,
        about,
        event,
        owner.path,
        owner.resource,
        trouble=change.endswith("-DOWN"),
    )


def read_routing_update(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """Routes of a transit gateway's or a core network's tables came or went."""
    change = text(either_case(detail, "changeType"))
    if change is None:
        return Ignored("a Network Manager event says what changed", malformed="detail.changeType")
    tables = texts(either_case(detail, "transitGatewayRouteTableArns"))
    routes = mappings(detail.get("routes"))
    attachments = [item for route in routes for item in mappings(route.get("attachments"))]
    attached = [text(at(item, key)) for item in attachments for key in _ATTACHMENT_KEYS]
    named = [*attached, *tables, text(either_case(detail, "transitGatewayArn"))]
    named += texts(event.get("resources"))
    owner = owner_of([name for name in named if name], topologies)
    if owner is None:
        return Ignored(f"{change}: not a table of a known link", unmatched=_about(change, named))
    table = identifier(tables[0]) if tables else owner.resource
    about = f"{change} in {table}: {_described(routes)}"
    return signal(SignalKind.ROUTING_EVENT, owner.link_id, about, event, owner.path, owner.resource)


_ATTACHMENT_KEYS = ("resourceId", "tgwAttachmentId")


def _described(routes: list[Mapping[str, Any]]) -> str:
    told = [
        f"{text(route.get('destinationCidrBlock')) or '?'} {text(route.get('routeState')) or ''}"
        for route in routes[:_MAXIMUM_ROUTES_NAMED]
    ]
    more = len(routes) - len(told)
    return ", ".join(item.strip() for item in told) + (f" and {more} more" if more else "")


def _about(change: str, named: list[str | None]) -> str:
    return next((identifier(name) for name in reversed(named) if name), change)
