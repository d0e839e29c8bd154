"""Places, steps and stops: the words in which the parts of a walk speak, and what they share.

A *place* is where a packet is; a *step* is one move from it; a *stop* is what stands in its way, with the change that would
remove it. Filters and tunnel health are judged here, since every part of the walk meets them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from control_plane.domain.route_model import filters
from control_plane.domain.route_model.addresses import Address
from control_plane.domain.route_model.facts import (
    Attachment,
    NetworkInterface,
    PortRange,
    Route,
    VpnConnection,
)
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.traces import Blocker, Hop, MatchedRoute, Outcome

if TYPE_CHECKING:
    from control_plane.domain.route_model.lookups import Lookups

INTERNET = "internet"
# A detour is preferred only when it needs fewer changes than mending the way that packets take today.
DETOUR = 0.01


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
    translate, since it stands for any host of a public subnet: its VPC and address. `left_by`: the gateway by which it
    left for the internet, and the VPC: its reply comes back the same way.
    """

    tracked: frozenset[str] = frozenset()
    translations: tuple[Translation, ...] = ()
    zone: str | None = None
    router: str | None = None
    assumed_public: tuple[str, Address] | None = None
    left_by: tuple[str, str] | None = None


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


@dataclass
class Ground:
    """What every part of a walk stands on: the network, how to judge filters and tunnels, and the ends of the road.

    `filters_on` applies security groups and network ACLs; `tunnels_up` takes every VPN tunnel for up. `reply_to` is what
    the flow left behind to which this packet is the reply. `notes` gathers what was not observed and mattered.
    """

    network: Lookups
    filters_on: bool = True
    tunnels_up: bool = False
    reply_to: Carry | None = None
    # The address of a source that is no interface but stands for any host of its subnet.
    stand_in: Address | None = None
    explaining: bool = False
    notes: dict[str, None] = field(default_factory=dict)

    def _group_stops(
        self, interface: NetworkInterface, packet: Packet, outbound: bool
    ) -> tuple[Stop, ...]:
        """Security groups: any rule of any group suffices; replies to what they let pass are not looked at."""
        if not self.filters_on or not interface.groups:
            return ()
        if self.reply_to is not None and interface.id in self.reply_to.tracked:
            return ()
        facts = self.network.facts
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
                peers = packet.sender_groups
                if outbound and rule.group_ids:
                    peers = self._peer_groups(interface, packet)
                if filters.judge_group_rule(rule, packet, outbound, peers, facts.prefix_lists):
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


def matched(route: Route, target: str | None = None) -> MatchedRoute:
    """How a route is shown in an answer; `target` names the one of several that is taken."""
    return MatchedRoute(
        route.table_id,
        str(route.prefix),
        target or route.target or "blackhole",
        route.rank.origin,
        str(route.state),
        route.prefix_list_id,
    )


def tidy(hops: Iterable[Hop]) -> tuple[Hop, ...]:
    """Without immediate repetitions: leaving and entering the same thing is one hop."""
    tidy: list[Hop] = []
    for hop in hops:
        if tidy and tidy[-1].id == hop.id and (hop.route is None or tidy[-1].route is None):
            tidy[-1] = tidy[-1] if hop.route is None else hop
            continue
        tidy.append(hop)
    return tuple(tidy)


def instance_hop(interface: NetworkInterface) -> tuple[Hop, ...]:
    """The instance that an interface is on, if any."""
    if interface.instance_id and interface.instance_id != interface.id:
        return (Hop("instance", interface.instance_id),)
    return ()


def check_stops(interface: NetworkInterface) -> tuple[Stop, ...]:
    """The source/destination check, which keeps an interface from forwarding."""
    if not interface.source_dest_check:
        return ()
    blocker = Blocker(
        interface.id,
        "network-interface",
        "its source/destination check is on, so it does not forward",
        f"turn off the source/destination check of {interface.id}",
    )
    return (Stop(Outcome.DENIED, blocker),)


def dead_stop(interface: NetworkInterface, outcome: Outcome) -> Stop:
    """Nothing is behind this interface."""
    blocker = Blocker(
        interface.id,
        "network-interface",
        str(interface.dead),
        f"bring up what {interface.id} is for",
    )
    return Stop(outcome, blocker)


def unusable_stop(attachment: Attachment) -> Stop:
    """An attachment that carries nothing in its state."""
    blocker = Blocker(
        attachment.id,
        "transit-gateway-attachment",
        f"the attachment is {attachment.state}",
        f"restore {attachment.id}",
    )
    return Stop(Outcome.BLACKHOLE, blocker)


def loop_stop(hops: tuple[Hop, ...]) -> Stop:
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
