"""The decision of a metric alarm: datapoints in, state out. Pure.

Source: CloudWatch user guide, "Configuring how CloudWatch alarms treat missing data". CloudWatch looks at more
datapoints than the evaluation periods (the evaluation range) and takes the most recent real ones; only when the
range holds too few does it fill in by `TreatMissingData`. So an alarm that treats missing data as breaching
fires when the whole range is silent, not at the first late datapoint.

AWS does not document the range's length; its own tables use two more than the evaluation periods, and so does
this. Undocumented as well: too few datapoints to alarm, all of them breaching and too recent to be premature,
with missing data treated as missing. Then the state is kept.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

EXTRA_PERIODS = 2


class AlarmState(enum.StrEnum):
    """CloudWatch's three states."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class MissingData(enum.StrEnum):
    """How an alarm treats missing datapoints (`TreatMissingData`)."""

    MISSING = "missing"
    NOT_BREACHING = "notBreaching"
    BREACHING = "breaching"
    IGNORE = "ignore"


COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}


@dataclass(frozen=True, slots=True)
class Datapoint:
    """The statistic of one period. `timestamp` is the period's start, timezone-aware."""

    timestamp: datetime
    value: float
    sample_count: float


@dataclass(frozen=True, slots=True)
class AlarmCondition:
    """What an alarm compares. `datapoints_to_alarm` of `evaluation_periods` must breach."""

    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    missing_data: MissingData

    @property
    def evaluation_range(self) -> int:
        """How many periods the evaluation looks back at."""
        return self.evaluation_periods + EXTRA_PERIODS

    def is_breaching(self, value: float) -> bool:
        return COMPARISONS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The state that the datapoints call for; `datapoints` are those it rests on, newest first."""

    state: AlarmState
    datapoints: tuple[Datapoint, ...]
    filled: int


def evaluate(periods: Sequence[Datapoint | None], condition: AlarmCondition) -> Verdict | None:
    """Decide over the evaluation range, oldest period first, None for a period without data.

    None means that the alarm keeps its state.
    """
    real = [point for point in reversed(periods) if point is not None]
    used = tuple(real[: condition.evaluation_periods])
    breaching = [point for point in used if condition.is_breaching(point.value)]
    wanted = condition.datapoints_to_alarm
    filled = condition.evaluation_periods - len(used)
    if len(breaching) >= wanted:
        return Verdict(AlarmState.ALARM, used, filled)
    if filled == 0 or condition.missing_data is MissingData.NOT_BREACHING:
        return Verdict(AlarmState.OK, used, filled)
    if condition.missing_data is MissingData.BREACHING:
        alarmed = len(breaching) + filled >= wanted
        return Verdict(AlarmState.ALARM if alarmed else AlarmState.OK, used, filled)
    if len(breaching) < len(used):
        return Verdict(AlarmState.OK, used, filled)
    if condition.missing_data is MissingData.IGNORE:
        return None
    if not used:
        return Verdict(AlarmState.INSUFFICIENT_DATA, used, filled)
    oldest_age = len(periods) - periods.index(used[-1])
    return Verdict(AlarmState.ALARM, used, filled) if oldest_age >= wanted else None
