"""One packet's walk through the network, hop by hop, by AWS's rules.

A *place* is where a packet is (leaving an interface, in a subnet's router, at a transit gateway, ...). For each place
one method answers where the packet goes next: a list of steps, several where AWS spreads over equal-cost routes. Each
rule has its source in a comment.

The same methods serve two searches. `follow` takes what happens today and ends at the first thing that stops the
packet. `explain` also walks on *through* what stops it, at the price of one change each, and finds the cheapest way
to the destination: the smallest set of changes that would deliver it.

What the walk does not know: routing inside an appliance or beyond a customer gateway. It assumes that a router whose
address is a customer gateway's routes by the prefixes that AWS advertises to it, and that any other instance with its
source/destination check off forwards by its subnet's route table.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from control_plane.domain.route_model import filters
from control_plane.domain.route_model.addresses import Address, is_internet_routed
from control_plane.domain.route_model.facts import (
    Attachment,
    NatGateway,
    NetworkInterface,
    PortRange,
    Route,
    RouteRank,
    RouteState,
    Subnet,
    VpnConnection,
)
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.traces import Blocker, Hop, MatchedRoute, Outcome

if TYPE_CHECKING:
    from control_plane.domain.route_model.lookups import Lookups

INTERNET = "internet"
_MAXIMUM_HOPS = 64
_MAXIMUM_PATHS = 16
# Bounds of the search for an explanation: changes on one way, and places looked at.
_MAXIMUM_CHANGES = 8
_MAXIMUM_PLACES = 4000
# A detour is preferred only when it needs fewer changes than mending the way that packets take today.
_DETOUR = 0.01


class Place(NamedTuple):
    """Where a packet is. `via` is what it came through, where that matters to what happens next."""

    kind: str
    id: str
    via: str = ""


class Translation(NamedTuple):
    """An address translation with state: replies to `outer` at this resource go to `inner`."""

    id: str
    inner: Address
    outer: Address
    ports: PortRange | None


@dataclass(frozen=True, slots=True)
class Carry:
    """What a flow leaves behind on its way, which its reply will meet again.

    `tracked`: interfaces whose security groups let it pass. `zone`: the availability zone that it left a VPC from.
    `router`: the last interface that forwarded it. `assumed_public`: a source that an internet gateway is assumed to
    translate, since it stands for any host of a public subnet: its VPC and address.
    """

    tracked: frozenset[str] = frozenset()
    translations: tuple[Translation, ...] = ()
    zone: str | None = None
    router: str | None = None
    assumed_public: tuple[str, Address] | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """What stops a packet, and the price of removing it."""

    outcome: Outcome
    blocker: Blocker
    price: float = 1.0


@dataclass(frozen=True, slots=True)
class Step:
    """One move: the hops passed, then the next place, or an outcome; `stops` are in its way."""

    hops: tuple[Hop, ...]
    packet: Packet
    carry: Carry
    place: Place | None = None
    outcome: Outcome | None = None
    stops: tuple[Stop, ...] = ()
    # Where a reply would start.
    reply_from: Place | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """One finished walk."""

    outcome: Outcome
    hops: tuple[Hop, ...]
    packet: Packet
    carry: Carry
    stops: tuple[Stop, ...] = ()
    reply_from: Place | None = None


def _matched(route: Route, target: str | None = None) -> MatchedRoute:
    return MatchedRoute(
        route.table_id,
        str(route.prefix),
        target or route.target or "blackhole",
        route.rank.origin,
        str(route.state),
        route.prefix_list_id,
    )


def _tidy(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """Without immediate repetitions: leaving and entering the same thing is one hop."""
    tidy: list[Hop] = []
    for hop in hops:
        if tidy and tidy[-1].id == hop.id and (hop.route is None or tidy[-1].route is None):
            tidy[-1] = tidy[-1] if hop.route is None else hop
            continue
        tidy.append(hop)
    return tuple(tidy)


@dataclass
class Walk:
    """Walks packets over one network.

    `filters_on` applies security groups, network ACLs; `tunnels_up` takes every VPN tunnel for up. `reply_to` is what
    the flow left behind to which this packet is the reply.
    """

    network: Lookups
    filters_on: bool = True
    tunnels_up: bool = False
    reply_to: Carry | None = None
    # The address of a source that is no interface but stands for any host of its subnet.
    stand_in: Address | None = None
    explaining: bool = False
    notes: dict[str, None] = field(default_factory=dict)

    # -- searches ---------------------------------------------------------------------------------------------

    def follow(self, place: Place, packet: Packet, carry: Carry) -> list[Path]:
        """All paths that the packet may take today, each up to its end."""
        found: list[Path] = []
        stack: list[tuple[Place, Packet, Carry, tuple[Hop, ...], frozenset[object]]]
        stack = [(place, packet, carry, (), frozenset())]
        while stack and len(found) < _MAXIMUM_PATHS:
            place, packet, carry, hops, been = stack.pop()
            here = (place, packet.source, packet.destination)
            if here in been or len(been) >= _MAXIMUM_HOPS:
                found.append(Path(Outcome.LOOP, _tidy(hops), packet, carry, (_loop(hops),)))
                continue
            been |= {here}
            for step in reversed(self.steps(place, packet, carry)):
                passed = hops + step.hops
                if step.stops:
                    end = step.stops[0].outcome
                    found.append(Path(end, _tidy(passed), step.packet, step.carry, step.stops))
                elif step.place is not None:
                    stack.append((step.place, step.packet, step.carry, passed, been))
                elif step.outcome is not None:
                    found.append(
                        Path(
                            step.outcome,
                            _tidy(passed),
                            step.packet,
                            step.carry,
                            (),
                            step.reply_from,
                        )
                    )
        return found

    def explain(self, place: Place, packet: Packet, carry: Carry, inside: bool) -> Path | None:
        """The path that needs the fewest changes, with those changes as `stops`; None when none is found.

        `inside`: the destination is in the network, so leaving it is no success.
        """
        order = itertools.count()
        heap: list[
            tuple[
                float,
                int,
                Place | None,
                Packet,
                Carry,
                tuple[Hop, ...],
                tuple[Stop, ...],
                Step | None,
            ]
        ] = [(0.0, next(order), place, packet, carry, (), (), None)]
        been: set[object] = set()
        while heap and len(been) < _MAXIMUM_PLACES:
            price, _, at, packet, carry, hops, stops, last = heapq.heappop(heap)
            if at is None:
                if last is None or last.outcome is None:
                    continue
                return Path(last.outcome, _tidy(hops), packet, carry, stops, last.reply_from)
            here = (at, packet.source, packet.destination)
            if here in been:
                continue
            been.add(here)
            for step in self.steps(at, packet, carry):
                if step.place is None:
                    arrived = step.outcome is Outcome.DELIVERED or (
                        not inside and step.outcome is not None and step.outcome.arrives
                    )
                    if not arrived:
                        continue
                total = price + sum(stop.price for stop in step.stops)
                if total > _MAXIMUM_CHANGES:
                    continue
                heapq.heappush(
                    heap,
                    (
                        total,
                        next(order),
                        step.place,
                        step.packet,
                        step.carry,
                        hops + step.hops,
                        stops + step.stops,
                        step,
                    ),
                )
        return None

    def steps(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """What happens to a packet at a place."""
        match place.kind:
            case "leave":
                return self._leave(place, packet, carry)
            case "subnet":
                return self._subnet(place, packet, carry)
            case "vpc":
                return self._vpc(place, packet, carry)
            case "router":
                return self._router(place, packet, carry)
            case "forward":
                return self._forward(place, packet, carry)
            case "igw":
                return self._out_to_internet(place, packet, carry)
            case "internet":
                return self._in_from_internet(packet, carry)
            case "edge":
                return self._edge(place, packet, carry)
            case "nat":
                return self._nat(place, packet, carry)
            case "tgw":
                return self._transit(place, packet, carry)
            case "attachment":
                return self._attachment(place, packet, carry)
            case "vgw":
                return self._vpn_gateway(place, packet, carry)
            case "vpn-out":
                return self._out_by_vpn(place, packet, carry)
            case "vpn-in":
                return self._in_by_vpn(place, packet, carry)
            case "peering":
                return self._peering(place, packet, carry)
            case "endpoint-reply":
                return self._endpoint_reply(place, packet, carry)
        raise AssertionError(f"no such place: {place.kind}")

    # -- interfaces -------------------------------------------------------------------------------------------

    def _leave(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        interface = self.network.facts.interfaces[place.id]
        hops = (*_instance_hop(interface), Hop("network-interface", interface.id))
        stops = self._group_stops(interface, packet, outbound=True)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [Step(hops, packet, carry, Place("subnet", interface.subnet_id), stops=stops)]

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
        hops = (*hops, Hop("network-interface", interface.id), *_instance_hop(interface))
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
            stops += (_dead(interface, Outcome.NO_SUCH_HOST),)
        stops += self._group_stops(interface, packet, outbound=False)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [
            Step(hops, packet, carry, None, Outcome.DELIVERED, stops, Place("leave", interface.id))
        ]

    def _session(self, interface: NetworkInterface, packet: Packet) -> Translation | None:
        if self.reply_to is None:
            return None
        nat = self.network.nat_of_interface.get(interface.id)
        owner = nat.id if nat else interface.id
        return next(
            (
                one
                for one in self.reply_to.translations
                if one.id == owner and one.outer == packet.destination
            ),
            None,
        )

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
        hops = (*hops, Hop("network-interface", interface.id), *_instance_hop(interface))
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
            stops += (_dead(interface, Outcome.BLACKHOLE),)
        # EC2 user guide, "Source/destination checking": an instance drops what it is neither source nor
        # destination of unless the check is off.
        stops += _check_stops(interface)
        stops += self._group_stops(interface, packet, outbound=False)
        carry = replace(carry, tracked=carry.tracked | {interface.id})
        return [Step(hops, packet, carry, Place("forward", interface.id), stops=stops)]

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
        stops = _check_stops(interface)
        stops += self._group_stops(interface, packet, outbound=True)
        carry = replace(carry, tracked=carry.tracked | {interface.id}, router=interface.id)
        hops = () if interface.id == came_in.id else (Hop("network-interface", interface.id),)
        return Step(hops, packet, carry, Place("subnet", interface.subnet_id), stops=stops)

    # -- subnets and VPCs -------------------------------------------------------------------------------------

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
        route = table.lookup(packet.destination)
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
            hops = (Hop(*hop, _matched(route)), *vpc_hop)
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
                1.0 if blocked else 1.0 + _DETOUR,
            )
            hops = (Hop(*hop, _matched(made)), Hop("vpc", vpc_id))
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

    # -- internet ---------------------------------------------------------------------------------------------

    def _towards_internet_gateway(
        self,
        target: str,
        vpc_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        route: Route,
    ) -> list[Step]:
        facts = self.network.facts
        stops: tuple[Stop, ...] = ()
        if target not in facts.internet_gateways:
            if "InternetGateways" in facts.observed:
                return [self._unknown(target, "internet-gateway", packet, carry, hops, target)]
        elif vpc_id not in facts.internet_gateways[target]:
            blocker = Blocker(
                target,
                "internet-gateway",
                f"it is not attached to {vpc_id}",
                f"attach {target} to {vpc_id}",
            )
            stops = (Stop(Outcome.BLACKHOLE, blocker),)
        return [Step(hops, packet, carry, Place("igw", target, vpc_id), stops=stops)]

    def _out_to_internet(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """Through an internet gateway, or an egress-only one, which is for IPv6; `via` is the VPC."""
        network = self.network
        egress_only = place.id.startswith("eigw-")
        kind = "egress-only-internet-gateway" if egress_only else "internet-gateway"
        hops: tuple[Hop, ...] = (Hop(kind, place.id),)
        if not network.knows_public(packet.destination) and not is_internet_routed(packet.destination):
            blocker = Blocker(
                place.id,
                kind,
                f"the internet carries nothing to {packet.destination}",
                f"route {packet.destination} elsewhere",
            )
            return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]
        packet = packet.anonymous()
        stops: tuple[Stop, ...] = ()
        if packet.source.version == 4:
            packet, carry, stops = self._translated_source(place, packet, carry)
        else:
            owner = network.interface_at(place.via, packet.source)
            if owner is not None and owner.denies_internet and not egress_only:
                stops = (
                    Stop(
                        Outcome.DENIED,
                        Blocker(
                            owner.id,
                            "network-interface",
                            "it denies all internet gateway traffic",
                            "clear DenyAllIgwTraffic",
                        ),
                    ),
                )
            if not is_internet_routed(packet.source):
                blocker = Blocker(
                    place.id,
                    kind,
                    f"{packet.source} is no public IPv6 address",
                    "give the host a public IPv6 address",
                )
                stops += (Stop(Outcome.NO_PUBLIC_ADDRESS, blocker),)
        if network.knows_public(packet.destination):
            return [
                Step(
                    (*hops, Hop(INTERNET, INTERNET)),
                    packet,
                    carry,
                    Place(INTERNET, INTERNET),
                    stops=stops,
                )
            ]
        return [
            Step(
                (*hops, Hop(INTERNET, INTERNET)),
                packet,
                carry,
                None,
                Outcome.EXITS_TO_INTERNET,
                stops,
                Place(INTERNET, INTERNET),
            )
        ]

    def _translated_source(
        self, place: Place, packet: Packet, carry: Carry
    ) -> tuple[Packet, Carry, tuple[Stop, ...]]:
        """IPv4: the gateway translates the private address of an interface that has a public one, and drops what has none
        (VPC user guide, "Internet gateways": one-to-one NAT)."""
        network = self.network
        owner = network.interface_at(place.via, packet.source)
        public = owner.public.get(packet.source) if owner else None
        if public is not None:
            return replace(packet, source=public), carry, ()
        router = network.facts.interfaces.get(carry.router or "")
        if router is not None and router.vpc_id == place.via and router.public:
            # An instance that forwards to the internet has to translate: a NAT instance (VPC user guide).
            inner, outer = next(iter(router.public.items()))
            self._note(f"address translation inside {router.id}")
            session = Translation(router.id, packet.source, inner, packet.source_ports)
            carry = replace(carry, translations=(*carry.translations, session))
            return replace(packet, source=outer, source_ports=filters.NAT_PORTS), carry, ()
        if carry.assumed_public == (place.via, packet.source):
            return packet, carry, ()
        what = owner.id if owner else str(packet.source)
        blocker = Blocker(
            what,
            "network-interface" if owner else "address",
            f"{packet.source} has no public address, so {place.id} drops what it sends",
            f"associate an Elastic IP with {what}" if owner else "send it through a NAT gateway",
        )
        carry = replace(carry, assumed_public=(place.via, packet.source))
        return packet, carry, (Stop(Outcome.NO_PUBLIC_ADDRESS, blocker),)

    def _in_from_internet(self, packet: Packet, carry: Carry) -> list[Step]:
        """A packet on the internet, for an address that may be one of ours."""
        network = self.network
        hops = (Hop(INTERNET, INTERNET),)
        destination = packet.destination
        connection = network.connection_of_outside_address.get(destination)
        if connection is not None:
            return [
                Step(
                    (*hops, Hop("vpn-connection", connection)),
                    packet,
                    carry,
                    None,
                    Outcome.DELIVERED,
                    (),
                    Place(INTERNET, INTERNET),
                )
            ]
        found = network.owner_of_public(destination)
        assumed = self.reply_to.assumed_public if self.reply_to else None
        if found is None and assumed is not None and assumed[1] == destination:
            found = assumed
        if found is None:
            if is_internet_routed(destination):
                return [
                    self._nobody(
                        str(destination),
                        "address",
                        f"nothing here has {destination}",
                        packet,
                        carry,
                        hops,
                    )
                ]
            blocker = Blocker(
                str(destination),
                "address",
                f"the internet carries nothing to {destination}",
                "address it by a public address",
            )
            return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]
        vpc_id, private = found
        packet = replace(packet, destination=private)
        gateway = network.internet_gateway_of(vpc_id)
        stops: tuple[Stop, ...] = ()
        if gateway is None:
            blocker = Blocker(
                vpc_id,
                "vpc",
                "no internet gateway is attached to it",
                f"attach an internet gateway to {vpc_id}",
            )
            return [
                Step(
                    hops,
                    packet,
                    carry,
                    Place("vpc", vpc_id),
                    stops=(Stop(Outcome.NO_ROUTE, blocker),),
                )
            ]
        kind = "egress-only-internet-gateway" if gateway.startswith("eigw-") else "internet-gateway"
        if kind.startswith("egress") and self.reply_to is None:
            # VPC user guide, "Egress-only internet gateways": stateful, nothing may be initiated from outside.
            blocker = Blocker(
                gateway,
                kind,
                "it lets nothing in that was not asked for",
                f"attach an internet gateway to {vpc_id}",
            )
            stops = (Stop(Outcome.DENIED, blocker),)
        return [
            Step(
                (*hops, Hop(kind, gateway)),
                packet,
                carry,
                Place("edge", gateway, vpc_id),
                stops=stops,
            )
        ]

    def _edge(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """Into a VPC by a gateway, which may have a route table of its own; `via` is the VPC.

        VPC user guide, "Gateway route tables".
        """
        table = self.network.table_of_gateway(place.id)
        if table is None:
            return [Step((), packet, carry, Place("vpc", place.via))]
        kind = "internet-gateway" if place.id.startswith("igw-") else "virtual-private-gateway"
        return self._routed(table.id, (kind, place.id), place.via, "", packet, carry)

    # -- NAT gateways, endpoints, peerings ----------------------------------------------------------------------

    def _towards_nat(
        self,
        target: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        route: Route,
    ) -> list[Step]:
        if target not in self.network.facts.nat_gateways:
            return [self._unknown(target, "nat-gateway", packet, carry, hops, target)]
        return [Step(hops, packet, carry, Place("nat", target, subnet_id))]

    def _nat(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """Out through a NAT gateway; `via` is the subnet that the packet comes from."""
        network = self.network
        nat = network.facts.nat_gateways[place.id]
        hops: tuple[Hop, ...] = (Hop("nat-gateway", nat.id),)
        if nat.subnet_id is None or nat.subnet_id not in network.facts.subnets:
            return self._regional_nat(nat, packet, carry, hops)
        stops: tuple[Stop, ...] = ()
        if nat.subnet_id != place.via:
            stops = self._acl_stops(nat.subnet_id, packet, egress=False)
        stops += self._nat_stops(nat, packet)
        inner = packet.source
        outer = nat.address
        if outer is None:
            return [
                self._unknown(
                    nat.id, "nat-gateway", packet, carry, hops, f"the private address of {nat.id}"
                )
            ]
        packet, carry = self._translate(nat, packet, carry, inner, outer)
        return [Step(hops, packet, carry, Place("subnet", nat.subnet_id), stops=stops)]

    @staticmethod
    def _translate(
        nat: NatGateway, packet: Packet, carry: Carry, inner: Address, outer: Address
    ) -> tuple[Packet, Carry]:
        session = Translation(nat.id, inner, outer, packet.source_ports)
        carry = replace(carry, translations=(*carry.translations, session), router=None)
        ports = filters.NAT_PORTS if packet.source_ports else None
        return replace(packet.anonymous(), source=outer, source_ports=ports), carry

    @staticmethod
    def _nat_stops(nat: NatGateway, packet: Packet) -> tuple[Stop, ...]:
        stops: tuple[Stop, ...] = ()
        if nat.state != "available":
            blocker = Blocker(
                nat.id,
                "nat-gateway",
                f"the NAT gateway is {nat.state}",
                "replace it by one that is available",
            )
            stops += (Stop(Outcome.BLACKHOLE, blocker),)
        # VPC user guide, "NAT gateway basics": TCP, UDP and ICMP only.
        if packet.protocol not in (None, filters.TCP, filters.UDP, filters.ICMP, filters.ICMPV6):
            blocker = Blocker(
                nat.id,
                "nat-gateway",
                "a NAT gateway carries only TCP, UDP and ICMP",
                "use another way",
            )
            stops += (Stop(Outcome.DENIED, blocker),)
        return stops

    def _regional_nat(
        self, nat: NatGateway, packet: Packet, carry: Carry, hops: tuple[Hop, ...]
    ) -> list[Step]:
        """A regional NAT gateway is in no subnet and goes straight to the VPC's internet gateway."""
        stops = self._nat_stops(nat, packet)
        gateway = self.network.internet_gateway_of(nat.vpc_id or "")
        outer = nat.public_address
        if gateway is None or outer is None:
            return [
                self._unknown(
                    nat.id, "nat-gateway", packet, carry, hops, f"the addresses of {nat.id}"
                )
            ]
        packet, carry = self._translate(nat, packet, carry, packet.source, outer)
        hops = (*hops, Hop("internet-gateway", gateway), Hop(INTERNET, INTERNET))
        return [
            Step(
                hops,
                packet,
                carry,
                None,
                Outcome.EXITS_TO_INTERNET,
                stops,
                Place(INTERNET, INTERNET),
            )
        ]

    def _towards_endpoint(
        self,
        target: str,
        vpc_id: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
    ) -> list[Step]:
        facts = self.network.facts
        endpoint = facts.endpoints.get(target)
        hops = (*hops, Hop("vpc-endpoint", target))
        if endpoint is None and "VpcEndpoints" in facts.observed:
            return [self._unknown(target, "vpc-endpoint", packet, carry, hops, target)]
        stops: tuple[Stop, ...] = ()
        if endpoint is not None and not endpoint.usable:
            blocker = Blocker(
                target, "vpc-endpoint", f"the endpoint is {endpoint.state}", "make it available"
            )
            stops = (Stop(Outcome.BLACKHOLE, blocker),)
        if endpoint is not None and endpoint.kind.lower() == "gatewayloadbalancer":
            return self._through_appliance(
                endpoint.subnet_ids, target, subnet_id, packet, carry, hops, stops
            )
        vpc = facts.vpcs.get(vpc_id)
        if vpc is not None and not any(cidr.holds(packet.source) for cidr in vpc.cidrs):
            # Gateway endpoints serve their own VPC only (AWS PrivateLink guide, "Gateway endpoints").
            blocker = Blocker(
                target,
                "vpc-endpoint",
                f"{packet.source} is not in {vpc_id}",
                "use an interface endpoint",
            )
            stops += (Stop(Outcome.NO_ROUTE, blocker),)
        reply = Place("endpoint-reply", target, vpc_id)
        return [Step(hops, packet, carry, None, Outcome.DELIVERED, stops, reply)]

    def _through_appliance(
        self,
        subnet_ids: tuple[str, ...],
        target: str,
        subnet_id: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        stops: tuple[Stop, ...],
    ) -> list[Step]:
        """Gateway Load Balancer endpoint: the packet comes back out of it unchanged and is routed by its subnet's table."""
        self._note(f"the appliance behind {target}")
        if not subnet_ids:
            return [
                self._unknown(
                    target, "vpc-endpoint", packet, carry, hops, f"the subnet of {target}"
                )
            ]
        home = subnet_ids[0]
        if home != subnet_id:
            stops += self._acl_stops(home, packet, egress=False)
        return [
            Step(hops, packet.anonymous(), carry, Place("subnet", home, "transit"), stops=stops)
        ]

    def _endpoint_reply(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        return [Step((Hop("vpc-endpoint", place.id),), packet, carry, Place("vpc", place.via))]

    def _peering(self, place: Place, packet: Packet, carry: Carry) -> list[Step]:
        """A VPC peering connection; `via` is the VPC that the packet comes from."""
        facts = self.network.facts
        peering = facts.peerings[place.id]
        hops: tuple[Hop, ...] = (Hop("vpc-peering-connection", peering.id),)
        stops: tuple[Stop, ...] = ()
        if peering.status != "active":
            blocker = Blocker(
                peering.id,
                "vpc-peering-connection",
                f"the peering is {peering.status}",
                f"accept or recreate {peering.id}",
            )
            stops += (Stop(Outcome.BLACKHOLE, blocker),)
        far_id = peering.other_end(place.via)
        if far_id is None:
            return [
                self._gone(
                    peering.id,
                    "vpc-peering-connection",
                    f"does not join {place.via}",
                    packet,
                    carry,
                    hops,
                    None,
                )
            ]
        near, far = facts.vpcs.get(place.via), facts.vpcs.get(far_id)
        if far is None:
            return [self._unknown(far_id, "vpc", packet, carry, hops, f"Vpcs {far_id}")]
        # VPC peering guide, "Limitations": no transitive peering, no edge-to-edge routing. What passes is
        # between the CIDRs of the two VPCs.
        if near is not None and not any(cidr.holds(packet.source) for cidr in near.cidrs):
            blocker = Blocker(
                peering.id,
                "vpc-peering-connection",
                f"peering is not transitive: {packet.source} is not in {near.id}",
                "peer the two VPCs, or use a transit gateway",
            )
            stops += (Stop(Outcome.NO_ROUTE, blocker),)
        if peering.regions[0] != peering.regions[1]:
            # VPC peering guide: security groups are not referenced across Regions.
            packet = packet.anonymous()
        if not any(cidr.holds(packet.destination) for cidr in far.cidrs):
            blocker = Blocker(
                peering.id,
                "vpc-peering-connection",
                f"peering is not transitive: {packet.destination} is not in {far.id}",
                "peer the two VPCs, or use a transit gateway",
            )
            stop = Stop(Outcome.NO_ROUTE, blocker)
            return [Step(hops, packet, carry, stops=(*stops, stop))]
        return [Step(hops, packet, carry, Place("vpc", far.id), stops=stops)]

    # -- transit gateways ---------------------------------------------------------------------------------------

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
            stops += (_unusable(attachment),)
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
        if route is None:
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
                    (Hop(*hop, _matched(route)),),
                    packet,
                    carry,
                    stops=(Stop(Outcome.BLACKHOLE, blocker),),
                )
            )
        else:
            for target in self._equal_targets(place.id, route):
                hops = (Hop(*hop, _matched(route, target)),)
                steps.append(self._towards_attachment(place.id, target, packet, carry, hops))
        if self.explaining:
            steps += self._transit_detours(place, table.id, route, packet, carry)
        return steps

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
                hop = Hop("transit-gateway", place.id, _matched(route))
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
            price = 1.0 if blocked else 1.0 + _DETOUR
            stop = Stop(
                Outcome.NO_ROUTE, Blocker(table_id, "transit-gateway-route-table", why, fix), price
            )
            made = Route(table_id, prefix, (attachment.id,), RouteRank.STATIC)
            hops = (Hop("transit-gateway", place.id, _matched(made)),)
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
        stops = () if attachment.usable else (_unusable(attachment),)
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
        stops = () if far.usable else (_unusable(far),)
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

    # -- VPN ------------------------------------------------------------------------------------------------------

    def _is_down(self, connection: VpnConnection) -> bool:
        """Whether all tunnels are down. Without telemetry a connection is taken for up, and the answer says so."""
        if self.tunnels_up:
            return False
        if connection.state in ("deleting", "deleted"):
            return True
        if connection.tunnels_up is None:
            self._note(f"VgwTelemetry of {connection.id}")
            return False
        return connection.tunnels_up == 0

    def _tunnel_stops(self, connection: VpnConnection) -> tuple[Stop, ...]:
        if not self._is_down(connection):
            return ()
        number = (
            f"all {connection.tunnels} tunnels are" if connection.tunnels != 1 else "its tunnel is"
        )
        why = (
            f"{number} down"
            if connection.state == "available"
            else f"the connection is {connection.state}"
        )
        blocker = Blocker(
            connection.id, "vpn-connection", why, f"bring up a tunnel of {connection.id}"
        )
        return (Stop(Outcome.TUNNEL_DOWN, blocker),)

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
        hops = (*hops, *_instance_hop(router), Hop("network-interface", router.id))
        if router.dead:
            stops += (_dead(router, Outcome.BLACKHOLE),)
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
                stops += (_unusable(attachment),)
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

    # -- filters --------------------------------------------------------------------------------------------------

    def _group_stops(
        self, interface: NetworkInterface, packet: Packet, outbound: bool
    ) -> tuple[Stop, ...]:
        """Security groups: any rule of any group suffices; replies to what they let pass are not looked at."""
        if not self.filters_on or not interface.groups:
            return ()
        if self.reply_to is not None and interface.id in self.reply_to.tracked:
            return ()
        facts = self.network.facts
        peer_groups = self._peer_groups(interface, packet) if outbound else packet.sender_groups
        for group_id in interface.groups:
            group = facts.security_groups.get(group_id)
            if group is None:
                if "SecurityGroups" in facts.observed:
                    self._note(f"SecurityGroups {group_id}")
                return ()
            for rule in group.outbound if outbound else group.inbound:
                for list_id in rule.prefix_list_ids:
                    if list_id not in facts.prefix_lists:
                        self._note(f"PrefixLists entries of {list_id}")
                if filters.judge_group_rule(
                    rule, packet, outbound, peer_groups, facts.prefix_lists
                ):
                    return ()
        direction = "outbound" if outbound else "inbound"
        groups = ", ".join(interface.groups)
        what = filters.describe(packet, outbound)
        blocker = Blocker(
            interface.groups[0],
            "security-group",
            f"no {direction} rule of {groups} on {interface.id} allows {what}",
            f"allow {direction} {what} in {interface.groups[0]}",
        )
        return (Stop(Outcome.DENIED, blocker),)

    def _peer_groups(self, interface: NetworkInterface, packet: Packet) -> frozenset[str]:
        """The groups of the interface that an outbound packet is for, where AWS resolves references to it."""
        network = self.network
        for vpc_id in (interface.vpc_id, *network.peers_of(interface.vpc_id)):
            found = network.interface_at(vpc_id, packet.destination)
            if found is not None:
                return frozenset(found.groups)
        return frozenset()

    def _acl_stops(self, subnet_id: str, packet: Packet, egress: bool) -> tuple[Stop, ...]:
        if not self.filters_on:
            return ()
        facts = self.network.facts
        if not facts.acls:
            return ()
        acl = self.network.acl_of(subnet_id)
        if acl is None:
            self._note(f"NetworkAcls of {subnet_id}")
            return ()
        verdict = filters.judge_acl(acl, packet, egress)
        if verdict.allowed:
            return ()
        direction = "outbound" if egress else "inbound"
        what = filters.describe(packet, egress)
        blocker = Blocker(
            acl.id,
            "network-acl",
            f"on {subnet_id}, {verdict.why}",
            f"allow {direction} {what} in {acl.id}",
        )
        return (Stop(Outcome.DENIED, blocker),)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _note(self, what: str) -> None:
        self.notes[what] = None

    def _unknown(
        self,
        target: str,
        kind: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        missing: str,
    ) -> Step:
        self._note(missing)
        if not hops or hops[-1].id != target:
            hops = (*hops, Hop(kind, target))
        blocker = Blocker(
            target, kind, "it is not in the snapshot", f"observe {missing}, or route around it"
        )
        return Step(hops, packet, carry, stops=(Stop(Outcome.UNKNOWN_TARGET, blocker),))

    def _gone(
        self,
        target: str,
        kind: str,
        why: str,
        packet: Packet,
        carry: Carry,
        hops: tuple[Hop, ...],
        route: Route | None,
    ) -> Step:
        fix = (
            f"replace route {route.prefix} in {route.table_id}"
            if route
            else f"route around {target}"
        )
        if not hops or hops[-1].id != target:
            hops = (*hops, Hop(kind, target))
        blocker = Blocker(target, kind, f"it {why}", fix)
        return Step(hops, packet, carry, stops=(Stop(Outcome.BLACKHOLE, blocker),))

    def _nobody(
        self, where: str, kind: str, why: str, packet: Packet, carry: Carry, hops: tuple[Hop, ...]
    ) -> Step:
        missing = (
            "NetworkInterfaces" not in self.network.facts.observed
            and not self.network.facts.interfaces
        )
        if missing:
            self._note("NetworkInterfaces")
        blocker = Blocker(where, kind, why, f"give {packet.destination} to a host")
        stop = Stop(Outcome.NO_SUCH_HOST, blocker)
        return Step(hops, packet, carry, None, Outcome.DELIVERED, (stop,))


def _instance_hop(interface: NetworkInterface) -> tuple[Hop, ...]:
    if interface.instance_id and interface.instance_id != interface.id:
        return (Hop("instance", interface.instance_id),)
    return ()


def _check_stops(interface: NetworkInterface) -> tuple[Stop, ...]:
    if not interface.source_dest_check:
        return ()
    blocker = Blocker(
        interface.id,
        "network-interface",
        "its source/destination check is on, so it does not forward",
        f"turn off the source/destination check of {interface.id}",
    )
    return (Stop(Outcome.DENIED, blocker),)


def _dead(interface: NetworkInterface, outcome: Outcome) -> Stop:
    blocker = Blocker(
        interface.id,
        "network-interface",
        str(interface.dead),
        f"bring up what {interface.id} is for",
    )
    return Stop(outcome, blocker)


def _unusable(attachment: Attachment) -> Stop:
    blocker = Blocker(
        attachment.id,
        "transit-gateway-attachment",
        f"the attachment is {attachment.state}",
        f"restore {attachment.id}",
    )
    return Stop(Outcome.BLACKHOLE, blocker)


def _loop(hops: tuple[Hop, ...]) -> Stop:
    """A packet came back to where it was: the last route taken closes the loop."""
    last = next(
        (hop for hop in reversed(hops) if hop.route is not None), hops[-1] if hops else None
    )
    if last is None or last.route is None:
        blocker = Blocker(
            last.id if last else "?",
            last.kind if last else "?",
            "the packet comes back",
            "change a route",
        )
    else:
        blocker = Blocker(
            last.route.table_id,
            "route-table",
            f"its route {last.route} sends the packet back to where it was",
            f"replace route {last.route.destination} in {last.route.table_id}",
        )
    return Stop(Outcome.LOOP, blocker)
