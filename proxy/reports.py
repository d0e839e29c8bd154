"""Telling the control plane that a path's breaker opened or closed, so that it looks within seconds.

A report decides nothing: it wakes a workflow that observes for itself. Reports leave off the request's path,
at most one per path and interval; of several within an interval the last is sent. One that cannot be sent
is logged and dropped, since the sweep finds the same truth a minute later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from typing import Any, Protocol

from proxy.circuit_breaker import BreakerState, Transition

logger = logging.getLogger(__name__)

SOURCE = "twinspan.proxy"
DETAIL_TYPE = "Twinspan Path Report"
INTERVAL_SECONDS = 5.0

Detail = dict[str, Any]


class ReportSender(Protocol):
    """Puts one event on the default bus. Called in a thread."""

    def send(self, detail: Detail) -> None:
        """Send.

        Raises:
            Exception: it was not sent.
        """


class PathReporter:
    """Sends breaker transitions of one link. Belongs to one event loop."""

    def __init__(
        self,
        sender: ReportSender,
        executor: Executor,
        link_id: str,
        reporter: str,
        clock: Callable[[], float],
    ) -> None:
        self._sender = sender
        self._executor = executor
        self._link_id = link_id
        self._reporter = reporter
        self._clock = clock
        self._sent_at: dict[str, float] = {}
        self._sent_state: dict[str, str] = {}
        self._pending: dict[str, Detail] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self.sent = 0
        self.failed = 0

    def note(self, path: str, transition: Transition, generation: int) -> None:
        """A breaker opened or closed."""
        self._pending[path] = {
            "schema_version": 1,
            "link_id": self._link_id,
            "path": path,
            "state": "open" if transition.state is BreakerState.OPEN else "closed",
            "reason": transition.reason,
            "generation": generation,
            "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "reporter": self._reporter,
        }
        self.send_due()

    def send_due(self) -> None:
        """Send what is pending and whose interval is over; also for housekeeping."""
        now = self._clock()
        due = [
            path
            for path in self._pending
            if now - self._sent_at.get(path, float("-inf")) >= INTERVAL_SECONDS
        ]
        for path in due:
            detail = self._pending.pop(path)
            if self._sent_state.get(path) == detail["state"]:
                continue
            self._sent_at[path] = now
            self._sent_state[path] = detail["state"]
            task = asyncio.get_running_loop().create_task(self._send(detail))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def flush(self, timeout_seconds: float) -> None:
        """Wait for reports under way, for a bounded time."""
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout_seconds)

    async def _send(self, detail: Detail) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, self._sender.send, detail)
        except Exception as error:  # noqa: BLE001 -- whatever the client raises: the sweep makes it good
            self.failed += 1
            self._sent_state.pop(detail["path"], None)
            logger.warning("path report not sent", extra={"error": type(error).__name__})
        else:
            self.sent += 1
