"""What was seen of a link at one moment. Values only: `adapters` make them, `health` judges them.

An observation serialises without loss (`to_dict`, `from_dict`), since it is stored as evidence and the
steps after Observe work from the stored one. Every source carries its own time, so that whoever judges it
later can tell how old it has become.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from control_plane.domain.documents import Document
from control_plane.domain.moments import clock, day
from control_plane.domain.topology import RequiredRoute


class TunnelStatus(StrEnum):
    """AWS's two tunnel states."""

    UP = "UP"
    DOWN = "DOWN"


class ObservedTunnel(Document):
    """One tunnel, as `VgwTelemetry` shows it."""

    outside_ip: str
    status: TunnelStatus
    status_message: str = ""
    last_status_change: AwareDatetime | None = None


class ObservedRoute(Document):
    """A required route beside what the table really says; `target` is None when it is not there."""

    required: RequiredRoute
    target: str | None
    state: str | None = None

    @property
    def drifted(self) -> bool:
        """Whether the table disagrees with the topology."""
        return self.target != self.required.target or self.state == "blackhole"

    def describe(self) -> str:
        """One line for people, naming table, destination and target."""
        route = self.required
        where = f"{route.side} route table {route.table_id}"
        if self.target is None:
            return f"{where} has no route {route.destination} → {route.target}"
        if self.target == route.target:
            return f"{where}: route {route.destination} → {route.target} is {self.state}"
        return f"{where}: {route.destination} leads to {self.target}, not {route.target}"


class ProbeResult(Document):
    """The outcome of N signed calls over one path; `peer` is the address that the socket reached."""

    path: str
    attempts: int
    answered: int
    required: int
    median_latency_ms: float | None = None
    peer: str | None = None
    failures: tuple[str, ...] = ()
    taken_at: AwareDatetime | None = None

    @property
    def passed(self) -> bool:
        """Whether enough calls were answered."""
        return self.answered >= self.required

    def describe(self) -> str:
        """One line for people."""
        text = f"{self.answered} of {self.attempts} probes answered (needs {self.required})"
        if self.median_latency_ms is not None:
            text += f", median {self.median_latency_ms:.0f} ms"
        if self.failures:
            text += f"; {self.failures[-1]}"
        return text


class CanaryWindow(Document):
    """What a canary's calls over one path came to between `begins_at` and `ends_at`.

    Of `calls`, `lost` got no answer, `tls_failures` broke in the handshake and `server_errors` were
    answered with 500 or above; one call counts once.
    """

    begins_at: AwareDatetime
    ends_at: AwareDatetime
    calls: int = Field(ge=1)
    lost: int = Field(default=0, ge=0)
    tls_failures: int = Field(default=0, ge=0)
    server_errors: int = Field(default=0, ge=0)
    median_latency_ms: float | None = None

    @property
    def error_ratio(self) -> float:
        """The share of calls, 0 to 1, that got no usable answer."""
        return min(1.0, (self.lost + self.tls_failures + self.server_errors) / self.calls)

    def describe(self) -> str:
        """One line for people, naming what went wrong."""
        kinds = {"lost": self.lost, "TLS": self.tls_failures, "HTTP 5xx": self.server_errors}
        wrong = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        return f"{self.error_ratio:.0%} of {self.calls} canary calls failed" + (
            f" ({wrong})" if wrong else ""
        )


class BreakerState(StrEnum):
    """What a proxy says of its circuit breaker for a path."""

    OPEN = "open"
    HALF_OPEN = "half_open"
    CLOSED = "closed"


class ProxyReport(Document):
    """The newest word of a proxy on one path."""

    state: BreakerState
    reported_at: AwareDatetime
    reason: str = ""

    def describe(self) -> str:
        """One line for people."""
        detail = f" ({self.reason})" if self.reason else ""
        return f"a proxy reported its breaker {self.state} at {clock(self.reported_at)}{detail}"


class PendingMaintenance(Document):
    """A replacement of one tunnel that AWS has announced; `due_at` is when AWS does it by itself."""

    outside_ip: str
    due_at: AwareDatetime | None = None

    def describe(self) -> str:
        """One line for people."""
        when = f", due {day(self.due_at)}" if self.due_at else ""
        return f"maintenance is pending on tunnel {self.outside_ip}{when}"


class ObservedPath(Document):
    """All that was seen of one path. None means "not observed", never "fine".

    `described_at` is when EC2 was asked, which holds for everything that EC2 says of the path.
    """

    name: str
    described_at: AwareDatetime | None = None
    gateway_state: str | None = None
    connection_state: str | None = None
    tunnels: tuple[ObservedTunnel, ...] | None = None
    endpoint_state: str | None = None
    endpoint_error: str | None = None
    routes: tuple[ObservedRoute, ...] | None = None
    probe: ProbeResult | None = None
    canary: CanaryWindow | None = None
    proxy: ProxyReport | None = None
    maintenance: tuple[PendingMaintenance, ...] | None = None

    @property
    def drift(self) -> tuple[ObservedRoute, ...]:
        """Required routes that are missing or lead elsewhere."""
        return tuple(route for route in self.routes or () if route.drifted)


class Observation(Document):
    """One look at a link."""

    link_id: str
    observed_at: AwareDatetime
    paths: tuple[ObservedPath, ...]
    snapshot_ref: str | None = None
    not_observed: tuple[str, ...] = ()

    def path(self, name: str) -> ObservedPath | None:
        """What was seen of this path."""
        return next((path for path in self.paths if path.name == name), None)

    def age_seconds(self, now: datetime) -> float:
        """Seconds since the look."""
        return (now - self.observed_at).total_seconds()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Observation:
        """The inverse of `to_dict`."""
        return cls.model_validate(value)
