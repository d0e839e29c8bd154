"""AWS's own timers, run faster by one documented factor.

Alarm periods, schedules, the retry delays of EventBridge and of asynchronous Lambda invocations, and the
time for which API Gateway remembers an authorizer's answer are minutes long in AWS. `CloudClock` shrinks those, and only those. It does not touch time itself:
timestamps of events, metrics and logs are real, and so are function timeouts, ASL `Wait` and `Retry`
and every timer of Twinspan's own policy.

One consequence: a metric queried with `Period=60` aggregates sixty real seconds, while an alarm with
a period of 60 looks at one shrunken minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

REAL_SECONDS_PER_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class CloudClock:
    """How long AWS's minute takes here.

    `seconds_per_minute`: real seconds per AWS minute, 60.0 being real time.
    `origin`: the moment at which AWS's wall clock (used by `cron` schedules) equals the real one.
    """

    seconds_per_minute: float = REAL_SECONDS_PER_MINUTE
    origin: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if not 0.01 <= self.seconds_per_minute <= REAL_SECONDS_PER_MINUTE:
            raise ValueError(
                f"seconds_per_minute must be between 0.01 and 60, not {self.seconds_per_minute}"
            )
        if self.origin.tzinfo is None:
            raise ValueError("origin must be timezone-aware")

    def real_seconds(self, aws_seconds: float) -> float:
        """Real seconds that an AWS timer of `aws_seconds` takes."""
        return aws_seconds * self.seconds_per_minute / REAL_SECONDS_PER_MINUTE

    def aws_seconds(self, real_seconds: float) -> float:
        """AWS seconds that pass in `real_seconds`."""
        return real_seconds * REAL_SECONDS_PER_MINUTE / self.seconds_per_minute

    def wall_time(self, now: datetime) -> datetime:
        """AWS's wall clock at the real moment `now`: runs from `origin` at the clock's factor."""
        return self.origin + timedelta(
            seconds=self.aws_seconds((now - self.origin).total_seconds())
        )

    def real_time(self, wall_time: datetime) -> datetime:
        """The real moment at which AWS's wall clock shows `wall_time`; inverse of `wall_time()`."""
        return self.origin + timedelta(
            seconds=self.real_seconds((wall_time - self.origin).total_seconds())
        )
