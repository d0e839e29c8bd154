"""The lab itself: what it is made of comes up, carries, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.lab.internet import Trouble
from infra.local.lab.namespaces import LABS, LabError, Namespaces, run, wait_for
from infra.local.lab.network import (
    ALL_TUNNELS,
    ENDPOINTS,
    FUNCTION,
    ROUTERS,
    LabNetwork,
    TunnelId,
)

ROOT = Path(__file__).resolve().parents[2]


def ping(network: LabNetwork, address: str) -> bool:
    """Whether the function gets an answer."""
    try:
        network.spaces.run(FUNCTION, ["ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", address])
    except LabError:
        return False
    return True


def test_every_tunnel_negotiates_aes_256_gcm_for_ike_and_for_esp(network: LabNetwork) -> None:
    """IKE and ESP of all four tunnels use AES-GCM with a 16-byte tag and a 256-bit key, at both ends."""
    for tunnel in ALL_TUNNELS:
        for end in (network.amazon[tunnel], network.router_ends[tunnel]):
            suite = end.suite()
            assert suite is not None, tunnel
            assert (suite.ike_encryption, suite.ike_key_bits) == ("AES_GCM_16", 256)
            assert (suite.esp_encryption, suite.esp_key_bits) == ("AES_GCM_16", 256)


def test_each_router_announces_its_zone_and_the_vpc_and_learns_govcloud(
    network: LabNetwork,
) -> None:
    """By BGP AWS learns exactly the rendered networks, and each router the GovCloud VPC's."""
    plan = network.plan_or_raise()
    for tunnel, state in network.states().items():
        announced = plan.routers[tunnel.connection - 1].facts.advertises
        assert {str(learned) for learned in state.bgp.learned} == set(announced)
    for namespace in ROUTERS:
        assert f"{plan.govcloud_cidr} " in network.spaces.run(
            namespace, ["ip", "route", "show", "proto", "bgp"]
        )


@pytest.mark.parametrize("zone", [0, 1])
def test_packets_of_each_zone_take_their_own_connection_both_ways(
    network: LabNetwork, zone: int
) -> None:
    """A packet to a zone's endpoint goes out and comes back through the first tunnel of that zone's connection."""
    before = {tunnel: network.counters(tunnel) for tunnel in ALL_TUNNELS}
    address = network.plan_or_raise().endpoint_addresses[zone]
    network.spaces.run(FUNCTION, ["ping", "-q", "-c", "20", "-i", "0.01", "-s", "1000", address])
    for tunnel in ALL_TUNNELS:
        sent, received = (
            now - then for now, then in zip(network.counters(tunnel), before[tunnel], strict=True)
        )
        # Twenty echoes are 20 kB; BGP's own keepalives are a few hundred bytes.
        carries = tunnel == TunnelId(zone + 1, 1)
        assert (sent > 20_000) is carries
        assert (received > 20_000) is carries


def test_second_tunnel_takes_over_when_the_first_loses_its_underlay(network: LabNetwork) -> None:
    """With tunnel 1 of a connection cut, its zone is reached through tunnel 2, and again when it heals."""
    address = network.plan_or_raise().endpoint_addresses[0]
    first = TunnelId(1, 1)
    network.set_trouble(first, Trouble(drop=True))
    try:
        assert network.wait_for(lambda: not network.states()[first].is_up, 20)
        assert network.wait_for(lambda: ping(network, address), 20)
    finally:
        network.set_trouble(first, Trouble())
    network.wait_until_up(60)
    assert ping(network, address)


def test_endpoint_answers_nobody_without_a_return_route(network: LabNetwork) -> None:
    """An endpoint whose zone has lost its return route cannot be reached, and can be with it back."""
    plan = network.plan_or_raise()
    network.spaces.ip(ENDPOINTS[1], [f"route del {plan.govcloud_cidr}"])
    assert not ping(network, plan.endpoint_addresses[1])
    network.with_routes()
    assert ping(network, plan.endpoint_addresses[1])


LAB_OF_ITS_OWN = """\
from infra.local.lab.network import LabNetwork
from infra.local.lab.plan import example
import time
with LabNetwork() as lab:
    lab.build(example())
    print(lab.spaces.prefix, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def other_lab(possible: None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A lab that another process runs, and its prefix."""
    with subprocess.Popen(
        [sys.executable, "-c", LAB_OF_ITS_OWN], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as lab:
        assert lab.stdout is not None
        prefix = lab.stdout.readline().strip()
        assert prefix
        assert f"{prefix}-gw" in run(["ip", "netns", "list"])
        yield lab, prefix
        lab.kill()


def left_of(prefix: str) -> str:
    """Processes, directory and namespaces of a lab that are still there."""
    processes = [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/environ")
        if f"/{prefix}/".encode() in _read(path)
    ]
    processes += [
        path.parent.name
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"/{prefix}/".encode() in _read(path)
    ]
    directory = [str(LABS / prefix)] if (LABS / prefix).exists() else []
    namespaces = [n for n in run(["ip", "netns", "list"]).split() if n.startswith(prefix)]
    return " ".join((*processes, *directory, *namespaces))


def test_nothing_is_left_behind_by_a_lab_that_was_killed(
    other_lab: tuple[subprocess.Popen[str], str],
) -> None:
    """After SIGKILL of the process that ran a lab, its daemons, namespaces and directory are gone."""
    lab, prefix = other_lab
    lab.kill()
    wait_for(lambda: not left_of(prefix), "the end of a killed lab", 15)


def test_the_next_lab_clears_away_what_a_killed_keeper_left(
    other_lab: tuple[subprocess.Popen[str], str],
) -> None:
    """When the keeper was killed as well, the next lab to start removes what is left, and no other lab's."""
    lab, prefix = other_lab
    keeper, _ = json.loads((LABS / prefix / "record.json").read_text())["keeper"]
    os.kill(keeper, signal.SIGKILL)
    lab.kill()
    lab.wait()
    assert left_of(prefix)
    with Namespaces() as another:
        another.add(["one"])
        wait_for(lambda: not left_of(prefix), "the end of a killed lab's remains", 15)
        assert left_of(another.prefix)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
