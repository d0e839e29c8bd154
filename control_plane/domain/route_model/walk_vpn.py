"""The walk over site-to-site VPN: virtual private gateways, connections, and the routers at their far ends."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.route_model.addresses import Address
from control_plane.domain.route_model.facts import (
    NetworkInterface,
    Route,
    RouteRank,
    RouteState,
    VpnConnection,
)
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import (
    Carry,
    Ground,
    Place,
    Step,
    Stop,
    check_stops,
    dead_stop,
    instance_hop,
    unusable_stop,
)
from control_plane.domain.route_model.traces import Blocker, Hop, Outcome


class VpnSteps(Ground):
    """VPN connections in both directions, and instances that forward."""

    def _towards_vpn_gateway(
        self,
        target: str,
        vpc_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        route: Route,
    ) -> list[Step]:
        """From a VPC to its virtual private gateway.

        Site-to-Site VPN guide, "Route tables and route priority": the gateway carries only prefixes it knows, by BGP or by
        a connection's static routes, and no IPv6. Health of the tunnels comes before all else, then the longest prefix.
        """
        network = self.network
        facts = network.facts
        gateway = facts.vpn_gateways.get(target)
        hops = (*hops, Hop("virtual-private-gateway", target))
        if gateway is None and "VpnGateways" in facts.observed:
            return [self._unknown(target, "virtual-private-gateway", packet, carry, hops, target)]
        if gateway is not None and gateway.vpc_id != vpc_id:
            return [
                self._gone(
                    target,
                    "virtual-private-gateway",
                    f"is not attached to {vpc_id}",
                    packet,
                    carry,
                    hops,
                    route,
                )
            ]
        if packet.destination.version == 6:
            blocker = Blocker(
                target, "virtual-private-gateway", "it carries no IPv6", "use a transit gateway"
            )
            return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]
        return self._vpn_gateway_routes(target, vpc_id, route, "", packet.anonymous(), carry, hops)

    def _vpn_gateway_routes(
        self,
        gateway_id: str,
        vpc_id: str,
        route: Route | None,
        came_by: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
    ) -> list[Step]:
        network = self.network
        found: dict[bool, list[tuple[int, VpnConnection]]] = {True: [], False: []}
        unmatched: list[VpnConnection] = []
        for connection in network.connections_of_gateway.get(gateway_id, ()):
            if connection.id == came_by:
                continue
            length = self._carries(connection, packet.destination, route)
            if length is None:
                unmatched.append(connection)
            else:
                found[self._is_down(connection)].append((length, connection))
        matching = found[False] or found[True]
        if matching:
            longest = max(length for length, _ in matching)
            chosen = [connection for length, connection in matching if length == longest]
            return [Step(hops, packet, carry, Place("vpn-out", one.id)) for one in chosen]
        reply = Place("edge", gateway_id, vpc_id)
        learnt = route is not None and route.rank >= RouteRank.PROPAGATED_VPC
        if not came_by and (learnt or "VpnConnections" not in network.facts.observed):
            # A propagated route that no VPN connection explains comes from Direct Connect.
            self._note(f"what {gateway_id} leads to")
            return [Step(hops, packet, carry, None, Outcome.EXITS_TO_SITE, (), reply)]
        why = f"none of its VPN connections carries {packet.destination}"
        blocker = Blocker(
            gateway_id, "virtual-private-gateway", why, f"route {packet.destination} elsewhere"
        )
        steps = [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]
        if self.explaining:
            for connection in unmatched:
                prefix = network.natural_prefix(packet.destination, None, False)
                fix = f"add static route {prefix} to {connection.id}"
                if not connection.static_only:
                    fix = f"advertise {prefix} over {connection.id}"
                stop = Stop(
                    Outcome.NO_ROUTE, Blocker(gateway_id, "virtual-private-gateway", why, fix)
                )
                steps.append(
                    Step(hops, packet, carry, Place("vpn-out", connection.id), stops=(stop,))
                )
        return steps

    def _carries(
        self, connection: VpnConnection, destination: Address, route: Route | None
    ) -> int | None:
        """The length of the prefix by which a connection of a virtual private gateway leads to a destination.

        What a BGP connection announces is not in any describe output, save by the routes that it propagates: it is
        taken to announce what the VPC routes to the gateway, unless its live tunnels have accepted no route at all.
        """
        lengths = [cidr.length for cidr in connection.static_routes if cidr.holds(destination)]
        if lengths:
            return max(lengths)
        if connection.static_only:
            return None
        if not self.tunnels_up and connection.tunnels_up and connection.accepted_routes == 0:
            return None
        return route.prefix.length if route is not None else 0

    def _out_by_vpn(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """From AWS through a VPN connection to its customer gateway."""
        network = self.network
        connection = network.facts.vpn_connections[place.id]
        hops: tuple[Hop, ...] = (Hop("vpn-connection", connection.id),)
        if connection.customer_gateway_id:
            hops = (*hops, Hop("customer-gateway", connection.customer_gateway_id))
        stops = self._tunnel_stops(connection)
        carry = replace(carry, router=None)
        router = network.router_of_connection(connection)
        if router is None:
            reply = Place("vpn-in", connection.id)
            return [Step(hops, packet, carry, None, Outcome.EXITS_TO_SITE, stops, reply)]
        hops = (*hops, *instance_hop(router), Hop("network-interface", router.id))
        if router.dead:
            stops += (dead_stop(router, Outcome.BLACKHOLE),)
        if router.owns(packet.destination):
            return [
                Step(
                    hops,
                    packet,
                    carry,
                    None,
                    Outcome.DELIVERED,
                    stops,
                    Place("vpn-in", connection.id),
                )
            ]
        return [Step(hops, packet, carry, Place("forward", router.id, connection.id), stops=stops)]

    def _in_by_vpn(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """From a customer gateway through a VPN connection into AWS."""
        network = self.network
        connection = network.facts.vpn_connections[place.id]
        hops: tuple[Hop, ...] = ()
        if connection.customer_gateway_id:
            hops = (Hop("customer-gateway", connection.customer_gateway_id),)
        hops = (*hops, Hop("vpn-connection", connection.id))
        stops = self._tunnel_stops(connection)
        packet = packet.anonymous()
        carry = replace(carry, zone=None, router=None)
        if connection.transit_gateway_id:
            attachment = network.attachment_of_connection.get(connection.id)
            if attachment is None:
                what = f"the attachment of {connection.id}"
                step = self._unknown(
                    connection.transit_gateway_id, "transit-gateway", packet, carry, hops, what
                )
                return [replace(step, stops=stops + step.stops)]
            hops = (*hops, Hop("transit-gateway-attachment", attachment.id))
            if not attachment.usable:
                stops += (unusable_stop(attachment),)
            onward = Place("tgw", connection.transit_gateway_id, attachment.id)
            return [Step(hops, packet, carry, onward, stops=stops)]
        gateway_id = connection.gateway_id or ""
        if not gateway_id:
            step = self._unknown(
                connection.id,
                "vpn-connection",
                packet,
                carry,
                hops,
                f"the gateway of {connection.id}",
            )
            return [replace(step, stops=stops + step.stops)]
        return [Step(hops, packet, carry, Place("vgw", gateway_id, connection.id), stops=stops)]

    def _vpn_gateway(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """A virtual private gateway routes what came in by a VPN connection (`via`)."""
        network = self.network
        facts = network.facts
        hops: tuple[Hop, ...] = (Hop("virtual-private-gateway", place.id),)
        gateway = facts.vpn_gateways.get(place.id)
        if gateway is None:
            return [
                self._unknown(place.id, "virtual-private-gateway", packet, carry, hops, place.id)
            ]
        vpc = facts.vpcs.get(gateway.vpc_id or "")
        if vpc is not None and any(cidr.holds(packet.destination) for cidr in vpc.cidrs):
            return [Step(hops, packet, carry, Place("edge", place.id, vpc.id))]
        # Site-to-Site VPN guide, "VPN CloudHub": between sites of the same gateway.
        others = [
            one
            for one in network.connections_of_gateway.get(place.id, ())
            if one.id != place.via
            and any(cidr.holds(packet.destination) for cidr in one.static_routes)
        ]
        if others:
            return self._vpn_gateway_routes(
                place.id, gateway.vpc_id or "", None, place.via, packet, carry, hops
            )
        why = f"{packet.destination} is not in the VPC that it is attached to"
        blocker = Blocker(place.id, "virtual-private-gateway", why, "use a transit gateway")
        if vpc is None:
            blocker = Blocker(
                place.id,
                "virtual-private-gateway",
                "it is attached to no VPC",
                "attach it to the VPC",
            )
        return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]

    def _forward(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """A router sends a packet on; `via` is the VPN connection that it came out of, if any."""
        network = self.network
        interface = network.facts.interfaces[place.id]
        packet = packet.anonymous()
        carry = replace(carry, router=interface.id)
        vpc = network.facts.vpcs.get(interface.vpc_id)
        own = vpc is not None and any(cidr.holds(packet.destination) for cidr in vpc.cidrs)
        if not own:
            steps = self._into_tunnels(interface, place.via, packet, carry)
            if steps:
                return steps
        return [
            self._leave_router(exit_, interface, packet, carry)
            for exit_ in self._exits(interface, packet)
        ]

    def _into_tunnels(
        self, interface: NetworkInterface, came_by: str, packet: Packet, carry: Carry
    ) -> list[Step]:
        """The VPN connections that a router would send this packet into: those whose AWS side advertises it."""
        network = self.network
        best = -1
        chosen: list[VpnConnection] = []
        down: list[VpnConnection] = []
        for connection in network.connections_of_router(interface):
            if connection.id == came_by:
                continue
            length = self._advertised(connection, packet.destination)
            if length is None:
                continue
            if self._is_down(connection):
                down.append(connection)
            elif length > best:
                best, chosen = length, [connection]
            elif length == best:
                chosen.append(connection)
        return [
            Step((), packet, carry, Place("vpn-in", connection.id)) for connection in chosen or down
        ]

    def _advertised(self, connection: VpnConnection, destination: Address) -> int | None:
        """The length of the prefix by which AWS tells the customer gateway about this destination."""
        network = self.network
        if connection.transit_gateway_id:
            # A transit gateway advertises the routes of the table that the VPN attachment is associated with.
            attachment = network.attachment_of_connection.get(connection.id)
            table = (
                network.table(attachment.table_id) if attachment and attachment.table_id else None
            )
            route = table.lookup(destination) if table else None
            if route is None or route.state is RouteState.BLACKHOLE:
                return None
            return None if attachment and route.targets == (attachment.id,) else route.prefix.length
        # A virtual private gateway advertises its VPC's CIDRs and the other connections' routes (CloudHub).
        gateway = network.facts.vpn_gateways.get(connection.gateway_id or "")
        vpc = network.facts.vpcs.get(gateway.vpc_id or "") if gateway else None
        lengths = [cidr.length for cidr in (vpc.cidrs if vpc else ()) if cidr.holds(destination)]
        for other in network.connections_of_gateway.get(connection.gateway_id or "", ()):
            if other.id != connection.id:
                lengths += [cidr.length for cidr in other.static_routes if cidr.holds(destination)]
        return max(lengths, default=None)

    def _exits(self, interface: NetworkInterface, packet: Packet) -> list[NetworkInterface]:
        """Which interface of an instance a forwarded packet leaves by.

        One that is in the destination's subnet; otherwise the one whose subnet's table has the most specific route
        that does not lead back to the instance; among equals all, since the instance's own table is not observed.
        """
        network = self.network
        instance = network.facts.instances.get(interface.instance_id or "")
        mine = [
            network.facts.interfaces[name]
            for name in (instance.interface_ids if instance else ())
            if name in network.facts.interfaces
        ]
        mine = [one for one in mine if not one.source_dest_check] or [interface]
        if len(mine) == 1:
            return mine
        for one in mine:
            subnet = network.facts.subnets.get(one.subnet_id)
            if subnet and any(cidr.holds(packet.destination) for cidr in subnet.cidrs):
                return [one]
        ids = {one.id for one in mine} | {interface.instance_id or ""}
        lengths: dict[str, int] = {}
        for one in mine:
            table = network.table_of_subnet(one.subnet_id)
            route = table.lookup(packet.destination) if table else None
            if route is not None and route.target not in ids:
                lengths[one.id] = route.prefix.length
        if not lengths:
            return [interface]
        longest = max(lengths.values())
        best = [one for one in mine if lengths.get(one.id) == longest]
        if len(best) > 1:
            self._note(f"routing inside {interface.instance_id}")
        return best

    def _leave_router(
        self, interface: NetworkInterface, came_in: NetworkInterface, packet: Packet, carry: Carry
    ) -> Step:
        stops = check_stops(interface)
        stops += self._group_stops(interface, packet, outbound=True)
        carry = replace(carry, tracked=carry.tracked | {interface.id}, router=interface.id)
        hops = () if interface.id == came_in.id else (Hop("network-interface", interface.id),)
        return Step(hops, packet, carry, Place("subnet", interface.subnet_id), stops=stops)
