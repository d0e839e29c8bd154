"""Security groups and network ACLs, from describe output."""

from __future__ import annotations

from control_plane.domain.route_model.addresses import parse_prefix
from control_plane.domain.route_model.facts import (
    AclRule,
    GroupRule,
    NetworkAcl,
    PortRange,
    SecurityGroup,
)
from control_plane.domain.route_model.observed import Facts, place
from control_plane.domain.route_model.snapshot import Json, Snapshot

_PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "all": None, "-1": None}


def protocol_number(value: object) -> int | None:
    """A protocol as a number, None for all; raises ValueError when it is neither a name nor a number."""
    text = str(value).lower()
    if text in _PROTOCOLS:
        return _PROTOCOLS[text]
    number = int(text)
    if not 0 <= number <= 255:
        raise ValueError(f"{value!r} is no protocol number")
    return number


def security_group(item: Json) -> SecurityGroup:
    """One item of `describe_security_groups`."""
    return SecurityGroup(
        item["GroupId"],
        item.get("VpcId"),
        tuple(_group_rule(rule) for rule in item.get("IpPermissions") or []),
        tuple(_group_rule(rule) for rule in item.get("IpPermissionsEgress") or []),
    )


def _group_rule(rule: Json) -> GroupRule:
    protocol = protocol_number(rule["IpProtocol"])
    ports = None
    if rule.get("FromPort") is not None and protocol in (1, 6, 17, 58):
        ports = PortRange(int(rule["FromPort"]), int(rule["ToPort"]))
        if ports in (PortRange(-1, -1), PortRange(0, 65535)):
            ports = None
    return GroupRule(
        protocol,
        ports,
        (
            *(parse_prefix(one["CidrIp"]) for one in rule.get("IpRanges") or []),
            *(parse_prefix(one["CidrIpv6"]) for one in rule.get("Ipv6Ranges") or []),
        ),
        tuple(one["PrefixListId"] for one in rule.get("PrefixListIds") or []),
        tuple(one["GroupId"] for one in rule.get("UserIdGroupPairs") or []),
    )


def read_acls(snapshot: Snapshot, facts: Facts) -> None:
    """Network ACLs, their subnets, and each VPC's default one."""
    for item in snapshot.items("NetworkAcls"):
        with place("NetworkAcls", item.get("NetworkAclId")):
            acl_id = item["NetworkAclId"]
            rules = [
                rule
                for entry in item.get("Entries") or []
                if (rule := _acl_rule(entry)) is not None
            ]
            rules.sort(key=lambda rule: rule.number)
            facts.acls[acl_id] = NetworkAcl(
                acl_id,
                tuple(rule for rule in rules if not rule.egress),
                tuple(rule for rule in rules if rule.egress),
            )
            for association in item.get("Associations") or []:
                facts.acl_of_subnet[association["SubnetId"]] = acl_id
            if item.get("IsDefault") is True:
                facts.default_acl[item["VpcId"]] = acl_id


def _acl_rule(entry: Json) -> AclRule | None:
    network = entry.get("CidrBlock") or entry.get("Ipv6CidrBlock")
    if not network:
        return None
    protocol = protocol_number(entry["Protocol"])
    ports = None
    if protocol in (6, 17) and entry.get("PortRange"):
        ports = PortRange(int(entry["PortRange"]["From"]), int(entry["PortRange"]["To"]))
    if protocol in (1, 58) and entry.get("IcmpTypeCode"):
        code = entry["IcmpTypeCode"]
        ports = PortRange(int(code.get("Type", -1)), int(code.get("Code", -1)))
    return AclRule(
        int(entry["RuleNumber"]),
        entry["Egress"] is True,
        str(entry["RuleAction"]).lower() == "allow",
        protocol,
        parse_prefix(network),
        ports,
    )
