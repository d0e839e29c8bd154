"""Addresses, prefixes and longest-prefix match.

Everything here is integers: a route table of a thousand routes is looked up in about a microsecond, and
half a million routes fit in memory. IPv4 and IPv6 are kept apart, as AWS keeps them.

`PrefixMap` keeps one hash table per prefix length and probes them from the longest to the shortest. That was
chosen over a compiled radix tree (pytricia, py-radix): those come as source only and need a C compiler where
this runs, and the exact-prefix access that a what-if needs is a plain dictionary access here. `bench/` measures
both. The cost of a lookup grows with the number of *distinct lengths* in a table, which AWS bounds at 33 for IPv4
(and in practice is below 20), not with the number of routes.
"""

from __future__ import annotations

import ipaddress
from bisect import insort
from collections.abc import Iterator
from functools import lru_cache
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

_BITS = {4: 32, 6: 128}


class Address(NamedTuple):
    """One IP address: version 4 or 6 and its value."""

    version: int
    value: int

    def __str__(self) -> str:
        if self.version == 4:
            value = self.value
            return f"{value >> 24}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
        return str(ipaddress.IPv6Address(self.value))


class Prefix(NamedTuple):
    """One network: version, the network's first address as an integer, and the length in bits."""

    version: int
    network: int
    length: int

    def __str__(self) -> str:
        return f"{Address(self.version, self.network)}/{self.length}"

    def holds(self, address: Address) -> bool:
        """Whether the address is in this network."""
        if address.version != self.version:
            return False
        shift = _BITS[self.version] - self.length
        return address.value >> shift == self.network >> shift

    def covers(self, other: Prefix) -> bool:
        """Whether every address of `other` is in this network."""
        return other.length >= self.length and self.holds(other.first)

    def overlaps(self, other: Prefix) -> bool:
        """Whether the two networks have an address in common."""
        return self.covers(other) or other.covers(self)

    @property
    def first(self) -> Address:
        """The network's lowest address."""
        return Address(self.version, self.network)

    @property
    def last(self) -> Address:
        """The network's highest address."""
        return Address(
            self.version, self.network | ((1 << (_BITS[self.version] - self.length)) - 1)
        )

    @property
    def sample_host(self) -> Address:
        """An address that a host could have: the middle of the network, clear of AWS's reserved ones."""
        size = 1 << (_BITS[self.version] - self.length)
        return Address(self.version, self.network + (size // 2 if size > 2 else 0))


def parse_address(text: str) -> Address:
    """An address from its text; raises ValueError when it is not one."""
    if not isinstance(text, str):  # `ipaddress` takes numbers, and describe output has none here
        raise ValueError(f"{text!r} is no IP address")
    found = ipaddress.ip_address(text)
    return Address(found.version, int(found))


@lru_cache(maxsize=1 << 17)
def parse_prefix(text: str) -> Prefix:
    """A network from CIDR text (`10.0.0.0/16`, `2001:db8::/56`); raises ValueError when it is not one.

    Bits below the mask are cleared, as AWS does when it stores a route.
    """
    head, _, tail = text.partition("/")
    if tail.isdigit() and head.isascii() and head.replace(".", "").isdigit():
        parts = head.split(".")
        shift = 32 - int(tail)
        if len(parts) == 4 and shift >= 0 and "" not in parts:
            first, second, third, fourth = map(int, parts)
            if first < 256 and second < 256 and third < 256 and fourth < 256:
                value = first << 24 | second << 16 | third << 8 | fourth
                return Prefix(4, value >> shift << shift, 32 - shift)
    found = ipaddress.ip_network(text, strict=False)
    return Prefix(found.version, int(found.network_address), found.prefixlen)


# Addresses that no internet router carries: RFC 1918, 6598, 3927, 1122, 5771, 1112; for IPv6 only 2000::/3
# is globally routed (RFC 4291, IANA), so private and link-local space is everything else.
_NOT_ROUTED_4 = tuple(
    parse_prefix(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "224.0.0.0/3",
    )
)
_GLOBAL_6 = parse_prefix("2000::/3")


def is_internet_routed(address: Address) -> bool:
    """Whether routers of the public internet carry packets to this address."""
    if address.version == 6:
        return _GLOBAL_6.holds(address)
    return not any(prefix.holds(address) for prefix in _NOT_ROUTED_4)


class PrefixMap(Generic[T]):
    """A mapping from networks to values, with longest-prefix match.

    Not thread-safe while being filled; read-only use from several threads is.
    """

    __slots__ = ("_levels", "_ordered")

    def __init__(self) -> None:
        # (version, bits below the mask) → {network without those bits: value}
        self._levels: dict[tuple[int, int], dict[int, T]] = {}
        # version → [(bits below the mask, the same table)], longest prefixes first
        self._ordered: dict[int, list[tuple[int, dict[int, T]]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._levels.values()))

    def _level(self, version: int, shift: int) -> dict[int, T]:
        level = self._levels.get((version, shift))
        if level is None:
            level = self._levels[version, shift] = {}
            ordered = self._ordered.setdefault(version, [])
            insort(ordered, (shift, level), key=itemgetter(0))
        return level

    def __setitem__(self, prefix: Prefix, value: T) -> None:
        version, network, length = prefix
        shift = _BITS[version] - length
        self._level(version, shift)[network >> shift] = value

    def setdefault(self, prefix: Prefix, value: T) -> T:
        """The value of exactly this network, which becomes `value` when it has none."""
        version, network, length = prefix
        shift = _BITS[version] - length
        return self._level(version, shift).setdefault(network >> shift, value)

    def get(self, prefix: Prefix) -> T | None:
        """The value of exactly this network."""
        version, network, length = prefix
        shift = _BITS[version] - length
        level = self._levels.get((version, shift))
        return None if level is None else level.get(network >> shift)

    def longest(self, address: Address) -> T | None:
        """The value of the most specific network that holds the address."""
        version, value = address
        for shift, level in self._ordered.get(version, ()):
            found = level.get(value >> shift)
            if found is not None:
                return found
        return None

    def matches(self, address: Address) -> Iterator[T]:
        """The values of all networks that hold the address, most specific first."""
        version, value = address
        for shift, level in self._ordered.get(version, ()):
            found = level.get(value >> shift)
            if found is not None:
                yield found

    def items(self) -> Iterator[tuple[Prefix, T]]:
        """All networks and their values."""
        for (version, shift), level in self._levels.items():
            for key, value in level.items():
                yield Prefix(version, key << shift, _BITS[version] - shift), value
