"""Audit rows of requests that an edge turned away before they were carried: no key, too large, too slow.

A caller who is known has a row for each, as for any request. Strangers cost nothing to be, so that theirs are bounded:
`STRANGERS_PER_SECOND` rows for each worker, with as many saved up at most, and the rest are counted. A flood of them can
neither fill the table nor push other callers' rows out of the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.audit import AuditLog
from proxy.audit_rows import RequestRecord
from proxy.metrics import Sample

STRANGERS_PER_SECOND = 5.0
OPERATION = "turned-away"


class RefusalRows:
    """Belongs to one event loop."""

    def __init__(self, audit: AuditLog, clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock
        self._rows_left = STRANGERS_PER_SECOND
        self._counted_at = clock()
        self._by_status: dict[int, int] = {}
        self.without_row = 0

    def count(self, status: int) -> None:
        """One more answer of an edge's own."""
        self._by_status[status] = self._by_status.get(status, 0) + 1

    def samples(self) -> list[Sample]:
        """For the metrics: all of them by status, and those that have no row."""
        name = "twinspan_proxy_edge_refusals"
        found: list[Sample] = [
            (f"{name}_total", (("status", str(status)),), float(count))
            for status, count in self._by_status.items()
        ]
        return [*found, (f"{name}_without_row_total", (), float(self.without_row))]

    def add(
        self, request_id: str, source_ip: str, caller: str | None, status: int, error: str
    ) -> None:
        """Record a refusal, or count it; `caller` is None for a stranger."""
        now = self._clock()
        if caller is None and not self._may_record_a_stranger(now):
            self.without_row += 1
            return
        record = RequestRecord(
            request_id=request_id,
            operation=OPERATION,
            source_ip=source_ip,
            caller=caller or "anonymous",
            began_at=time.time(),
            began=now,
            data_class="",
            status=status,
            error=error,
        )
        self._audit.add(record)

    def _may_record_a_stranger(self, now: float) -> bool:
        earned = (now - self._counted_at) * STRANGERS_PER_SECOND
        self._rows_left = min(STRANGERS_PER_SECOND, self._rows_left + earned)
        self._counted_at = now
        if self._rows_left < 1.0:
            return False
        self._rows_left -= 1.0
        return True
