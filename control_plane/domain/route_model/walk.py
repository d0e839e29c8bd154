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

from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import Carry, Path, Place, Step, Stop, loop_stop, tidy
from control_plane.domain.route_model.traces import Hop, Outcome
from control_plane.domain.route_model.walk_vpc import VpcSteps

_MAXIMUM_HOPS = 64
_MAXIMUM_PATHS = 16
# Bounds of the search for an explanation: changes on one way, and places looked at.
_MAXIMUM_CHANGES = 8
_MAXIMUM_PLACES = 4000


class Walk(VpcSteps):
    """Walks packets over one network."""

    def follow(self, place: Place, packet: Packet, carry: Carry) -> list[Path]:
        """All paths that the packet may take today, each up to its end."""
        found: list[Path] = []
        stack: list[tuple[Place, Packet, Carry, tuple[Hop, ...], frozenset[object]]]
        stack = [(place, packet, carry, (), frozenset())]
        while stack and len(found) < _MAXIMUM_PATHS:
            place, packet, carry, hops, been = stack.pop()
            here = (place, packet.source, packet.destination)
            if here in been or len(been) >= _MAXIMUM_HOPS:
                found.append(Path(Outcome.LOOP, tidy(hops), packet, carry, (loop_stop(hops),)))
                continue
            been |= {here}
            for step in reversed(self.steps(place, packet, carry)):
                passed = hops + step.hops
                if step.stops:
                    end = step.stops[0].outcome
                    found.append(Path(end, tidy(passed), step.packet, step.carry, step.stops))
                elif step.place is not None:
                    stack.append((step.place, step.packet, step.carry, passed, been))
                elif step.outcome is not None:
                    found.append(
                        Path(
                            step.outcome,
                            tidy(passed),
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
                return Path(last.outcome, tidy(hops), packet, carry, stops, last.reply_from)
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
