"""What a trace answers: outcome, hops, alternatives, the return trace and what stops it.

Values only. `to_dict` gives the JSON of `twinspan trace --json`; `describe` reads like a traceroute.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How a packet's journey ends.

    DELIVERED to the destination's interface (or to the AWS service behind a gateway endpoint). NO_ROUTE: a table has
    no match. BLACKHOLE: the matched route or its target drops. TUNNEL_DOWN: every usable VPN connection has all its
    tunnels down. DENIED: a security group, network ACL, source/destination check or NAT gateway refuses it.
    NO_SUCH_HOST: it arrives where the address would be, and nothing has it. NO_PUBLIC_ADDRESS: an internet gateway
    has nothing to translate to. LOOP: it comes back to where it was. EXITS_*: it leaves what can be modelled.
    UNKNOWN_TARGET: a route leads to something that the snapshot does not have or the model does not know.
    """

    DELIVERED = "DELIVERED"
    NO_ROUTE = "NO_ROUTE"
    BLACKHOLE = "BLACKHOLE"
    TUNNEL_DOWN = "TUNNEL_DOWN"
    DENIED = "DENIED"
    NO_SUCH_HOST = "NO_SUCH_HOST"
    NO_PUBLIC_ADDRESS = "NO_PUBLIC_ADDRESS"
    LOOP = "LOOP"
    EXITS_TO_INTERNET = "EXITS_TO_INTERNET"
    EXITS_TO_SITE = "EXITS_TO_SITE"
    UNKNOWN_TARGET = "UNKNOWN_TARGET"

    @property
    def arrives(self) -> bool:
        """Whether nothing within the model stopped the packet."""
        return self in (Outcome.DELIVERED, Outcome.EXITS_TO_INTERNET, Outcome.EXITS_TO_SITE)


@dataclass(frozen=True, slots=True)
class MatchedRoute:
    """The route that was taken at a hop."""

    table_id: str
    destination: str
    target: str
    origin: str
    state: str = "active"
    prefix_list_id: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        value: dict[str, Any] = {
            "table_id": self.table_id,
            "destination": self.destination,
            "target": self.target,
            "origin": self.origin,
            "state": self.state,
        }
        if self.prefix_list_id:
            value["prefix_list_id"] = self.prefix_list_id
        return value

    def __str__(self) -> str:
        text = f"{self.destination} → {self.target} ({self.origin}, {self.table_id})"
        return text if self.state == "active" else f"{text} [{self.state}]"


@dataclass(frozen=True, slots=True)
class Hop:
    """One resource that the packet passes, and the route matched there, if any."""

    kind: str
    id: str
    route: MatchedRoute | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": self.kind,
            "id": self.id,
            "route": self.route.to_dict() if self.route else None,
        }


@dataclass(frozen=True, slots=True)
class Blocker:
    """One component that stops a packet, why, and the one change that would let it pass."""

    id: str
    kind: str
    why: str
    fix: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"id": self.id, "kind": self.kind, "why": self.why, "fix": self.fix}


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another path of equal cost, or that the snapshot cannot tell from the first."""

    outcome: Outcome
    hops: tuple[Hop, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"outcome": str(self.outcome), "hops": [hop.to_dict() for hop in self.hops]}


@dataclass(frozen=True, slots=True)
class Trace:
    """The answer to one question.

    `outcome` and `hops` are the first path's; where several are of equal cost and some fail, a failing one comes
    first, since some flows will take it. `return_trace` answers the reply, where there would be one. `blocked_by` is
    the smallest set of changes found that lets packet and reply pass, headed by the component that stops them now.
    """

    source: str
    destination: str
    outcome: Outcome
    hops: tuple[Hop, ...]
    alternatives: tuple[Alternative, ...] = ()
    return_trace: Trace | None = None
    blocked_by: tuple[Blocker, ...] = ()
    not_observed: tuple[str, ...] = ()
    protocol: str = "tcp"
    port: int | None = None
    stopped_at: Blocker | None = None

    @property
    def delivered(self) -> bool:
        """Whether every equal path delivers the packet."""
        return self.outcome is Outcome.DELIVERED and all(
            other.outcome is Outcome.DELIVERED for other in self.alternatives
        )

    @property
    def delivered_both_ways(self) -> bool:
        """Whether packet and reply are delivered, over every equal path."""
        return self.delivered and self.return_trace is not None and self.return_trace.delivered

    @property
    def arrives_both_ways(self) -> bool:
        """As `delivered_both_ways`, counting leaving to the internet or to a site as arriving."""
        traces = (self, self.return_trace)
        return all(
            trace is not None
            and trace.outcome.arrives
            and all(other.outcome.arrives for other in trace.alternatives)
            for trace in traces
        )

    def passes(self, resource_id: str) -> bool:
        """Whether the first path passes this resource."""
        return any(hop.id == resource_id for hop in self.hops)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `twinspan trace --json`."""
        value = self._path_dict()
        value["return"] = self.return_trace._path_dict() if self.return_trace else None
        value["blocked_by"] = [blocker.to_dict() for blocker in self.blocked_by]
        value["not_observed"] = list(self.not_observed)
        return value

    def _path_dict(self) -> dict[str, Any]:
        return {
            "outcome": str(self.outcome),
            "hops": [hop.to_dict() for hop in self.hops],
            "alternatives": [other.to_dict() for other in self.alternatives],
        }

    def describe(self) -> str:
        """For people: hops numbered as in a traceroute, both ways, then what to change."""
        service = f"{self.protocol}/{self.port}" if self.port is not None else self.protocol
        lines = [f"trace from {self.source} to {self.destination}, {service}"]
        lines += _numbered(self.hops)
        lines.append(f"    {self.outcome}")
        for other in self.alternatives:
            lines += ["  or, at equal cost:", *_numbered(other.hops), f"    {other.outcome}"]
        if self.return_trace is not None:
            lines += ["return", *_numbered(self.return_trace.hops)]
            lines.append(f"    {self.return_trace.outcome}")
            for other in self.return_trace.alternatives:
                lines += ["  or, at equal cost:", *_numbered(other.hops), f"    {other.outcome}"]
        if self.blocked_by:
            lines.append("blocked by")
            lines += [
                f"  {blocker.id} ({blocker.kind}): {blocker.why}; fix: {blocker.fix}"
                for blocker in self.blocked_by
            ]
        if self.not_observed:
            lines.append("not observed: " + ", ".join(self.not_observed))
        return "\n".join(lines)


def _numbered(hops: tuple[Hop, ...]) -> list[str]:
    lines = []
    for number, hop in enumerate(hops, 1):
        line = (
            f" {number:2}  {hop.id}  {hop.kind}" if hop.id != hop.kind else f" {number:2}  {hop.id}"
        )
        lines.append(f"{line}  {hop.route}" if hop.route else line)
    return lines
