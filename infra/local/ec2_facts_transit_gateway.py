"""Transit gateways as EC2 describes them: attachments, route tables, and the routes they learn.

moto stores static routes and remembers associations and propagations; it computes no propagated route,
associates every attachment with the default table whatever the options say, and has no
`ReplaceTransitGatewayRoute`. Here a route table shows what AWS's would: static routes, else what VPC
attachments propagate, else what VPN attachments learn by BGP.

Not guaranteed: Direct Connect, Connect, peering, prefix lists and multicast are not emulated; a query
for them is refused. Changes take effect at once, where AWS takes seconds.

Source of the order: "Transit gateway route evaluation order" in the AWS transit gateway guide; shapes:
botocore's service model `ec2` 2016-11-15.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidParameterValue
from moto.ec2.models.transit_gateway_attachments import (
    TransitGatewayAttachment,
    TransitGatewayAttachmentBackend,
)
from moto.ec2.models.transit_gateway_route_tables import (
    TransitGatewayRelations,
    TransitGatewayRouteTable,
    TransitGatewayRouteTableBackend,
)
from moto.ec2.responses.transit_gateway_attachments import (
    TransitGatewayAttachment as AttachmentResponse,
)
from moto.ec2.responses.transit_gateway_route_tables import (
    TransitGatewayRouteTable as RouteTableResponse,
)

from infra.local.ec2_facts_filters import keep_matching, tag_filters
from infra.local.ec2_facts_graft import graft, original
from infra.local.ec2_facts_vpn import network_of, routes_learned_over

_STATIC, _PROPAGATED = "static", "propagated"
# Which kind of attachment wins when several propagate the same prefix.
_PROPAGATION_ORDER = ("vpc", "vpn")


@dataclass(frozen=True)
class TransitGatewayRoute:
    """One effective route; several attachments mean equal-cost paths."""

    destination: ipaddress.IPv4Network
    type: str
    state: str
    attachments: tuple[Any, ...]

    def described(self) -> dict[str, Any]:
        """EC2's `TransitGatewayRoute`."""
        return {
            "DestinationCidrBlock": str(self.destination),
            "TransitGatewayAttachments": [
                {
                    "ResourceId": attachment.resource_id,
                    "ResourceType": attachment.resource_type,
                    "TransitGatewayAttachmentId": attachment.id,
                }
                for attachment in self.attachments
            ],
            "Type": self.type,
            "State": self.state,
        }


def effective_routes(table: TransitGatewayRouteTable) -> list[TransitGatewayRoute]:
    """What the table forwards by: one route per prefix, static before propagated."""
    backend = table.ec2_backend
    routes: dict[ipaddress.IPv4Network, TransitGatewayRoute] = {}
    for destination, stored in list(table.routes.items()):
        attachment = backend.transit_gateway_attachments.get(stored["attachment_id"])
        alive = attachment is not None and attachment.state == "available"
        network = network_of(destination)
        routes[network] = TransitGatewayRoute(
            destination=network,
            type=_STATIC,
            state="active" if alive else "blackhole",
            attachments=(attachment,) if alive else (),
        )
    learned: dict[ipaddress.IPv4Network, list[Any]] = {}
    for propagation in list(table.route_table_propagation):
        attachment = backend.transit_gateway_attachments.get(propagation.transitGatewayAttachmentId)
        if attachment is None or attachment.state != "available":
            continue
        for network in _propagated_by(attachment):
            learned.setdefault(network, []).append(attachment)
    equal_cost = (
        backend.transit_gateways[table.transit_gateway_id].options.get("VpnEcmpSupport") == "enable"
    )
    for network, attachments in learned.items():
        if network in routes:
            continue
        kind = next(
            kind
            for kind in _PROPAGATION_ORDER
            if any(attachment.resource_type == kind for attachment in attachments)
        )
        best = [attachment for attachment in attachments if attachment.resource_type == kind]
        routes[network] = TransitGatewayRoute(
            destination=network,
            type=_PROPAGATED,
            state="active",
            attachments=tuple(best if kind == "vpn" and equal_cost else best[:1]),
        )
    return sorted(routes.values(), key=lambda route: route.destination)


def _propagated_by(attachment: Any) -> Iterable[ipaddress.IPv4Network]:
    backend = attachment.ec2_backend
    if attachment.resource_type == "vpc":
        vpc = backend.vpcs.get(attachment.resource_id)
        if vpc is None:
            return ()
        return [
            network_of(block["cidr_block"])
            for block in vpc.get_cidr_block_association_set(ipv6=False)
        ]
    if attachment.resource_type == "vpn":
        return routes_learned_over(backend.vpn_connections[attachment.resource_id])
    return ()


class _AttachmentFacts:
    @property
    def association(self: Any) -> dict[str, str] | None:
        if self.state != "available":
            return None
        for table in list(self.ec2_backend.transit_gateways_route_tables.values()):
            if table.state == "available" and self.id in table.route_table_associations:
                return {"State": "associated", "TransitGatewayRouteTableId": table.id}
        return None


class _AttachmentBackendFacts:
    def create_transit_gateway_vpn_attachment(
        self: Any, vpn_id: str, transit_gateway_id: str, tags: dict[str, str] | None = None
    ) -> TransitGatewayAttachment:
        attachment: TransitGatewayAttachment = original(
            TransitGatewayAttachmentBackend, "create_transit_gateway_vpn_attachment"
        )(self, vpn_id, transit_gateway_id, tags)
        _join_default_tables(self, attachment)
        return attachment

    def create_transit_gateway_vpc_attachment(
        self: Any,
        transit_gateway_id: str,
        vpc_id: str,
        subnet_ids: list[str],
        tags: dict[str, str] | None = None,
        options: dict[str, str] | None = None,
    ) -> TransitGatewayAttachment:
        vpc = self.get_vpc(vpc_id)
        for subnet_id in subnet_ids:
            if self.get_subnet(subnet_id).vpc_id != vpc.id:
                raise InvalidParameterValue(f"The subnet '{subnet_id}' is not in '{vpc_id}'")
        attachment: TransitGatewayAttachment = original(
            TransitGatewayAttachmentBackend, "create_transit_gateway_vpc_attachment"
        )(self, transit_gateway_id, vpc_id, subnet_ids, tags, options)
        _leave_table(self, attachment.id)
        _join_default_tables(self, attachment)
        return attachment

    def delete_transit_gateway_vpc_attachment(
        self: Any, transit_gateway_attachment_id: str
    ) -> TransitGatewayAttachment:
        attachment: TransitGatewayAttachment = _attachment(self, transit_gateway_attachment_id)
        _leave_table(self, attachment.id)
        for table in self.transit_gateways_route_tables.values():
            self.disable_route_table_propagation(attachment.id, table.id)
        # Kept in the list, as AWS does for a while: routes to it show as black holes.
        attachment.state = "deleted"
        return attachment

    def describe_transit_gateway_attachments(
        self: Any,
        transit_gateways_attachment_ids: list[str] | None = None,
        filters: Any = None,
    ) -> list[TransitGatewayAttachment]:
        return _described(self, transit_gateways_attachment_ids, filters, kind=None)

    def describe_transit_gateway_vpc_attachments(
        self: Any,
        transit_gateways_attachment_ids: list[str] | None = None,
        filters: Any = None,
    ) -> list[TransitGatewayAttachment]:
        return _described(self, transit_gateways_attachment_ids, filters, kind="vpc")


class _RouteTableBackendFacts:
    def create_transit_gateway_route(
        self: Any,
        transit_gateway_route_table_id: str,
        destination_cidr_block: str,
        transit_gateway_attachment_id: str | None = None,
        blackhole: bool = False,
    ) -> dict[str, Any]:
        table = _table(self, transit_gateway_route_table_id)
        destination = _destination(destination_cidr_block)
        if destination in table.routes:
            raise EC2ClientError(
                "RouteAlreadyExists",
                f"Route {destination} already exists in Transit Gateway Route Table {table.id}",
            )
        return _store(self, table, destination, transit_gateway_attachment_id, blackhole)

    def replace_transit_gateway_route(
        self: Any,
        transit_gateway_route_table_id: str,
        destination_cidr_block: str,
        transit_gateway_attachment_id: str | None = None,
        blackhole: bool = False,
    ) -> dict[str, Any]:
        table = _table(self, transit_gateway_route_table_id)
        destination = _destination(destination_cidr_block)
        if destination not in table.routes:
            raise _route_not_found(destination, table.id)
        return _store(self, table, destination, transit_gateway_attachment_id, blackhole)

    def delete_transit_gateway_route(
        self: Any, transit_gateway_route_table_id: str, destination_cidr_block: str
    ) -> dict[str, Any]:
        table = _table(self, transit_gateway_route_table_id)
        destination = _destination(destination_cidr_block)
        stored = table.routes.pop(destination, None)
        if stored is None:
            raise _route_not_found(destination, table.id)
        attachment = self.transit_gateway_attachments.get(stored["attachment_id"])
        return TransitGatewayRoute(
            destination=ipaddress.IPv4Network(destination),
            type=_STATIC,
            state="deleted",
            attachments=(attachment,) if attachment else (),
        ).described()

    def search_transit_gateway_routes(
        self: Any,
        transit_gateway_route_table_id: str,
        filters: Any,
        max_results: int | None = None,
    ) -> list[dict[str, Any]]:
        table = _table(self, transit_gateway_route_table_id)
        found = [
            route
            for route in effective_routes(table)
            if all(_route_matches(route, name, values) for name, values in (filters or {}).items())
        ]
        if filters and "route-search.longest-prefix-match" in filters:
            longest = max((route.destination.prefixlen for route in found), default=0)
            found = [route for route in found if route.destination.prefixlen == longest]
        return [route.described() for route in found]

    def associate_transit_gateway_route_table(
        self: Any, transit_gateway_attachment_id: str, transit_gateway_route_table_id: str
    ) -> TransitGatewayRelations:
        attachment = _attachment(self, transit_gateway_attachment_id)
        table = _table(self, transit_gateway_route_table_id)
        if attachment.association is not None:
            raise EC2ClientError(
                "Resource.AlreadyAssociated",
                f"Transit Gateway Attachment {attachment.id} is already associated to a route table.",
            )
        relation: TransitGatewayRelations = original(
            TransitGatewayRouteTableBackend, "associate_transit_gateway_route_table"
        )(self, attachment.id, table.id)
        return relation

    def enable_transit_gateway_route_table_propagation(
        self: Any, transit_gateway_attachment_id: str, transit_gateway_route_table_id: str
    ) -> TransitGatewayRelations:
        attachment = _attachment(self, transit_gateway_attachment_id)
        table = _table(self, transit_gateway_route_table_id)
        if _propagates(table, attachment.id):
            raise EC2ClientError(
                "TransitGatewayRouteTablePropagation.Duplicate",
                f"Propagation for attachment {attachment.id} is already enabled on {table.id}.",
            )
        relation: TransitGatewayRelations = original(
            TransitGatewayRouteTableBackend, "enable_transit_gateway_route_table_propagation"
        )(self, attachment.id, table.id)
        return relation

    def disable_transit_gateway_route_table_propagation(
        self: Any, transit_gateway_attachment_id: str, transit_gateway_route_table_id: str
    ) -> TransitGatewayRelations:
        attachment = _attachment(self, transit_gateway_attachment_id)
        table = _table(self, transit_gateway_route_table_id)
        if not _propagates(table, attachment.id):
            raise EC2ClientError(
                "TransitGatewayRouteTablePropagation.NotFound",
                f"Propagation for attachment {attachment.id} is not enabled on {table.id}.",
            )
        self.disable_route_table_propagation(attachment.id, table.id)
        return TransitGatewayRelations(self, attachment.id, table.id, state="disabled")

    def get_all_transit_gateway_route_tables(
        self: Any, transit_gateway_route_table_ids: Any = None, filters: Any = None
    ) -> list[TransitGatewayRouteTable]:
        wanted = transit_gateway_route_table_ids or []
        for table_id in wanted:
            _table(self, table_id)
        return keep_matching(
            [
                table
                for table in self.transit_gateways_route_tables.values()
                if not wanted or table.id in wanted
            ],
            filters,
            {
                "default-association-route-table": lambda table: _text(
                    table.default_association_route_table
                ),
                "default-propagation-route-table": lambda table: _text(
                    table.default_propagation_route_table
                ),
                "state": lambda table: table.state,
                "transit-gateway-id": lambda table: table.transit_gateway_id,
                "transit-gateway-route-table-id": lambda table: table.id,
                **tag_filters(filters),
            },
        )


class _RouteTableResponseFacts:
    def replace_transit_gateway_route(self: Any) -> ActionResult:
        route = self.ec2_backend.replace_transit_gateway_route(
            transit_gateway_route_table_id=self._get_param("TransitGatewayRouteTableId"),
            destination_cidr_block=self._get_param("DestinationCidrBlock"),
            transit_gateway_attachment_id=self._get_param("TransitGatewayAttachmentId"),
            blackhole=bool(self._get_param("Blackhole", False)),
        )
        return ActionResult({"Route": route})

    def create_transit_gateway_route(self: Any) -> ActionResult:
        route = self.ec2_backend.create_transit_gateway_route(
            transit_gateway_route_table_id=self._get_param("TransitGatewayRouteTableId"),
            destination_cidr_block=self._get_param("DestinationCidrBlock"),
            transit_gateway_attachment_id=self._get_param("TransitGatewayAttachmentId"),
            blackhole=bool(self._get_param("Blackhole", False)),
        )
        return ActionResult({"Route": route})

    def search_transit_gateway_routes(self: Any) -> ActionResult:
        # AWS answers at most 1,000 routes and says whether there are more; it has no further page.
        limit = int(self._get_param("MaxResults", 1000))
        routes = self.ec2_backend.search_transit_gateway_routes(
            transit_gateway_route_table_id=self._get_param("TransitGatewayRouteTableId"),
            filters=self._filters_from_querystring(),
        )
        return ActionResult(
            {"Routes": routes[:limit], "AdditionalRoutesAvailable": len(routes) > limit}
        )


class _AttachmentResponseFacts:
    def create_transit_gateway_vpc_attachment(self: Any) -> ActionResult:
        attachment = self.ec2_backend.create_transit_gateway_vpc_attachment(
            transit_gateway_id=self._get_param("TransitGatewayId"),
            vpc_id=self._get_param("VpcId"),
            subnet_ids=self._get_param("SubnetIds", []),
            tags=self._parse_tag_specification().get("transit-gateway-attachment", {}),
            options=self._get_param("Options", {}),
        )
        return ActionResult({"TransitGatewayVpcAttachment": attachment})


def install() -> None:
    """Add these facts to moto."""
    graft(TransitGatewayAttachment, _AttachmentFacts, replaces=["association"])
    graft(
        TransitGatewayAttachmentBackend,
        _AttachmentBackendFacts,
        replaces=[
            "create_transit_gateway_vpn_attachment",
            "create_transit_gateway_vpc_attachment",
            "delete_transit_gateway_vpc_attachment",
            "describe_transit_gateway_attachments",
            "describe_transit_gateway_vpc_attachments",
        ],
    )
    graft(
        TransitGatewayRouteTableBackend,
        _RouteTableBackendFacts,
        replaces=[
            "create_transit_gateway_route",
            "delete_transit_gateway_route",
            "search_transit_gateway_routes",
            "associate_transit_gateway_route_table",
            "enable_transit_gateway_route_table_propagation",
            "disable_transit_gateway_route_table_propagation",
            "get_all_transit_gateway_route_tables",
        ],
    )
    graft(
        RouteTableResponse,
        _RouteTableResponseFacts,
        replaces=["create_transit_gateway_route", "search_transit_gateway_routes"],
    )
    graft(
        AttachmentResponse,
        _AttachmentResponseFacts,
        replaces=["create_transit_gateway_vpc_attachment"],
    )


def _text(flag: bool) -> str:
    return "true" if flag else "false"


def _table(backend: Any, table_id: str) -> Any:
    table = backend.transit_gateways_route_tables.get(table_id)
    if table is None or table.state == "deleted":
        raise EC2ClientError(
            "InvalidRouteTableID.NotFound",
            f"Transit Gateway Route Table {table_id} was deleted or does not exist.",
        )
    return table


def _attachment(backend: Any, attachment_id: str) -> Any:
    attachment = backend.transit_gateway_attachments.get(attachment_id)
    if attachment is None or attachment.state == "deleted":
        raise EC2ClientError(
            "InvalidTransitGatewayAttachmentID.NotFound",
            f"Transit Gateway Attachment {attachment_id} was deleted or does not exist.",
        )
    return attachment


def _destination(cidr: str) -> str:
    try:
        return str(ipaddress.IPv4Network(cidr))
    except ValueError as error:
        raise InvalidParameterValue(
            f"Value ({cidr}) for parameter destinationCidrBlock is invalid: {error}"
        ) from error


def _route_not_found(destination: str, table_id: str) -> EC2ClientError:
    return EC2ClientError(
        "InvalidRoute.NotFound",
        f"Route {destination} does not exist in Transit Gateway Route Table {table_id}",
    )


def _store(
    backend: Any, table: Any, destination: str, attachment_id: str | None, blackhole: bool
) -> dict[str, Any]:
    if blackhole == bool(attachment_id):
        raise EC2ClientError(
            "InvalidParameterCombination",
            "Exactly one of TransitGatewayAttachmentId and Blackhole must be given",
        )
    attachment = _attachment(backend, attachment_id) if attachment_id else None
    if attachment is not None and attachment.transit_gateway_id != table.transit_gateway_id:
        raise InvalidParameterValue(
            f"{attachment.id} and {table.id} belong to different transit gateways"
        )
    table.routes[destination] = {"attachment_id": attachment_id}
    return TransitGatewayRoute(
        destination=ipaddress.IPv4Network(destination),
        type=_STATIC,
        state="blackhole" if blackhole else "active",
        attachments=(attachment,) if attachment else (),
    ).described()


def _propagates(table: Any, attachment_id: str) -> bool:
    return any(
        propagation.transitGatewayAttachmentId == attachment_id
        for propagation in table.route_table_propagation
    )


def _leave_table(backend: Any, attachment_id: str) -> None:
    for table in backend.transit_gateways_route_tables.values():
        table.route_table_associations.pop(attachment_id, None)
    backend.transit_gateway_associations.pop(attachment_id, None)


def _join_default_tables(backend: Any, attachment: Any) -> None:
    """A new attachment joins the gateway's default tables only if its options say so."""
    gateway = backend.transit_gateways[attachment.transit_gateway_id]
    if gateway.options.get("DefaultRouteTableAssociation") == "enable":
        backend.associate_transit_gateway_route_table(
            attachment.id, gateway.options["AssociationDefaultRouteTableId"]
        )
    if gateway.options.get("DefaultRouteTablePropagation") == "enable":
        backend.enable_transit_gateway_route_table_propagation(
            attachment.id, gateway.options["PropagationDefaultRouteTableId"]
        )


def _described(
    backend: Any, attachment_ids: list[str] | None, filters: Any, kind: str | None
) -> list[TransitGatewayAttachment]:
    wanted = attachment_ids or []
    for attachment_id in wanted:
        if attachment_id not in backend.transit_gateway_attachments:
            _attachment(backend, attachment_id)
    return keep_matching(
        [
            attachment
            for attachment in backend.transit_gateway_attachments.values()
            if (not wanted or attachment.id in wanted)
            and (kind is None or attachment.resource_type == kind)
        ],
        filters,
        {
            "resource-id": lambda attachment: attachment.resource_id,
            "resource-owner-id": lambda attachment: attachment.resource_owner_id,
            "resource-type": lambda attachment: attachment.resource_type,
            "state": lambda attachment: attachment.state,
            "transit-gateway-attachment-id": lambda attachment: attachment.id,
            "transit-gateway-id": lambda attachment: attachment.transit_gateway_id,
            "transit-gateway-owner-id": lambda attachment: attachment.transit_gateway_owner_id,
            "vpc-id": lambda attachment: attachment.resource_id,
            "association.transit-gateway-route-table-id": lambda attachment: (
                attachment.association or {}
            ).get("TransitGatewayRouteTableId"),
            "association.state": lambda attachment: (attachment.association or {}).get("State"),
            **tag_filters(filters),
        },
    )


def _route_matches(route: TransitGatewayRoute, name: str, values: list[str]) -> bool:
    if name == "type":
        return route.type in values
    if name == "state":
        return route.state in values
    attributes = {
        "attachment.transit-gateway-attachment-id": "id",
        "attachment.resource-id": "resource_id",
        "attachment.resource-type": "resource_type",
    }
    if name in attributes:
        return any(
            getattr(attachment, attributes[name]) in values for attachment in route.attachments
        )
    searches: dict[str, Callable[[ipaddress.IPv4Network], bool]] = {
        "route-search.exact-match": lambda given: route.destination == given,
        "route-search.longest-prefix-match": lambda given: given.subnet_of(route.destination),
        "route-search.subnet-of-match": lambda given: route.destination.subnet_of(given),
        "route-search.supernet-of-match": lambda given: given.subnet_of(route.destination),
    }
    if name in searches:
        return any(searches[name](ipaddress.IPv4Network(value)) for value in values)
    raise InvalidParameterValue(f"The filter '{name}' is invalid")
