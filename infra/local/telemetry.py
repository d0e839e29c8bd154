"""What AWS reports about VPN tunnels: their status and the metrics of namespace AWS/VPN.

Reports lag behind the truth. A dead tunnel is reported DOWN only after dead peer detection, and its
routes are withdrawn only then; a datapoint appears once a minute. Both are AWS's timers, so the
`CloudClock` shrinks them.

Datapoints per connection and minute, as AWS publishes them:

    TunnelState              {VpnId} one sample per tunnel, {VpnId, TunnelIpAddress}   1 UP, 0 DOWN
    TunnelDataIn, …DataOut   {VpnId, TunnelIpAddress}, {VpnId}                         bytes

Not guaranteed: a tunnel whose packets vanish while its keepalives pass stays UP for ever, as in AWS.
AWS's publishing interval is undocumented; one minute is assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend
from moto.ec2.models import EC2Backend

from infra.local.clock import CloudClock
from infra.local.ec2_facts_vpn import Tunnel, TunnelStatus, tunnels_of

NAMESPACE = "AWS/VPN"
DETECTION_AWS_SECONDS = 40.0
"""Dead peer detection as AWS does it by default; the least that can be configured is 30."""
ESTABLISHMENT_AWS_SECONDS = 10.0
"""From the moment a peer answers again until AWS reports the tunnel UP; AWS documents no figure."""

KeepalivesPass = Callable[[Any, Tunnel], bool]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes through a connection since the last datapoint, seen from AWS: in is from the peer."""

    bytes_in: int = 0
    bytes_out: int = 0


class TunnelTelemetry:
    """Keeps the tunnels' reported status and publishes their metrics.

    `keepalives_pass`: whether a tunnel's peer can be heard. Time is passed in (seconds of a monotonic
    clock), so that tests need not wait.
    """

    def __init__(
        self,
        ec2: EC2Backend,
        cloudwatch: CloudWatchBackend,
        keepalives_pass: KeepalivesPass,
        clock: CloudClock,
        detection_aws_seconds: float = DETECTION_AWS_SECONDS,
        establishment_aws_seconds: float = ESTABLISHMENT_AWS_SECONDS,
    ) -> None:
        self._ec2 = ec2
        self._cloudwatch = cloudwatch
        self._keepalives_pass = keepalives_pass
        self._detection_seconds = clock.real_seconds(detection_aws_seconds)
        self._establishment_seconds = clock.real_seconds(establishment_aws_seconds)
        self._minute_seconds = clock.real_seconds(60)
        self._differs_since: dict[str, float] = {}
        self._next_publication: float | None = None

    def observe(self, now: float) -> None:
        """Report a tunnel DOWN, or UP, once it has been so for as long as AWS takes to notice."""
        for connection in list(self._ec2.vpn_connections.values()):
            for tunnel in tunnels_of(connection):
                self._observe_tunnel(connection, tunnel, now)

    def is_due(self, now: float) -> bool:
        """Whether a minute has passed since the last publication; true once at the start."""
        if self._next_publication is None:
            self._next_publication = now
        if now < self._next_publication:
            return False
        missed = int((now - self._next_publication) // self._minute_seconds)
        self._next_publication += (missed + 1) * self._minute_seconds
        return True

    def publish(self, traffic: Mapping[str, Traffic]) -> None:
        """Write one minute's datapoints; `traffic` is keyed by connection id."""
        for connection in list(self._ec2.vpn_connections.values()):
            if connection.state == "available":
                self._cloudwatch.put_metric_data(
                    NAMESPACE, _datapoints(connection, traffic.get(connection.id, Traffic()))
                )

    def _observe_tunnel(self, connection: Any, tunnel: Tunnel, now: float) -> None:
        alive = connection.state == "available" and self._keepalives_pass(connection, tunnel)
        actual = TunnelStatus.UP if alive else TunnelStatus.DOWN
        if actual is tunnel.status:
            self._differs_since.pop(tunnel.outside_address, None)
            return
        since = self._differs_since.setdefault(tunnel.outside_address, now)
        patience = self._establishment_seconds if alive else self._detection_seconds
        if now - since >= patience:
            tunnel.report(actual)
            self._differs_since.pop(tunnel.outside_address)


def _datapoints(connection: Any, traffic: Traffic) -> list[dict[str, Any]]:
    by_connection = {"Name": "VpnId", "Value": connection.id}
    tunnels = tunnels_of(connection)
    # AWS sends a connection's traffic through one of its tunnels; here it is the first that is up.
    in_use = next((tunnel for tunnel in tunnels if tunnel.status is TunnelStatus.UP), tunnels[0])
    data: list[dict[str, Any]] = []
    for tunnel in tunnels:
        by_tunnel = [by_connection, {"Name": "TunnelIpAddress", "Value": tunnel.outside_address}]
        state = 1.0 if tunnel.status is TunnelStatus.UP else 0.0
        used = traffic if tunnel is in_use else Traffic()
        for dimensions in (by_tunnel, [by_connection]):
            data.append(_datum("TunnelState", dimensions, state, "None"))
            data.append(_datum("TunnelDataIn", dimensions, used.bytes_in, "Bytes"))
            data.append(_datum("TunnelDataOut", dimensions, used.bytes_out, "Bytes"))
    return data


def _datum(name: str, dimensions: list[dict[str, str]], value: float, unit: str) -> dict[str, Any]:
    return {"MetricName": name, "Dimensions": dimensions, "Value": float(value), "Unit": unit}
