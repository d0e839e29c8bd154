"""The canary: probes every path of the link once a minute and publishes what it saw as metrics.

It decides nothing. Its metrics feed alarms, which wake the workflow, which looks for itself. A path that
could not be probed at all gives no datapoint, and its alarm treats that as breaching. An alarm rings after
two failing minutes; for the path that traffic is on that is long, so of a failing *active* path the
canary tells the workflow at once. A failing standby is left to its alarm.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from control_plane.domain.observation import ProbeResult
from control_plane.domain.signals import CANARY_DETAIL_TYPE, CANARY_SOURCE
from control_plane.errors import InvalidPublishedConfig
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
    if (active := active_path(control, link_id)) in results:
        tell(control, link_id, results[active])
    return {name: result.passed for name, result in results.items()}


def active_path(control: Control, link_id: str) -> str:
    """The path that proxies follow; empty while nothing usable is published."""
    try:
        config = control.documents.routing_config(link_id)
    except InvalidPublishedConfig as error:
        Logger().warning("what is published is no routing config", extra={"why": str(error)})
        return ""
    return config.active_path if config else ""


def tell(control: Control, link_id: str, result: ProbeResult) -> None:
    """Tell the workflow of a probe that failed.

    Raises:
        AwsUnavailable, AwsRefused: the event bus did not take it.
    """
    if result.passed:
        return
    detail = {
        "schema_version": 1,
        "link_id": link_id,
        "path": result.path,
        "passed": False,
        "seen": result.describe(),
    }
    control.events.tell(CANARY_SOURCE, CANARY_DETAIL_TYPE, detail, control.now())


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
