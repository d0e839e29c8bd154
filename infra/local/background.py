"""The threads on which AWS's asynchronous parts run: deliveries, retries, periodic evaluation.

An exception in a task is a defect of the embedded cloud: it is logged and kept in `failures`, where
tests look. Threads are daemons, so that a killed process does not wait for them.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

Task = Callable[[], None]


@dataclass(frozen=True, slots=True)
class TaskFailure:
    """A task that raised: what it was called and the exception."""

    task: str
    error: Exception


class BackgroundTasks:
    """A fixed number of worker threads, with delayed and repeated tasks.

    `workers` bounds how many tasks run at once; more wait in a queue without bound.
    """

    def __init__(self, name: str, workers: int) -> None:
        self._name = name
        self._workers = workers
        self._queue: queue.SimpleQueue[tuple[str, Task] | None] = queue.SimpleQueue()
        self._delayed: list[tuple[float, int, str, Task]] = []
        self._sequence = itertools.count()
        self._condition = threading.Condition()
        self._unfinished = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        self.failures: list[TaskFailure] = []

    def start(self) -> None:
        targets: list[Callable[[], None]] = [self._run_delayed, *[self._work] * self._workers]
        for index, target in enumerate(targets):
            thread = threading.Thread(
                target=target, name=f"twinspan-{self._name}-{index}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def submit(self, description: str, task: Task) -> None:
        """Run `task` as soon as a thread is free; nothing runs once `stop` was called."""
        with self._condition:
            if self._stopping:
                return
            self._unfinished += 1
        self._queue.put((description, task))

    def after(self, real_seconds: float, description: str, task: Task) -> None:
        """Run `task` after `real_seconds`."""
        with self._condition:
            if self._stopping:
                return
            self._unfinished += 1
            due = time.monotonic() + max(0.0, real_seconds)
            heapq.heappush(self._delayed, (due, next(self._sequence), description, task))
            self._condition.notify_all()

    def every(self, real_seconds: float, description: str, task: Task) -> None:
        """Run `task` on a thread of its own, `real_seconds` from the end of one run to the next."""

        def repeat() -> None:
            while True:
                self._run(description, task)
                with self._condition:
                    if self._condition.wait_for(lambda: self._stopping, timeout=real_seconds):
                        return

        thread = threading.Thread(
            target=repeat, name=f"twinspan-{self._name}-{description}", daemon=True
        )
        thread.start()
        self._threads.append(thread)

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Wait until nothing is queued, running or delayed; False if that took too long."""
        with self._condition:
            return self._condition.wait_for(
                lambda: self._unfinished == 0 or self._stopping, timeout=timeout_seconds
            )

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Start nothing more, wait for what runs. Safe to call twice."""
        with self._condition:
            if self._stopping:
                return
            self._stopping = True
            self._delayed.clear()
            self._condition.notify_all()
        for _ in range(self._workers):
            self._queue.put(None)
        deadline = time.monotonic() + timeout_seconds
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if not self._stopping:
                self._run(*item)
            with self._condition:
                self._unfinished -= 1
                self._condition.notify_all()

    def _run_delayed(self) -> None:
        while True:
            with self._condition:
                while not self._stopping:
                    now = time.monotonic()
                    if self._delayed and self._delayed[0][0] <= now:
                        break
                    self._condition.wait(self._delayed[0][0] - now if self._delayed else None)
                if self._stopping:
                    return
                _, _, description, task = heapq.heappop(self._delayed)
            self._queue.put((description, task))

    def _run(self, description: str, task: Task) -> None:
        try:
            task()
        except Exception as error:  # the thread must live on; the failure is kept and shown
            if self._stopping:
                logger.info("%s ended by the shutdown: %s", description, error)
                return
            logger.exception("the embedded cloud failed in: %s", description)
            self.failures.append(TaskFailure(description, error))
