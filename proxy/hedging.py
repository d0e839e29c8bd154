"""A second copy of a call that hears nothing, over another path: the first answer wins.

Off unless asked for: it trades inference that may be paid for twice against the slowest answers. A call is hedged at
most once, only where it might be sent again anyway (see `carrier`), and only over a path whose breaker is closed. What
is an answer is any but a 503, by which an upstream says that it did not take the request up. The copy that loses is
given up, its connection with it, and its path's breaker is told nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.errors import AttemptFailed, BrokenAnswer, NotSent, Unanswered

if TYPE_CHECKING:
    from proxy.carrier import Call, Carried

LOST = "hedge_lost"
_GRAVITY = (BrokenAnswer, Unanswered, NotSent)
"""Of two failures the one that says more of what the upstreams may have done."""


@dataclass(slots=True)
class Copy:
    """One copy of a call, on its way over one path."""

    path: str
    call: Call
    task: asyncio.Task[Carried]

    @property
    def answered(self) -> bool:
        """Whether it has come to an answer that is worth passing on."""
        task = self.task
        if not task.done() or task.cancelled() or task.exception() is not None:
            return False
        return task.result().exchange.status != 503

    @property
    def outcome(self) -> str:
        """In one word, for the reasons that a 503 of ours gives."""
        error = self.task.exception()
        if error is None:
            return "upstream_503"
        return error.reason if isinstance(error, AttemptFailed) else "deadline"


@dataclass(slots=True)
class Race:
    """How it ended: `winner` is None when no copy brought an answer, `second` when there was no second copy."""

    first: Copy
    second: Copy | None = None
    winner: Copy | None = None

    def failure(self) -> BaseException | None:
        """Of a race without a winner, what the first copy's failure is to be treated as; None if it was a 503."""
        found = self.first.task.exception()
        if self.second is None or found is None:
            return found
        other = self.second.task.exception()
        for kind in _GRAVITY:
            for error in (found, other):
                if isinstance(error, kind):
                    return error
        return found


async def race(first: Copy, after_seconds: float, another: Callable[[], Copy | None]) -> Race:
    """Wait for the first copy; once it has been silent for so long, for it and `another`, if there is one.

    Whatever this ends by, no copy is left running. A copy's own failure is left in its task.
    """
    outcome = Race(first)
    copies = [first]
    try:
        if await _is_silent(first, after_seconds) and (second := another()) is not None:
            outcome.second = second
            copies.append(second)
        running = {copy.task for copy in copies}
        while running and outcome.winner is None:
            _, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            outcome.winner = next((copy for copy in copies if copy.answered), None)
    except BaseException:
        await _give_up(copies)
        raise
    if outcome.winner is not None:
        await _give_up([copy for copy in copies if copy is not outcome.winner])
    return outcome


async def _is_silent(copy: Copy, after_seconds: float) -> bool:
    """True once the copy was written and not a byte has come for so long; False when it ended or was answered."""
    clock = asyncio.get_running_loop().time
    left = after_seconds
    while True:
        await asyncio.wait([copy.task], timeout=left)
        if copy.task.done():
            return False
        exchange, left = copy.call.exchange, after_seconds
        if exchange is None:
            continue  # still connecting, which has a time limit of its own
        if exchange.first_byte_at is not None:
            return False
        left = exchange.written_at + after_seconds - clock()
        if left <= 0:
            return True


async def _give_up(copies: list[Copy]) -> None:
    """End these copies, and close the connections of those whose answers have begun."""
    for copy in copies:
        copy.task.cancel()
    ends = await asyncio.gather(*(copy.task for copy in copies), return_exceptions=True)
    for end in ends:
        if not isinstance(end, BaseException):
            end.exchange.give_up()
