"""The network between the functions and the Bedrock endpoints: one relay per path.

No packet crosses a VPC here. A relay stands for everything between a function and an endpoint, and
carries bytes only while the walk over the emulated EC2 state (`forwarding`) delivers there and back and
no injected fault forbids it. The relays, the walk and the telemetry share one thread with its own event
loop; the state is looked at every 50 ms, and at once when a fault changes.

A path is dead until the first look finds it whole, so nothing passes before the network is deployed.
Tunnels are observed from the start, so that they come up while the rest is still being deployed.

Not guaranteed: a change made through the EC2 API takes effect within one look, not instantly; see
`relay` and `forwarding` for what they leave out.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from moto.cloudwatch.models import cloudwatch_backends
from moto.ec2.models import EC2Backend, ec2_backends

from infra.documents import EndpointOverride
from infra.local import ec2_facts
from infra.local.clock import CloudClock
from infra.local.ec2_facts_endpoints import AVAILABLE, PARTIAL
from infra.local.ec2_facts_vpn import (
    TUNNELS_PER_CONNECTION,
    Tunnel,
    TunnelStatus,
    edge_router_of,
    tunnels_of,
)
from infra.local.endpoint_states import EndpointStates
from infra.local.faults import FaultKind, Faults, PathElements
from infra.local.forwarding import Destination, Verdict, walk_to_endpoint, walk_to_internet
from infra.local.relay import Relay, RelayMode
from infra.local.sides import COMMERCIAL, GOVCLOUD, SideAccount
from infra.local.telemetry import (
    DETECTION_AWS_SECONDS,
    ESTABLISHMENT_AWS_SECONDS,
    Traffic,
    TunnelTelemetry,
)

logger = logging.getLogger(__name__)

PATH_HOSTS = {"tunnel-1": "127.0.11.1", "tunnel-2": "127.0.12.1", "internet": "127.0.13.1"}
VPN_PATHS = ("tunnel-1", "tunnel-2")
LOOK_SECONDS = 0.05
_START_TIMEOUT_SECONDS = 10.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class DataPath:
    """A path of the link. One without a VPN connection leads over the internet.

    `source_subnet_ids`: the GovCloud subnets whose functions use it.
    """

    name: str
    source_subnet_ids: tuple[str, ...]
    vpn_connection_id: str | None = None
    vpc_endpoint_id: str | None = None
    endpoint_subnet_id: str | None = None

    @property
    def endpoint_name(self) -> str:
        """How the path's endpoint is called as a target of faults: `endpoint-1` for `tunnel-1`."""
        if self.vpn_connection_id is None:
            return self.name
        return "endpoint-" + self.name.rpartition("-")[2]

    @property
    def destination(self) -> Destination | None:
        if self.vpc_endpoint_id is None or self.endpoint_subnet_id is None:
            return None
        return Destination(self.source_subnet_ids, self.vpc_endpoint_id, self.endpoint_subnet_id)


@dataclass(frozen=True, slots=True)
class TunnelReport:
    """A tunnel as AWS reports it."""

    vpn_connection_id: str
    outside_address: str
    status: str


@dataclass(frozen=True, slots=True)
class PathReport:
    """A path as the data plane knows it. `reason` says where packets are lost, if they are; connections are
    None where nobody counts them."""

    name: str
    address: str
    mode: str
    reason: str
    outbound: str | None
    inbound: str | None
    delay_milliseconds: int
    connections: int | None
    active_connections: int | None
    bytes_out: int
    bytes_in: int
    tunnels: tuple[TunnelReport, ...]


class DataPlane:
    """Relays, faults and tunnel telemetry of one link.

    `upstream`: where the Bedrock stand-in listens. `detection_aws_seconds`: how long AWS takes to report
    a dead tunnel, in AWS's time. Call `start()`, deploy, then `attach()`.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        clock: CloudClock,
        govcloud: SideAccount = GOVCLOUD,
        commercial: SideAccount = COMMERCIAL,
        detection_aws_seconds: float = DETECTION_AWS_SECONDS,
        establishment_aws_seconds: float = ESTABLISHMENT_AWS_SECONDS,
    ) -> None:
        ec2_facts.install()
        self.relays = {name: Relay(name, host, upstream) for name, host in PATH_HOSTS.items()}
        self.faults = Faults(self.settle)
        self.failures: list[Exception] = []
        self._clock = clock
        self._govcloud = govcloud
        self._commercial = commercial
        self._detection_aws_seconds = detection_aws_seconds
        self._establishment_aws_seconds = establishment_aws_seconds
        self._paths: dict[str, DataPath] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._counted: dict[str, tuple[int, int]] = {}
        self._traffic: dict[str, Traffic] = {}
        self._endpoint_states = EndpointStates(lambda: self._ec2(self._commercial))
        self._telemetry: TunnelTelemetry | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        """Bind the relays, all silent. Raises `OSError` when a loopback address is not to be had."""
        self._telemetry = TunnelTelemetry(
            self._ec2(self._govcloud),
            cloudwatch_backends[self._govcloud.account_id][self._govcloud.region],
            self._keepalives_pass,
            self._clock,
            self._detection_aws_seconds,
            self._establishment_aws_seconds,
        )
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="twinspan-data-plane", daemon=True
        )
        self._thread.start()
        started.result(_START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Close everything. Safe to call twice."""
        loop, self._loop = self._loop, None
        if loop is None or self._stopping is None or self._thread is None:
            return
        loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_START_TIMEOUT_SECONDS)

    def endpoint_url(self, path: str) -> str:
        """The URL under which the path's endpoint is reached."""
        relay = self.relays[path]
        return f"http://{relay.host}:{relay.port}"

    def endpoint_overrides(self) -> dict[str, EndpointOverride]:
        """Where the relays stand in for the endpoints' names, by VPN path."""
        return {
            name: EndpointOverride(self.endpoint_url(name), (f"{self.relays[name].host}/32",))
            for name in VPN_PATHS
        }

    def attach(self, paths: Iterable[DataPath]) -> None:
        """Say what the relays stand for, and look at once; metrics are published from now on. Raises
        `KeyError` for an unknown path."""
        attached = {path.name: path for path in paths}
        for name in attached:
            self.relays[name]
        self.faults.set_paths({name: elements(path) for name, path in attached.items()})
        self._paths = attached
        self.settle()

    def settle(self) -> None:
        """Look now, and return when the relays follow what was seen."""
        if self._loop is not None:
            self._on_loop(self._settle())

    def wait_until(self, condition: Callable[[DataPlane], bool], timeout_seconds: float) -> bool:
        """Wait for `condition`, looking at every turn; False when time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not condition(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def tunnels_are_up(self) -> bool:
        """Whether there are VPN connections and every tunnel of theirs is reported UP."""
        connections = list(self._ec2(self._govcloud).vpn_connections.values())
        return bool(connections) and all(
            tunnel.status is TunnelStatus.UP
            for connection in connections
            for tunnel in tunnels_of(connection)
        )

    def is_whole(self) -> bool:
        """Whether every attached VPN path carries and every tunnel of it is reported UP."""
        reports = [report for report in self.reports() if report.tunnels]
        return bool(reports) and all(
            report.mode == RelayMode.OPEN
            and all(tunnel.status == TunnelStatus.UP for tunnel in report.tunnels)
            for report in reports
        )

    def verdict(self, path: str) -> Verdict:
        """The last walk of a path. Raises `KeyError` for a path that is not attached."""
        return self._verdicts[path]

    def reports(self) -> list[PathReport]:
        return [self._report(path) for path in self._paths.values()]

    def _report(self, path: DataPath) -> PathReport:
        relay = self.relays[path.name]
        verdict = self._verdicts.get(
            path.name, Verdict(delivered=False, reason="not looked at yet")
        )
        connection = self._connection(path)
        return PathReport(
            name=path.name,
            address=f"{relay.host}:{relay.port}",
            mode=relay.mode.value,
            reason=verdict.reason,
            outbound=verdict.outbound,
            inbound=verdict.inbound,
            delay_milliseconds=round(relay.round_trip_delay_seconds * 1000),
            connections=relay.counters.connections,
            active_connections=relay.active_connections,
            bytes_out=relay.counters.bytes_out,
            bytes_in=relay.counters.bytes_in,
            tunnels=tuple(
                TunnelReport(connection.id, tunnel.outside_address, tunnel.status.value)
                for tunnel in (tunnels_of(connection) if connection is not None else [])
            ),
        )

    async def _run(self, started: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            for relay in self.relays.values():
                relay.start()
        except OSError as error:
            for relay in self.relays.values():
                await relay.stop()
            self._loop = None
            started.set_exception(error)
            return
        started.set_result(None)
        while not self._stopping.is_set():
            await self._settle()
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_SECONDS)
            except TimeoutError:
                continue
        for relay in self.relays.values():
            await relay.stop()

    async def _settle(self) -> None:
        try:
            self._look()
        except Exception as error:  # the relays must live on; the failure is kept and shown
            # One defect recurs at every look: once is enough.
            if not self.failures or repr(self.failures[-1]) != repr(error):
                logger.exception("the data plane could not look at the network")
                self.failures.append(error)

    def _on_loop(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_TIMEOUT_SECONDS)

    def _look(self) -> None:
        telemetry = self._telemetry
        assert telemetry is not None
        now = time.monotonic()
        telemetry.observe(now)
        if not self._paths:
            return
        self._endpoint_states.match(self._paths.values(), self.faults)
        for path in list(self._paths.values()):
            verdict = self._walk(path)
            self._verdicts[path.name] = verdict
            relay = self.relays[path.name]
            relay.round_trip_delay_seconds = self._delay_milliseconds(path, verdict) / 1000
            relay.set_mode(self._mode(path, verdict))
            self._count(path, verdict)
        if telemetry.is_due(now):
            traffic, self._traffic = self._traffic, {}
            telemetry.publish(traffic)

    def _walk(self, path: DataPath) -> Verdict:
        govcloud = self._ec2(self._govcloud)
        if path.destination is None:
            return walk_to_internet(path.source_subnet_ids, govcloud)
        return walk_to_endpoint(
            path.destination, govcloud, self._ec2(self._commercial), self._carries
        )

    def _mode(self, path: DataPath, verdict: Verdict) -> RelayMode:
        fault = self.faults.of_endpoint(path.endpoint_name)
        kind = fault.kind if fault is not None else None
        if not verdict.delivered or kind is FaultKind.BLACKHOLE:
            return RelayMode.SILENT
        if kind is FaultKind.REFUSE:
            return RelayMode.REFUSING
        if path.vpc_endpoint_id is not None:
            endpoint = self._ec2(self._commercial).vpc_end_points[path.vpc_endpoint_id]
            if endpoint.state not in (AVAILABLE, PARTIAL):
                return RelayMode.REFUSING
        return RelayMode.OPEN

    def _delay_milliseconds(self, path: DataPath, verdict: Verdict) -> float:
        connections = self._ec2(self._govcloud).vpn_connections
        one_way = [
            self._tunnel_delay_milliseconds(connections[connection_id]) / 2
            for connection_id in (verdict.outbound, verdict.inbound)
            if connection_id is not None
        ]
        fault = self.faults.of_endpoint(path.endpoint_name)
        return sum(one_way) + (fault.delay_milliseconds if fault is not None else 0)

    def _tunnel_delay_milliseconds(self, connection: Any) -> int:
        number = self._tunnel_in_use(connection)
        fault = self.faults.of_tunnel(connection.id, number) if number is not None else None
        return fault.delay_milliseconds if fault is not None else 0

    def _count(self, path: DataPath, verdict: Verdict) -> None:
        counters = self.relays[path.name].counters
        out_before, in_before = self._counted.get(path.name, (0, 0))
        self._counted[path.name] = (counters.bytes_out, counters.bytes_in)
        if verdict.outbound is not None:
            self._add_traffic(verdict.outbound, bytes_out=counters.bytes_out - out_before)
        if verdict.inbound is not None:
            self._add_traffic(verdict.inbound, bytes_in=counters.bytes_in - in_before)

    def _add_traffic(self, connection_id: str, bytes_in: int = 0, bytes_out: int = 0) -> None:
        so_far = self._traffic.get(connection_id, Traffic())
        self._traffic[connection_id] = Traffic(
            so_far.bytes_in + bytes_in, so_far.bytes_out + bytes_out
        )

    def _keepalives_pass(self, connection: Any, tunnel: Tunnel) -> bool:
        router = edge_router_of(connection)
        if router is None or not router.is_running:
            return False
        number = tunnels_of(connection).index(tunnel) + 1
        fault = self.faults.of_tunnel(connection.id, number)
        return fault is None or fault.kind is not FaultKind.CUT

    def _carries(self, connection: Any) -> bool:
        return self._tunnel_in_use(connection) is not None

    def _tunnel_in_use(self, connection: Any) -> int | None:
        """The number of the tunnel that carries, from 1. AWS would lose packets until it notices that
        one of two tunnels is dead; here the other takes over at once."""
        for number, tunnel in enumerate(tunnels_of(connection), start=1):
            fault = self.faults.of_tunnel(connection.id, number)
            passes = fault is None or fault.kind is FaultKind.SLOW
            if passes and tunnel.status is TunnelStatus.UP:
                return number
        return None

    def _connection(self, path: DataPath) -> Any:
        connections = self._ec2(self._govcloud).vpn_connections
        return connections.get(path.vpn_connection_id) if path.vpn_connection_id else None

    @staticmethod
    def _ec2(account: SideAccount) -> EC2Backend:
        return ec2_backends[account.account_id][account.region]


def elements(path: DataPath) -> PathElements:
    """What of a path can break."""
    return PathElements(
        tunnels=tuple(
            (path.vpn_connection_id, number) for number in range(1, TUNNELS_PER_CONNECTION + 1)
        )
        if path.vpn_connection_id is not None
        else (),
        endpoint=path.endpoint_name,
    )
