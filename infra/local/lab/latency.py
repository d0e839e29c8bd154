"""How long calls take over a long way: the mean and the 95th percentile, beside the least that is possible."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from infra.local.environment import Environment
from infra.local.lab.network import FUNCTION, LabNetwork
from infra.local.lab.plane import ENDPOINT_PORT

CALLS = 100
_WARMING_CALLS = 5
_ROUND_TRIPS = 9
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Latency:
    """In seconds. `floor_seconds` = `round_trip_seconds` (the median of a TCP handshake from the functions to
    the endpoint) + `service_seconds` (the mean of what the stand-in says that it took)."""

    calls: int
    failed: int
    mean_seconds: float
    p95_seconds: float
    worst_seconds: float
    round_trip_seconds: float
    service_seconds: float

    @property
    def floor_seconds(self) -> float:
        """The least that a call can take on a connection that is open already."""
        return self.round_trip_seconds + self.service_seconds

    def __str__(self) -> str:
        return (
            f"{self.calls} calls, {self.failed} failed: mean {self.mean_seconds * 1000:.0f} ms, "
            f"p95 {self.p95_seconds * 1000:.0f} ms, worst {self.worst_seconds * 1000:.0f} ms; "
            f"the floor is {self.floor_seconds * 1000:.0f} ms (round trip "
            f"{self.round_trip_seconds * 1000:.0f} ms, the service {self.service_seconds * 1000:.0f} ms)"
        )


def measure(environment: Environment, network: LabNetwork, model_id: str) -> Latency:
    """A hundred calls in a row by one caller, after a few that open the connections."""
    connection = http.client.HTTPConnection(
        urlsplit(environment.proxy_url).netloc, timeout=_SECONDS
    )
    durations, services, failed = [], [], 0
    for number in range(_WARMING_CALLS + CALLS):
        began = time.perf_counter()
        service = _call(connection, model_id)
        took = time.perf_counter() - began
        if number < _WARMING_CALLS:
            continue
        durations.append(took)
        if service is None:
            failed += 1
        else:
            services.append(service)
    connection.close()
    address = network.plan_or_raise().endpoint_addresses[0]
    round_trips = [_round_trip(network, address) for _ in range(_ROUND_TRIPS)]
    return Latency(
        calls=CALLS,
        failed=failed,
        mean_seconds=statistics.fmean(durations),
        p95_seconds=statistics.quantiles(durations, n=20)[-1],
        worst_seconds=max(durations),
        round_trip_seconds=statistics.median(round_trips),
        service_seconds=statistics.fmean(services) if services else 0.0,
    )


def _call(connection: http.client.HTTPConnection, model_id: str) -> float | None:
    """One call; returns what the service says that it took, in seconds, or None if the call failed."""
    body = {"messages": [{"role": "user", "content": [{"text": "How far is it?"}]}]}
    connection.request(
        "POST",
        f"/model/{model_id}/converse",
        json.dumps(body),
        {"Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        return None
    return float(json.loads(content)["metrics"]["latencyMs"]) / 1000


def _round_trip(network: LabNetwork, address: str) -> float:
    with network.spaces.new_socket(FUNCTION, socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_SECONDS)
        began = time.perf_counter()
        probe.connect((address, ENDPOINT_PORT))
        return time.perf_counter() - began
