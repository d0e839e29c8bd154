"""Which datapoints belong to a metric.

In CloudWatch a metric is its namespace, its name and exactly its dimensions. moto's readers take a datapoint
with more dimensions, or of another namespace, as the same metric, and return wrong values without an error.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
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
