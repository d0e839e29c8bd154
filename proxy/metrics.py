"""Numbers about requests: Prometheus text for scrapers, CloudWatch's embedded format for logs.

Counters live in memory and cost a request a few dictionary updates. The embedded format (namespace
`CrossPartition`) is printed per Lambda invocation or per interval; of the latencies of one interval it
carries at most `SAMPLES` per path, its counts are exact. Labels hold names of paths, operations and
statuses only, never anything a caller chose.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from proxy.audit_rows import RequestRecord

NAMESPACE = "CrossPartition"
SAMPLES = 1000
VALUES_PER_DOCUMENT = 100
"""The embedded format's limit for one metric's array."""
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]


@dataclass(slots=True)
class _Interval:
    """What one path did since the last emission."""

    requests: int = 0
    errors: int = 0
    failovers: int = 0
    resent: int = 0
    request_bytes: int = 0
    response_bytes: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    routing_method: str = "none"


class Metrics:
    """Counts of one process. Belongs to one event loop."""

    def __init__(self, link_id: str) -> None:
        self._link_id = link_id
        self._requests: defaultdict[tuple[str, int, str], int] = defaultdict(int)
        self._bytes: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._tokens: defaultdict[str, int] = defaultdict(int)
        self._buckets: defaultdict[str, list[int]] = defaultdict(
            lambda: [0] * (len(BUCKETS_SECONDS) + 1)
        )
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._intervals: defaultdict[str, _Interval] = defaultdict(_Interval)

    def observe(self, record: RequestRecord) -> None:
        """Count a finished request."""
        path = record.path
        self._requests[(record.operation, record.status, path)] += 1
        self._bytes[(path, "request")] += record.request_bytes
        self._bytes[(path, "response")] += record.response_bytes
        self._buckets[path][bisect_left(BUCKETS_SECONDS, record.total_seconds)] += 1
        self._seconds[path] += record.total_seconds
        interval = self._intervals[path]
        interval.requests += 1
        interval.routing_method = record.routing_method
        interval.errors += not record.success
        if len(record.attempts) > 1 and not record.hedged:
            interval.failovers += len({name for name, _ in record.attempts}) > 1
        interval.resent += record.resent
        interval.request_bytes += record.request_bytes
        interval.response_bytes += record.response_bytes
        if record.input_tokens:
            self._tokens["input"] += record.input_tokens
            interval.input_tokens += record.input_tokens
        if record.output_tokens:
            self._tokens["output"] += record.output_tokens
            interval.output_tokens += record.output_tokens
        if len(interval.latencies_ms) < SAMPLES:
            interval.latencies_ms.append(round(record.total_seconds * 1000, 3))

    def prometheus(self, more: Iterable[Sample]) -> str:
        """The text exposition; `more` are samples that other parts of the proxy hold."""
        lines: list[str] = []
        link = ("link", self._link_id)
        families: dict[str, list[str]] = {}
        for name, labels, value in (*self._samples(), *more):
            text = ",".join(f'{key}="{item}"' for key, item in (link, *labels))
            number = f"{value:g}" if value != int(value) else str(int(value))
            families.setdefault(name, []).append(f"{name}{{{text}}} {number}")
        for name, samples in families.items():
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += samples
        lines += self._histogram(link)
        return "\n".join(lines) + "\n"

    def embedded(self, timestamp_ms: int) -> list[str]:
        """Documents in CloudWatch's embedded metric format of all that happened since the last call."""
        intervals, self._intervals = self._intervals, defaultdict(_Interval)
        documents: list[str] = []
        for path, interval in intervals.items():
            counts: dict[str, tuple[str, float | list[float]]] = {
                "RequestCount": ("Count", interval.requests),
                "ErrorCount": ("Count", interval.errors),
                "FailoverCount": ("Count", interval.failovers),
                "ResentCount": ("Count", interval.resent),
                "RequestBytes": ("Bytes", interval.request_bytes),
                "ResponseBytes": ("Bytes", interval.response_bytes),
                "InputTokens": ("Count", interval.input_tokens),
                "OutputTokens": ("Count", interval.output_tokens),
            }
            values = interval.latencies_ms
            counts["RequestLatency"] = ("Milliseconds", values[:VALUES_PER_DOCUMENT])
            documents.append(self._document(timestamp_ms, path, interval.routing_method, counts))
            for start in range(VALUES_PER_DOCUMENT, len(values), VALUES_PER_DOCUMENT):
                part = values[start : start + VALUES_PER_DOCUMENT]
                more: dict[str, tuple[str, float | list[float]]] = {
                    "RequestLatency": ("Milliseconds", part)
                }
                documents.append(self._document(timestamp_ms, path, interval.routing_method, more))
        return documents

    def _document(
        self,
        timestamp_ms: int,
        path: str,
        routing_method: str,
        values: dict[str, tuple[str, float | list[float]]],
    ) -> str:
        document: dict[str, Any] = {
            "_aws": {
                "Timestamp": timestamp_ms,
                "CloudWatchMetrics": [
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["LinkId"], ["LinkId", "RoutingMethod", "TunnelUsed"]],
                        "Metrics": [{"Name": n, "Unit": unit} for n, (unit, _) in values.items()],
                    }
                ],
            },
            "LinkId": self._link_id,
            "RoutingMethod": routing_method,
            "TunnelUsed": path,
        }
        document |= {name: value for name, (_, value) in values.items()}
        return json.dumps(document, separators=(",", ":"))

    def _samples(self) -> Iterator[Sample]:
        for (operation, status, path), count in self._requests.items():
            asked = (("operation", operation), ("status", str(status)), ("path", path))
            yield "twinspan_proxy_requests_total", asked, count
        for (path, direction), size in self._bytes.items():
            labels = (("path", path), ("direction", direction))
            yield "twinspan_proxy_bytes_total", labels, size
        for direction, tokens in self._tokens.items():
            yield "twinspan_proxy_tokens_total", (("direction", direction),), tokens

    def _histogram(self, link: tuple[str, str]) -> Iterator[str]:
        name = "twinspan_proxy_request_seconds"
        yield f"# TYPE {name} histogram"
        for path, counts in self._buckets.items():
            labels = f'{link[0]}="{link[1]}",path="{path}"'
            total = 0
            for bound, count in zip((*BUCKETS_SECONDS, "+Inf"), counts, strict=True):
                total += count
                yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
            yield f"{name}_sum{{{labels}}} {self._seconds[path]:.6f}"
            yield f"{name}_count{{{labels}}} {total}"
