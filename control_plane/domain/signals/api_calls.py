"""EC2 calls that CloudTrail recorded: someone changed routes, endpoints or tunnels.

Comes only from accounts with a trail that records management events, minutes late at times. `requestParameters` is flat for
some calls (`routeTableId`) and nested for others (`{Action}Request`, lists as `{tag, content}`), and which is which is
documented nowhere. So the names of fields are not relied on: any text in there that is the id of a
resource of the topology says that the call was about it.

Our own calls come back this way. They are told by the caller's session, which Lambda names after the function,
and in the commercial account by its user. Someone else who takes such a name is only seen later, by the sweep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from control_plane.domain.signals.fields import at, every_text, text
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Topologies, owner_of

# Functions of the workflow that write routes.
_WRITERS = ("apply", "recover", "roll-back")

RELEVANT_CALLS = frozenset(
    {
        "AssociateRouteTable",
        "AssociateTransitGatewayRouteTable",
        "CreateRoute",
        "CreateTransitGatewayRoute",
        "CreateVpnConnectionRoute",
        "DeleteNetworkInterface",
        "DeleteRoute",
        "DeleteRouteTable",
        "DeleteTransitGateway",
        "DeleteTransitGatewayRoute",
        "DeleteTransitGatewayRouteTable",
        "DeleteTransitGatewayVpcAttachment",
        "DeleteVpcEndpoints",
        "DeleteVpnConnection",
        "DeleteVpnConnectionRoute",
        "DetachNetworkInterface",
        "DetachVpnGateway",
        "DisableTransitGatewayRouteTablePropagation",
        "DisableVgwRoutePropagation",
        "DisassociateRouteTable",
        "DisassociateTransitGatewayRouteTable",
        "EnableTransitGatewayRouteTablePropagation",
        "EnableVgwRoutePropagation",
        "ModifyTransitGateway",
        "ModifyTransitGatewayVpcAttachment",
        "ModifyVpcEndpoint",
        "ModifyVpnConnection",
        "ModifyVpnConnectionOptions",
        "ModifyVpnTunnelCertificate",
        "ModifyVpnTunnelOptions",
        "ReplaceRoute",
        "ReplaceRouteTableAssociation",
        "ReplaceTransitGatewayRoute",
        "ReplaceVpnTunnel",
    }
)
_RESOURCE = re.compile(r"^(rtb|tgw-rtb|tgw-attach|tgw|vpn|vgw|vpce|eni)-[0-9a-z]+$")
_DESTINATION = re.compile(r"^[0-9a-fA-F:.]+/\d{1,3}$")


def read_api_call(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """A call to EC2's API that took effect."""
    call = text(detail.get("eventName"))
    if call is None:
        return Ignored("a recorded call has a name", malformed="detail.eventName")
    if call not in RELEVANT_CALLS:
        return Ignored(f"{call} changes no route, endpoint or tunnel")
    if detail.get("errorCode") is not None:
        return Ignored(f"{call} failed: {text(detail['errorCode']) or 'with an error'}")
    parameters = list(every_text(detail.get("requestParameters")))
    owner = owner_of(parameters, topologies)
    if owner is None:
        resource = next((name for name in parameters if _RESOURCE.match(name)), call)
        return Ignored(f"{call}: not a resource of a known link", unmatched=resource)
    who = _caller(detail.get("userIdentity"))
    if who in _own_names(owner.link_id):
        return Ignored(f"{call} on {owner.resource} was our own, by {who}")
    destination = next((name for name in parameters if _DESTINATION.match(name)), None)
    about = (
        f"{call} on {owner.resource}" + (f" {destination}" if destination else "") + f" by {who}"
    )
    return signal(SignalKind.API_CALL, owner.link_id, about, event, owner.path, owner.resource)


def _own_names(link_id: str) -> frozenset[str]:
    """How the calls of this link's own functions, and of its commercial user, are signed."""
    functions = {f"twinspan-{link_id}-{function}" for function in _WRITERS}
    return frozenset({*functions, f"twinspan-{link_id}-cross-partition"})


def _caller(identity: object) -> str:
    """The session's name of an assumed role, a user's name, or the kind of caller."""
    arn, kind = text(at(identity, "arn")) or "", text(at(identity, "type"))
    if kind == "AssumedRole" and ":assumed-role/" in arn:
        return arn.rsplit("/", 1)[-1]
    if kind == "IAMUser" and (name := text(at(identity, "userName"))):
        return name
    # A person may choose a user name like a session's; only the kinds above are compared with ours.
    return f"{kind or 'unknown'} {text(at(identity, 'invokedBy')) or arn or '?'}".strip()
