"""CloudWatch embedded metric format: metrics inside log lines.

CloudWatch turns a JSON log line with an `_aws` member into metric data. Source: CloudWatch user guide,
"Specification: Embedded metric format". A line that is no valid EMF is an ordinary log line, as in AWS.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The values of one metric in one set of dimensions, as PutMetricData takes them."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    values: tuple[float, ...]
    unit: str
    timestamp: datetime


def parse_line(line: str) -> list[MetricSample]:
    """The samples in a log line; none if it is no EMF line."""
    if '"_aws"' not in line:
        return []
    try:
        document = json.loads(line)
    except ValueError:
        return []
    if not isinstance(document, dict) or not isinstance(document.get("_aws"), dict):
        return []
    return list(_samples(document))


def _samples(document: Mapping[str, Any]) -> Iterator[MetricSample]:
    metadata = document["_aws"]
    milliseconds = metadata.get("Timestamp")
    timestamp = (
        datetime.fromtimestamp(milliseconds / 1000, UTC)
        if isinstance(milliseconds, int | float)
        else datetime.now(UTC)
    )
    for directive in metadata.get("CloudWatchMetrics", []):
        for names in directive.get("Dimensions") or [[]]:
            if any(name not in document for name in names):
                continue
            dimensions = tuple((name, str(document[name])) for name in names)
            for metric in directive.get("Metrics", []):
                values = _values(document.get(metric["Name"]))
                if values:
                    yield MetricSample(
                        namespace=directive["Namespace"],
                        name=metric["Name"],
                        dimensions=dimensions,
                        values=values,
                        unit=metric.get("Unit", "None"),
                        timestamp=timestamp,
                    )


def _values(value: Any) -> tuple[float, ...]:
    members = value if isinstance(value, list) else [value]
    if not all(isinstance(m, int | float) and not isinstance(m, bool) for m in members):
        return ()
    return tuple(float(member) for member in members)
