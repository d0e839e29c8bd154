"""The walk through transit gateways: associations, routes, attachments, peerings."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.route_model.addresses import Address
from control_plane.domain.route_model.facts import Attachment, Route, RouteRank, RouteState
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import (
    DETOUR,
    Carry,
    Ground,
    Place,
    Step,
    Stop,
    matched,
    unusable_stop,
)
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.traces import Blocker, Hop, Outcome


class TransitSteps(Ground):
    """Into, through and out of transit gateways."""

    def _towards_transit(
        self,
        target: str,
        vpc_id: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        route: Route,
    ) -> list[Step]:
        """From a VPC into a transit gateway."""
        network = self.network
        attachments = network.attachments_of_vpc.get((target, vpc_id), ())
        if not attachments:
            if target not in network.facts.transit_gateways and not network.knows_transit_gateway(
                target
            ):
                return [self._unknown(target, "transit-gateway", packet, carry, hops, target)]
            return [
                self._gone(
                    target,
                    "transit-gateway",
                    f"is not attached to {vpc_id}",
                    packet,
                    carry,
                    hops,
                    route,
                )
            ]
        attachment = next((one for one in attachments if one.usable), attachments[0])
        hops = (*hops, Hop("transit-gateway-attachment", attachment.id))
        stops: tuple[Stop, ...] = ()
        if not attachment.usable:
            stops += (unusable_stop(attachment),)
        entry = self._attachment_subnet(attachment, carry.zone)
        if attachment.subnet_ids is not None and entry is None:
            # Transit Gateway guide, VPC attachments: a subnet reaches the gateway only when the attachment
            # has a subnet in the same availability zone.
            blocker = Blocker(
                attachment.id,
                "transit-gateway-attachment",
                f"it has no subnet in {subnet_id}'s availability zone {carry.zone}",
                f"add a subnet of zone {carry.zone} to {attachment.id}",
            )
            stops += (Stop(Outcome.BLACKHOLE, blocker),)
        if entry is not None and entry != subnet_id:
            # Transit Gateway guide, "Network ACLs": from instances, the attachment subnet's inbound rules apply.
            stops += self._acl_stops(entry, packet, egress=False)
        gateway = network.facts.transit_gateways.get(target)
        if not (gateway and gateway.references_groups and attachment.references_groups):
            packet = packet.anonymous()
        return [Step(hops, packet, carry, Place("tgw", target, attachment.id), stops=stops)]

    def _attachment_subnet(self, attachment: Attachment, zone: str | None) -> str | None:
        """The attachment's subnet in this zone."""
        subnets = self.network.facts.subnets
        for subnet_id in attachment.subnet_ids or ():
            subnet = subnets.get(subnet_id)
            if subnet is not None and subnet.zone == zone:
                return subnet_id
        return None

    def _transit(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """A transit gateway routes a packet by the table that its ingress attachment (`via`) is associated with."""
        network = self.network
        attachment = network.facts.attachments.get((place.id, place.via))
        hop = ("transit-gateway", place.id)
        table = network.table(attachment.table_id) if attachment and attachment.table_id else None
        if attachment is None or table is None:
            return self._not_associated(place, attachment, packet, carry)
        route = table.lookup(packet.destination)
        steps: list[Step] = []
        unlisted = self._unlisted(table, packet.destination) if route is None else []
        if unlisted:
            for one in unlisted:
                self._note(f"whether {one.resource_id} announces {packet.destination}")
                hops = (Hop(*hop),)
                steps.append(self._towards_attachment(place.id, one.id, packet, carry, hops))
        elif route is None:
            blocker = Blocker(
                table.id,
                "transit-gateway-route-table",
                f"it has no route to {packet.destination}",
                f"add a route to {packet.destination} in {table.id}",
            )
            steps.append(
                Step((Hop(*hop),), packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))
            )
        elif route.state is RouteState.BLACKHOLE or not route.targets:
            blocker = Blocker(
                table.id,
                "transit-gateway-route-table",
                f"route {route.prefix} is a blackhole",
                f"replace route {route.prefix} in {table.id}",
            )
            steps.append(
                Step(
                    (Hop(*hop, matched(route)),),
                    packet,
                    carry,
                    stops=(Stop(Outcome.BLACKHOLE, blocker),),
                )
            )
        else:
            for target in self._equal_targets(place.id, route):
                hops = (Hop(*hop, matched(route, target)),)
                steps.append(self._towards_attachment(place.id, target, packet, carry, hops))
        if self.explaining:
            steps += self._transit_detours(place, table.id, route, packet, carry)
        return steps

    def _unlisted(self, table: RouteTable, destination: Address) -> list[Attachment]:
        """Attachments whose learnt routes were not listed, and may lead to a destination that no VPC here has.

        As with a virtual private gateway, what is routed to the gateway is taken to be announced to it.
        """
        found = []
        for attachment in self.network.facts.unlisted.get(table.id, ()):
            connection = self.network.facts.vpn_connections.get(attachment.resource_id or "")
            router = self.network.router_of_connection(connection) if connection else None
            homes = self.network.index.vpcs_at(destination)
            if homes and (router is None or router.vpc_id not in homes):
                continue
            if (
                connection is None
                or self.tunnels_up
                or connection.accepted_routes != 0
                or not connection.tunnels_up
            ):
                found.append(attachment)
        alive = []
        for attachment in found:
            connection = self.network.facts.vpn_connections.get(attachment.resource_id or "")
            if connection is None or not self._is_down(connection):
                alive.append(attachment)
        return alive or found

    def _equal_targets(self, gateway_id: str, route: Route) -> tuple[str, ...]:
        """The attachments over which a route is spread: those whose tunnels are up, if any; one without ECMP."""
        if len(route.targets) == 1:
            return route.targets
        facts = self.network.facts
        alive = []
        for target in route.targets:
            attachment = facts.attachments.get((gateway_id, target))
            connection = (
                facts.vpn_connections.get(attachment.resource_id or "") if attachment else None
            )
            if connection is None or not self._is_down(connection):
                alive.append(target)
        targets = tuple(alive) or route.targets
        gateway = facts.transit_gateways.get(gateway_id)
        return targets if gateway is None or gateway.ecmp else targets[:1]

    def _not_associated(
        self, place: Place, attachment: Attachment | None, packet: Packet, carry: Carry
    ) -> list[Step]:
        hops = (Hop("transit-gateway", place.id),)
        network = self.network
        known = attachment is not None and network.associations_observed
        if not known:
            return [
                self._unknown(
                    place.via,
                    "transit-gateway-attachment",
                    packet,
                    carry,
                    hops,
                    f"the association of {place.via}",
                )
            ]
        why = "it is associated with no route table"
        steps = []
        for table in network.tables_of_transit_gateway.get(place.id, ()):
            current = network.table(table)
            route = current.lookup(packet.destination) if current else None
            if self.explaining and route is not None and route.targets:
                blocker = Blocker(
                    place.via, "transit-gateway-attachment", why, f"associate it with {table}"
                )
                hop = Hop("transit-gateway", place.id, matched(route))
                step = self._towards_attachment(place.id, route.targets[0], packet, carry, (hop,))
                steps.append(replace(step, stops=(Stop(Outcome.NO_ROUTE, blocker), *step.stops)))
        blocker = Blocker(
            place.via, "transit-gateway-attachment", why, "associate it with a route table"
        )
        return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),)), *steps]

    def _transit_detours(
        self, place: Place, table_id: str, route: Route | None, packet: Packet, carry: Carry
    ) -> list[Step]:
        steps = []
        blocked = route is None or route.state is RouteState.BLACKHOLE
        prefix = self.network.natural_prefix(
            packet.destination, route.prefix if route else None, blocked
        )
        for attachment in self.network.attachments_for(place.id, packet.destination):
            if attachment.id == place.via or (route is not None and attachment.id in route.targets):
                continue
            why = (
                f"it has no route to {packet.destination}"
                if route is None
                else f"its route {route} does not lead to {packet.destination}"
            )
            static = route is not None and route.prefix == prefix and route.rank is RouteRank.STATIC
            fix = f"{'replace' if static else 'create'} static route {prefix} → {attachment.id} in {table_id}"
            price = 1.0 if blocked else 1.0 + DETOUR
            stop = Stop(
                Outcome.NO_ROUTE, Blocker(table_id, "transit-gateway-route-table", why, fix), price
            )
            made = Route(table_id, prefix, (attachment.id,), RouteRank.STATIC)
            hops = (Hop("transit-gateway", place.id, matched(made)),)
            step = self._towards_attachment(place.id, attachment.id, packet, carry, hops)
            steps.append(replace(step, stops=(stop, *step.stops)))
        return steps

    def _towards_attachment(
        self,
        gateway_id: str,
        attachment_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
    ) -> Step:
        attachment = self.network.facts.attachments.get((gateway_id, attachment_id))
        hops = (*hops, Hop("transit-gateway-attachment", attachment_id))
        if attachment is None:
            return self._unknown(
                attachment_id, "transit-gateway-attachment", packet, carry, hops, attachment_id
            )
        stops = () if attachment.usable else (unusable_stop(attachment),)
        return Step(
            hops, packet, carry, Place("attachment", attachment_id, gateway_id), stops=stops
        )

    def _attachment(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """Out of a transit gateway (`via`) by an attachment."""
        network = self.network
        attachment = network.facts.attachments[place.via, place.id]
        match attachment.resource_type:
            case "vpc":
                return self._into_vpc(attachment, packet, carry)
            case "vpn":
                if attachment.resource_id not in network.facts.vpn_connections:
                    return [
                        self._unknown(
                            attachment.resource_id or place.id,
                            "vpn-connection",
                            packet,
                            carry,
                            (),
                            str(attachment.resource_id),
                        )
                    ]
                return [
                    Step((), packet.anonymous(), carry, Place("vpn-out", attachment.resource_id))
                ]
            case "peering":
                return self._across_peering(attachment, packet.anonymous(), carry)
            case "direct-connect-gateway" | "connect" | "vpn-concentrator" | "client-vpn":
                hops = (Hop(attachment.resource_type, attachment.resource_id or attachment.id),)
                reply = Place("tgw", place.via, attachment.id)
                return [Step(hops, packet, carry, None, Outcome.EXITS_TO_SITE, (), reply)]
        return [self._unknown(place.id, attachment.resource_type, packet, carry, (), place.id)]

    def _across_peering(self, attachment: Attachment, packet: Packet, carry: Carry) -> list[Step]:
        """To the other transit gateway of a peering, and into the table its end is associated with."""
        far = self.network.far_end(attachment)
        if far is None:
            what = attachment.resource_id or attachment.id
            return [self._unknown(what, "transit-gateway", packet, carry, (), what)]
        stops = () if far.usable else (unusable_stop(far),)
        hops = (Hop("transit-gateway-attachment", far.id),)
        return [
            Step(hops, packet, carry, Place("tgw", far.transit_gateway_id, far.id), stops=stops)
        ]

    def _into_vpc(self, attachment: Attachment, packet: Packet, carry: Carry) -> list[Step]:
        """From a transit gateway into a VPC, by the attachment's subnet in the destination's availability zone.

        Transit Gateway guide, VPC attachments: one subnet of a zone gives access to all subnets of that zone. A
        destination outside the VPC (behind an appliance or NAT gateway there) is entered for in the zone that the packet
        left from; in appliance mode, or where that zone has no subnet, in any one.
        """
        network = self.network
        vpc_id = attachment.resource_id or ""
        if vpc_id not in network.facts.vpcs:
            return [self._unknown(vpc_id, "vpc", packet, carry, (), f"Vpcs {vpc_id}")]
        hops: tuple[Hop, ...] = (Hop("vpc", vpc_id),)
        if attachment.subnet_ids is None:
            self._note(f"TransitGatewayVpcAttachments {attachment.id}")
            return [Step(hops, packet, carry, Place("vpc", vpc_id))]
        home = network.subnet_at(vpc_id, packet.destination)
        if home is not None:
            entry = self._attachment_subnet(attachment, home.zone)
            stops: tuple[Stop, ...] = ()
            if entry is None:
                blocker = Blocker(
                    attachment.id,
                    "transit-gateway-attachment",
                    f"it has no subnet in {home.id}'s availability zone {home.zone}",
                    f"add a subnet of zone {home.zone} to {attachment.id}",
                )
                stop = Stop(Outcome.BLACKHOLE, blocker)
                return [Step(hops, packet, carry, Place("vpc", vpc_id), stops=(stop,))]
            entries: tuple[str, ...] = (entry,)
        else:
            same = self._attachment_subnet(attachment, carry.zone)
            entries = (same,) if same and not attachment.appliance_mode else attachment.subnet_ids
            entries = tuple(one for one in entries if one in network.facts.subnets)
            stops = ()
        if not entries:
            return [
                self._unknown(
                    attachment.id,
                    "transit-gateway-attachment",
                    packet,
                    carry,
                    hops,
                    f"the subnets of {attachment.id}",
                )
            ]
        return [
            Step(hops, packet, carry, Place("subnet", entry, "transit"), stops=stops)
            for entry in entries
        ]
