"""When to stop sending over a path, and when to try it again.

A breaker knows one path's recent outcomes and nothing of clocks, sockets or other paths: `now` (seconds on
any monotonic clock) is passed in. It advises; it cannot forbid. With every path of a request ejected, the
caller tries them all the same (see `selection`), so an open breaker never turns a working path away for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """CLOSED: in use. OPEN: ejected. HALF_OPEN: a few calls decide."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Limits. Rates are shares of the calls in the window, of which there must be `minimum_calls`."""

    consecutive_failures: int = 3
    window_seconds: int = 10
    minimum_calls: int = 20
    failure_rate: float = 0.5
    slow_call_rate: float = 0.8
    ejection_seconds: float = 2.0
    ejection_maximum_seconds: float = 60.0
    forget_seconds: float = 60.0
    """Closed for this long, a breaker forgets earlier ejections."""
    trials: int = 1
    """Calls admitted at a time while half open."""
    successes_to_close: int = 2


@dataclass(frozen=True, slots=True)
class Transition:
    """The breaker opened or closed."""

    state: BreakerState
    reason: str


class CircuitBreaker:
    """One path's breaker. Not thread-safe; one event loop owns it."""

    __slots__ = (
        "_buckets",
        "_closed_at",
        "_consecutive",
        "_ejections",
        "_open_until",
        "_policy",
        "_proven",
        "_trials",
        "reason",
        "state",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self.state = BreakerState.CLOSED
        self.reason = ""
        self._consecutive = 0
        self._ejections = 0
        self._open_until = 0.0
        self._closed_at = float("-inf")
        self._trials = 0
        self._proven = 0
        # second → [calls, failures, slow calls]; at most window_seconds + 1 entries
        self._buckets: dict[int, list[int]] = {}

    def admits(self) -> bool:
        """Whether a call may be sent as an ordinary matter."""
        if self.state is BreakerState.CLOSED:
            return True
        return self.state is BreakerState.HALF_OPEN and self._trials < self._policy.trials

    def wants_probe(self, now: float) -> bool:
        """Whether the ejection is over, so that a probe may decide about trials."""
        return self.state is BreakerState.OPEN and now >= self._open_until

    def begin(self) -> None:
        """A call is being sent; while half open it takes a trial's place."""
        if self.state is BreakerState.HALF_OPEN:
            self._trials += 1

    def succeeded(self, now: float, *, slow: bool = False) -> Transition | None:
        """A call was answered."""
        self._consecutive = 0
        if self.state is BreakerState.CLOSED:
            self._count(now, failed=False, slow=slow)
            if slow and self._rate(now, 2) >= self._policy.slow_call_rate:
                return self._open(now, "slow_calls")
            return None
        self._trials = max(0, self._trials - 1)
        self._proven += 1
        # A success while open is of a call sent for want of any other path: it proves as much as a trial.
        if self._proven >= self._policy.successes_to_close:
            return self._close(now)
        self.state = BreakerState.HALF_OPEN
        return None

    def failed(self, now: float, reason: str) -> Transition | None:
        """A call failed for the path's sake."""
        if self.state is BreakerState.OPEN:
            self._proven = 0
            return None
        if self.state is BreakerState.HALF_OPEN:
            return self._open(now, reason)
        self._consecutive += 1
        self._count(now, failed=True, slow=False)
        if self._consecutive >= self._policy.consecutive_failures:
            return self._open(now, reason)
        if self._rate(now, 1) >= self._policy.failure_rate:
            return self._open(now, "failure_rate")
        return None

    def cancelled(self) -> None:
        """A call ended without telling anything about the path."""
        if self.state is BreakerState.HALF_OPEN:
            self._trials = max(0, self._trials - 1)

    def trip(self, now: float, reason: str) -> Transition | None:
        """The path is known to be dead: open at once."""
        return None if self.state is BreakerState.OPEN else self._open(now, reason)

    def probed(self, now: float, answered: bool) -> None:
        """A probe after the ejection: trials, or a longer ejection."""
        if self.state is not BreakerState.OPEN:
            return
        if answered:
            self.permit_trials()
        else:
            self._eject(now)

    def permit_trials(self) -> None:
        """Let calls decide at once: someone else has proved the path."""
        if self.state is BreakerState.OPEN:
            self.state = BreakerState.HALF_OPEN
            self._trials = 0
            self._proven = 0

    def _open(self, now: float, reason: str) -> Transition | None:
        already_reported = self.state is BreakerState.HALF_OPEN
        if (
            self.state is BreakerState.CLOSED
            and now - self._closed_at > self._policy.forget_seconds
        ):
            self._ejections = 0
        self.state = BreakerState.OPEN
        self.reason = reason
        self._eject(now)
        return None if already_reported else Transition(BreakerState.OPEN, reason)

    def _eject(self, now: float) -> None:
        longest = self._policy.ejection_maximum_seconds
        doubled = self._policy.ejection_seconds * 2.0 ** min(self._ejections, 30)
        self._open_until = now + min(longest, doubled)
        self._ejections += 1
        self._proven = 0
        self._trials = 0

    def _close(self, now: float) -> Transition:
        reason, self.reason = self.reason, ""
        self.state = BreakerState.CLOSED
        self._closed_at = now
        self._consecutive = self._trials = self._proven = 0
        self._buckets.clear()
        return Transition(BreakerState.CLOSED, reason)

    def _count(self, now: float, *, failed: bool, slow: bool) -> None:
        second = int(now)
        bucket = self._buckets.get(second)
        if bucket is None:
            oldest = second - self._policy.window_seconds
            for old in [key for key in self._buckets if key <= oldest]:
                del self._buckets[old]
            bucket = self._buckets[second] = [0, 0, 0]
        bucket[0] += 1
        bucket[1] += failed
        bucket[2] += slow

    def _rate(self, now: float, index: int) -> float:
        oldest = int(now) - self._policy.window_seconds
        live = [bucket for second, bucket in self._buckets.items() if second > oldest]
        calls = sum(bucket[0] for bucket in live)
        return (
            sum(bucket[index] for bucket in live) / calls
            if calls >= self._policy.minimum_calls
            else 0.0
        )
