"""The edge routers' configuration, rendered for any two tunnels."""

from __future__ import annotations

import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.router_config import (
    InvalidGatewayConfiguration,
    Router,
    Tunnel,
    parse_gateway_configuration,
    render,
)

ROUTER = Router(
    link_id="bedrock",
    name="twinspan-bedrock-router-a",
    asn=65001,
    private_address="172.16.101.10",
    outside_address="192.0.2.1",
    vpc_cidr="172.16.0.0/16",
    advertises=("172.16.1.0/24", "172.16.0.0/16"),
    accepts=("10.0.0.0/16",),
)
DOCUMENT = """\
<vpn_connection id="vpn-1"><customer_gateway_id>cgw-1</customer_gateway_id>{tunnels}</vpn_connection>
"""
TUNNEL = """\
<ipsec_tunnel>
  <customer_gateway>
    <tunnel_outside_address><ip_address>192.0.2.1</ip_address></tunnel_outside_address>
    <tunnel_inside_address><ip_address>169.254.{n}.2</ip_address></tunnel_inside_address>
    <bgp><asn>65001</asn><hold_time>30</hold_time></bgp>
  </customer_gateway>
  <vpn_gateway>
    <tunnel_outside_address><ip_address>203.0.113.{n}</ip_address></tunnel_outside_address>
    <tunnel_inside_address><ip_address>169.254.{n}.1</ip_address></tunnel_inside_address>
    <bgp><asn>65000</asn><hold_time>30</hold_time></bgp>
  </vpn_gateway>
  <ike><pre_shared_key>key.of_tunnel{n}</pre_shared_key></ike>
</ipsec_tunnel>
"""


def document(*numbers: int) -> str:
    return DOCUMENT.format(tunnels="".join(TUNNEL.format(n=number) for number in numbers))


@st.composite
def pairs_of_tunnels(draw: st.DrawFn) -> tuple[Tunnel, Tunnel]:
    """Two tunnels as AWS may make them: distinct outside addresses and inside networks, one ASN."""
    outside = draw(st.lists(st.ip_addresses(v=4), min_size=2, max_size=2, unique=True))
    inside = draw(st.lists(st.integers(0, 2**14 - 1), min_size=2, max_size=2, unique=True))
    base = ipaddress.IPv4Address("169.254.0.0")
    key = st.from_regex(r"[A-Za-z1-9._][A-Za-z0-9._]{7,63}", fullmatch=True)
    asn = draw(st.integers(64512, 65534))
    first, second = (
        Tunnel(
            outside_peer=str(outside[i]),
            inside_local=str(base + 4 * inside[i] + 2),
            inside_peer=str(base + 4 * inside[i] + 1),
            peer_asn=asn,
            pre_shared_key=draw(key),
        )
        for i in range(2)
    )
    return first, second


@given(pairs_of_tunnels())
def test_every_tunnel_is_configured_once_on_its_own_interface(
    tunnels: tuple[Tunnel, Tunnel],
) -> None:
    """For any two tunnels: one IKE connection, one key, one interface and one BGP neighbour each."""
    files = render(ROUTER, tunnels).files
    swanctl, frr = files["/etc/swanctl/conf.d/twinspan.conf"], files["/etc/frr/frr.conf"]
    assert swanctl.count("{") == swanctl.count("}")
    assert re.findall(r"remote_addrs = (\S+)", swanctl) == [t.outside_peer for t in tunnels]
    assert re.findall(r'secret = "(\S+)"', swanctl) == [t.pre_shared_key for t in tunnels]
    assert re.findall(r"if_id_in = (\d+)", swanctl) == ["1", "2"]
    assert re.findall(r"neighbor (\S+) remote-as", frr) == [t.inside_peer for t in tunnels]
    for number, tunnel in enumerate(tunnels, 1):
        assert (
            f"address replace {tunnel.inside_local}/30 dev twinspan{number}"
            in (files["/etc/twinspan/interfaces"])
        )


@given(pairs_of_tunnels())
def test_keys_are_in_one_file_and_in_no_repr(tunnels: tuple[Tunnel, Tunnel]) -> None:
    """A pre-shared key is written where strongSwan reads it, and shown nowhere."""
    configuration = render(ROUTER, tunnels)
    for tunnel in tunnels:
        marked = f'"{tunnel.pre_shared_key}"'
        holding = [name for name, text in configuration.files.items() if marked in text]
        assert holding == ["/etc/swanctl/conf.d/twinspan.conf"]
        assert "pre_shared_key" not in repr(tunnel)
    assert "secret" not in repr(configuration)


def test_only_own_networks_are_announced_and_only_theirs_accepted() -> None:
    """BGP says the router's zone and the VPC, and takes GovCloud's network from the tunnels."""
    frr = render(ROUTER, parse_gateway_configuration(document(1, 2))).files["/etc/frr/frr.conf"]
    assert re.findall(r"^ +network (\S+)$", frr, re.M) == ["172.16.1.0/24", "172.16.0.0/16"]
    assert re.findall(r"prefix-list THEIRS seq \d+ permit (\S+)", frr) == ["10.0.0.0/16"]
    assert re.findall(r"prefix-list OURS seq \d+ permit (\S+)", frr) == list(ROUTER.advertises)
    for peer in ("169.254.1.1", "169.254.2.1"):
        assert re.search(rf"neighbor {re.escape(peer)} route-map FROM-TUNNEL-\d in", frr)
        assert re.search(rf"neighbor {re.escape(peer)} route-map TO-TUNNEL-\d out", frr)
    assert f"router bgp {ROUTER.asn}" in frr


def test_nothing_is_forwarded_but_between_the_tunnels_and_the_vpc() -> None:
    """The forward chain drops by default and accepts the two directions of the link alone."""
    rules = render(ROUTER, parse_gateway_configuration(document(1, 2))).files[
        "/etc/nftables/twinspan.nft"
    ]
    forward = rules[rules.index("chain forward") :]
    assert "hook forward priority filter; policy drop;" in forward
    accepts = [line.strip() for line in forward.splitlines() if line.strip().endswith("accept")]
    assert len(accepts) == 2
    for line in accepts:
        assert "10.0.0.0/16" in line
        assert "172.16.0.0/16" in line


def test_only_the_peers_of_the_tunnels_talk_to_the_router_itself() -> None:
    """Of what comes out of a tunnel for the router, BGP and ICMP of AWS's inside addresses is accepted alone."""
    rules = render(ROUTER, parse_gateway_configuration(document(1, 2))).files[
        "/etc/nftables/twinspan.nft"
    ]
    chain = rules[rules.index("chain input") : rules.index("chain forward")]
    about_tunnels = [line.strip() for line in chain.splitlines() if "iifname" in line]
    assert about_tunnels[-1] == "iifname { twinspan1, twinspan2 } drop"
    for line in about_tunnels[:-1]:
        assert "ip saddr { 169.254.1.1, 169.254.2.1 }" in line
        assert re.search(r"(tcp [ds]port 179|ip protocol icmp) accept$", line)


def test_absent_tunnels_are_begun_again_after_the_keys_are_loaded() -> None:
    """After loading, each tunnel that is neither up nor under way is initiated, and a failure stops nothing."""
    configuration = render(ROUTER, parse_gateway_configuration(document(1, 2)))
    script = configuration.files["/etc/twinspan/initiate"].splitlines()
    assert [re.findall(r"tunnel-\d", line) for line in script] == [
        ["tunnel-1", "tunnel-1"],
        ["tunnel-2", "tunnel-2"],
    ]
    assert all(line.endswith("|| true") for line in script)
    commands = [command[0:2] for command in configuration.commands]
    assert commands.index(("sh", "/etc/twinspan/initiate")) == 1 + commands.index(
        ("swanctl", "--load-all")
    )


def test_the_proposals_are_the_ones_that_the_connections_demand() -> None:
    """IKEv2 with AES-256-GCM, SHA-384 and the 384-bit curve (group 20), in both phases."""
    text = render(ROUTER, parse_gateway_configuration(document(1, 2))).files[
        "/etc/swanctl/conf.d/twinspan.conf"
    ]
    assert text.count("version = 2") == 2
    assert set(re.findall(r"[^_]proposals = (\S+)", text)) == {"aes256gcm16-prfsha384-ecp384"}
    assert set(re.findall(r"esp_proposals = (\S+)", text)) == {"aes256gcm16-ecp384"}


def test_the_secret_is_what_the_router_reads() -> None:
    """The stored document has the members that the boot script uses, with absolute paths; what is done at boot comes first."""
    stored = json.loads(render(ROUTER, parse_gateway_configuration(document(1, 2))).to_json())
    assert set(stored) == {"files", "boot", "commands"}
    assert stored["commands"][: len(stored["boot"])] == stored["boot"]
    assert all(name.startswith("/etc/") for name in stored["files"])
    assert all(isinstance(word, str) for command in stored["commands"] for word in command)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<vpn_connection/>", "ipsec_tunnel: none"),
        ("not xml", "not XML"),
        (document(1).replace("key.of_tunnel1", ""), "ike/pre_shared_key: missing"),
        (
            document(1).replace("203.0.113.1", "nowhere"),
            "tunnel_outside_address/ip_address: no IPv4",
        ),
        (document(1).replace("65000", "x"), "vpn_gateway/bgp/asn: no number"),
    ],
)
def test_an_incomplete_document_is_refused_by_element(text: str, named: str) -> None:
    """What is missing from AWS's document is named, and its content is not repeated."""
    with pytest.raises(InvalidGatewayConfiguration, match=re.escape(named)):
        parse_gateway_configuration(text)


@pytest.mark.parametrize("numbers", [(1,), (1, 1), (1, 2, 3)])
def test_two_different_tunnels_are_wanted(numbers: tuple[int, ...]) -> None:
    """One tunnel, three, or the same one twice is a mistake of the caller."""
    with pytest.raises(ValueError, match="tunnels"):
        render(ROUTER, parse_gateway_configuration(document(*numbers)))
