"""The canary: probes every path of the link once a minute and publishes what it saw as metrics.

It decides nothing. Its metrics feed alarms, which wake the workflow, which looks for itself. A path that
could not be probed at all gives no datapoint, and its alarm treats that as breaching.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from control_plane.domain.observation import ProbeResult
from control_plane.settings import Settings
from control_plane.wiring import Control

NAMESPACE = "Twinspan"


@cache
def _control() -> Control:
    return Control.from_settings(Settings.load())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, bool]:
    """Probe; returns path → whether it answered."""
    control = _control()
    link_id = control.settings.link_id
    topology = control.documents.topology(link_id)
    policy = control.documents.policy(link_id, topology)
    results = control.prober(topology).probe_all(topology.paths, policy.probe)
    for result in results.values():
        publish(link_id, result)
        if not result.passed:
            Logger().warning(
                "path does not answer", extra={"path": result.path, "seen": result.describe()}
            )
    return {name: result.passed for name, result in results.items()}


def publish(link_id: str, result: ProbeResult) -> None:
    """Write one path's metrics in CloudWatch's embedded metric format, with the dimensions LinkId and Path.

    PathProbeSuccess: 1 or 0. PathProbeLatency: the median in milliseconds, when anything answered.
    """
    # Without a service's name, which would be one more dimension: an alarm finds a metric by all of them.
    metrics = EphemeralMetrics(service="", namespace=NAMESPACE)
    metrics.add_dimension("LinkId", link_id)
    metrics.add_dimension("Path", result.path)
    metrics.add_metric("PathProbeSuccess", MetricUnit.Count, float(result.passed))
    if result.median_latency_ms is not None:
        metrics.add_metric("PathProbeLatency", MetricUnit.Milliseconds, result.median_latency_ms)
    metrics.flush_metrics()
