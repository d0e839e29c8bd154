"""One outage in the lab, from the break to the return, and what was seen of it.

Steady traffic goes on all the while. Times are of the monotonic clock, in seconds since the break.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from control_plane.domain.journal import Entry
from infra.local.demo.traffic import Call, Traffic
from infra.local.demo.watch import Watcher
from infra.local.environment import Environment
from infra.local.lab.network import TunnelId
from infra.local.lab.witness import Flow, Witness

PREFERRED, STANDBY = "tunnel-1", "tunnel-2"
_CONNECTION_OF = {PREFERRED: 1, STANDBY: 2}
CALLS_ON_THE_OTHER_PATH = 20
SWITCH_SECONDS = 45.0
RETURN_SECONDS = 90.0
# A path that only got worse may stay in use: this long is looked whether it does.
DEGRADED_SECONDS = 15.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Labels:
    """How many answered calls were looked at, how many of them said the connection that their answer's
    packets took, and how many went out by another than they came back."""

    checked: int
    truthful: int
    asymmetric: int


@dataclass(frozen=True, slots=True)
class Outage:
    """What was seen of one outage.

    `detected_by`: the first signal that told the control plane, or `sweep`; None if it did not switch.
    `because`: the first reason of its decision; `tunnel_down_seconds`: to AWS's report of a tunnel DOWN;
    `first_success_seconds`: to the first call answered over the other path; `published_seconds`: to the
    published switch; `returned_seconds`: from healing to the published return, None if none was needed
    or it did not come; `failed_calls` of `calls`.
    """

    fault: str
    detected_by: str | None
    because: str | None
    tunnel_down_seconds: float | None
    first_success_seconds: float | None
    published_seconds: float | None
    returned_seconds: float | None
    calls: int
    failed_calls: int
    first_failure: str | None
    slowest_call_seconds: float
    labels: Labels
    returned_to_preferred: bool

    @property
    def switched(self) -> bool:
        """Whether the control plane moved the link."""
        return self.published_seconds is not None


class Scene:
    """What outages are played on: an environment in the lab, its callers, journal and witness."""

    def __init__(
        self, environment: Environment, traffic: Traffic, watcher: Watcher, witness: Witness
    ) -> None:
        self.environment = environment
        self.traffic = traffic
        self.watcher = watcher
        self.witness = witness

    def play(
        self,
        name: str,
        break_it: Callable[[], None],
        heal_it: Callable[[], None],
        *,
        may_stay: bool = False,
    ) -> Outage:
        """Break, wait for the switch, heal, wait for the return. `may_stay`: the path only gets worse, so
        that it is enough to watch for a while."""
        self.expect_calm()
        known = len(self.watcher.entries())
        generation = self._generation()
        broke = time.monotonic()
        break_it()
        down_at = self._wait_for_switch(generation, broke, may_stay)
        first = self._first_on(STANDBY, broke)
        switched = self._generation() > generation
        if switched and not may_stay:
            self._wait(lambda: self._calls_on(STANDBY, broke) >= CALLS_ON_THE_OTHER_PATH, 20.0)
        healed = time.monotonic()
        heal_it()
        back = self._wait(self.is_calm, RETURN_SECONDS)
        returned = time.monotonic() - healed if back else None
        ended = time.monotonic()
        entries = self.watcher.entries()[known:]
        published = _published(entries, STANDBY)
        calls = [call for call in self.traffic.calls(broke) if call.started <= ended]
        failed = [call for call in calls if call.failed]
        return Outage(
            fault=name,
            detected_by=_first_signal(entries, published),
            because=_because(entries, published),
            tunnel_down_seconds=down_at,
            first_success_seconds=first,
            published_seconds=self._published_after(published, broke),
            returned_seconds=returned if published is not None else None,
            calls=len(calls),
            failed_calls=len(failed),
            first_failure=_described(failed[0]) if failed else None,
            slowest_call_seconds=max((c.seconds for c in calls if not c.failed), default=0.0),
            labels=self.labels(calls),
            returned_to_preferred=back,
        )

    def is_calm(self) -> bool:
        """Whether all is whole, published and used as before anything broke."""
        return (
            self.environment.routing_config()["active_path"] == PREFERRED
            and self._all_on(PREFERRED)
            and all(
                tunnel["Status"] == "UP"
                for connection in self.environment.client("ec2").describe_vpn_connections()[
                    "VpnConnections"
                ]
                for tunnel in connection["VgwTelemetry"]
            )
            and self.watcher.all_quiet()
        )

    def expect_calm(self) -> None:
        """Wait until nothing is wrong. Raises `TimeoutError` if that does not come."""
        if not self._wait(lambda: self.is_calm() and not self._is_running(), RETURN_SECONDS):
            raise TimeoutError(f"not calm within {RETURN_SECONDS:g} s: {self.environment.status()}")

    def labels(self, calls: list[Call]) -> Labels:
        """Compare what answered calls said with the tunnels that their packets took."""
        checked = truthful = asymmetric = 0
        served = self.environment.bedrock.served.connections
        for call in calls:
            if call.failed or call.upstream_request_id not in served or call.path is None:
                continue
            flow: Flow = served[call.upstream_request_id]
            ways = self.witness.ways(flow, call.started, call.started + call.seconds)
            checked += 1
            truthful += ways.inbound == {_CONNECTION_OF[call.path]}
            asymmetric += ways.outbound != ways.inbound
        return Labels(checked, truthful, asymmetric)

    # -- inside -----------------------------------------------------------------------------------

    def _wait_for_switch(self, generation: int, broke: float, may_stay: bool) -> float | None:
        """Wait until the switch is published; returns when AWS reported a tunnel DOWN, if it did."""
        down_at: float | None = None
        deadline = time.monotonic() + (DEGRADED_SECONDS if may_stay else SWITCH_SECONDS)
        while time.monotonic() < deadline:
            if down_at is None and self._any_tunnel_down():
                down_at = time.monotonic() - broke
            if self._generation() > generation:
                break
            time.sleep(_POLL_SECONDS)
        return down_at

    def _any_tunnel_down(self) -> bool:
        # Of AWS's own answer, like everything that is said about it.
        answer = self.environment.client("ec2").describe_vpn_connections()
        return any(
            tunnel["Status"] != "UP"
            for connection in answer["VpnConnections"]
            for tunnel in connection["VgwTelemetry"]
        )

    def _is_running(self) -> bool:
        return any(run["status"] == "RUNNING" for run in self.environment.executions())

    def _generation(self) -> int:
        return int(self.environment.routing_config()["generation"])

    def _first_on(self, path: str, since: float) -> float | None:
        for call in self.traffic.calls(since):
            if call.path == path and not call.failed:
                return call.started + call.seconds - since
        return None

    def _calls_on(self, path: str, since: float) -> int:
        return sum(c.path == path and not c.failed for c in self.traffic.calls(since))

    def _all_on(self, path: str) -> bool:
        last = self.traffic.calls()[-CALLS_ON_THE_OTHER_PATH:]
        return len(last) == CALLS_ON_THE_OTHER_PATH and all(
            call.path == path and not call.failed for call in last
        )

    def _published_after(self, entry: Entry | None, broke: float) -> float | None:
        if entry is None:
            return None
        return entry.at.timestamp() - (time.time() - (time.monotonic() - broke))

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        return self.watcher.wait_for(condition, seconds)


def tunnels_of(path: str) -> tuple[TunnelId, TunnelId]:
    """The tunnels of a path."""
    connection = _CONNECTION_OF[path]
    return TunnelId(connection, 1), TunnelId(connection, 2)


def _published(entries: list[Entry], path: str) -> Entry | None:
    for entry in entries:
        if entry.kind == "published" and entry.data["active_path"] == path:
            return entry
    return None


def _first_signal(entries: list[Entry], published: Entry | None) -> str | None:
    """The first signal about the broken path before the switch; without one, a sweep saw it first."""
    if published is None:
        return None
    for entry in entries:
        if entry.sequence > published.sequence:
            break
        about = str(entry.data.get("about", ""))
        if entry.kind == "signal" and PREFERRED in about and not about.endswith(" is OK"):
            return about
    return "sweep"


def _because(entries: list[Entry], published: Entry | None) -> str | None:
    """The first reason of the decision to switch."""
    for entry in entries:
        if entry.kind == "decided" and entry.data["path"] == STANDBY and published is not None:
            return str(entry.data["reasons"][0])
    return None


def _described(call: Call) -> str:
    return f"status {call.status} {call.error or ''} after {call.seconds:.1f} s".strip()
