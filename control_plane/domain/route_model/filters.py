"""Security groups and network ACLs: does a filter let a packet pass?

Security groups are stateful: what was let in is answered without looking. Network ACLs are not: they judge the reply
by its own ports. A client's port is not known beforehand, so a packet carries a *range* of them and a filter must let
all of it pass. A filter that was not observed lets everything pass, and the answer says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from control_plane.domain.route_model.addresses import Address, Prefix
from control_plane.domain.route_model.facts import AclRule, GroupRule, NetworkAcl, PortRange

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58

# Ports that a Linux client picks from (net.ipv4.ip_local_port_range), and those that a NAT gateway, Lambda and load
# balancers use (VPC user guide, "Network ACLs: ephemeral ports").
CLIENT_PORTS = PortRange(32768, 60999)
NAT_PORTS = PortRange(1024, 65535)


@dataclass(frozen=True, slots=True)
class Packet:
    """The header that filters and routers look at.

    `protocol` is a number, None for "every protocol". For TCP and UDP `source_ports` and `destination_ports` are
    ranges; for ICMP `destination_ports` is (type, code). `sender_groups` are the security groups of the sender for
    as long as AWS can tell who the sender is (not across a middlebox, a translation or a VPN).
    """

    source: Address
    destination: Address
    protocol: int | None
    source_ports: PortRange | None
    destination_ports: PortRange | None
    sender_groups: frozenset[str] = frozenset()

    def reply(self) -> Packet:
        """The answer to this packet."""
        ports = (self.destination_ports, self.source_ports)
        if self.protocol in (ICMP, ICMPV6):
            answer = PortRange(0 if self.protocol == ICMP else 129, 0)
            ports = (None, answer)
        return Packet(self.destination, self.source, self.protocol, *ports)

    def anonymous(self) -> Packet:
        """The same packet, its sender's security groups no longer known."""
        return replace(self, sender_groups=frozenset()) if self.sender_groups else self


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a filter lets a packet pass, and which part of it decides."""

    allowed: bool
    why: str = ""


ALLOWED = Verdict(True)


def judge_acl(acl: NetworkAcl, packet: Packet, egress: bool) -> Verdict:
    """A network ACL's verdict: rules by number, the first match decides, and `*` denies.

    Every port of the packet's range must be let pass. Source: VPC user guide, "Network ACL rules". Outbound rules look
    at the destination address, inbound ones at the source.
    """
    address = packet.destination if egress else packet.source
    direction = "outbound" if egress else "inbound"
    undecided = [packet.destination_ports]
    for rule in acl.outbound if egress else acl.inbound:
        if not rule.network.holds(address):
            continue
        if packet.protocol is None and not rule.allow:
            return Verdict(False, f"{direction} rule {rule.number} denies some of it")
        if not _same_protocol(rule.protocol, packet.protocol):
            continue
        matched, undecided = _split(rule, packet, undecided)
        if matched and not rule.allow:
            return Verdict(
                False, f"{direction} rule {rule.number} denies {describe(packet, egress)}"
            )
        if not undecided:
            return ALLOWED
    return Verdict(False, f"no {direction} rule allows {describe(packet, egress)}")


def _same_protocol(rule: int | None, packet: int | None) -> bool:
    return rule is None or rule == packet


def _split(
    rule: AclRule, packet: Packet, undecided: list[PortRange | None]
) -> tuple[bool, list[PortRange | None]]:
    """Which of the undecided ports this rule decides, and those it leaves."""
    if rule.ports is None or rule.protocol is None:
        return True, []
    if packet.protocol in (ICMP, ICMPV6):
        asked = packet.destination_ports
        if asked is None:
            return rule.ports.first == -1, [] if rule.ports.first == -1 else undecided
        matches = rule.ports.first in (-1, asked.first) and rule.ports.last in (-1, asked.last)
        return matches, [] if matches else undecided
    matched = False
    left: list[PortRange | None] = []
    for ports in undecided:
        span = ports or PortRange(0, 65535)
        first, last = max(span.first, rule.ports.first), min(span.last, rule.ports.last)
        if first > last:
            left.append(span)
            continue
        matched = True
        if span.first < first:
            left.append(PortRange(span.first, first - 1))
        if last < span.last:
            left.append(PortRange(last + 1, span.last))
    return matched, left


def judge_group_rule(
    rule: GroupRule,
    packet: Packet,
    outbound: bool,
    peer_groups: frozenset[str],
    lists: dict[str, tuple[Prefix, ...]],
) -> bool:
    """Whether one security group rule lets the packet pass.

    `peer_groups` are the groups of the other end, empty where AWS could not tell them.
    """
    if not _same_protocol(rule.protocol, packet.protocol):
        return False
    asked = packet.destination_ports
    if rule.ports is not None and rule.protocol is not None:
        if packet.protocol in (ICMP, ICMPV6):
            if asked is None:
                return False
            if rule.ports.first not in (-1, asked.first) or rule.ports.last not in (-1, asked.last):
                return False
        else:
            span = asked or PortRange(0, 65535)
            if not rule.ports.first <= span.first <= span.last <= rule.ports.last:
                return False
    address = packet.destination if outbound else packet.source
    if any(network.holds(address) for network in rule.networks):
        return True
    if any(group in peer_groups for group in rule.group_ids):
        return True
    return any(
        network.holds(address)
        for list_id in rule.prefix_list_ids
        for network in lists.get(list_id, ())
    )


def describe(packet: Packet, egress: bool) -> str:
    """`tcp 443 to 10.0.0.1`, for messages."""
    way, address = ("to", packet.destination) if egress else ("from", packet.source)
    return f"{describe_service(packet)} {way} {address}"


def describe_service(packet: Packet) -> str:
    """`tcp 443`, `tcp 32768-60999`, `all traffic`."""
    if packet.protocol is None:
        return "all traffic"
    names = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmpv6"}
    name = names.get(packet.protocol, f"protocol {packet.protocol}")
    ports = packet.destination_ports
    if ports is None:
        return name
    if packet.protocol in (ICMP, ICMPV6):
        return f"{name} type {ports.first}"
    return f"{name} {ports.first}" + (f"-{ports.last}" if ports.last != ports.first else "")
