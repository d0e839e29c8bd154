"""`rate(…)` and `cron(…)` rules, fired by the `CloudClock`.

A rate rule first fires one interval after it was put or enabled. A cron rule fires by AWS's wall clock, which
the `CloudClock` runs faster than the real one. A firing that was missed (a stalled process) is skipped, as
EventBridge does not catch up either. Source: EventBridge user guide, "Schedule expressions".

Not covered: `L`, `W` and `#` in cron expressions (refused), EventBridge Scheduler.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from moto.events.models import Rule, events_backends

from infra.local.clock import CloudClock
from infra.local.events import EventRouter, new_event
from infra.local.moto_state import every_backend

_RATE = re.compile(r"rate\((\d+) (minute|minutes|hour|hours|day|days)\)")
_CRON = re.compile(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)")
_UNIT_SECONDS = {"minute": 60, "hour": 3600, "day": 86_400}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_LONGEST_SEARCH = timedelta(days=366 * 4 + 1)


class InvalidSchedule(ValueError):
    """A schedule expression that EventBridge refuses, or that cannot be emulated."""

    def __init__(self, expression: str, reason: str) -> None:
        self.expression = expression
        super().__init__(f"Parameter ScheduleExpression is not valid. {expression!r}: {reason}")


@dataclass(frozen=True, slots=True)
class Rate:
    """Fires every `interval_seconds` of AWS time."""

    interval_seconds: int

    def next_after(self, wall_time: datetime) -> datetime:
        return wall_time + timedelta(seconds=self.interval_seconds)


@dataclass(frozen=True, slots=True)
class Cron:
    """Fires at the minutes whose fields are in these sets; `weekdays` counts from Sunday = 1.

    `days` or `weekdays` is None where the expression has `?`.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None
    years: frozenset[int]

    def next_after(self, wall_time: datetime) -> datetime | None:
        """The first matching minute after `wall_time`, or None within four years."""
        day = wall_time.replace(hour=0, minute=0, second=0, microsecond=0)
        last = day + _LONGEST_SEARCH
        while day <= last:
            if self._matches_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        moment = day.replace(hour=hour, minute=minute)
                        if moment > wall_time:
                            return moment
            day += timedelta(days=1)
        return None

    def _matches_day(self, day: datetime) -> bool:
        if day.year not in self.years or day.month not in self.months:
            return False
        if self.days is not None:
            return day.day in self.days
        return self.weekdays is not None and day.isoweekday() % 7 + 1 in self.weekdays


def parse_schedule(expression: str) -> Rate | Cron:
    """A schedule expression's meaning. Raises `InvalidSchedule`."""
    if rate := _RATE.fullmatch(expression):
        count, unit = int(rate[1]), rate[2]
        if count == 0 or (count == 1) == unit.endswith("s"):
            raise InvalidSchedule(expression, "the unit is singular for 1 and plural for more")
        return Rate(count * _UNIT_SECONDS[unit.removesuffix("s")])
    if cron := _CRON.fullmatch(expression):
        minutes, hours, days, months, weekdays, years = cron.groups()
        if (days == "?") == (weekdays == "?"):
            raise InvalidSchedule(
                expression, "exactly one of day-of-month and day-of-week must be ?"
            )
        return Cron(
            minutes=_field(expression, minutes, 0, 59),
            hours=_field(expression, hours, 0, 23),
            days=None if days == "?" else _field(expression, days, 1, 31),
            months=_field(expression, months, 1, 12, _MONTHS),
            weekdays=None if weekdays == "?" else _field(expression, weekdays, 1, 7, _DAYS),
            years=_field(expression, years, 1970, 2199),
        )
    raise InvalidSchedule(expression, "neither rate(value unit) nor cron(six fields)")


def _field(
    expression: str, text: str, lowest: int, highest: int, names: tuple[str, ...] = ()
) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        step = int(step_text) if step_text.isdigit() else 1
        if (step_text and not step_text.isdigit()) or step == 0:
            raise InvalidSchedule(expression, f"{part!r} is not a step")
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = lowest, highest
        else:
            first = _number(expression, first_text, lowest, names)
            last = _number(expression, last_text, lowest, names) if dash else first
            if step_text and not dash:
                last = highest
        if not lowest <= first <= highest or not lowest <= last <= highest:
            raise InvalidSchedule(expression, f"{part!r} is outside {lowest} to {highest}")
        if first <= last:
            values.update(range(first, last + 1, step))
        else:  # FRI-MON
            values.update([*range(first, highest + 1), *range(lowest, last + 1)][::step])
    return frozenset(values)


def _number(expression: str, text: str, lowest: int, names: tuple[str, ...]) -> int:
    if text.isdigit():
        return int(text)
    if text.upper() in names:
        return names.index(text.upper()) + lowest
    raise InvalidSchedule(expression, f"{text!r} is not understood")


@dataclass(slots=True)
class _Pending:
    expression: str
    due: datetime | None  # AWS's wall clock


class Scheduler:
    """Fires the schedule rules of every account. `run_due` is called often; `now` is real time."""

    def __init__(self, clock: CloudClock, router: EventRouter) -> None:
        self._clock = clock
        self._router = router
        self._pending: dict[str, _Pending] = {}

    @property
    def tick_seconds(self) -> float:
        """Real seconds between calls of `run_due`: a twentieth of AWS's minute."""
        return self._clock.real_seconds(3.0)

    def run_due(self, now: datetime | None = None) -> None:
        """Fire each enabled schedule rule whose time has come."""
        wall_time = self._clock.wall_time(now or datetime.now(UTC))
        rules = self._schedule_rules()
        for arn in set(self._pending) - set(rules):
            del self._pending[arn]
        for arn, rule in rules.items():
            expression = rule.scheduled_expression or ""
            schedule = parse_schedule(expression)
            pending = self._pending.get(arn)
            if pending is None or pending.expression != expression:
                self._pending[arn] = _Pending(expression, schedule.next_after(wall_time))
            elif pending.due is not None and pending.due <= wall_time:
                next_due = schedule.next_after(pending.due)
                missed_one = next_due is not None and next_due <= wall_time
                pending.due = schedule.next_after(wall_time) if missed_one else next_due
                self._fire(rule, now)

    def _schedule_rules(self) -> dict[str, Rule]:
        rules: dict[str, Rule] = {}
        for backend in every_backend(events_backends):
            for rule in list(backend.event_buses["default"].rules.values()):
                if rule.scheduled_expression and rule.state == "ENABLED":
                    rules[rule.arn] = rule
        return rules

    def _fire(self, rule: Rule, now: datetime | None) -> None:
        event = new_event(
            account_id=rule.account_id,
            region=rule.region_name,
            source="aws.events",
            detail_type="Scheduled Event",
            detail={},
            resources=[rule.arn],
            at=now,
        )
        self._router.start_deliveries(rule, event)
