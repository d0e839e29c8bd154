"""What the canary measured of each path, read back from CloudWatch.

For charts and for people: alarms watch these metrics by themselves, and no decision is made from what is
read here. CloudWatch keeps minutes; a shorter period finds something only in the embedded cloud.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane.adapters.aws import AwsSession, calling

NAMESPACE = "Twinspan"
_QUERIES_A_CALL = 500
_STATISTICS = {
    "calls": ("PathProbeSuccess", "SampleCount"),
    "answered": ("PathProbeSuccess", "Sum"),
    "latency": ("PathProbeLatency", "Average"),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One period of one path: of `runs` of the canary, `passed` passed. Latency in milliseconds."""

    at: datetime
    runs: int
    passed: int
    latency_ms: float | None = None


class PathMetrics:
    """The canary's metrics of one account and region."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def since(
        self,
        link_id: str,
        paths: Iterable[str],
        begins_at: datetime,
        ends_at: datetime,
        period_seconds: int = 60,
    ) -> dict[str, tuple[Measured, ...]]:
        """Path → its periods, oldest first; a period in which the canary did not run is not there.

        Raises:
            AwsUnavailable, AwsRefused: CloudWatch did not answer.
        """
        names = list(paths)
        queries = [
            _query(f"{statistic}{number}", link_id, path, *metric, period_seconds)
            for number, path in enumerate(names)
            for statistic, metric in _STATISTICS.items()
        ]
        values: dict[str, dict[datetime, float]] = {query["Id"]: {} for query in queries}
        with calling("cloudwatch:GetMetricData"):
            pages = self._session.client("cloudwatch").get_paginator("get_metric_data")
            for start in range(0, len(queries), _QUERIES_A_CALL):
                for page in pages.paginate(
                    MetricDataQueries=queries[start : start + _QUERIES_A_CALL],
                    StartTime=begins_at,
                    EndTime=ends_at + timedelta(seconds=1),
                    ScanBy="TimestampAscending",
                ):
                    for result in page["MetricDataResults"]:
                        values[result["Id"]] |= dict(
                            zip(result["Timestamps"], result["Values"], strict=True)
                        )
        return {
            path: tuple(
                Measured(
                    at=at,
                    runs=round(runs),
                    passed=round(values[f"answered{number}"].get(at, 0.0)),
                    latency_ms=values[f"latency{number}"].get(at),
                )
                for at, runs in sorted(values[f"calls{number}"].items())
            )
            for number, path in enumerate(names)
        }


def _query(
    identifier: str, link_id: str, path: str, metric: str, statistic: str, period_seconds: int
) -> dict[str, Any]:
    dimensions = [{"Name": "LinkId", "Value": link_id}, {"Name": "Path", "Value": path}]
    return {
        "Id": identifier,
        "MetricStat": {
            "Metric": {"Namespace": NAMESPACE, "MetricName": metric, "Dimensions": dimensions},
            "Period": period_seconds,
            "Stat": statistic,
        },
    }
