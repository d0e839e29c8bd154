"""The walk inside a VPC: interfaces, subnets, route tables, and where their routes lead."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.route_model.addresses import Address
from control_plane.domain.route_model.facts import (
    NetworkInterface,
    Route,
    RouteRank,
    RouteState,
    Subnet,
)
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import (
    DETOUR,
    Carry,
    Place,
    Step,
    Stop,
    Translation,
    check_stops,
    dead_stop,
    instance_hop,
    matched,
)
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.traces import Blocker, Hop, Outcome
from control_plane.domain.route_model.walk_internet import InternetSteps
from control_plane.domain.route_model.walk_transit import TransitSteps
from control_plane.domain.route_model.walk_vpn import VpnSteps


class VpcSteps(InternetSteps, TransitSteps, VpnSteps):
    """Interfaces, subnets and VPC route tables."""

    def _leave(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        interface = self.network.facts.interfaces[place.id]
        hops = (*instance_hop(interface), Hop("network-interface", interface.id))
        stops = self._group_stops(interface, packet, outbound=True)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [Step(hops, packet, carry, Place("subnet", interface.subnet_id), stops=stops)]

    def _router(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """An interface as the next hop of a route; `via` is the subnet that the packet comes from."""
        interface = self.network.facts.interfaces[place.id]
        stops = (
            self._acl_stops(interface.subnet_id, packet, egress=False)
            if place.via != interface.subnet_id
            else ()
        )
        hops = (Hop("subnet", interface.subnet_id),) if place.via != interface.subnet_id else ()
        nat = self.network.nat_of_interface.get(interface.id)
        if nat is not None and not interface.owns(packet.destination):
            return [Step((), packet, carry, Place("nat", nat.id, place.via))]
        if interface.owns(packet.destination):
            return self._arrive(interface, packet, carry, hops, stops)
        hops = (*hops, Hop("network-interface", interface.id), *instance_hop(interface))
        if interface.kind == "gateway_load_balancer_endpoint":
            return [
                Step(
                    hops,
                    packet,
                    replace(carry, router=None),
                    Place("subnet", interface.subnet_id, "transit"),
                    stops=stops,
                )
            ]
        if interface.dead:
            stops += (dead_stop(interface, Outcome.BLACKHOLE),)
        # EC2 user guide, "Source/destination checking": an instance drops what it is neither source nor
        # destination of unless the check is off.
        stops += check_stops(interface)
        stops += self._group_stops(interface, packet, outbound=False)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [Step(hops, packet, carry, Place("forward", interface.id), stops=stops)]

    def _arrive(
        self,
        interface: NetworkInterface,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        stops: tuple[Stop, ...],
    ) -> list[Step]:
        """The packet is addressed to this interface."""
        facts = self.network.facts
        session = self._session(interface, packet)
        nat = self.network.nat_of_interface.get(interface.id)
        if nat is not None:
            if session is not None:
                return self._back_through(
                    session,
                    Hop("nat-gateway", nat.id),
                    nat.subnet_id or "",
                    packet,
                    carry,
                    hops,
                    stops,
                )
            # VPC user guide, "NAT gateways": no connection can be initiated towards a NAT gateway.
            stop = Stop(
                Outcome.DENIED,
                Blocker(
                    nat.id,
                    "nat-gateway",
                    "a NAT gateway takes no unsolicited traffic",
                    f"address a host, not {nat.id}",
                ),
            )
            return [
                Step(
                    (*hops, Hop("nat-gateway", nat.id)),
                    packet,
                    carry,
                    None,
                    Outcome.DELIVERED,
                    (*stops, stop),
                )
            ]
        hops = (*hops, Hop("network-interface", interface.id), *instance_hop(interface))
        if session is not None:
            packet = replace(packet, destination=session.inner, destination_ports=session.ports)
            return [Step(hops, packet, carry, Place("forward", interface.id, ""), stops=stops)]
        endpoint = self.network.endpoint_of_interface.get(interface.id)
        if endpoint is not None:
            hops = (*hops, Hop("vpc-endpoint", endpoint))
            state = facts.endpoints[endpoint].state
            if not facts.endpoints[endpoint].usable:
                stops += (
                    Stop(
                        Outcome.NO_SUCH_HOST,
                        Blocker(
                            endpoint,
                            "vpc-endpoint",
                            f"the endpoint is {state}",
                            "make it available",
                        ),
                    ),
                )
        if interface.dead:
            stops += (dead_stop(interface, Outcome.NO_SUCH_HOST),)
        stops += self._group_stops(interface, packet, outbound=False)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [
            Step(hops, packet, carry, None, Outcome.DELIVERED, stops, Place("leave", interface.id))
        ]

    def _back_through(
        self,
        session: Translation,
        hop: Hop,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        stops: tuple[Stop, ...],
    ) -> list[Step]:
        packet = replace(packet, destination=session.inner, destination_ports=session.ports)
        return [Step((*hops, hop), packet, carry, Place("subnet", subnet_id), stops=stops)]

    def _subnet(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """The router of a subnet; `via` is `transit` for what enters by an attachment or endpoint in it."""
        network = self.network
        subnet = network.facts.subnets.get(place.id)
        if subnet is None:
            return [self._unknown(place.id, "subnet", packet, carry, (), f"subnet {place.id}")]
        if any(cidr.holds(packet.destination) for cidr in subnet.cidrs):
            # Within a subnet neither the route table nor the network ACL has a say (VPC user guide, "Network
            # ACL basics"; "Gateway route tables", considerations on layer 2).
            inbound = (
                self._acl_stops(subnet.id, packet, egress=False) if place.via == "transit" else ()
            )
            return self._deliver(subnet, packet, carry, (Hop("subnet", subnet.id),), inbound)
        table = network.table_of_subnet(subnet.id)
        carry = replace(carry, zone=subnet.zone)
        if table is None:
            return [
                self._unknown(
                    subnet.id,
                    "subnet",
                    packet,
                    carry,
                    (Hop("subnet", subnet.id),),
                    f"the route table of {subnet.id}",
                )
            ]
        acl = self._acl_stops(subnet.id, packet, egress=True)
        hop_kind = ("subnet", subnet.id)
        return self._routed(table.id, hop_kind, subnet.vpc_id, subnet.id, packet, carry, acl)

    def _routed(
        self,
        table_id: str,
        hop: tuple[str, str],
        vpc_id: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        acl: tuple[Stop, ...] = (),
    ) -> list[Step]:
        """Look up a VPC route table and go where it says. `subnet_id` is empty for a gateway's table."""
        table = self.network.table(table_id)
        assert table is not None
        route = self._vpc_route(table, packet.destination)
        steps: list[Step] = []
        vpc_hop = (Hop("vpc", vpc_id),) if subnet_id else ()
        if route is None:
            blocker = Blocker(
                table_id,
                "route-table",
                f"{hop[1]} has no route to {packet.destination}",
                f"add a route to {packet.destination} in {table_id}",
            )
            steps.append(
                Step((Hop(*hop),), packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))
            )
        else:
            hops = (Hop(*hop, matched(route)), *vpc_hop)
            if route.state is RouteState.BLACKHOLE or route.target is None:
                blocker = Blocker(
                    table_id,
                    "route-table",
                    f"route {route.prefix} → {route.target} is a blackhole: its target is gone",
                    f"replace route {route.prefix} in {table_id}",
                )
                steps.append(
                    Step(hops[:1], packet, carry, stops=(Stop(Outcome.BLACKHOLE, blocker),))
                )
            else:
                steps += [
                    replace(step, stops=acl + step.stops) if acl else step
                    for step in self._towards(
                        route.target, route, vpc_id, subnet_id, packet, carry, hops
                    )
                ]
        if self.explaining and subnet_id:
            steps += self._detours(table_id, hop, route, vpc_id, subnet_id, packet, carry, acl)
        return steps

    def _vpc_route(self, table: RouteTable, destination: Address) -> Route | None:
        """The matched route; with tunnels assumed up, also what static connections would then propagate."""
        route = table.lookup(destination)
        if not self.tunnels_up or not table.propagating:
            return route
        vpc = self.network.facts.vpcs.get(table.vpc_id or "")
        if vpc is not None and any(cidr.holds(destination) for cidr in vpc.cidrs):
            return route
        for gateway_id in table.propagating:
            for connection in self.network.connections_of_gateway.get(gateway_id, ()):
                for cidr in connection.static_routes:
                    if cidr.holds(destination) and (
                        route is None or cidr.length > route.prefix.length
                    ):
                        route = Route(table.id, cidr, (gateway_id,), RouteRank.PROPAGATED_VPN)
        return route

    def _detours(
        self,
        table_id: str,
        hop: tuple[str, str],
        route: Route | None,
        vpc_id: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        acl: tuple[Stop, ...],
    ) -> list[Step]:
        """Where else a new or replaced route of this table could lead the packet."""
        steps: list[Step] = []
        blocked = route is None or route.state is RouteState.BLACKHOLE
        if route is not None and route.rank is RouteRank.LOCAL:
            return []
        prefix = self.network.natural_prefix(
            packet.destination, route.prefix if route else None, blocked
        )
        for target in self.network.targets_for(vpc_id, packet.destination):
            if route is not None and route.target == target and not blocked:
                continue
            made = Route(table_id, prefix, (target,), RouteRank.STATIC)
            verb = "replace" if route is not None and route.prefix == prefix else "create"
            why = (
                f"{hop[1]} has no route to {packet.destination}"
                if route is None
                else f"its route {route} does not lead to {packet.destination}"
            )
            if route is not None and route.state is RouteState.BLACKHOLE:
                why = f"route {route.prefix} → {route.target} is a blackhole: its target is gone"
            fix = f"{verb} route {prefix} → {target} in {table_id}"
            outcome = Outcome.NO_ROUTE if route is None else Outcome.BLACKHOLE
            stop = Stop(
                outcome,
                Blocker(table_id, "route-table", why, fix),
                1.0 if blocked else 1.0 + DETOUR,
            )
            hops = (Hop(*hop, matched(made)), Hop("vpc", vpc_id))
            steps += [
                replace(step, stops=(stop, *acl, *step.stops))
                for step in self._towards(target, made, vpc_id, subnet_id, packet, carry, hops)
            ]
        return steps

    def _towards(
        self,
        target: str,
        route: Route,
        vpc_id: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
    ) -> list[Step]:
        """Follow a VPC route to its target."""
        facts = self.network.facts
        if target == "local":
            return [Step(hops, packet, carry, Place("vpc", vpc_id, subnet_id))]
        kind = target.split("-", 1)[0]
        if kind == "i":
            instance = facts.instances.get(target)
            if instance is not None and instance.interface_ids:
                target, kind = instance.interface_ids[0], "eni"
        if target in facts.interfaces:
            if self.network.facts.interfaces[target].vpc_id != vpc_id:
                return [
                    self._gone(
                        target,
                        "network-interface",
                        f"is not in {vpc_id}",
                        packet,
                        carry,
                        hops,
                        route,
                    )
                ]
            return [Step(hops, packet, carry, Place("router", target, subnet_id))]
        if kind == "igw":
            return self._towards_internet_gateway(target, vpc_id, packet, carry, hops, route)
        if kind == "eigw":
            return [Step(hops, packet, carry, Place("igw", target, vpc_id))]
        if kind == "nat":
            return self._towards_nat(target, subnet_id, packet, carry, hops, route)
        if kind == "tgw":
            return self._towards_transit(target, vpc_id, subnet_id, packet, carry, hops, route)
        if kind == "vgw":
            return self._towards_vpn_gateway(target, vpc_id, packet, carry, hops, route)
        if kind == "pcx":
            if target not in facts.peerings:
                return [
                    self._unknown(target, "vpc-peering-connection", packet, carry, hops, target)
                ]
            return [Step(hops, packet, carry, Place("peering", target, vpc_id))]
        if kind == "vpce":
            return self._towards_endpoint(target, vpc_id, subnet_id, packet, carry, hops)
        kinds = {
            "lgw": "local-gateway",
            "cagw": "carrier-gateway",
            "eni": "network-interface",
            "i": "instance",
        }
        return [self._unknown(target, kinds.get(kind, "unknown"), packet, carry, hops, target)]

    def _vpc(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """The local route: into the destination's subnet; `via` is the subnet it comes from, if any."""
        hops: tuple[Hop, ...] = (Hop("vpc", place.id),)
        subnet = self.network.subnet_at(place.id, packet.destination)
        if subnet is None:
            why = f"{packet.destination} is in no subnet of {place.id}"
            return [self._nobody(place.id, "vpc", why, packet, carry, hops)]
        hops = (*hops, Hop("subnet", subnet.id))
        stops = self._acl_stops(subnet.id, packet, egress=False) if subnet.id != place.via else ()
        return self._deliver(subnet, packet, carry, hops, stops)

    def _deliver(
        self,
        subnet: Subnet,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        stops: tuple[Stop, ...],
    ) -> list[Step]:
        interface = self.network.interface_at(subnet.vpc_id, packet.destination)
        if interface is None and self._stands_for(packet.destination):
            # The reply to a host that stands for any host of this subnet.
            return [Step(hops, packet, carry, None, Outcome.DELIVERED, stops)]
        if interface is None:
            why = f"no network interface has {packet.destination}"
            step = self._nobody(subnet.id, "subnet", why, packet, carry, hops)
            return [replace(step, stops=stops + step.stops)]
        return self._arrive(interface, packet, carry, hops, stops)

    def _stands_for(self, address: Address) -> bool:
        return self.stand_in == address

    def _edge(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """Into a VPC by a gateway, which may have a route table of its own; `via` is the VPC.

        VPC user guide, "Gateway route tables".
        """
        table = self.network.table_of_gateway(place.id)
        if table is None:
            return [Step((), packet, carry, Place("vpc", place.via))]
        kind = "internet-gateway" if place.id.startswith("igw-") else "virtual-private-gateway"
        return self._routed(table.id, (kind, place.id), place.via, "", packet, carry)
