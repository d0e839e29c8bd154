"""Changing routes in one partition, each change guarded by what it expects to find.

EC2 has no conditional writes: `apply` reads the route right before it writes. Applying a change that is
already in effect does nothing, so a retried step is harmless. Targets are told apart by their ids'
prefixes, which are AWS's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.domain.changes import Change
from control_plane.domain.seen import route_target
from control_plane.domain.topology import SideName, TableKind
from control_plane.errors import RouteChanged, RouteTableBusy

_TARGET_ARGUMENTS = {
    "tgw-": "TransitGatewayId",
    "eni-": "NetworkInterfaceId",
    "igw-": "GatewayId",
    "vgw-": "GatewayId",
    "nat-": "NatGatewayId",
    "pcx-": "VpcPeeringConnectionId",
    "vpce-": "VpcEndpointId",
    "i-": "InstanceId",
}
_BUSY = frozenset({"IncorrectState", "RouteTableModificationInProgress"})


class Routes:
    """The route tables of both sides; `sessions` reaches each side with its own credentials."""

    def __init__(self, sessions: Mapping[SideName, AwsSession]) -> None:
        self._sessions = sessions

    def current(self, change: Change) -> str | None:
        """What the change's destination leads to now; None when there is no such static route."""
        ec2 = self._sessions[change.side].client("ec2")
        if change.table_kind is TableKind.TRANSIT_GATEWAY:
            return self._current_transit_gateway(ec2, change)
        with calling("ec2:DescribeRouteTables"):
            answer = ec2.describe_route_tables(RouteTableIds=[change.table_id])
        for route in answer["RouteTables"][0]["Routes"]:
            destination = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock")
            if destination == change.destination and route.get("Origin") == "CreateRoute":
                return route_target(route)
        return None

    def apply(self, change: Change) -> bool:
        """Put the change into effect; False when it already was.

        Raises:
            RouteChanged: the route is neither `before` nor `after`.
            RouteTableBusy: the table is being modified; try again.
        """
        found = self.current(change)
        if found == change.after:
            return False
        if found != change.before:
            raise RouteChanged(
                change.table_id,
                change.destination,
                change.before or "no route",
                found or "no route",
            )
        ec2 = self._sessions[change.side].client("ec2")
        verb = "create" if found is None else ("delete" if change.after is None else "replace")
        scope = (
            "_transit_gateway_route" if change.table_kind is TableKind.TRANSIT_GATEWAY else "_route"
        )
        with calling(f"ec2:{verb}{scope}"):
            try:
                getattr(ec2, f"{verb}{scope}")(**_arguments(change))
            except ClientError as error:
                if error_code(error) in _BUSY:
                    raise RouteTableBusy(change.table_id) from error
                raise
        return True

    def _current_transit_gateway(self, ec2: Any, change: Change) -> str | None:
        with calling("ec2:SearchTransitGatewayRoutes"):
            answer = ec2.search_transit_gateway_routes(
                TransitGatewayRouteTableId=change.table_id,
                Filters=[
                    {"Name": "route-search.exact-match", "Values": [change.destination]},
                    {"Name": "type", "Values": ["static"]},
                ],
            )
        for route in answer["Routes"]:
            for attachment in route.get("TransitGatewayAttachments", ()):
                return str(attachment["TransitGatewayAttachmentId"])
        return None


def _arguments(change: Change) -> dict[str, Any]:
    if change.table_kind is TableKind.TRANSIT_GATEWAY:
        arguments = {
            "TransitGatewayRouteTableId": change.table_id,
            "DestinationCidrBlock": change.destination,
        }
        if change.after is not None:
            arguments["TransitGatewayAttachmentId"] = change.after
        return arguments
    family = "DestinationIpv6CidrBlock" if ":" in change.destination else "DestinationCidrBlock"
    arguments = {"RouteTableId": change.table_id, family: change.destination}
    if change.after is not None:
        arguments[_target_argument(change.after)] = change.after
    return arguments


def _target_argument(target: str) -> str:
    for prefix, argument in _TARGET_ARGUMENTS.items():
        if target.startswith(prefix):
            return argument
    raise ValueError(f"{target}: not a kind of target that a route can be given")
