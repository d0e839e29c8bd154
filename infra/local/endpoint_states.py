"""Endpoints that fail show it in `DescribeVpcEndpoints`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from moto.ec2.models import EC2Backend

from infra.local.ec2_facts_endpoints import AVAILABLE, PARTIAL, set_endpoint_state
from infra.local.faults import FaultKind, Faults

_FAILED = "failed"
_DELETED = "deleted"


class EndpointPath(Protocol):
    """What is asked of a path."""

    @property
    def vpc_endpoint_id(self) -> str | None: ...
    @property
    def endpoint_name(self) -> str: ...


class EndpointStates:
    """Puts a refusing endpoint into state failed, or partial while it still answers in another zone."""

    def __init__(self, commercial: Callable[[], EC2Backend]) -> None:
        self._commercial = commercial
        self._set: dict[str, str] = {}

    def match(self, paths: Iterable[EndpointPath], faults: Faults) -> None:
        """Make the states what the faults say."""
        by_endpoint: dict[str, list[bool]] = {}
        for path in paths:
            if path.vpc_endpoint_id is not None:
                fault = faults.of_endpoint(path.endpoint_name)
                by_endpoint.setdefault(path.vpc_endpoint_id, []).append(
                    fault is not None and fault.kind is FaultKind.REFUSE
                )
        for endpoint_id, refusing in by_endpoint.items():
            state = _FAILED if all(refusing) else PARTIAL if any(refusing) else AVAILABLE
            # Only our own faults are undone: a state that somebody else set stays.
            if self._set.get(endpoint_id, AVAILABLE) == state:
                continue
            self._set[endpoint_id] = state
            endpoint = self._commercial().vpc_end_points.get(endpoint_id)
            if endpoint is not None and endpoint.state != _DELETED:
                broken = state != AVAILABLE
                set_endpoint_state(
                    endpoint,
                    state,
                    code="InternalError" if broken else None,
                    message="An endpoint network interface is not working" if broken else None,
                )
