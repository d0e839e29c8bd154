"""Which tunnels, routers and endpoints a lab has.

AWS's ends of the tunnels are told by the customer gateway's configuration, the routers by the files that
`infra.router_config` rendered for them: either those that a deployment stored, or `example()`'s.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from infra import router_config
from infra.router_config import Router, RouterConfiguration, Tunnel

_KEY_BYTES = 24


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """An edge router: its facts, its rendered configuration, its tunnels as seen from it."""

    facts: Router
    configuration: RouterConfiguration
    tunnels: tuple[Tunnel, Tunnel]


@dataclass(frozen=True, slots=True)
class LabPlan:
    """A whole lab. Router and endpoint at one position belong to one zone.

    `function_addresses`: the functions' addresses, the first of which they call from.
    """

    govcloud_cidr: str
    commercial_cidr: str
    function_addresses: tuple[str, ...]
    routers: tuple[RouterPlan, RouterPlan]
    endpoint_addresses: tuple[str, str]

    @property
    def amazon_asn(self) -> int:
        """AWS's side of BGP."""
        return self.routers[0].tunnels[0].peer_asn


def example() -> LabPlan:
    """The templates' default network, with keys made up for this run."""
    routers = []
    for number, zone in ((1, "a"), (2, "b")):
        third_octet = 2 * number - 1
        facts = Router(
            link_id="lab",
            name=f"twinspan-lab-router-{zone}",
            asn=65001,
            private_address=f"172.16.10{third_octet}.10",
            outside_address=f"192.0.2.{number}",
            vpc_cidr="172.16.0.0/16",
            advertises=(f"172.16.{third_octet}.0/24", "172.16.0.0/16"),
            accepts=("10.0.0.0/16",),
        )
        first, second = (
            Tunnel(
                outside_peer=str(ipaddress.IPv4Address(outside) + number),
                inside_local=f"169.254.{20 + number}.{4 * index + 2}",
                inside_peer=f"169.254.{20 + number}.{4 * index + 1}",
                peer_asn=65000,
                pre_shared_key=secrets.token_hex(_KEY_BYTES),
            )
            for index, outside in enumerate(("203.0.113.0", "198.51.100.0"))
        )
        routers.append(
            RouterPlan(facts, router_config.render(facts, (first, second)), (first, second))
        )
    return LabPlan(
        govcloud_cidr="10.0.0.0/16",
        commercial_cidr="172.16.0.0/16",
        function_addresses=("10.0.1.20", "10.0.3.20"),
        routers=(routers[0], routers[1]),
        endpoint_addresses=("172.16.1.10", "172.16.3.10"),
    )


def sections(text: str) -> Mapping[str, str]:
    """The blocks of a configuration in strongSwan's syntax, by their path such as
    `connections.tunnel-1`, each with its name and braces as written.

    Raises:
        ValueError: the braces do not match.
    """
    found: dict[str, str] = {}
    open_blocks: list[tuple[str, int]] = []
    position = 0
    for line in text.splitlines(keepends=True):
        words = line.split()
        if words and words[-1] == "{":
            open_blocks.append((words[0], position))
        elif words == ["}"]:
            if not open_blocks:
                raise ValueError("a brace is closed that was not opened")
            path = ".".join(name for name, _ in open_blocks)
            _, start = open_blocks.pop()
            found[path] = text[start : position + len(line)]
        position += len(line)
    if open_blocks:
        raise ValueError(f"the block {open_blocks[-1][0]} is not closed")
    return found
