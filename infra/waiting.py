"""Waiting for the world: one clock to wait by, so that half an hour can pass in a test at once.

Not guaranteed: a wait ends at the first look after its deadline, so it may be over by one look.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Where seconds come from: `monotonic` tells them, `sleep` lets them pass."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


REAL = Clock()


class TimedOut(Exception):
    """What was waited for did not come; `missing` tells what lacked at the last look."""

    def __init__(self, seconds: float, missing: str) -> None:
        self.seconds, self.missing = seconds, missing
        super().__init__(f"after {seconds:.0f} s: {missing}")


def until(
    look: Callable[[], str | None],
    seconds: float,
    poll_seconds: float,
    clock: Clock = REAL,
    on_wait: Callable[[str], None] = lambda missing: None,
) -> None:
    """Look until `look` finds nothing missing. `on_wait` is told what is missing whenever that changes.

    Raises:
        TimedOut: `seconds` went by.
    """
    deadline = clock.monotonic() + seconds
    told = None
    while missing := look():
        if clock.monotonic() >= deadline:
            raise TimedOut(seconds, missing)
        if missing != told:
            on_wait(missing)
            told = missing
        clock.sleep(poll_seconds)
