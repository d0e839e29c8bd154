"""One question: find both ends, walk both ways, and ask for an explanation when something is in the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from control_plane.domain.route_model import filters
from control_plane.domain.route_model.addresses import Address, is_internet_routed, parse_address
from control_plane.domain.route_model.facts import (
    NetworkInterface,
    PortRange,
    Subnet,
    VpnConnection,
)
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import INTERNET, Carry, Path, Place, Stop
from control_plane.domain.route_model.lookups import Lookups
from control_plane.domain.route_model.reading_filters import protocol_number
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.traces import Alternative, Blocker, Outcome, Trace
from control_plane.domain.route_model.walk import Walk
from control_plane.errors import PermanentError

# An address of the internet at large and of an unknown site (RFC 5737, RFC 3849: documentation).
SOMEWHERE = {4: parse_address("198.51.100.10"), 6: parse_address("2001:db8:ffff::10")}
_UNKNOWN_SITE = parse_address("192.0.2.10")


class InvalidQuestion(PermanentError):
    """A question about something that the snapshot does not have; `field` is source, destination, ..."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True, slots=True)
class _Start:
    """Where a trace begins."""

    place: Place
    address: Address
    carry: Carry = field(default_factory=Carry)
    groups: frozenset[str] = frozenset()
    stand_in: Address | None = None


@dataclass
class Question:
    """One trace: finds both ends, walks both ways, and asks for an explanation when something is in the way."""

    network: Lookups
    source: str
    destination: str
    protocol: str | int
    port: int | None
    filters_on: bool
    tunnels_up: bool
    explain: bool
    notes: dict[str, None] = field(default_factory=dict)

    def answer(self) -> Trace:
        target, expected = self._destination()
        start = self._start(target)
        packet = self._packet(start, target)
        walk = self._walk(start)
        forward = _worst_first(walk.follow(start.place, packet, start.carry))
        forward = [_at_the_right_host(path, expected) for path in forward]
        back = self._reply(forward[0], start, target, expected)
        trace = self._trace(self.source, self.destination, forward)
        return_trace = self._trace(self.destination, self.source, back) if back else None
        stopped = next((one for one in (*forward, *back) if not one.outcome.arrives), None)
        blockers: tuple[Blocker, ...] = ()
        if stopped is not None and self.explain:
            blockers = self._explain(start, packet, target, forward, back)
        elif stopped is not None:
            blockers = tuple(stop.blocker for stop in stopped.stops)
        return replace(
            trace,
            return_trace=return_trace,
            blocked_by=blockers,
            stopped_at=stopped.stops[0].blocker if stopped and stopped.stops else None,
            not_observed=(*self.network.facts.not_observed, *self.notes),
        )

    def _walk(self, start: _Start, reply_to: Carry | None = None, explaining: bool = False) -> Walk:
        return Walk(
            self.network,
            self.filters_on,
            self.tunnels_up,
            reply_to,
            start.stand_in,
            explaining,
            {} if explaining else self.notes,
        )

    def _trace(self, source: str, destination: str, paths: Sequence[Path]) -> Trace:
        return Trace(
            source=source,
            destination=destination,
            outcome=paths[0].outcome,
            hops=paths[0].hops,
            alternatives=tuple(Alternative(one.outcome, one.hops) for one in paths[1:]),
            protocol=str(self.protocol),
            port=self.port,
        )

    # -- the two ends ---------------------------------------------------------------------------------------------

    def _destination(self) -> tuple[Address, str | None]:
        """The address asked for, and the interface that must be the one to have it."""
        text, facts = self.destination, self.network.facts
        interface_id: str | None = None
        if text in facts.interfaces:
            interface_id = text
        elif text in facts.instances:
            interfaces = facts.instances[text].interface_ids
            interface_id = interfaces[0] if interfaces else None
        elif text in facts.endpoints and facts.endpoints[text].interface_ids:
            interface_id = next(
                (one for one in facts.endpoints[text].interface_ids if one in facts.interfaces),
                None,
            )
        else:
            try:
                return parse_address(text), None
            except ValueError:
                raise InvalidQuestion(
                    "destination",
                    f"{text!r} is neither an IP address nor an interface or instance of the snapshot",
                ) from None
        if interface_id is None or not facts.interfaces[interface_id].addresses:
            raise InvalidQuestion("destination", f"no address of {text} is known")
        interface = facts.interfaces[interface_id]
        address = interface.addresses[0]
        if self.source == INTERNET:
            # From the internet an interface is addressed by its public address, if it has any.
            version_6 = [one for one in interface.addresses if one.version == 6]
            address = [*interface.public.values(), *version_6, address][0]
        return address, interface_id

    def _start(self, target: Address) -> _Start:
        text, facts = self.source, self.network.facts
        if text == INTERNET:
            return _Start(Place(INTERNET, INTERNET), SOMEWHERE[target.version])
        if text in facts.vpn_connections:
            return _Start(Place("vpn-in", text), self._site_address(facts.vpn_connections[text]))
        if text in facts.instances:
            return self._interface_start(self._interface_of(text, target), target)
        if text in facts.interfaces:
            return self._interface_start(facts.interfaces[text], target)
        if text in facts.subnets:
            return self._subnet_start(facts.subnets[text], target, None)
        try:
            address = parse_address(text)
        except ValueError:
            raise InvalidQuestion(
                "source",
                f"{text!r} is no subnet, interface, instance or VPN connection of the snapshot, "
                "no IP address, and not 'internet'",
            ) from None
        return self._address_start(address, target)

    def _interface_of(self, instance_id: str, target: Address) -> NetworkInterface:
        """The interface that an instance sends by: one in the destination's subnet, else the primary."""
        facts = self.network.facts
        interfaces = [facts.interfaces[one] for one in facts.instances[instance_id].interface_ids]
        if not interfaces:
            raise InvalidQuestion("source", f"no interface of {instance_id} is known")
        for interface in interfaces:
            subnet = facts.subnets.get(interface.subnet_id)
            if subnet and any(cidr.holds(target) for cidr in subnet.cidrs):
                return interface
        return interfaces[0]

    def _interface_start(
        self, interface: NetworkInterface, target: Address, address: Address | None = None
    ) -> _Start:
        if address is None:
            address = next(
                (one for one in interface.addresses if one.version == target.version), None
            )
        if address is None:
            raise InvalidQuestion("source", f"{interface.id} has no IPv{target.version} address")
        return _Start(Place("leave", interface.id), address, groups=frozenset(interface.groups))

    def _subnet_start(self, subnet: Subnet, target: Address, address: Address | None) -> _Start:
        """Any host of a subnet: an address that no interface has, public if the subnet's hosts are."""
        network = self.network
        if address is None:
            cidr = next((one for one in subnet.cidrs if one.version == target.version), None)
            if cidr is None:
                raise InvalidQuestion("source", f"{subnet.id} has no IPv{target.version} addresses")
            address = cidr.sample_host
            while network.interface_at(subnet.vpc_id, address) or address == target:
                address = Address(address.version, address.value + 1)
            if not cidr.holds(address):
                address = cidr.sample_host
        interfaces = [
            network.facts.interfaces[one]
            for one in network.index.interfaces_of_subnet.get(subnet.id, ())
        ]
        is_public = subnet.public_by_default or any(
            one.public and one.kind not in ("nat_gateway", "natGateway") for one in interfaces
        )
        carry = Carry(assumed_public=(subnet.vpc_id, address) if is_public else None)
        return _Start(Place("subnet", subnet.id), address, carry, stand_in=address)

    def _address_start(self, address: Address, target: Address) -> _Start:
        network = self.network
        facts = network.facts
        owners = network.index.interfaces_by_address.get(address, [])
        public = network.index.interface_of_public.get(address)
        if public is not None and not owners:
            interface = facts.interfaces[public]
            private = next(
                (inner for inner, outer in interface.public.items() if outer == address), None
            )
            return self._interface_start(interface, target, private)
        if len(owners) > 1:
            raise InvalidQuestion(
                "source",
                f"{address} is the address of {', '.join(sorted(owners))}: name one of them",
            )
        if owners:
            return self._interface_start(facts.interfaces[owners[0]], target, address)
        subnets = [
            subnet
            for vpc_id in network.index.vpcs_at(address)
            if (subnet := network.subnet_at(vpc_id, address)) is not None
        ]
        if len(subnets) > 1:
            names = ", ".join(f"{subnet.id} of {subnet.vpc_id}" for subnet in subnets)
            raise InvalidQuestion(
                "source", f"{address} is in {names}, whose CIDRs overlap: name one of them"
            )
        if not subnets:
            raise InvalidQuestion("source", f"{address} is in no subnet of the snapshot")
        return self._subnet_start(subnets[0], target, address)

    def _site_address(self, connection: VpnConnection) -> Address:
        """An address at the far end of a VPN connection."""
        network = self.network
        router = network.router_of_connection(connection)
        if router is not None and router.addresses:
            return router.addresses[0]
        if connection.static_routes:
            return connection.static_routes[0].sample_host
        attachment = network.attachment_of_connection.get(connection.id)
        gateway = network.facts.vpn_gateways.get(connection.gateway_id or "")
        tables: list[RouteTable | None] = []
        vpc_ids: set[str | None] = {gateway.vpc_id} if gateway else set()
        names = {connection.gateway_id, connection.transit_gateway_id}
        if attachment is not None:
            gateway_id = attachment.transit_gateway_id
            names.add(attachment.id)
            tables += map(network.table, network.tables_of_transit_gateway.get(gateway_id, ()))
            attached = network.index.attachments_of_gateway.get(gateway_id, ())
            vpc_ids = {one.resource_id for one in attached if one.resource_type == "vpc"}
        tables += [one for one in network.facts.tables.values() if one.vpc_id in vpc_ids]
        prefixes = [
            route.prefix
            for table in tables
            for route in (table.routes() if table else ())
            if names.intersection(route.targets)
            and route.prefix.version == 4
            and route.prefix.length
            and not network.index.vpcs_at(route.prefix.first)
        ]
        return max(prefixes, key=lambda one: one.length).sample_host if prefixes else _UNKNOWN_SITE

    def _packet(self, start: _Start, target: Address) -> Packet:
        try:
            protocol = protocol_number(self.protocol)
        except ValueError:
            raise InvalidQuestion("protocol", f"{self.protocol!r} is no protocol") from None
        if self.port is not None and not 0 <= self.port <= 65535:
            raise InvalidQuestion("port", f"{self.port} is not between 0 and 65535")
        if start.address.version != target.version:
            raise InvalidQuestion(
                "destination", f"{target} and {start.address} are of different IP versions"
            )
        source_ports = destination_ports = None
        if protocol in (filters.TCP, filters.UDP):
            source_ports = filters.CLIENT_PORTS
            destination_ports = PortRange(self.port, self.port) if self.port is not None else None
        elif protocol == filters.ICMP and target.version == 6:
            protocol = filters.ICMPV6
        if protocol == filters.ICMP:
            destination_ports = PortRange(8, 0)
        elif protocol == filters.ICMPV6:
            destination_ports = PortRange(128, 0)
        return Packet(
            start.address, target, protocol, source_ports, destination_ports, start.groups
        )

    # -- the reply -------------------------------------------------------------------------------------------------

    def _reply(
        self, forward: Path, start: _Start, target: Address, expected: str | None
    ) -> list[Path]:
        """The paths of the reply to a delivered packet; where it is not delivered, of the reply that its destination
        would send, if there is such a host."""
        if forward.outcome.arrives and forward.reply_from is not None:
            place, packet, carry = forward.reply_from, forward.packet.reply(), forward.carry
        else:
            interface_id = expected or self._sole_owner(target)
            if interface_id is None or start.place.kind in (INTERNET, "vpn-in"):
                return []
            interface = self.network.facts.interfaces[interface_id]
            outward = self._packet(start, target)
            packet = replace(outward.reply(), source=interface.addresses[0])
            tracked = frozenset({interface_id, start.place.id})
            place, carry = Place("leave", interface_id), Carry(tracked=tracked)
            if packet.source.version != packet.destination.version:
                return []
        walk = self._walk(start, reply_to=carry)
        return _worst_first(walk.follow(place, packet, Carry()))

    def _sole_owner(self, target: Address) -> str | None:
        owners = self.network.index.interfaces_by_address.get(target, [])
        return owners[0] if len(owners) == 1 else None

    # -- explanation -------------------------------------------------------------------------------------------------

    def _explain(
        self, start: _Start, packet: Packet, target: Address, forward: list[Path], back: list[Path]
    ) -> tuple[Blocker, ...]:
        """The smallest set of changes found that lets packet and reply pass, headed by what stops them today."""
        index = self.network.index
        inside = target in index.interfaces_by_address or bool(
            index.vpcs_at(target) if not is_internet_routed(target) else target in index.public
        )
        walk = self._walk(start, explaining=True)
        mended = walk.explain(start.place, packet, start.carry, inside)
        stops: list[Stop] = list(mended.stops) if mended else []
        if mended is not None and mended.reply_from is not None:
            walk = self._walk(start, reply_to=mended.carry, explaining=True)
            reply = walk.explain(mended.reply_from, mended.packet.reply(), Carry(), inside=True)
            stops += reply.stops if reply else ()
            if reply is None:
                stops += [stop for path in back if not path.outcome.arrives for stop in path.stops]
        proposed = [stop.blocker for stop in stops]
        blockers: dict[tuple[str, str], Blocker] = {}
        today = next((path for path in (*forward, *back) if not path.outcome.arrives), None)
        if today is not None and today.stops:
            head = today.stops[0].blocker
            if all(one.id != head.id for one in proposed):
                # Another change makes it harmless: still the component that stops packets today.
                fix = f"none, once: {proposed[0].fix}" if proposed else head.fix
                blockers[head.id, fix] = replace(head, fix=fix)
        for blocker in proposed:
            blockers.setdefault((blocker.id, blocker.fix), blocker)
        return tuple(blockers.values())


def _at_the_right_host(path: Path, expected: str | None) -> Path:
    """Overlapping networks may deliver to another interface with the same address: that is not an arrival."""
    if path.outcome is not Outcome.DELIVERED or expected is None or path.reply_from is None:
        return path
    if path.reply_from.kind == "leave" and path.reply_from.id != expected:
        other = path.reply_from.id
        blocker = Blocker(
            other, "network-interface", f"it has the address of {expected}", "renumber one of them"
        )
        return replace(
            path, outcome=Outcome.NO_SUCH_HOST, stops=(Stop(Outcome.NO_SUCH_HOST, blocker),)
        )
    return path


def _worst_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: path.outcome.arrives)
