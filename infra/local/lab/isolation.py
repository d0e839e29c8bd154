"""What can be reached from where the functions are: everything is tried, and the list is what answered."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.local.environment import Environment
from infra.local.lab.namespaces import LabError, run
from infra.local.lab.network import FUNCTION, VPC_ROUTER, LabNetwork
from infra.local.lab.plane import ENDPOINT_PORT

Target = tuple[str, int]
PORTS = (22, 53, 80, 179, 443, 500, 2605, 4500, 8080)
_SECONDS = 1.0
_AT_ONCE = 64
_INTERNET = ("1.1.1.1", "8.8.8.8", "192.0.2.200", "169.254.169.254")


@dataclass(frozen=True, slots=True)
class Reachable:
    """`tried` addresses and ports; `answered`: those that took a connection or refused it, so that
    packets got there and back; `pinged`: addresses that answered an echo; `resolved`: whether the
    kernel knows any way to the internet."""

    tried: int
    answered: frozenset[Target]
    pinged: frozenset[str]
    has_default_route: bool


def explore(environment: Environment, network: LabNetwork) -> Reachable:
    """Try every address that the lab and this machine have, and some of the internet's."""
    control = urlsplit(environment.endpoint_url).port
    assert control is not None
    bedrock = environment.bedrock.address
    targets = {(address, port) for address in _addresses(network) for port in PORTS}
    # Of the machine's own loopback: the channel, and things that are there but not for functions.
    targets |= {("127.0.0.1", control), bedrock, ("127.0.0.1", _port_of(environment.proxy_url))}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answered = pool.map(lambda target: (target, _answers(network, target)), sorted(targets))
        pinged = pool.map(lambda address: (address, _pings(network, address)), _addresses(network))
        return Reachable(
            tried=len(targets),
            answered=frozenset(target for target, answers in answered if answers),
            pinged=frozenset(address for address, answers in pinged if answers),
            has_default_route="default" in network.spaces.run(FUNCTION, ["ip", "route"]),
        )


def allowed(environment: Environment, network: LabNetwork) -> frozenset[Target]:
    """What the functions are to reach: the endpoints, and the AWS APIs by the control channel."""
    control = urlsplit(environment.endpoint_url).port
    assert control is not None
    endpoints = network.plan_or_raise().endpoint_addresses
    return frozenset({(address, ENDPOINT_PORT) for address in endpoints} | {("127.0.0.1", control)})


def _addresses(network: LabNetwork) -> set[str]:
    plan = network.plan_or_raise()
    found = {*_INTERNET, VPC_ROUTER, *plan.endpoint_addresses, *_of_this_machine()}
    for router in plan.routers:
        found |= {router.facts.private_address, router.facts.outside_address}
        for tunnel in router.tunnels:
            found |= {tunnel.outside_peer, tunnel.inside_local, tunnel.inside_peer}
    # Neighbours of the endpoints, where nobody should be.
    for address in plan.endpoint_addresses:
        found |= {address.rpartition(".")[0] + f".{host}" for host in (1, 2, 11, 254)}
    return found


def _of_this_machine() -> Iterator[str]:
    for line in run(["ip", "-4", "-o", "address", "show"]).splitlines():
        address = line.split()[3].partition("/")[0]
        if not address.startswith("127."):
            yield address


def _answers(network: LabNetwork, target: Target) -> bool:
    with network.spaces.new_socket(FUNCTION, socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SECONDS)
        try:
            probe.connect(target)
        except ConnectionRefusedError:
            # On its own loopback the namespace refuses by itself: nothing was reached.
            return not target[0].startswith("127.")
        except OSError:
            return False
    return True


def _pings(network: LabNetwork, address: str) -> bool:
    try:
        network.spaces.run(FUNCTION, ["ping", "-q", "-c", "1", "-W", f"{_SECONDS:g}", address])
    except LabError:
        return False
    return True


def _port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port
