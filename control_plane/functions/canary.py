"""The canary: probes every path of the link once a minute and publishes what it saw as metrics.

It decides nothing. Its metrics feed alarms, which wake the workflow, which looks for itself. A path that
could not be probed at all gives no datapoint, and its alarm treats that as breaching.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import MetricUnit, single_metric
from aws_lambda_powertools.utilities.typing import LambdaContext

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
    for name, result in results.items():
        with single_metric(
            name="PathProbeSuccess",
            unit=MetricUnit.Count,
            value=float(result.passed),
            namespace=NAMESPACE,
        ) as metric:
            metric.add_dimension("LinkId", link_id)
            metric.add_dimension("Path", name)
            if result.median_latency_ms is not None:
                metric.add_metric(
                    "PathProbeLatency", MetricUnit.Milliseconds, result.median_latency_ms
                )
        if not result.passed:
            Logger().warning(
                "path does not answer", extra={"path": name, "seen": result.describe()}
            )
    return {name: result.passed for name, result in results.items()}
