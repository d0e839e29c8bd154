"""The commercial edge routers' configuration: strongSwan and FRR for the two tunnels of a VPN connection.

AWS's side of a VPN connection is described by the document that `DescribeVpnConnections` gives for the
customer gateway, with the pre-shared keys in it. From that and the router's own facts this module renders
files and the commands that put them into effect; the deployment stores the result as a secret, and the
router fetches it (`infra/templates/commercial.yaml`).

Each tunnel is a route-based one on an XFRM interface, so BGP decides what it carries. The router announces
its own zone's network and the VPC's, accepts GovCloud's network only, and forwards between the tunnels and
the VPC only: a packet from GovCloud for the internet is dropped. To the router itself nobody talks through a
tunnel but AWS's end of it: no security group sees what came out of one.

Not guaranteed: that AWS's tunnel endpoints stay as they are. After AWS replaces one, the deployment renders
and stores the configuration again. Holds secrets in memory: `Tunnel` and `RouterConfiguration` do not show
theirs in a repr.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

from infra import router_watching

# AWS's inside address takes part in BGP with these; a shorter hold time would be refused or useless.
KEEPALIVE_SECONDS, HOLD_SECONDS = 10, 30
# Room for IP, UDP, ESP and AES-GCM in an internet path of 1,500 bytes.
TUNNEL_MTU = 1400
_IKE_PROPOSAL = "aes256gcm16-prfsha384-ecp384"
_ESP_PROPOSAL = "aes256gcm16-ecp384"
# The first tunnel is preferred in both directions while both are up.
_LOCAL_PREFERENCE = (200, 100)
_METRIC = (100, 200)
_INITIATE_SECONDS = 15


class InvalidGatewayConfiguration(ValueError):
    """A customer gateway's configuration lacks something; the message names the element."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One tunnel, seen from the router. Inside addresses share a /30."""

    outside_peer: str
    inside_local: str
    inside_peer: str
    peer_asn: int
    pre_shared_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Router:
    """One edge router of a link. `private_address` is its own, `outside_address` the Elastic IP in front of it.

    `advertises` are the networks that it announces, `accepts` the ones it takes from GovCloud.
    """

    link_id: str
    name: str
    asn: int
    private_address: str
    outside_address: str
    vpc_cidr: str
    advertises: tuple[str, ...]
    accepts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouterConfiguration:
    """Files by absolute path, and the commands that put them into effect, in order.

    The first `at_boot` of the commands make the kernel's own state, which a reboot loses: forwarding, the filter and
    the tunnels' interfaces. They need neither the network nor a service, and are repeated before the network comes up.
    """

    files: dict[str, str] = field(repr=False)
    commands: tuple[tuple[str, ...], ...]
    at_boot: int

    def to_json(self) -> str:
        """What the router's secret holds."""
        commands = [list(command) for command in self.commands]
        return json.dumps(
            {"files": self.files, "boot": commands[: self.at_boot], "commands": commands}
        )


def parse_gateway_configuration(document: str) -> tuple[Tunnel, ...]:
    """The tunnels in a `CustomerGatewayConfiguration` document.

    Raises:
        InvalidGatewayConfiguration: naming what is missing or malformed.
    """
    try:
        root = ElementTree.fromstring(document)  # noqa: S314  (AWS's own answer)
    except ElementTree.ParseError as error:
        raise InvalidGatewayConfiguration(f"vpn_connection: not XML: {error}") from None
    tunnels = tuple(_tunnel(element) for element in root.findall("ipsec_tunnel"))
    if not tunnels:
        raise InvalidGatewayConfiguration("ipsec_tunnel: none in the document")
    return tunnels


def _tunnel(element: ElementTree.Element) -> Tunnel:
    def text(path: str) -> str:
        value = (element.findtext(path) or "").strip()
        if not value:
            raise InvalidGatewayConfiguration(f"ipsec_tunnel/{path}: missing")
        return value

    def address(path: str) -> str:
        value = text(path)
        try:
            return str(ipaddress.IPv4Address(value))
        except ValueError:
            raise InvalidGatewayConfiguration(f"ipsec_tunnel/{path}: no IPv4 address") from None

    asn = text("vpn_gateway/bgp/asn")
    if not asn.isdigit():
        raise InvalidGatewayConfiguration("ipsec_tunnel/vpn_gateway/bgp/asn: no number")
    return Tunnel(
        outside_peer=address("vpn_gateway/tunnel_outside_address/ip_address"),
        inside_local=address("customer_gateway/tunnel_inside_address/ip_address"),
        inside_peer=address("vpn_gateway/tunnel_inside_address/ip_address"),
        peer_asn=int(asn),
        pre_shared_key=text("ike/pre_shared_key"),
    )


def render(router: Router, tunnels: Sequence[Tunnel]) -> RouterConfiguration:
    """The router's whole configuration for its two tunnels.

    Raises:
        ValueError: there are not two tunnels, or two share an address.
    """
    if len(tunnels) != 2:
        raise ValueError(f"a VPN connection has two tunnels, not {len(tunnels)}")
    for name in ("outside_peer", "inside_local", "inside_peer"):
        if getattr(tunnels[0], name) == getattr(tunnels[1], name):
            raise ValueError(f"both tunnels have the {name} {getattr(tunnels[0], name)}")
    return RouterConfiguration(
        files={
            "/etc/swanctl/conf.d/twinspan.conf": _swanctl(router, tunnels),
            "/etc/strongswan.d/twinspan.conf": _STRONGSWAN,
            "/etc/frr/frr.conf": _frr(router, tunnels),
            "/etc/frr/daemons": _FRR_DAEMONS,
            "/etc/twinspan/sysctl.conf": _SYSCTL,
            "/etc/nftables/twinspan.nft": _nftables(router, tunnels),
            "/etc/twinspan/interfaces": _interfaces(tunnels),
            "/etc/twinspan/initiate": _initiate(tunnels),
            **router_watching.files(
                router.link_id, router.name, [tunnel.inside_peer for tunnel in tunnels]
            ),
        },
        commands=(
            # The filter is there before anything is forwarded.
            ("nft", "--file", "/etc/nftables/twinspan.nft"),
            ("sysctl", "--load", "/etc/twinspan/sysctl.conf"),
            ("sh", "/etc/twinspan/interfaces"),
            ("systemctl", "enable", "--now", "strongswan"),
            ("swanctl", "--load-all"),
            ("sh", "/etc/twinspan/initiate"),
            ("systemctl", "enable", "frr"),
            ("systemctl", "restart", "frr"),
            ("sh", router_watching.WATCH),
        ),
        at_boot=3,
    )


def _device(number: int) -> str:
    return f"twinspan{number}"


def _swanctl(router: Router, tunnels: Sequence[Tunnel]) -> str:
    connections, keys = [], []
    for number, tunnel in enumerate(tunnels, 1):
        connections.append(
            f"""\
  tunnel-{number} {{
    version = 2
    proposals = {_IKE_PROPOSAL}
    local_addrs = {router.private_address}
    remote_addrs = {tunnel.outside_peer}
    encap = yes
    mobike = no
    dpd_delay = 10s
    keyingtries = 0
    if_id_in = {number}
    if_id_out = {number}
    local {{
      auth = psk
      id = {router.outside_address}
    }}
    remote {{
      auth = psk
      id = {tunnel.outside_peer}
    }}
    children {{
      tunnel-{number} {{
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0
        esp_proposals = {_ESP_PROPOSAL}
        start_action = start
        close_action = start
        dpd_action = restart
      }}
    }}
  }}
"""
        )
        keys.append(
            f"""\
  ike-tunnel-{number} {{
    id-1 = {router.outside_address}
    id-2 = {tunnel.outside_peer}
    secret = "{tunnel.pre_shared_key}"
  }}
"""
        )
    return f"connections {{\n{''.join(connections)}}}\nsecrets {{\n{''.join(keys)}}}\n"


def _frr(router: Router, tunnels: Sequence[Tunnel]) -> str:
    lines = [
        "frr defaults traditional",
        f"hostname {router.name}",
        # Changes of a neighbour are informational to FRR.
        "log syslog informational",
        "service integrated-vtysh-config",
        "!",
    ]
    for name, networks in (("OURS", router.advertises), ("THEIRS", router.accepts)):
        lines += [
            f"ip prefix-list {name} seq {5 * position} permit {network}"
            for position, network in enumerate(networks, 1)
        ]
    for number in (1, 2):
        lines += [
            f"route-map FROM-TUNNEL-{number} permit 10",
            " match ip address prefix-list THEIRS",
            f" set local-preference {_LOCAL_PREFERENCE[number - 1]}",
            "exit",
            f"route-map TO-TUNNEL-{number} permit 10",
            " match ip address prefix-list OURS",
            f" set metric {_METRIC[number - 1]}",
            "exit",
        ]
    lines += [
        "!",
        f"router bgp {router.asn}",
        f" bgp router-id {router.private_address}",
        " bgp log-neighbor-changes",
        " no bgp default ipv4-unicast",
        # The networks are the VPC's: this router has a way to them, but no route of its own.
        " no bgp network import-check",
    ]
    for tunnel in tunnels:
        peer = f" neighbor {tunnel.inside_peer}"
        lines += [
            f"{peer} remote-as {tunnel.peer_asn}",
            f"{peer} update-source {tunnel.inside_local}",
            f"{peer} timers {KEEPALIVE_SECONDS} {HOLD_SECONDS}",
            f"{peer} timers connect 5",
        ]
    lines.append(" address-family ipv4 unicast")
    lines += [f"  network {network}" for network in router.advertises]
    for number, tunnel in enumerate(tunnels, 1):
        peer = f"  neighbor {tunnel.inside_peer}"
        lines += [
            f"{peer} activate",
            f"{peer} route-map FROM-TUNNEL-{number} in",
            f"{peer} route-map TO-TUNNEL-{number} out",
            f"{peer} maximum-prefix 100",
        ]
    lines += [" exit-address-family", "exit", "!", "end", ""]
    return "\n".join(lines)


def _interfaces(tunnels: Sequence[Tunnel]) -> str:
    lines = ["set -eu"]
    for number, tunnel in enumerate(tunnels, 1):
        device = _device(number)
        lines += [
            f"ip link show {device} >/dev/null 2>&1 || "
            f"ip link add {device} type xfrm if_id {number}",
            f"ip link set {device} mtu {TUNNEL_MTU} up",
            f"ip address replace {tunnel.inside_local}/30 dev {device}",
        ]
    return "\n".join((*lines, ""))


def _initiate(tunnels: Sequence[Tunnel]) -> str:
    # A tunnel that was refused for its key is given up for good, and loading the right key later changes
    # nothing but the key: somebody has to begin again. What is under way or up is left alone, and a
    # tunnel that does not answer must not keep the rest of the configuration from taking effect.
    return "".join(
        f"swanctl --list-sas --ike tunnel-{number} | grep -q . || "
        f"swanctl --initiate --child tunnel-{number} --timeout {_INITIATE_SECONDS} || true\n"
        for number, _ in enumerate(tunnels, 1)
    )


def _nftables(router: Router, both: Sequence[Tunnel]) -> str:
    tunnels = f"{{ {_device(1)}, {_device(2)} }}"
    peers = f"{{ {', '.join(tunnel.inside_peer for tunnel in both)} }}"
    theirs = f"{{ {', '.join(router.accepts)} }}"
    return f"""\
table inet twinspan
delete table inet twinspan
table inet twinspan {{
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname {tunnels} ip saddr {peers} tcp dport 179 accept
    iifname {tunnels} ip saddr {peers} tcp sport 179 accept
    iifname {tunnels} ip saddr {peers} ip protocol icmp accept
    iifname {tunnels} drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    tcp flags syn tcp option maxseg size set rt mtu
    iifname {tunnels} oifname != {tunnels} ip saddr {theirs} ip daddr {router.vpc_cidr} accept
    iifname != {tunnels} oifname {tunnels} ip saddr {router.vpc_cidr} ip daddr {theirs} accept
  }}
}}
"""


_SYSCTL = """\
net.ipv4.ip_forward = 1
# The two tunnels may carry the two directions of one flow.
net.ipv4.conf.all.rp_filter = 2
net.ipv4.conf.default.rp_filter = 2
net.ipv4.conf.all.accept_redirects = 0
net.ipv4.conf.all.send_redirects = 0
"""

_STRONGSWAN = """\
charon {
  # Routes are BGP's.
  install_routes = no
  install_virtual_ip = no
}
"""

_FRR_DAEMONS = """\
bgpd=yes
vtysh_enable=yes
zebra_options="-A 127.0.0.1 -s 90000000"
bgpd_options="-A 127.0.0.1"
"""
