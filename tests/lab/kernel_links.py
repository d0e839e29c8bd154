"""Links of two VPCs as EC2 describes them, and the same link in the kernel.

The translation reads the documents by itself and shares nothing with the route model: a namespace gets the
routes of the table that its subnet is associated with, the gateway those of the transit gateway's table,
a router what AWS would announce to it. Packets then do what the kernel does with them.
"""

from __future__ import annotations

import ipaddress
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.local.lab.network import (
    ENDPOINTS,
    FUNCTION,
    GATEWAY,
    ROUTERS,
    VPC_ROUTER,
    LabNetwork,
    TunnelId,
)
from tests.unit.route_model_language import Cloud, route, rule

GOVCLOUD, COMMERCIAL = "10.0.0.0/16", "172.16.0.0/16"
FUNCTION_ADDRESS = "10.0.1.20"
ENDPOINT_ADDRESSES = ("172.16.1.10", "172.16.3.10")
ROUTER_ADDRESSES = ("172.16.101.10", "172.16.103.10")
OUTSIDE = ("192.0.2.1", "192.0.2.2")
PORT = 443
_PROTOCOL = 77
"""Marks the routes of a case, so that all of them can be taken away at once."""
_ANSWER_SECONDS = 0.15
_PATIENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class TransitRoute:
    """A row of the transit gateway's table. `to`: connection 1 or 2, `vpc`, or None for a black hole."""

    destination: str
    to: int | str | None
    static: bool


@dataclass(frozen=True, slots=True)
class Link:
    """One generated link: tables, tunnels that are up, what is wrong with the routers.

    Tables hold (destination, target, is active); targets are `tgw`, a router's number, or `gone`.
    """

    function_table: tuple[tuple[str, str, bool], ...]
    transit: tuple[TransitRoute, ...]
    attached_zones: frozenset[str]
    tunnels_up: tuple[int, int]
    checks: tuple[bool, bool]
    endpoint_tables: tuple[tuple[tuple[str, int, bool], ...], tuple[tuple[str, int, bool], ...]]


# -- as documents ------------------------------------------------------------------------------------------------------


def describe(link: Link) -> dict[str, dict[str, Any]]:
    """Both sides' describe output."""
    return {"govcloud": _govcloud(link).data, "commercial": _commercial(link).data}


def _govcloud(link: Link) -> Cloud:
    cloud = Cloud().vpc("vpc-gov", GOVCLOUD)
    cloud.subnet("subnet-function", "vpc-gov", "10.0.1.0/24", zone="gov-a")
    for zone, net in (("a", 11), ("b", 12)):
        cloud.subnet(f"subnet-tgw-{zone}", "vpc-gov", f"10.0.{net}.0/24", zone=f"gov-{zone}")
    cloud.interface("eni-function", "subnet-function", FUNCTION_ADDRESS)
    rows = [
        route(destination, "tgw-1", state="active" if active else "blackhole")
        for destination, _, active in link.function_table
    ]
    cloud.table("rtb-function", "vpc-gov", *rows, subnets=("subnet-function",))
    cloud.table("rtb-main", "vpc-gov", main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1", VpnEcmpSupport="disable")
    cloud.attach(
        "tgw-attach-vpc",
        "tgw-1",
        "vpc-gov",
        "tgw-rtb-1",
        subnets=tuple(f"subnet-tgw-{zone}" for zone in sorted(link.attached_zones)),
    )
    for number in (1, 2):
        cloud.vpn(
            f"vpn-{number}",
            "tgw-1",
            customer=OUTSIDE[number - 1],
            up=link.tunnels_up[number - 1],
        )
        cloud.attach(f"tgw-attach-vpn-{number}", "tgw-1", f"vpn-{number}", "tgw-rtb-1")
    for row in link.transit:
        attachments = () if row.to is None else (f"tgw-attach-{_resource(row.to)}",)
        cloud.transit_route(
            "tgw-rtb-1",
            row.destination,
            *attachments,
            kind="static" if row.static else "propagated",
            resource="vpc" if row.to == "vpc" else "vpn",
        )
    return cloud


def _resource(to: int | str) -> str:
    return "vpc" if to == "vpc" else f"vpn-{to}"


def _commercial(link: Link) -> Cloud:
    cloud = Cloud().vpc("vpc-com", COMMERCIAL).internet_gateway("igw-com", "vpc-com")
    cloud.group("sg-endpoint", inbound=[rule("tcp", (PORT, PORT), GOVCLOUD)])
    for index, (zone, net) in enumerate((("a", 1), ("b", 3))):
        cloud.subnet(f"subnet-end-{zone}", "vpc-com", f"172.16.{net}.0/24", zone=f"com-{zone}")
        cloud.subnet(f"subnet-edge-{zone}", "vpc-com", f"172.16.10{net}.0/24", zone=f"com-{zone}")
        cloud.interface(
            f"eni-end-{zone}",
            f"subnet-end-{zone}",
            ENDPOINT_ADDRESSES[index],
            groups=("sg-endpoint",),
            kind="vpc_endpoint",
        )
        cloud.interface(
            f"eni-router-{index + 1}",
            f"subnet-edge-{zone}",
            ROUTER_ADDRESSES[index],
            public=OUTSIDE[index],
            check=link.checks[index],
            instance=f"i-router-{index + 1}",
        )
    for index, zone in enumerate(("a", "b")):
        rows = [
            route(destination, f"eni-router-{router}", state="active" if active else "blackhole")
            for destination, router, active in link.endpoint_tables[index]
        ]
        cloud.table(f"rtb-end-{zone}", "vpc-com", *rows, subnets=(f"subnet-end-{zone}",))
    cloud.table("rtb-edge", "vpc-com", route("0.0.0.0/0", "igw-com"), main=True)
    cloud.endpoint("vpce-1", "vpc-com", "Interface", "eni-end-a", "eni-end-b")
    return cloud


# -- in the kernel -----------------------------------------------------------------------------------------------------


class KernelLink:
    """A lab's network made into one generated link after the other, and asked with packets."""

    def __init__(self, network: LabNetwork) -> None:
        self._network = network
        spaces = network.spaces
        self._client = spaces.new_socket(FUNCTION, socket.AF_INET, socket.SOCK_DGRAM)
        self._client.bind((FUNCTION_ADDRESS, 0))
        self._servers = []
        for namespace, address in zip(ENDPOINTS, ENDPOINT_ADDRESSES, strict=True):
            server = spaces.new_socket(namespace, socket.AF_INET, socket.SOCK_DGRAM)
            server.bind((address, PORT))
            self._servers.append(server)
        self._sequence = 0

    def close(self) -> None:
        for one in (self._client, *self._servers):
            one.close()

    def become(self, documents: dict[str, dict[str, Any]]) -> None:
        """Make the kernel's routes and filters what the documents say."""
        govcloud, commercial = documents["govcloud"], documents["commercial"]
        spaces = self._network.spaces
        up = {
            connection["VpnConnectionId"]: [
                tunnel["Status"] == "UP" for tunnel in connection["VgwTelemetry"]
            ]
            for connection in govcloud["VpnConnections"]
        }
        zones = _attached_zones(govcloud)
        own_zone = _zone(govcloud, "subnet-function")
        spaces.ip(
            FUNCTION, _flushed(_vpc_rows(govcloud, "subnet-function", f"src {FUNCTION_ADDRESS}"))
        )
        spaces.ip(GATEWAY, _flushed(self._gateway_rows(govcloud, up, own_zone in zones)))
        # What comes from a zone without an attachment subnet does not enter the transit gateway.
        enters = "" if own_zone in zones else 'iifname "vpc0" drop'
        dead = "\n".join(
            f'iifname "{tunnel.device}" drop\n oifname "{tunnel.device}" drop'
            for tunnel in _all_tunnels()
            if not up[f"vpn-{tunnel.connection}"][tunnel.number - 1]
        )
        spaces.nft(GATEWAY, _forward_filter(f"{enters}\n{dead}"))
        for index, namespace in enumerate(ROUTERS):
            name = f"eni-router-{index + 1}"
            interface = next(
                one for one in commercial["NetworkInterfaces"] if one["NetworkInterfaceId"] == name
            )
            spaces.ip(namespace, _flushed(self._router_rows(govcloud, up, index + 1)))
            spaces.nft(namespace, _forward_filter("drop" if interface["SourceDestCheck"] else ""))
        for namespace, zone in zip(ENDPOINTS, ("a", "b"), strict=True):
            spaces.ip(namespace, _flushed(_vpc_rows(commercial, f"subnet-end-{zone}", "")))

    def delivers(self, endpoint: int, patient: bool = False) -> tuple[bool, bool]:
        """Whether a packet of the function's arrives at an endpoint, and an answer comes back."""
        seconds = _PATIENT_SECONDS if patient else _ANSWER_SECONDS
        self._sequence += 1
        token = f"packet {self._sequence}".encode()
        try:
            self._client.sendto(token, (ENDPOINT_ADDRESSES[endpoint], PORT))
        except OSError:
            return False, False  # no route at the very first step
        server = self._servers[endpoint]
        source = _received(server, token, seconds)
        if source is None:
            return False, False
        try:
            server.sendto(token, source)
        except OSError:
            return True, False
        return True, _received(self._client, token, seconds) is not None

    def _gateway_rows(
        self, govcloud: dict[str, Any], up: dict[str, list[bool]], zone_is_attached: bool
    ) -> Iterator[str]:
        for row in govcloud["TransitGatewayRoutes"]:
            metric = 10 if row["Type"] == "static" else 100
            attachments = row["TransitGatewayAttachments"]
            if not attachments:
                yield f"blackhole {row['DestinationCidrBlock']} metric {metric}"
                continue
            name = attachments[0]["TransitGatewayAttachmentId"].removeprefix("tgw-attach-")
            if name == "vpc":
                hop = "dev vpc0 scope link" if zone_is_attached else None
            else:
                hop = f"dev {_carrier(name, up).device}"
            kind = "blackhole" if hop is None else "unicast"
            yield f"{kind} {row['DestinationCidrBlock']} {hop or ''} metric {metric}"

    def _router_rows(
        self, govcloud: dict[str, Any], up: dict[str, list[bool]], number: int
    ) -> Iterator[str]:
        """What AWS announces: every route of the table that the connection is associated with, and of
        those the rendered router takes GovCloud's networks."""
        name = f"vpn-{number}"
        if not any(up[name]):
            return
        theirs = ipaddress.IPv4Network(GOVCLOUD)
        for destination in {
            row["DestinationCidrBlock"] for row in govcloud["TransitGatewayRoutes"]
        }:
            if ipaddress.IPv4Network(destination).subnet_of(theirs):
                yield f"unicast {destination} dev twinspan{_carrier(name, up).number}"


def _all_tunnels() -> Iterator[TunnelId]:
    for connection in (1, 2):
        for number in (1, 2):
            yield TunnelId(connection, number)


def _carrier(name: str, up: dict[str, list[bool]]) -> TunnelId:
    """The tunnel of a connection that carries: the first that is up, or a dead one."""
    number = next((index + 1 for index, is_up in enumerate(up[name]) if is_up), 1)
    return TunnelId(int(name.removeprefix("vpn-")), number)


def _vpc_rows(side: dict[str, Any], subnet: str, suffix: str) -> Iterator[str]:
    interfaces = {
        one["NetworkInterfaceId"]: one["PrivateIpAddress"] for one in side["NetworkInterfaces"]
    }
    table = next(
        one
        for one in side["RouteTables"]
        if any(each.get("SubnetId") == subnet for each in one["Associations"])
    )
    for row in table["Routes"]:
        destination = row["DestinationCidrBlock"]
        if row.get("GatewayId") == "local":
            continue  # is there always
        if row["State"] != "active":
            yield f"blackhole {destination}"
        elif "TransitGatewayId" in row:
            yield f"unicast {destination} via {VPC_ROUTER} dev eni0 onlink {suffix}"
        else:
            hop = interfaces[row["NetworkInterfaceId"]]
            yield f"unicast {destination} via {hop} dev eni0 onlink {suffix}"


def _attached_zones(govcloud: dict[str, Any]) -> set[str]:
    return {
        _zone(govcloud, subnet)
        for attachment in govcloud["TransitGatewayVpcAttachments"]
        for subnet in attachment["SubnetIds"]
    }


def _zone(side: dict[str, Any], subnet: str) -> str:
    found = next(one for one in side["Subnets"] if one["SubnetId"] == subnet)
    return str(found["AvailabilityZoneId"])


def _flushed(rows: Iterator[str]) -> list[str]:
    return [
        f"route flush proto {_PROTOCOL}",
        *(f"route add {row} proto {_PROTOCOL}" for row in rows),
    ]


def _forward_filter(rules: str) -> str:
    return f"""\
table inet generated
delete table inet generated
table inet generated {{
  chain forward {{
    type filter hook forward priority filter - 2; policy accept;
    {rules}
  }}
}}
"""


def _received(listening: socket.socket, token: bytes, seconds: float) -> Any:
    """Who sent the token; None if nobody did in time. Packets of earlier cases are passed over."""
    while select.select([listening], [], [], seconds)[0]:
        data, source = listening.recvfrom(1024)
        if data == token:
            return source
    return None
