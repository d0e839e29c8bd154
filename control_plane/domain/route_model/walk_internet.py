"""The walk at internet gateways, NAT gateways, endpoints and VPC peerings."""

from __future__ import annotations

from dataclasses import replace

from control_plane.domain.route_model import filters
from control_plane.domain.route_model.addresses import Address, is_internet_routed
from control_plane.domain.route_model.facts import NatGateway, NetworkInterface, Route
from control_plane.domain.route_model.filters import Packet
from control_plane.domain.route_model.ground import (
    INTERNET,
    Carry,
    Ground,
    Place,
    Step,
    Stop,
    Translation,
)
from control_plane.domain.route_model.traces import Blocker, Hop, Outcome


class InternetSteps(Ground):
    """What leaves or joins a VPC other than by transit gateway or VPN."""

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
        if not network.knows_public(packet.destination) and not is_internet_routed(
            packet.destination
        ):
            blocker = Blocker(
                place.id,
                kind,
                f"the internet carries nothing to {packet.destination}",
                f"route {packet.destination} elsewhere",
            )
            return [Step(hops, packet, carry, stops=(Stop(Outcome.NO_ROUTE, blocker),))]
        packet = packet.anonymous()
        carry = replace(carry, left_by=(place.id, place.via))
        stops: tuple[Stop, ...] = ()
        if packet.source.version == 4:
            packet, carry, stops = self._translated_source(place, packet, carry)
        else:
            owner = network.interface_at(place.via, packet.source)
            if owner is not None and owner.denies_internet and not egress_only:
                stops = (_closed_stop(owner),)
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
            return [self._not_public(packet, carry, hops)]
        vpc_id, private = found
        packet = replace(packet, destination=private)
        gateway = network.internet_gateway_of(vpc_id)
        left_by = self.reply_to.left_by if self.reply_to else None
        if left_by is not None and left_by[1] == vpc_id:
            gateway = left_by[0]
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
        owner = network.interface_at(vpc_id, private)
        if owner is not None and owner.denies_internet and not kind.startswith("egress"):
            stops += (_closed_stop(owner),)
        return [
            Step(
                (*hops, Hop(kind, gateway)),
                packet,
                carry,
                Place("edge", gateway, vpc_id),
                stops=stops,
            )
        ]

    def _not_public(self, packet: Packet, carry: Carry, hops: tuple[Hop, ...]) -> Step:
        """From the internet to an address that it carries nothing to."""
        destination, network = packet.destination, self.network
        owners = [
            network.facts.interfaces[one]
            for one in network.index.interfaces_by_address.get(destination, ())
        ]
        why = f"the internet carries nothing to {destination}"
        outcome, blocker = (
            Outcome.NO_ROUTE,
            Blocker(str(destination), "address", why, "address it by a public address"),
        )
        if owners and not any(destination in one.public for one in owners):
            outcome = Outcome.NO_PUBLIC_ADDRESS
            fix = f"associate an Elastic IP with {owners[0].id}"
            blocker = Blocker(owners[0].id, "network-interface", "it has no public address", fix)
        return Step(hops, packet, carry, stops=(Stop(outcome, blocker),))

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


def _closed_stop(interface: NetworkInterface) -> Stop:
    """An interface that internet gateways may not serve (EC2 API, `DenyAllIgwTraffic`)."""
    why = "it denies all internet gateway traffic"
    fix = f"clear DenyAllIgwTraffic of {interface.id}"
    return Stop(Outcome.DENIED, Blocker(interface.id, "network-interface", why, fix))
