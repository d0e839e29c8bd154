"""A drill's life, as the link remembers it: begun, confirmed, ended; and when the next one is due.

A drill is open from the moment that one is planned until its outcome is recorded, and goes by where traffic
really is: whatever became of the run that began it, the next look finds the drill in memory and traffic
either away, where it belongs until the end, or elsewhere, which settles it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime

from control_plane.domain.documents import Document
from control_plane.domain.moments import clock, day
from control_plane.domain.policy import Automation, DrillSchedule

# After a drill that did not pass, practice is tried again on another day at the earliest.
RETRY_DAYS = 1.0


class DrillMove(StrEnum):
    """What a decision has to do with a drill."""

    BEGIN = "begin"
    RETURN = "return"
    ABORT = "abort"


class DrillOutcome(StrEnum):
    """How a drill ended."""

    PASSED = "passed"
    FAILED = "failed"
    ABORTED = "aborted"


class Ending(Document):
    """How traffic came to leave the practice path."""

    outcome: DrillOutcome
    why: str


class Drill(Document):
    """A practice failover that is going on: traffic goes back to `home` at `until`, unasked.

    `confirmed`: calls through the proxy used `away`. `disturbed_by`: a signal of trouble came since it began,
    and it ends as soon as `home` carries. `ending`: traffic was moved on, and why.
    """

    home: str
    away: str
    until: AwareDatetime
    requested_by: str = ""
    execution: str = ""
    began_at: AwareDatetime | None = None
    confirmed: bool = False
    disturbed_by: str | None = None
    ending: Ending | None = None

    def disturbed(self, trouble: str, occurred_at: datetime | None) -> Drill:
        """The drill with this trouble remembered; the first is kept, and what came before the drill is not."""
        if self.disturbed_by is not None:
            return self
        if occurred_at is not None and self.began_at is not None and occurred_at < self.began_at:
            return self
        return self.model_copy(update={"disturbed_by": trouble[:300]})

    def left(self, move: DrillMove | None, by_hand: bool, switch: str) -> Drill:
        """The drill once traffic was moved away from where it led, by this switch."""
        if move is DrillMove.RETURN:
            outcome, why = DrillOutcome.PASSED, f"traffic was there until {clock(self.until)}"
        elif move is DrillMove.ABORT:
            outcome, why = DrillOutcome.ABORTED, f"it gave way to a signal: {self.disturbed_by}"
        elif by_hand:
            outcome, why = DrillOutcome.ABORTED, f"an operator moved traffic: {switch}"
        else:
            outcome, why = DrillOutcome.FAILED, f"{self.away} had to be left: {switch}"
        if outcome is DrillOutcome.PASSED and not self.confirmed:
            outcome, why = DrillOutcome.FAILED, f"no call was seen to use {self.away}"
        return self.model_copy(update={"ending": Ending(outcome=outcome, why=why[:500])})

    def settled(self, cause: str | None, now: datetime) -> DrillRecord:
        """What is recorded once traffic is elsewhere; `cause` is what the run that finds so knows of it."""
        ending = self.ending
        if ending is None and self.confirmed:
            why = cause or f"traffic left {self.away} before the drill's end"
            ending = Ending(outcome=DrillOutcome.ABORTED, why=why)
        if ending is None:
            why = cause or "the run that began it did not finish"
            ending = Ending(outcome=DrillOutcome.FAILED, why=f"traffic did not move: {why}")
        return DrillRecord(
            outcome=ending.outcome,
            why=ending.why[:500],
            home=self.home,
            away=self.away,
            began_at=self.began_at,
            ended_at=now,
            requested_by=self.requested_by,
        )


class DrillRecord(Document):
    """A drill that is over."""

    outcome: DrillOutcome
    why: str
    home: str
    away: str
    began_at: AwareDatetime | None
    ended_at: AwareDatetime
    requested_by: str = ""

    def describe(self) -> str:
        """One line for people."""
        return f"{self.outcome} on {self.away} at {day(self.ended_at)}: {self.why}"


class DrillMemory(Document):
    """What a link remembers of practice: the newest drill of all, and when one passed."""

    last: DrillRecord | None = None
    passed_at: AwareDatetime | None = None

    def after(self, record: DrillRecord) -> DrillMemory:
        """The memory with one more drill."""
        passed = record.outcome is DrillOutcome.PASSED
        return DrillMemory(last=record, passed_at=record.ended_at if passed else self.passed_at)

    def is_due(self, schedule: DrillSchedule, now: datetime) -> bool:
        """Whether the schedule asks for a drill now, change windows apart."""
        if schedule.automation is not Automation.AUTOMATIC:
            return False
        every = timedelta(days=schedule.every_days)
        if self.passed_at is not None and now - self.passed_at < every:
            return False
        pause = min(every, timedelta(days=RETRY_DAYS))
        return self.last is None or now - self.last.ended_at >= pause

    def overdue(self, schedule: DrillSchedule, now: datetime) -> str | None:
        """What people are told when no drill passed for too long; None when one did."""
        if self.passed_at is None:
            return "no drill has ever passed on this link"
        if now - self.passed_at < timedelta(days=schedule.maximum_age_days):
            return None
        days = f"{schedule.maximum_age_days:g} days"
        return f"no drill passed in the last {days}; the last one did at {day(self.passed_at)}"


def describe_open(drill: Drill) -> str:
    """One line for people on a drill that is going on."""
    if drill.disturbed_by is not None:
        return f"on {drill.away}, ending because of {drill.disturbed_by}"
    return f"on {drill.away} until {clock(drill.until)}"
