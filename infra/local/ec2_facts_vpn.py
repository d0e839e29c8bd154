"""VPN connections and their tunnels as EC2 describes them.

moto keeps a VPN connection as a bare record. Here each connection gets two tunnels with addresses,
pre-shared keys and telemetry of their own, the customer gateway's configuration document, and the APIs
that repair or maintain a tunnel. The tunnels live on moto's connection object, so a reset of moto takes
them along.

A tunnel's `status` is what AWS *reports*. Whether packets really pass is the data plane's business, and
the two differ for as long as dead peer detection takes, or for ever in a gray failure.

Not guaranteed: no key exchange happens, so a wrong pre-shared key or mismatched proposals go unnoticed.
Outside addresses come from the documentation ranges 203.0.113.0/24 and 198.51.100.0/24, inside networks
from 169.254.0.0/16 without the ones AWS reserves.

Shapes: botocore's service model `ec2` 2016-11-15 (`VpnConnection`, `VgwTelemetry`, `TunnelOption`).
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from moto.core.responses import ActionResult
from moto.ec2.exceptions import InvalidParameterValue
from moto.ec2.models import EC2Backend, ec2_backends
from moto.ec2.models.vpn_connections import VPNConnection, VPNConnectionBackend
from moto.ec2.responses.vpn_connections import VPNConnections

from infra.local.ec2_facts_graft import graft, original

ADVERTISES_TAG = "twinspan:advertises"
TUNNELS_PER_CONNECTION = 2

# One range per tunnel of a connection: AWS gives the two tunnels endpoints in different zones.
_OUTSIDE_RANGES = (
    ipaddress.IPv4Network("203.0.113.0/24"),
    ipaddress.IPv4Network("198.51.100.0/24"),
)
_INSIDE_RANGE = ipaddress.IPv4Network("169.254.0.0/16")
_RESERVED_INSIDE = tuple(
    ipaddress.IPv4Network(cidr)
    for cidr in (
        "169.254.0.0/30",
        "169.254.1.0/30",
        "169.254.2.0/30",
        "169.254.3.0/30",
        "169.254.4.0/30",
        "169.254.5.0/30",
        "169.254.169.252/30",
    )
)
_PRE_SHARED_KEY = re.compile(r"[A-Za-z1-9._][A-Za-z0-9._]{7,63}")
_PRE_SHARED_KEY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_MINIMUM_DPD_TIMEOUT_SECONDS = 30
# Requests and answers spell these differently in EC2's service model.
_ANSWERED_AS = {"DPDTimeoutSeconds": "DpdTimeoutSeconds", "DPDTimeoutAction": "DpdTimeoutAction"}
_ANSWERED_AS |= {"IKEVersions": "IkeVersions"}
_NOT_ANSWERED = frozenset({"PreSharedKey", "TunnelInsideCidr"})


@functools.lru_cache(maxsize=4096)
def network_of(cidr: str) -> ipaddress.IPv4Network:
    """A CIDR as a network. The data plane asks for the same few many times a second."""
    return ipaddress.IPv4Network(cidr)


class TunnelStatus(enum.StrEnum):
    """EC2's `TelemetryStatus`."""

    UP = "UP"
    DOWN = "DOWN"


@dataclass
class Tunnel:
    """One of the two tunnels of a VPN connection; AWS's key for it is `outside_address`.

    `settings`: the tunnel options given by the caller, spelled as EC2 answers them. `learned`: what a real
    BGP session over it has brought; None where there is none, and the router's tag tells instead.
    """

    outside_address: str
    inside_network: ipaddress.IPv4Network
    pre_shared_key: str = field(repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    status: TunnelStatus = TunnelStatus.DOWN
    last_status_change: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_maintenance: datetime | None = None
    learned: tuple[ipaddress.IPv4Network, ...] | None = None

    def report(self, status: TunnelStatus) -> None:
        """Record what AWS reports from now on."""
        if status is not self.status:
            self.status = status
            self.last_status_change = datetime.now(UTC)


@dataclass(frozen=True)
class EdgeRouter:
    """The instance that plays a customer gateway: its Elastic IP is the gateway's address."""

    network_interface: Any
    instance: Any

    @property
    def is_running(self) -> bool:
        return bool(self.instance.state == "running")

    @property
    def advertised(self) -> tuple[ipaddress.IPv4Network, ...]:
        """Prefixes that the router announces by BGP, read from the tag `twinspan:advertises`."""
        # Read from moto's table of tags itself: this is asked many times a second.
        tags = self.instance.ec2_backend.tags
        for resource in (self.network_interface, self.instance):
            value = tags.get(resource.id, {}).get(ADVERTISES_TAG)
            if value:
                return _prefixes(resource.id, value)
        return ()

    @property
    def forwards(self) -> bool:
        """Whether EC2 lets packets through that are not addressed to the instance itself."""
        interface = self.network_interface
        primary = interface.device_index == 0
        return _is_off(interface.source_dest_check) or (
            primary and _is_off(self.instance.source_dest_check)
        )


def _prefixes(resource_id: str, tag_value: str) -> tuple[ipaddress.IPv4Network, ...]:
    try:
        return tuple(network_of(part) for part in tag_value.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(f"tag {ADVERTISES_TAG} of {resource_id}: {error}") from error


def _is_off(source_dest_check: object) -> bool:
    # moto keeps what the caller sent: a boolean from one API, a string from another.
    return str(source_dest_check).lower() == "false"


def all_ec2_backends() -> Iterator[EC2Backend]:
    """Every account and region that has been used: an Elastic IP may belong to any of them."""
    for account in list(ec2_backends.values()):
        yield from list(account.values())


def tunnels_of(connection: VPNConnection) -> list[Tunnel]:
    """The connection's two tunnels; made on first sight for a connection that moto made by itself."""
    if not connection.tunnels:
        _configure(connection, {})
    return list(connection.tunnels)  # type: ignore[call-overload,no-any-return]


def edge_router_of(connection: VPNConnection) -> EdgeRouter | None:
    """The router behind the connection's customer gateway, in whatever account it lives."""
    gateway = connection.ec2_backend.customer_gateways.get(connection.customer_gateway_id)
    if gateway is None or gateway.state == "deleted":
        return None
    for backend in all_ec2_backends():
        for address in list(backend.addresses):
            if address.public_ip != gateway.ip_address:
                continue
            interface = address.eni
            instance = address.instance or (interface.instance if interface else None)
            if instance is None:
                return None
            return EdgeRouter(interface or instance.nics[0], instance)
    return None


def routes_learned_over(connection: Any) -> tuple[ipaddress.IPv4Network, ...]:
    """Prefixes that the connection's BGP sessions bring: none unless a tunnel is reported UP."""
    tunnels = tunnels_of(connection)
    if connection.state != "available" or connection.options["StaticRoutesOnly"]:
        return ()
    up = [tunnel for tunnel in tunnels if tunnel.status is TunnelStatus.UP]
    if not up:
        return ()
    if any(tunnel.learned is not None for tunnel in up):
        return tuple(dict.fromkeys(route for tunnel in up for route in tunnel.learned or ()))
    router = edge_router_of(connection)
    return router.advertised if router else ()


class _ConnectionFacts:
    category = "VPN"
    gateway_association_state = "associated"

    @property
    def vgw_telemetry(self: Any) -> list[dict[str, Any]]:
        if self.state != "available":
            return []
        tunnels = tunnels_of(self)
        routes = len(routes_learned_over(self))
        static = self.options["StaticRoutesOnly"]
        return [
            {
                "OutsideIpAddress": tunnel.outside_address,
                "Status": tunnel.status.value,
                "LastStatusChange": tunnel.last_status_change,
                "StatusMessage": _status_message(tunnel, _accepted(tunnel, routes), static),
                # A static connection counts its route even while both tunnels are down.
                "AcceptedRouteCount": 1 if static else _accepted(tunnel, routes),
            }
            for tunnel in tunnels
        ]

    @property
    def routes(self: Any) -> list[dict[str, str]]:
        return []

    @property
    def customer_gateway_configuration(self: Any) -> str | None:
        return _configuration_document(self) if self.state == "available" else None


class _FilterFacts:
    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        if filter_name == "vpn-connection-id":
            return self.id
        return original(VPNConnection, "get_filter_value")(self, filter_name, method_name)


class _BackendFacts:
    def create_vpn_connection(
        self: Any,
        vpn_conn_type: str,
        customer_gateway_id: str,
        vpn_gateway_id: str | None = None,
        transit_gateway_id: str | None = None,
        tags: dict[str, str] | None = None,
        options: dict[str, Any] | None = None,
    ) -> VPNConnection:
        for settings in (options or {}).get("TunnelOptions", []):
            _validate(settings)
        connection: VPNConnection = original(VPNConnectionBackend, "create_vpn_connection")(
            self,
            vpn_conn_type,
            customer_gateway_id,
            vpn_gateway_id=vpn_gateway_id,
            transit_gateway_id=transit_gateway_id,
            tags=tags,
        )
        _configure(connection, options or {})
        return connection

    def tunnel(self: Any, vpn_connection_id: str, outside_address: str) -> Tunnel:
        """A tunnel by AWS's key. Raises EC2's errors for an unknown connection or address."""
        connection = self.describe_vpn_connections([vpn_connection_id])[0]
        for tunnel in tunnels_of(connection):
            if tunnel.outside_address == outside_address:
                return tunnel
        raise InvalidParameterValue(
            f"The VpnTunnelOutsideIpAddress '{outside_address}' is not a tunnel of the VPN "
            f"connection '{vpn_connection_id}'"
        )


class _ResponseFacts:
    def create_vpn_connection(self: Any) -> ActionResult:
        tags = self._parse_tag_specification().get("vpn-connection", {})
        transit_gateway_id = self._get_param("TransitGatewayId")
        connection = self.ec2_backend.create_vpn_connection(
            self._get_param("Type"),
            self._get_param("CustomerGatewayId"),
            vpn_gateway_id=self._get_param("VpnGatewayId"),
            transit_gateway_id=transit_gateway_id,
            tags=tags,
            options=self._get_param("Options", {}),
        )
        if transit_gateway_id:
            self.ec2_backend.create_transit_gateway_vpn_attachment(
                vpn_id=connection.id, transit_gateway_id=transit_gateway_id
            )
        return ActionResult({"VpnConnection": connection})

    def modify_vpn_tunnel_options(self: Any) -> ActionResult:
        settings = self._get_param("TunnelOptions", {})
        _validate(settings)
        connection_id = self._get_param("VpnConnectionId")
        tunnel = self.ec2_backend.tunnel(
            connection_id, self._get_param("VpnTunnelOutsideIpAddress")
        )
        _apply(tunnel, settings)
        connection = self.ec2_backend.vpn_connections[connection_id]
        _refresh_options(connection)
        return ActionResult({"VpnConnection": connection})

    def get_vpn_tunnel_replacement_status(self: Any) -> ActionResult:
        connection_id = self._get_param("VpnConnectionId")
        address = self._get_param("VpnTunnelOutsideIpAddress")
        tunnel = self.ec2_backend.tunnel(connection_id, address)
        connection = self.ec2_backend.vpn_connections[connection_id]
        return ActionResult(
            {
                "VpnConnectionId": connection_id,
                "TransitGatewayId": connection.transit_gateway_id,
                "CustomerGatewayId": connection.customer_gateway_id,
                "VpnGatewayId": connection.vpn_gateway_id,
                "VpnTunnelOutsideIpAddress": address,
                "MaintenanceDetails": {
                    "PendingMaintenance": "None",
                    "LastMaintenanceApplied": tunnel.last_maintenance,
                },
            }
        )

    def replace_vpn_tunnel(self: Any) -> ActionResult:
        tunnel = self.ec2_backend.tunnel(
            self._get_param("VpnConnectionId"), self._get_param("VpnTunnelOutsideIpAddress")
        )
        # The replacement drops the tunnel; the telemetry brings it up again if its peer is there.
        tunnel.report(TunnelStatus.DOWN)
        tunnel.last_maintenance = datetime.now(UTC)
        return ActionResult({"Return": True})


def install() -> None:
    """Add these facts to moto."""
    graft(VPNConnection, _ConnectionFacts, replaces=["customer_gateway_configuration"])
    graft(VPNConnection, _FilterFacts, replaces=["get_filter_value"])
    graft(VPNConnectionBackend, _BackendFacts, replaces=["create_vpn_connection"])
    graft(VPNConnections, _ResponseFacts, replaces=["create_vpn_connection"])


def _existing_tunnels(connection: Any) -> list[Tunnel]:
    return connection.tunnels or []


def _configure(connection: VPNConnection, options: dict[str, Any]) -> None:
    taken = [
        tunnel
        for backend in all_ec2_backends()
        for other in list(backend.vpn_connections.values())
        for tunnel in _existing_tunnels(other)
    ]
    outside = {tunnel.outside_address for tunnel in taken}
    inside = {tunnel.inside_network for tunnel in taken}
    given = options.get("TunnelOptions") or []
    tunnels = []
    for index in range(TUNNELS_PER_CONNECTION):
        settings = given[index] if index < len(given) else {}
        address = next(
            str(host) for host in _OUTSIDE_RANGES[index].hosts() if str(host) not in outside
        )
        network = next(
            candidate
            for candidate in _INSIDE_RANGE.subnets(new_prefix=30)
            if candidate not in inside and candidate not in _RESERVED_INSIDE
        )
        tunnel = Tunnel(
            outside_address=address,
            inside_network=network,
            pre_shared_key="".join(secrets.choice(_PRE_SHARED_KEY_ALPHABET) for _ in range(32)),
        )
        _apply(tunnel, settings)
        outside.add(tunnel.outside_address)
        inside.add(tunnel.inside_network)
        tunnels.append(tunnel)
    connection.tunnels = tunnels  # type: ignore[assignment]
    connection.options = {  # type: ignore[assignment]
        "EnableAcceleration": bool(options.get("EnableAcceleration", False)),
        "StaticRoutesOnly": bool(options.get("StaticRoutesOnly", False)),
        "LocalIpv4NetworkCidr": options.get("LocalIpv4NetworkCidr", "0.0.0.0/0"),
        "RemoteIpv4NetworkCidr": options.get("RemoteIpv4NetworkCidr", "0.0.0.0/0"),
        "OutsideIpAddressType": options.get("OutsideIpAddressType", "PublicIpv4"),
        "TunnelInsideIpVersion": options.get("TunnelInsideIpVersion", "ipv4"),
    }
    _refresh_options(connection)


def _refresh_options(connection: VPNConnection) -> None:
    connection.options["TunnelOptions"] = [  # type: ignore[index]
        {
            "OutsideIpAddress": tunnel.outside_address,
            "TunnelInsideCidr": str(tunnel.inside_network),
            **tunnel.settings,
        }
        for tunnel in tunnels_of(connection)
    ]


def _apply(tunnel: Tunnel, settings: dict[str, Any]) -> None:
    if cidr := settings.get("TunnelInsideCidr"):
        tunnel.inside_network = ipaddress.IPv4Network(cidr)
    if key := settings.get("PreSharedKey"):
        tunnel.pre_shared_key = key
    for name, value in settings.items():
        if name not in _NOT_ANSWERED:
            tunnel.settings[_ANSWERED_AS.get(name, name)] = value


def _validate(settings: dict[str, Any]) -> None:
    """Raise EC2's error for tunnel options that AWS refuses. The key itself is never in the text."""
    key = settings.get("PreSharedKey")
    if key is not None and not _PRE_SHARED_KEY.fullmatch(key):
        raise InvalidParameterValue(
            "PreSharedKey must be 8 to 64 characters long, of letters, digits, periods and "
            "underscores, and must not start with zero"
        )
    cidr = settings.get("TunnelInsideCidr")
    if cidr is not None:
        try:
            network = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            raise InvalidParameterValue(
                f"TunnelInsideCidr '{cidr}' is not an IPv4 network: {error}"
            ) from error
        if network.prefixlen != 30 or not network.subnet_of(_INSIDE_RANGE):
            raise InvalidParameterValue(f"TunnelInsideCidr '{cidr}' is no /30 of 169.254.0.0/16")
        if network in _RESERVED_INSIDE:
            raise InvalidParameterValue(f"TunnelInsideCidr '{cidr}' is reserved")
    timeout = settings.get("DPDTimeoutSeconds")
    if timeout is not None and int(timeout) < _MINIMUM_DPD_TIMEOUT_SECONDS:
        raise InvalidParameterValue(
            f"DPDTimeoutSeconds must be at least {_MINIMUM_DPD_TIMEOUT_SECONDS}, not {timeout}"
        )


def _accepted(tunnel: Tunnel, routes: int) -> int:
    """How many routes came over a tunnel; `routes` over its connection."""
    if tunnel.status is TunnelStatus.DOWN:
        return 0
    return routes if tunnel.learned is None else len(tunnel.learned)


def _status_message(tunnel: Tunnel, routes: int, static: bool) -> str:
    if tunnel.status is TunnelStatus.DOWN:
        return "IPSEC IS DOWN"
    return "" if static else f"{routes} BGP ROUTES"


def _configuration_document(connection: VPNConnection) -> str:
    """The XML that AWS hands out for configuring the customer's router; it holds the keys."""
    backend = connection.ec2_backend
    gateway = backend.customer_gateways[connection.customer_gateway_id]
    root = ElementTree.Element("vpn_connection", id=connection.id)
    _append(root, "customer_gateway_id", connection.customer_gateway_id)
    if connection.transit_gateway_id:
        _append(root, "transit_gateway_id", connection.transit_gateway_id)
        asn = backend.transit_gateways[connection.transit_gateway_id].options["AmazonSideAsn"]
    else:
        _append(root, "vpn_gateway_id", connection.vpn_gateway_id or "")
        virtual_gateway = backend.vpn_gateways.get(connection.vpn_gateway_id)
        asn = (virtual_gateway and virtual_gateway.amazon_side_asn) or 64512
    _append(root, "vpn_connection_type", connection.type)
    for tunnel in tunnels_of(connection):
        hosts = list(tunnel.inside_network.hosts())
        element = ElementTree.SubElement(root, "ipsec_tunnel")
        sides = (
            ("customer_gateway", gateway.ip_address, hosts[1], gateway.bgp_asn),
            ("vpn_gateway", tunnel.outside_address, hosts[0], asn),
        )
        for name, outside, inside, side_asn in sides:
            side = ElementTree.SubElement(element, name)
            _append(ElementTree.SubElement(side, "tunnel_outside_address"), "ip_address", outside)
            inner = ElementTree.SubElement(side, "tunnel_inside_address")
            _append(inner, "ip_address", inside)
            _append(inner, "network_mask", tunnel.inside_network.netmask)
            _append(inner, "network_cidr", tunnel.inside_network.prefixlen)
            if not connection.options["StaticRoutesOnly"]:  # type: ignore[index]
                bgp = ElementTree.SubElement(side, "bgp")
                _append(bgp, "asn", side_asn)
                _append(bgp, "hold_time", 30)
        settings = tunnel.settings
        ike = ElementTree.SubElement(element, "ike")
        _append(ike, "encryption_protocol", _first(settings, "Phase1EncryptionAlgorithms"))
        _append(ike, "lifetime", settings.get("Phase1LifetimeSeconds", 28800))
        _append(ike, "mode", "main")
        _append(ike, "pre_shared_key", tunnel.pre_shared_key)
        ipsec = ElementTree.SubElement(element, "ipsec")
        _append(ipsec, "protocol", "esp")
        _append(ipsec, "encryption_protocol", _first(settings, "Phase2EncryptionAlgorithms"))
        _append(ipsec, "lifetime", settings.get("Phase2LifetimeSeconds", 3600))
        _append(ipsec, "mode", "tunnel")
        _append(ipsec, "tcp_mss_adjustment", 1379)
        detection = ElementTree.SubElement(ipsec, "dead_peer_detection")
        _append(detection, "interval", 10)
        _append(detection, "retries", 3)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)


def _append(parent: ElementTree.Element, name: str, value: object) -> None:
    ElementTree.SubElement(parent, name).text = str(value)


def _first(settings: dict[str, Any], name: str) -> str:
    algorithms = settings.get(name) or [{"Value": "AES256-GCM-16"}]
    return str(algorithms[0]["Value"]).lower()
