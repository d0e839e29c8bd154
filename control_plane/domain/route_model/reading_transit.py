"""Transit gateways from describe output: attachments, associations, and routes listed or derived.

The same facts come from several calls, and any of them may not have been made: an association from the attachment or from its own
listing, a propagated route from the search for routes or from propagation and attachment.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from control_plane.domain.route_model.addresses import Prefix, parse_prefix
from control_plane.domain.route_model.facts import Attachment, Route, RouteRank, RouteState
from control_plane.domain.route_model.observed import GONE, Facts, checked, note, place, text
from control_plane.domain.route_model.snapshot import Json, Snapshot
from control_plane.domain.route_model.tables import RouteTable


def read_transit(snapshot: Snapshot, facts: Facts) -> None:
    """All that is known of transit gateways, after VPCs and VPN connections have been read."""
    for item in snapshot.items("TransitGatewayRouteTables"):
        if str(item.get("State", "available")).lower() in GONE:
            continue
        with place("TransitGatewayRouteTables", item.get("TransitGatewayRouteTableId")):
            table_id = text(item, "TransitGatewayRouteTableId")
            facts.tables[table_id] = RouteTable(
                table_id,
                transit_gateway_id=text(item, "TransitGatewayId")
                if item.get("TransitGatewayId")
                else None,
            )
    _attachments(snapshot, facts)
    _transit_routes(snapshot, facts)


def _attachments(snapshot: Snapshot, facts: Facts) -> None:
    associated: dict[tuple[str | None, str], str] = {}
    for item in snapshot.items("TransitGatewayRouteTableAssociations"):
        with place("TransitGatewayRouteTableAssociations", item.get("TransitGatewayAttachmentId")):
            table_id = text(item, "TransitGatewayRouteTableId")
            if str(item.get("State", "associated")).lower() in ("associated", "associating"):
                associated[
                    _table_owner(facts, table_id), text(item, "TransitGatewayAttachmentId")
                ] = table_id
    for item in snapshot.items("TransitGatewayAttachments"):
        with place("TransitGatewayAttachments", item.get("TransitGatewayAttachmentId")):
            association = item.get("Association") or {}
            shown = association.get("TransitGatewayRouteTableId")
            if str(association.get("State", "associated")).lower() != "associated":
                shown = None
            _put_attachment(facts, item, associated, shown, str(item["ResourceType"]).lower())
    # Emulators answer the calls about one type of attachment with attachments of every type.
    listed = {one.id: one.resource_type for one in facts.attachments.values()}
    for item in snapshot.items("TransitGatewayVpcAttachments"):
        with place("TransitGatewayVpcAttachments", item.get("TransitGatewayAttachmentId")):
            if listed.get(item["TransitGatewayAttachmentId"], "vpc") != "vpc":
                continue
            described = {**item, "ResourceId": item["VpcId"]}
            _put_attachment(facts, described, associated, None, "vpc")
    for item in snapshot.items("TransitGatewayPeeringAttachments"):
        with place("TransitGatewayPeeringAttachments", item.get("TransitGatewayAttachmentId")):
            if listed.get(item["TransitGatewayAttachmentId"], "peering") != "peering":
                continue
            first, second = item["RequesterTgwInfo"], item["AccepterTgwInfo"]
            far_id = item.get("AccepterTransitGatewayAttachmentId")
            for here, there, attachment_id in (
                (first, second, text(item, "TransitGatewayAttachmentId")),
                (second, first, far_id or text(item, "TransitGatewayAttachmentId")),
            ):
                described = {
                    "TransitGatewayAttachmentId": attachment_id,
                    "TransitGatewayId": here["TransitGatewayId"],
                    "ResourceId": there["TransitGatewayId"],
                    "State": item.get("State"),
                }
                _put_attachment(facts, described, associated, None, "peering")
    with place("TransitGatewayRoutes", None):
        _vpn_attachments_without_listing(snapshot, facts, associated)
    _default_tables(snapshot, facts)


def _table_owner(facts: Facts, table_id: str) -> str | None:
    table = facts.tables.get(table_id)
    return table.transit_gateway_id if table else None


def _put_attachment(
    facts: Facts,
    item: Json,
    associated: dict[tuple[str | None, str], str],
    table_id: str | None,
    resource_type: str,
) -> None:
    attachment_id, gateway_id = (
        text(item, "TransitGatewayAttachmentId"),
        text(item, "TransitGatewayId"),
    )
    known = facts.attachments.get((gateway_id, attachment_id))
    table_id = (
        table_id
        or associated.get((gateway_id, attachment_id))
        or associated.get((None, attachment_id))
        or (known.table_id if known else None)
    )
    state = str(item.get("State") or (known.state if known else "available")).lower()
    options = item.get("Options") or {}
    subnets = tuple(item["SubnetIds"]) if item.get("SubnetIds") is not None else None
    attachment = Attachment(
        id=attachment_id,
        transit_gateway_id=gateway_id,
        resource_type="peering" if resource_type == "tgw-peering" else resource_type,
        resource_id=item.get("ResourceId") or (known.resource_id if known else None),
        state=state,
        table_id=table_id,
        subnet_ids=subnets if subnets is not None else (known.subnet_ids if known else None),
        appliance_mode=options.get("ApplianceModeSupport") == "enable"
        or (known is not None and known.appliance_mode),
        ipv6=options.get("Ipv6Support") == "enable" or (known is not None and known.ipv6),
        references_groups=options.get("SecurityGroupReferencingSupport", "enable") == "enable",
        created=str(item.get("CreationTime") or (known.created if known else "")),
    )
    facts.attachments[gateway_id, attachment_id] = checked(attachment)


def _vpn_attachments_without_listing(
    snapshot: Snapshot, facts: Facts, associated: dict[tuple[str | None, str], str]
) -> None:
    """VPN connections over a transit gateway whose attachment only its tables' rows mention."""
    listed = {one.resource_id for one in facts.attachments.values() if one.resource_type == "vpn"}
    rows = [
        *snapshot.items("TransitGatewayRouteTableAssociations"),
        *snapshot.items("TransitGatewayRouteTablePropagations"),
    ]
    for route in snapshot.items("TransitGatewayRoutes"):
        rows += route.get("TransitGatewayAttachments") or ()
    for item in rows:
        resource_id = item.get("ResourceId")
        connection = facts.vpn_connections.get(resource_id or "")
        if connection is None or resource_id in listed or not connection.transit_gateway_id:
            continue
        described = {**item, "TransitGatewayId": connection.transit_gateway_id}
        described["State"] = "available"
        _put_attachment(facts, described, associated, None, "vpn")


def _default_tables(snapshot: Snapshot, facts: Facts) -> None:
    """Associations by a gateway's defaults, where neither listing of associations was observed."""
    if (
        "TransitGatewayAttachments" in facts.observed
        or "TransitGatewayRouteTableAssociations" in facts.observed
    ):
        return
    defaults = _defaults(snapshot, "Association")
    for key, attachment in facts.attachments.items():
        table_id = defaults.get(attachment.transit_gateway_id)
        if attachment.table_id is None and table_id:
            facts.attachments[key] = replace(attachment, table_id=table_id)


def _defaults(snapshot: Snapshot, what: str) -> dict[str, str]:
    """Transit gateway → its default association or propagation route table, where that is enabled."""
    found: dict[str, str] = {}
    for item in snapshot.items("TransitGatewayRouteTables"):
        if item.get(f"Default{what}RouteTable") is True and item.get("TransitGatewayId"):
            found[item["TransitGatewayId"]] = text(item, "TransitGatewayRouteTableId")
    for item in snapshot.items("TransitGateways"):
        options = item.get("Options") or {}
        if options.get(f"DefaultRouteTable{what}") == "disable":
            found.pop(item["TransitGatewayId"], None)
        elif options.get(f"{what}DefaultRouteTableId"):
            found[item["TransitGatewayId"]] = options[f"{what}DefaultRouteTableId"]
    return found


_RANK_OF_RESOURCE = {
    "vpc": RouteRank.PROPAGATED_VPC,
    "direct-connect-gateway": RouteRank.PROPAGATED_DIRECT_CONNECT,
    "connect": RouteRank.PROPAGATED_CONNECT,
    "vpn": RouteRank.PROPAGATED_VPN,
    "peering": RouteRank.PROPAGATED_PEERING,
    "tgw-peering": RouteRank.PROPAGATED_PEERING,
}


def _transit_routes(snapshot: Snapshot, facts: Facts) -> None:
    listed: set[str] = set()
    for item in snapshot.items("TransitGatewayRoutes"):
        with place("TransitGatewayRoutes", item.get("TransitGatewayRouteTableId")):
            table = _transit_table(facts, text(item, "TransitGatewayRouteTableId"))
            state = str(item.get("State", "active")).lower()
            if state in ("deleting", "deleted", "pending"):
                continue
            propagated = str(item.get("Type", "static")).lower() == "propagated"
            rows = item.get("TransitGatewayAttachments") or []
            if item.get("TransitGatewayAttachmentId"):
                rows = [item]
            rank = RouteRank.STATIC
            if propagated:
                listed.add(table.id)
                kind = str(rows[0].get("ResourceType", "vpc")).lower() if rows else "vpc"
                rank = _RANK_OF_RESOURCE.get(kind, RouteRank.PROPAGATED_PEERING)
            elif item.get("PrefixListId"):
                rank = RouteRank.PREFIX_LIST
            table.add(
                Route(
                    table.id,
                    parse_prefix(item["DestinationCidrBlock"]),
                    tuple(str(row["TransitGatewayAttachmentId"]) for row in rows),
                    rank,
                    RouteState.BLACKHOLE if state == "blackhole" else RouteState.ACTIVE,
                    item.get("PrefixListId"),
                )
            )
    _prefix_list_references(snapshot, facts)
    _derive_propagated(snapshot, facts, listed)


def _transit_table(facts: Facts, table_id: str) -> RouteTable:
    if table_id not in facts.tables:
        owner = next(
            (
                one.transit_gateway_id
                for one in facts.attachments.values()
                if one.table_id == table_id
            ),
            None,
        )
        facts.tables[table_id] = RouteTable(table_id, transit_gateway_id=owner)
    return facts.tables[table_id]


def _prefix_list_references(snapshot: Snapshot, facts: Facts) -> None:
    for item in snapshot.items("TransitGatewayPrefixListReferences"):
        with place("TransitGatewayPrefixListReferences", item.get("PrefixListId")):
            table = _transit_table(facts, text(item, "TransitGatewayRouteTableId"))
            blackhole = item.get("Blackhole") is True
            attachment = item.get("TransitGatewayAttachment") or {}
            targets = () if blackhole else (attachment["TransitGatewayAttachmentId"],)
            for prefix in facts.prefix_lists.get(item["PrefixListId"], ()):
                table.add(
                    Route(
                        table.id,
                        prefix,
                        targets,
                        RouteRank.PREFIX_LIST,
                        RouteState.BLACKHOLE if blackhole else RouteState.ACTIVE,
                        item["PrefixListId"],
                    )
                )


def _derive_propagated(snapshot: Snapshot, facts: Facts, listed: set[str]) -> None:
    """Routes that propagations imply, for attachments of which the table's listing shows none.

    Where two attachments propagate overlapping CIDRs, the one that was attached first has them (Transit Gateway
    guide, VPC attachments, "Limits"). What a BGP connection has taught is in no other answer than the search for
    routes: where a table shows no propagated route at all, that search was not made, and the attachment is kept as one
    that may lead anywhere.
    """
    rows: dict[str, list[Attachment]] = {}
    for table_id, attachment in _propagations(snapshot, facts):
        if attachment.usable:
            rows.setdefault(table_id, []).append(attachment)
    for table_id, attachments in rows.items():
        table = _transit_table(facts, table_id)
        taken = _Disjoint()
        shown: set[str] = set()
        for route in table.routes() if table_id in listed else ():
            if route.rank >= RouteRank.PROPAGATED_VPC:
                shown.update(route.targets)
            if route.rank is RouteRank.PROPAGATED_VPC:
                taken.take(route.prefix)
        vpns: dict[Prefix, list[str]] = {}
        for attachment in sorted(attachments, key=lambda one: (one.created, one.id)):
            if attachment.id in shown:
                continue
            if attachment.resource_type == "vpc":
                for cidr in _propagated_cidrs(facts, attachment, taken):
                    table.add(Route(table.id, cidr, (attachment.id,), RouteRank.PROPAGATED_VPC))
            elif attachment.resource_type == "vpn":
                connection = facts.vpn_connections.get(attachment.resource_id or "")
                for cidr in connection.static_routes if connection else ():
                    vpns.setdefault(cidr, []).append(attachment.id)
                if (connection is None or not connection.static_only) and table_id not in listed:
                    _unlisted(facts, table_id, attachment)
            elif attachment.resource_type != "peering" and table_id not in listed:
                _unlisted(facts, table_id, attachment)
        for cidr, targets in vpns.items():
            table.add(Route(table.id, cidr, tuple(targets), RouteRank.PROPAGATED_VPN))


def _propagated_cidrs(facts: Facts, attachment: Attachment, taken: _Disjoint) -> list[Prefix]:
    vpc = facts.vpcs.get(attachment.resource_id or "")
    if vpc is None:
        note(facts, f"Vpcs {attachment.resource_id}")
        return []
    return [
        cidr for cidr in vpc.cidrs if (cidr.version == 4 or attachment.ipv6) and taken.take(cidr)
    ]


def _unlisted(facts: Facts, table_id: str, attachment: Attachment) -> None:
    facts.unlisted.setdefault(table_id, []).append(attachment)
    note(facts, f"TransitGatewayRoutes learnt from {attachment.resource_id} in {table_id}")


@dataclass
class _Disjoint:
    """Networks of which no two overlap, in order."""

    spans: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, cidr: Prefix) -> bool:
        """Add the network, unless it overlaps one that is there."""
        span = (cidr.version, cidr.network, cidr.last.value)
        position = bisect(self.spans, span)
        for neighbour in self.spans[max(position - 1, 0) : position + 1]:
            if neighbour[0] == span[0] and neighbour[1] <= span[2] and span[1] <= neighbour[2]:
                return False
        self.spans.insert(position, span)
        return True


def _propagations(snapshot: Snapshot, facts: Facts) -> Iterable[tuple[str, Attachment]]:
    if "TransitGatewayRouteTablePropagations" not in facts.observed:
        defaults = _defaults(snapshot, "Propagation")
        for attachment in facts.attachments.values():
            table_id = defaults.get(attachment.transit_gateway_id)
            if table_id:
                yield table_id, attachment
        return
    for item in snapshot.items("TransitGatewayRouteTablePropagations"):
        with place("TransitGatewayRouteTablePropagations", item.get("TransitGatewayAttachmentId")):
            table_id = text(item, "TransitGatewayRouteTableId")
            if str(item.get("State", "enabled")).lower() not in ("enabled", "enabling"):
                continue
            attachment_id = text(item, "TransitGatewayAttachmentId")
            found = find_attachment(facts, table_id, attachment_id) or Attachment(
                attachment_id,
                _table_owner(facts, table_id) or "",
                str(item.get("ResourceType", "vpc")).lower(),
                item.get("ResourceId"),
                "available",
                None,
            )
            facts.attachments.setdefault((found.transit_gateway_id, found.id), found)
            yield table_id, found


def find_attachment(facts: Facts, table_id: str, attachment_id: str) -> Attachment | None:
    """The view of an attachment that the owner of this route table has."""
    owner = _table_owner(facts, table_id)
    found = facts.attachments.get((owner or "", attachment_id))
    if found is None and owner is None:
        found = next((one for one in facts.attachments.values() if one.id == attachment_id), None)
    return found
