"""The embedded cloud's data plane on real tunnels.

What AWS reports is what strongSwan and BIRD say: a tunnel is UP while its associations stand and its BGP
session is established, and what the session brings is what the transit gateway learns. What somebody
changes in the emulated route tables becomes kernel routes. Both are looked at ten times a second, and at
once when a fault changes.

It stands in for `dataplane.DataPlane`: the same calls, and nothing between a function and an endpoint but
packets. The network comes up when the deployment has stored the routers' configurations.

Not guaranteed: AWS's own dead peer detection and hold time are longer than the lab's (`network`).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends

from infra.documents import EndpointOverride
from infra.local import ec2_facts
from infra.local.clock import CloudClock
from infra.local.dataplane import DataPath, PathReport, TunnelReport, elements
from infra.local.ec2_facts_vpn import Tunnel, TunnelStatus, tunnels_of
from infra.local.endpoint_states import EndpointStates
from infra.local.faults import Faults
from infra.local.lab import security_groups
from infra.local.lab.deployed import Deployed, commercial_ec2, deployed, govcloud_ec2
from infra.local.lab.kernel_routes import KernelRoutes, transit_routes, vpc_routes
from infra.local.lab.namespaces import LabError
from infra.local.lab.network import (
    ENDPOINTS,
    FUNCTION,
    GATEWAY,
    LabNetwork,
    TunnelId,
    TunnelState,
)
from infra.local.lab.repairs import LabFaults
from infra.local.relay import RelayMode
from infra.local.sides import GOVCLOUD
from infra.local.telemetry import Traffic, TunnelTelemetry

logger = logging.getLogger(__name__)

ENDPOINT_PORT = 443
ENDPOINT_ADDRESSES = {"tunnel-1": "172.16.1.10", "tunnel-2": "172.16.3.10"}
"""Of the templates' default subnets; checked against what EC2 says once it is deployed."""
_ENDPOINT_NETWORKS = {"tunnel-1": "172.16.1.0/24", "tunnel-2": "172.16.3.0/24"}
LOOK_SECONDS = 0.1
_REACH_SECONDS = 0.5
_JOIN_SECONDS = 10.0


@dataclass(slots=True)
class _Seen:
    """What the last look found."""

    states: dict[TunnelId, TunnelState] = field(default_factory=dict)
    counted: dict[TunnelId, tuple[int, int]] = field(default_factory=dict)
    routes_at: float = 0.0


class LabPlane:
    """Tunnels, faults and telemetry of one link. Call `start()`, deploy, then `attach()`."""

    def __init__(self, network: LabNetwork, clock: CloudClock) -> None:
        ec2_facts.install()
        self.network = network
        self.faults = Faults(self.settle, in_the_lab=True)
        self.failures: list[Exception] = []
        self.routes_changed: list[tuple[float, str]] = []
        self._clock = clock
        self._routes = KernelRoutes(network.spaces)
        self._lab_faults = LabFaults(network, ENDPOINT_PORT)
        self._endpoint_states = EndpointStates(commercial_ec2)
        self._deployed: Deployed | None = None
        self._paths: dict[str, DataPath] = {}
        self._seen = _Seen()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="twinspan-lab", daemon=True)
        # Detection and establishment take their own, real time in strongSwan and BIRD.
        self._telemetry = TunnelTelemetry(
            govcloud_ec2(),
            cloudwatch_backends[GOVCLOUD.account_id][GOVCLOUD.region],
            self._is_up,
            clock,
            detection_aws_seconds=0.0,
            establishment_aws_seconds=0.0,
        )

    # -- the data plane's calls -------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. Safe to call twice."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def endpoint_overrides(self) -> dict[str, EndpointOverride]:
        """Where each path's endpoint is reached: at its own address, which its certificate names."""
        return {
            name: EndpointOverride(f"https://{address}", (_ENDPOINT_NETWORKS[name],))
            for name, address in ENDPOINT_ADDRESSES.items()
        }

    def attach(self, paths: Iterable[DataPath]) -> None:
        """Say what the link's paths are; metrics are published from now on."""
        self._paths = {path.name: path for path in paths}
        self.faults.set_paths({name: elements(path) for name, path in self._paths.items()})
        self.settle()

    def settle(self) -> None:
        """Look now, and return when the network follows."""
        self._look_and_keep_failures()

    def wait_until(self, condition: Callable[[LabPlane], bool], timeout_seconds: float) -> bool:
        """Wait for `condition`; False when time is up."""
        return self.network.wait_for(lambda: condition(self), timeout_seconds)

    def is_whole(self) -> bool:
        """Whether every path carries and every tunnel is reported UP."""
        reports = self.reports()
        return bool(reports) and all(
            report.mode == RelayMode.OPEN
            and all(tunnel.status == TunnelStatus.UP for tunnel in report.tunnels)
            for report in reports
        )

    def reports(self) -> list[PathReport]:
        """Each path: whether a connection to its endpoint succeeds, now, from where the functions are."""
        return [self._report(path) for path in self._paths.values()]

    # -- looking ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self._look_and_keep_failures()

    def _look_and_keep_failures(self) -> None:
        with self._lock:
            try:
                self._look()
            except Exception as error:  # the lab must live on; the failure is kept and shown
                if not self.failures or repr(self.failures[-1]) != repr(error):
                    logger.exception("the lab could not follow the embedded cloud")
                    self.failures.append(error)

    def _look(self) -> None:
        if self._stopping.is_set():
            return
        if self._deployed is None:
            self._deployed = self._build()
            if self._deployed is None:
                return
        now = time.monotonic()
        self._follow_faults(self._deployed)
        self._seen.states = self.network.states()
        self._tell_what_was_learned(self._deployed)
        self._telemetry.observe(now)
        self._follow_routes(self._deployed)
        if self._paths and self._telemetry.is_due(now):
            self._telemetry.publish(self._traffic(self._deployed))

    def _build(self) -> Deployed | None:
        found = deployed()
        if found is None:
            return None
        expected = tuple(ENDPOINT_ADDRESSES.values())
        if found.plan.endpoint_addresses != expected:
            raise LabError(f"the endpoints are {found.plan.endpoint_addresses}, not {expected}")
        self.network.build(found.plan)
        security_groups.apply(self.network, ENDPOINT_PORT)
        return found

    def _follow_faults(self, found: Deployed) -> None:
        for connection, connection_id in enumerate(found.vpn_connection_ids, 1):
            for number in (1, 2):
                self._lab_faults.match_tunnel(
                    TunnelId(connection, number), self.faults.of_tunnel(connection_id, number)
                )
        for path in self._paths.values():
            if path.endpoint_subnet_id is not None:
                position = found.endpoint_subnet_ids.index(path.endpoint_subnet_id)
                self._lab_faults.match_endpoint(
                    ENDPOINTS[position], self.faults.of_endpoint(path.endpoint_name)
                )
        self._endpoint_states.match(self._paths.values(), self.faults)

    def _tell_what_was_learned(self, found: Deployed) -> None:
        for tunnel, state in self._seen.states.items():
            connection = govcloud_ec2().vpn_connections.get(
                found.vpn_connection_ids[tunnel.connection - 1]
            )
            if connection is not None:
                tunnels_of(connection)[tunnel.number - 1].learned = state.bgp.learned

    def _follow_routes(self, found: Deployed) -> None:
        plan = found.plan
        wanted = {
            FUNCTION: vpc_routes(
                govcloud_ec2(), found.function_subnet_ids[0], plan.function_addresses[0]
            )
        }
        for name, subnet_id, address in zip(
            ENDPOINTS, found.endpoint_subnet_ids, plan.endpoint_addresses, strict=True
        ):
            wanted[name] = vpc_routes(commercial_ec2(), subnet_id, address)
        vpc_id = govcloud_ec2().get_subnet(found.function_subnet_ids[0]).vpc_id
        wanted[GATEWAY] = transit_routes(govcloud_ec2(), vpc_id, self._connection_hops(found))
        for namespace, routes in wanted.items():
            if self._routes.match(namespace, routes):
                self.routes_changed.append((time.monotonic(), namespace))

    def _connection_hops(self, found: Deployed) -> dict[str, str]:
        """Which tunnel of each connection a static route leads into: the first that is up."""
        hops = {}
        for connection, connection_id in enumerate(found.vpn_connection_ids, 1):
            for number in (2, 1):
                tunnel = TunnelId(connection, number)
                state = self._seen.states.get(tunnel)
                if state is not None and state.is_up:
                    facts = found.plan.routers[connection - 1].tunnels[number - 1]
                    hops[connection_id] = f"via {facts.inside_local} dev {tunnel.device}"
        return hops

    def _is_up(self, connection: Any, tunnel: Tunnel) -> bool:
        """AWS's view of a tunnel: its associations and its BGP session."""
        if self._deployed is None or connection.id not in self._deployed.vpn_connection_ids:
            return False
        number = tunnels_of(connection).index(tunnel) + 1
        position = self._deployed.vpn_connection_ids.index(connection.id) + 1
        state = self._seen.states.get(TunnelId(position, number))
        return state is not None and state.is_up

    def _traffic(self, found: Deployed) -> dict[str, Traffic]:
        """Bytes by connection since the last time, from the tunnels' own counters."""
        counted = {tunnel: self.network.counters(tunnel) for tunnel in self._seen.states}
        before, self._seen.counted = self._seen.counted, counted
        traffic: dict[str, Traffic] = {}
        for tunnel, (sent, received) in counted.items():
            # A device that was made anew counts from zero again.
            sent_before, received_before = before.get(tunnel, (sent, received))
            connection_id = found.vpn_connection_ids[tunnel.connection - 1]
            so_far = traffic.get(connection_id, Traffic())
            traffic[connection_id] = Traffic(
                so_far.bytes_in + max(0, received - received_before),
                so_far.bytes_out + max(0, sent - sent_before),
            )
        return traffic

    def _report(self, path: DataPath) -> PathReport:
        connection = govcloud_ec2().vpn_connections.get(path.vpn_connection_id or "")
        mode, reason = self._reach(path.name)
        sent, received = self._bytes(path)
        fault = self.faults.of_tunnel(path.vpn_connection_id or "", 1)
        return PathReport(
            name=path.name,
            address=f"{ENDPOINT_ADDRESSES[path.name]}:{ENDPOINT_PORT}",
            mode=mode.value,
            reason=reason,
            outbound=path.vpn_connection_id,
            inbound=path.vpn_connection_id,
            delay_milliseconds=fault.delay_milliseconds if fault is not None else 0,
            connections=None,
            active_connections=None,
            bytes_out=sent,
            bytes_in=received,
            tunnels=tuple(
                TunnelReport(path.vpn_connection_id or "", t.outside_address, t.status.value)
                for t in (tunnels_of(connection) if connection is not None else [])
            ),
        )

    def _bytes(self, path: DataPath) -> tuple[int, int]:
        if self._deployed is None or path.vpn_connection_id is None:
            return 0, 0
        position = self._deployed.vpn_connection_ids.index(path.vpn_connection_id) + 1
        counted = [self.network.counters(TunnelId(position, number)) for number in (1, 2)]
        return sum(sent for sent, _ in counted), sum(received for _, received in counted)

    def _reach(self, path: str) -> tuple[RelayMode, str]:
        with self.network.spaces.new_socket(FUNCTION, socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(_REACH_SECONDS)
            try:
                probe.connect((ENDPOINT_ADDRESSES[path], ENDPOINT_PORT))
            except ConnectionRefusedError as error:
                return RelayMode.REFUSING, str(error)
            except OSError as error:
                return RelayMode.SILENT, f"no connection from the functions' subnets: {error}"
        return RelayMode.OPEN, ""
