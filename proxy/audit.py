"""One row per inference request, written to DynamoDB beside the requests, never before an answer.

Rows are queued in memory, bounded, and written in batches, a few at a time. They wait there as the JSON that is sent,
made right after the answer has left (`audit_rows`): kept as objects they cost the collector and the caches more than all
else. A full queue drops the *new* row and counts it; a crash loses what is queued, at most a second's worth in quiet times. So the audit is complete
whenever `twinspan_proxy_audit_dropped_total` is zero and the process ended in order, and says so otherwise.
No row holds anything of a prompt or a completion.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from proxy.audit_rows import Key, RequestRecord, Row, encoded, encoded_again

logger = logging.getLogger(__name__)

BATCH_ROWS = 25
"""BatchWriteItem's limit."""
BATCHES_AT_ONCE = 4
QUEUE_ROWS = 20_000


class RowWriter(Protocol):
    """Writes at most `BATCH_ROWS` rows."""

    async def write(self, rows: list[bytes]) -> list[Row]:
        """Write rows, each in JSON; returns those that the table did not take this time.

        Raises:
            Exception: none was written; they are kept and tried again.
        """

    def close(self) -> None:
        """Let go of what is kept between batches."""


class AuditLog:
    """The queue and its writer. Belongs to one event loop."""

    def __init__(
        self,
        writer: RowWriter,
        clock: Callable[[], float],
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._writer = writer
        self._clock = clock
        # Asking for the running loop is a system call, in Python 3.11.
        self._loop = asyncio.get_running_loop()
        self._fresh: list[RequestRecord] = []
        self._queue: deque[tuple[Key, bytes]] = deque()
        self._queue_rows = queue_rows
        self._writing: asyncio.Task[bool] | None = None
        self._pause_until = float("-inf")
        self._pause_seconds = 0.0
        self.dropped = 0
        self.written = 0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._queue) + len(self._fresh)

    def add(self, record: RequestRecord) -> None:
        """Queue a row; a full queue drops it and counts it. The record must not change any more."""
        if len(self) >= self._queue_rows:
            self.dropped += 1
            return
        if not self._fresh:
            self._loop.call_soon(self._encode)
        self._fresh.append(record)

    def write_if_due(self) -> None:
        """For housekeeping: write in the background what is queued."""
        if len(self) and self._writing is None and self._clock() >= self._pause_until:
            self._start()

    async def flush(self, timeout_seconds: float) -> None:
        """Write what is queued now, for a bounded time; what remains stays queued."""
        end = self._clock() + timeout_seconds
        while (len(self) or self._writing) and (left := end - self._clock()) > 0:
            if self._writing is None:
                self._start()
            assert self._writing is not None
            done, _ = await asyncio.wait([self._writing], timeout=left)
            if not done or not next(iter(done)).result():
                return

    def close(self) -> None:
        """Write no more."""
        if self._writing is not None:
            self._writing.cancel()
        self._writer.close()

    def _start(self) -> None:
        self._writing = self._loop.create_task(self._write())
        self._writing.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[bool]) -> None:
        self._writing = None

    async def _write(self) -> bool:
        """Write batches until the queue is empty; False when the table would not take them."""
        while len(self):
            ends = await asyncio.gather(
                *(self._write_batch(rows) for rows in self._batches(BATCHES_AT_ONCE))
            )
            if why := next((end for end in ends if end is not None), None):
                self._back_off(why)
                return False
        self._pause_seconds = 0.0
        return True

    def _encode(self) -> None:
        self._queue.extend(map(encoded, self._fresh))
        self._fresh.clear()
        if len(self._queue) >= BATCH_ROWS * BATCHES_AT_ONCE:
            # Rows that leave soon are written over by the next ones, in memory that is still at hand.
            self.write_if_due()

    def _batches(self, most: int) -> list[dict[Key, bytes]]:
        """Up to so many batches, taken from the queue; of two rows with one key, which no batch may hold, the later."""
        self._encode()
        queue = self._queue
        sizes = [BATCH_ROWS] * min(most, -(-len(queue) // BATCH_ROWS))
        return [dict(queue.popleft() for _ in range(min(size, len(queue)))) for size in sizes]

    async def _write_batch(self, rows: dict[Key, bytes]) -> str | None:
        """Why not all of them are written, if so; what is not written is back in the queue."""
        try:
            left = await self._writer.write(list(rows.values()))
        except Exception as error:  # noqa: BLE001 -- whatever the writer raises, the rows are kept
            self._queue.extendleft(reversed(rows.items()))
            return type(error).__name__
        self.written += len(rows) - len(left)
        self._queue.extendleft(map(encoded_again, reversed(left)))
        return "unprocessed" if left else None

    def _back_off(self, why: str) -> None:
        self.failures += 1
        self._pause_seconds = min(30.0, max(0.5, self._pause_seconds * 2))
        self._pause_until = self._clock() + self._pause_seconds
        logger.warning("audit rows not written", extra={"error": why, "queued": len(self._queue)})
