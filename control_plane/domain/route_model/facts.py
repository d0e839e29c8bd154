"""The facts of a network that forwarding depends on, as immutable values.

One class per kind of AWS resource, holding what the model uses and nothing else. Ids are AWS's. An absent fact is
`None` and means "not observed", never "no".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import NamedTuple

from control_plane.domain.route_model.addresses import Address, Prefix


class RouteRank(IntEnum):
    """Which of several routes to the same destination AWS takes: the lowest.

    VPC: local, static, prefix list, propagated (VPC user guide, "How route priority works"). Transit gateway:
    static, prefix list, then propagated from VPC, Direct Connect, Connect, VPN, peering (Transit Gateway guide,
    "How transit gateways work", route evaluation order).
    """

    LOCAL = 0
    STATIC = 1
    PREFIX_LIST = 2
    PROPAGATED_VPC = 3
    PROPAGATED_DIRECT_CONNECT = 4
    PROPAGATED_CONNECT = 5
    PROPAGATED_VPN = 6
    PROPAGATED_PEERING = 7

    @property
    def origin(self) -> str:
        """The word used for it in answers."""
        names = {RouteRank.LOCAL: "local", RouteRank.STATIC: "static"}
        if self is RouteRank.PREFIX_LIST:
            return "prefix-list"
        return names.get(self, "propagated")


class RouteState(StrEnum):
    """What the table says of a route. A filtered route is not installed; a blackhole drops."""

    ACTIVE = "active"
    BLACKHOLE = "blackhole"
    FILTERED = "filtered"


class Route(NamedTuple):
    """One route of a VPC or transit gateway route table.

    `targets` has one id (`local`, `igw-…`, `tgw-…`, `eni-…`, `tgw-attach-…`), several for an equal-cost
    transit gateway route, and none for a transit gateway blackhole.
    """

    table_id: str
    prefix: Prefix
    targets: tuple[str, ...]
    rank: RouteRank
    state: RouteState = RouteState.ACTIVE
    prefix_list_id: str | None = None

    @property
    def target(self) -> str | None:
        """The first target."""
        return self.targets[0] if self.targets else None

    def __str__(self) -> str:
        return f"{self.prefix} → {', '.join(self.targets) or 'blackhole'} in {self.table_id}"


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC and its associated CIDRs."""

    id: str
    cidrs: tuple[Prefix, ...]


@dataclass(frozen=True, slots=True)
class Subnet:
    """`zone` is the availability zone's id, or its name where the id is not shown."""

    id: str
    vpc_id: str
    zone: str | None
    cidrs: tuple[Prefix, ...]
    public_by_default: bool = False


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """`public` maps a private address to the public one that an internet gateway translates it to.

    `dead` says why nothing answers or forwards at this interface; None when something may.
    """

    id: str
    vpc_id: str
    subnet_id: str
    addresses: tuple[Address, ...]
    public: dict[Address, Address] = field(hash=False)
    groups: tuple[str, ...] = ()
    source_dest_check: bool = True
    instance_id: str | None = None
    kind: str = "interface"
    dead: str | None = None
    denies_internet: bool = False
    prefixes: tuple[Prefix, ...] = ()

    def owns(self, address: Address) -> bool:
        """Whether packets for the address end here."""
        return address in self.addresses or any(prefix.holds(address) for prefix in self.prefixes)


@dataclass(frozen=True, slots=True)
class Instance:
    """`interface_ids` in device order, the primary first."""

    id: str
    state: str | None
    interface_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NatGateway:
    """A NAT gateway; `address` is the private one that it translates to."""

    id: str
    vpc_id: str | None
    subnet_id: str | None
    interface_id: str | None
    address: Address | None
    public_address: Address | None
    is_public: bool
    state: str


@dataclass(frozen=True, slots=True)
class VpnGateway:
    """A virtual private gateway; `vpc_id` is None while it is attached to none."""

    id: str
    vpc_id: str | None


@dataclass(frozen=True, slots=True)
class VpnConnection:
    """A site-to-site VPN connection.

    `tunnels_up` is None when telemetry was not observed. `accepted_routes` counts BGP routes over the tunnels
    that are up. `outside_addresses` are AWS's ends.
    """

    id: str
    gateway_id: str | None
    transit_gateway_id: str | None
    customer_gateway_id: str | None
    static_only: bool
    static_routes: tuple[Prefix, ...]
    tunnels_up: int | None
    tunnels: int
    accepted_routes: int | None
    outside_addresses: tuple[Address, ...]
    state: str = "available"


@dataclass(frozen=True, slots=True)
class Peering:
    """A VPC peering connection."""

    id: str
    status: str
    vpc_ids: tuple[str, str]
    regions: tuple[str | None, str | None] = (None, None)
    cidrs: tuple[tuple[Prefix, ...], tuple[Prefix, ...]] = ((), ())

    def other_end(self, vpc_id: str) -> str | None:
        """The VPC at the other end, or None when this VPC is at neither."""
        first, second = self.vpc_ids
        return second if vpc_id == first else first if vpc_id == second else None


@dataclass(frozen=True, slots=True)
class TransitGateway:
    """A transit gateway's options that forwarding depends on."""

    id: str
    ecmp: bool = True
    references_groups: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """One transit gateway's view of one attachment.

    `resource_id` is the VPC, the VPN connection, or the other transit gateway of a peering. `table_id` is the
    route table it is associated with. `subnet_ids` is None when its subnets were not observed.
    """

    id: str
    transit_gateway_id: str
    resource_type: str
    resource_id: str | None
    state: str
    table_id: str | None
    subnet_ids: tuple[str, ...] | None = None
    appliance_mode: bool = False
    ipv6: bool = False
    references_groups: bool = True
    created: str = ""

    @property
    def usable(self) -> bool:
        """Whether packets pass."""
        return self.state in ("available", "modifying")


@dataclass(frozen=True, slots=True)
class VpcEndpoint:
    """A gateway, interface or Gateway Load Balancer endpoint."""

    id: str
    kind: str
    vpc_id: str | None
    service: str
    state: str
    interface_ids: tuple[str, ...] = ()
    subnet_ids: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it carries packets. Live answers are lower-case, the API's enum is not."""
        # `partial`: some of its interfaces work. Which ones, describe output does not tell; a probe does.
        return self.state.lower() in ("available", "partial", "")


@dataclass(frozen=True, slots=True)
class PortRange:
    """Inclusive. For ICMP, AWS stores type and code in these two fields."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class GroupRule:
    """One security group rule. `protocol` is a number, None for all; `ports` is None for all."""

    protocol: int | None
    ports: PortRange | None
    networks: tuple[Prefix, ...] = ()
    prefix_list_ids: tuple[str, ...] = ()
    group_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """A security group's rules, by direction."""

    id: str
    vpc_id: str | None
    inbound: tuple[GroupRule, ...]
    outbound: tuple[GroupRule, ...]


@dataclass(frozen=True, slots=True)
class AclRule:
    """One network ACL entry. ICMP `ports` is (type, code) with -1 for any."""

    number: int
    egress: bool
    allow: bool
    protocol: int | None
    network: Prefix
    ports: PortRange | None


@dataclass(frozen=True, slots=True)
class NetworkAcl:
    """Rules in the order of their numbers."""

    id: str
    inbound: tuple[AclRule, ...]
    outbound: tuple[AclRule, ...]
