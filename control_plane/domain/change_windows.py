"""When planned changes may be made: weekly windows, all times in UTC.

A window bounds what can wait (going home to a preferred path); it never delays an escape. UTC alone,
because a table of time zones changes under a running system and a partition's operators are in several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from control_plane.domain.documents import Document

_TIME_OF_DAY = re.compile(r"(([01]\d|2[0-3]):[0-5]\d|24:00)")
DAYS_IN_WEEK = 7


def _time_of_day(value: str) -> str:
    if not _TIME_OF_DAY.fullmatch(value):
        raise ValueError("must be a time of day in UTC, such as 09:30")
    return value


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class Weekday(StrEnum):
    """Days as `datetime.weekday` counts them."""

    MONDAY = "mon"
    TUESDAY = "tue"
    WEDNESDAY = "wed"
    THURSDAY = "thu"
    FRIDAY = "fri"
    SATURDAY = "sat"
    SUNDAY = "sun"


_DAYS = tuple(Weekday)


class ChangeWindow(Document):
    """From `opens` to `closes` on each of `days`; one that closes before it opens ends on the next day."""

    days: tuple[Weekday, ...] = Field(default=_DAYS, min_length=1)
    opens: TimeOfDay
    closes: TimeOfDay

    @model_validator(mode="after")
    def _has_length(self) -> Self:
        if self.opens == self.closes or self.opens == "24:00":
            raise ValueError("opens and closes must differ (a whole day is 00:00 to 24:00)")
        return self

    def contains(self, now: datetime) -> bool:
        """Whether the window is open; one through midnight belongs to the day on which it opened."""
        return any(
            opens <= now < opens + self._length()
            for opens in (self._opening(now, days) for days in (-1, 0))
            if opens is not None
        )

    def next_opening(self, now: datetime) -> datetime:
        """The first opening after `now`."""
        openings = (self._opening(now, days) for days in range(DAYS_IN_WEEK + 1))
        return next(opens for opens in openings if opens is not None and opens > now)

    def _opening(self, now: datetime, days: int) -> datetime | None:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
        if _DAYS[midnight.weekday()] not in self.days:
            return None
        return midnight + _since_midnight(self.opens)

    def _length(self) -> timedelta:
        length = _since_midnight(self.closes) - _since_midnight(self.opens)
        return length if length > timedelta() else length + timedelta(days=1)


def next_opening(windows: Iterable[ChangeWindow], now: datetime) -> datetime | None:
    """When a change may be made: None for "now" (also when there are no windows), else the opening."""
    chosen = tuple(windows)
    if not chosen or any(window.contains(now) for window in chosen):
        return None
    return min(window.next_opening(now) for window in chosen)


def _since_midnight(time_of_day: str) -> timedelta:
    hours, minutes = time_of_day.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
