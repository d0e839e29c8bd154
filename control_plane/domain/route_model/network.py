"""The network: built from a snapshot, asked for traces and for what a plan would change.

After building, a trace costs what its hops cost, whatever the network's size. Immutable once built, apart from caches, so
one network may serve several threads.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from control_plane.domain.route_model.lookups import Index, Lookups
from control_plane.domain.route_model.question import Question
from control_plane.domain.route_model.reading import read
from control_plane.domain.route_model.snapshot import Snapshot
from control_plane.domain.route_model.traces import Trace
from control_plane.domain.route_model.whatif import (
    Flow,
    PlanLimits,
    Report,
    RouteChange,
    Violation,
    audit,
    isolation_violations,
    validate,
    with_changes,
)


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    """Building makes millions of objects that all stay, and looking for garbage among them doubles its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@dataclass
class Network(Lookups):
    """One or more accounts, regions and partitions, joined by peerings, VPN connections and transit gateways."""

    @classmethod
    def build(cls, snapshot: Snapshot) -> Network:
        """The model of a snapshot; raises InvalidSnapshot naming the resource that cannot be true."""
        with _no_cyclic_collection():
            facts = read(snapshot)
            return cls(facts, {}, Index.of(facts))

    def trace(
        self,
        source: str,
        destination: str,
        protocol: str | int = "tcp",
        port: int | None = 443,
        *,
        filters: bool = True,
        assume_tunnels_up: bool = False,
        explain: bool = True,
    ) -> Trace:
        """Follow a packet and its reply.

        `source`: a subnet, interface, instance, IP address, VPN connection (its site) or `internet`. `destination`: an IP
        address, interface, instance or endpoint. `protocol`: tcp, udp, icmp, a number or `all`; `port` the destination's.
        `filters`: apply security groups and network ACLs. Raises InvalidQuestion when an end is unknown or ambiguous.
        """
        return Question(
            self, source, destination, protocol, port, filters, assume_tunnels_up, explain
        ).answer()

    def validate(
        self,
        changes: Iterable[RouteChange],
        flows: Iterable[Flow] = (),
        limits: PlanLimits | None = None,
        assume_tunnels_up: bool = False,
    ) -> Report:
        """Judge a plan against its limits, the flows that must work and what its routes do; see `whatif`."""
        return validate(self, changes, flows, limits, assume_tunnels_up)

    def with_changes(self, changes: Iterable[RouteChange]) -> Network:
        """This network as the changes would leave it; shares all that they do not touch."""
        return with_changes(self, changes)

    def isolation_violations(self, ids: Iterable[str]) -> tuple[Violation, ...]:
        """Every way to or from the internet that these private subnets (or all of a VPC's) have."""
        return isolation_violations(self, ids)

    def audit(self) -> Report:
        """The observed faults of the snapshot by itself."""
        return audit(self)
