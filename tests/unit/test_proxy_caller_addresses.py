"""Whom the records name as a request's source: nobody can write another's address into them."""

from __future__ import annotations

import pytest

from proxy.errors import InvalidSettings
from proxy.server import CallerAddresses
from proxy.settings import Settings

BALANCERS = ("10.0.2.0/24", "10.0.3.0/24")


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("10.0.2.17", "10.0.9.4", "10.0.9.4"),
        ("10.0.3.17", "198.51.100.7, 10.0.9.4", "10.0.9.4"),
        ("10.0.3.17", "198.51.100.7,10.0.9.4 ", "10.0.9.4"),
        ("10.0.2.17", "fd00::1", "fd00::1"),
        ("10.0.2.17", "", "10.0.2.17"),
        ("10.0.2.17", "10.0.9.4, unknown", "10.0.2.17"),
        ("10.0.2.17", "10.0.9.4:4711", "10.0.2.17"),
        ("10.0.9.4", "10.0.9.5", "10.0.9.4"),
        ("127.0.0.1", "10.0.9.5", "127.0.0.1"),
        ("not an address", "10.0.9.5", "not an address"),
    ],
)
def test_only_a_load_balancer_of_ours_speaks_for_its_callers(
    peer: str, forwarded: str, source: str
) -> None:
    """What it saw itself stands last and is believed; a caller's own words are not, nor is anybody else."""
    addresses = CallerAddresses(BALANCERS)
    for _ in range(2):
        assert addresses.of(peer, {"x-forwarded-for": forwarded}) == source


def test_without_load_balancers_the_header_says_nothing() -> None:
    """A server that callers reach directly records the socket's peer."""
    assert CallerAddresses(()).of("10.0.2.17", {"x-forwarded-for": "10.0.9.4"}) == "10.0.2.17"


def test_a_network_with_host_bits_is_named() -> None:
    """A mistake in the setting stops the start, in words."""
    with pytest.raises(InvalidSettings, match=r"TWINSPAN_LOAD_BALANCER_NETWORKS: '10.0.2.1/24' is"):
        Settings.from_environment(
            {
                "TWINSPAN_LINK_ID": "bedrock",
                "TWINSPAN_ALLOWED_HOSTS": "127.0.0.1",
                "TWINSPAN_ALLOWED_NETWORKS": "127.0.0.0/8",
                "TWINSPAN_LOAD_BALANCER_NETWORKS": "10.0.2.1/24",
            }
        )
