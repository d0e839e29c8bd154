"""Which datapoints belong to a metric.

In CloudWatch a metric is its namespace, its name and exactly its dimensions. moto's readers take a datapoint
with more dimensions, or of another namespace, as the same metric, and return wrong values without an error.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, MetricDatumBase

from infra.local.errors import NotEmulated

Dimensions = tuple[tuple[str, str], ...]


def dimensions_of(dimensions: Iterable[Any]) -> Dimensions:
    """moto's dimension objects in a form and order that can be compared."""
    return tuple(sorted((str(d.name), str(d.value)) for d in dimensions))


def is_of(datum: MetricDatumBase, namespace: str, name: str, dimensions: Dimensions) -> bool:
    """Whether a datapoint belongs to a metric."""
    return (
        datum.name == name
        and datum.namespace == namespace
        and dimensions_of(datum.dimensions) == dimensions
    )


class MetricIndex:
    """The datapoints of each metric, found without reading through all of a backend's.

    Follows moto's list of datapoints, which only grows; one index serves all backends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._indexed: weakref.WeakKeyDictionary[CloudWatchBackend, _Indexed] = (
            weakref.WeakKeyDictionary()
        )

    def datapoints(
        self, backend: CloudWatchBackend, namespace: str, name: str, dimensions: Dimensions
    ) -> list[MetricDatumBase]:
        """All datapoints of a metric, in the order in which they came."""
        with self._lock:
            indexed = self._indexed.setdefault(backend, _Indexed())
            data = backend.metric_data
            for datum in data[indexed.seen :]:
                key = (datum.namespace, datum.name, dimensions_of(datum.dimensions))
                indexed.by_metric.setdefault(key, []).append(datum)
                indexed.seen += 1
            return list(indexed.by_metric.get((namespace, name, dimensions), ()))


@dataclass(slots=True)
class _Indexed:
    seen: int = 0
    by_metric: dict[tuple[str, str, Dimensions], list[MetricDatumBase]] = field(
        default_factory=dict
    )


def only(
    backend: CloudWatchBackend, namespace: str, name: str, dimensions: Sequence[Mapping[str, str]]
) -> CloudWatchBackend:
    """A view of a backend that knows the datapoints of one metric only, for moto's own readers."""
    wanted = tuple(sorted((d["Name"], d["Value"]) for d in dimensions))
    view = copy.copy(backend)
    view.metric_data = [d for d in list(backend.metric_data) if is_of(d, namespace, name, wanted)]
    return view


def refuse_expressions(queries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse GetMetricData queries with expressions, which moto answers with something else."""
    for query in queries:
        if "Expression" in query:
            raise NotEmulated(f"metric expressions ({query['Expression']!r})")
