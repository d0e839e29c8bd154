"""The state of a link in a line: what is wrong, what was done about it and why, what comes next.

Pure: equal readings give equal lines. The console's page and `twinspan status` say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.decide import Decision, DecisionKind, decide
from control_plane.domain.health import Health
from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Mode
from control_plane.domain.situation import Situation
from control_plane.operations.conclude import Outcome
from control_plane.overview import timeline
from control_plane.overview.reading import Reading


@dataclass(frozen=True, slots=True)
class Headline:
    """The state of the link in a line. `tone`: good, warn or bad."""

    tone: str
    word: str
    text: str
    why: tuple[str, ...]
    done: str
    done_why: str
    done_at: datetime | None
    next_step: str


def headline(reading: Reading, s: Situation) -> Headline:
    """The state in a line. `s`: the reading as decisions see it."""
    tone, word, text, why = _state(reading, s)
    done, done_why, done_at = _done(reading)
    decision = decide(s)
    return Headline(
        tone=tone,
        word=word,
        text=text,
        why=why,
        done=done,
        done_why=done_why,
        done_at=done_at,
        next_step=_next_step(decision),
    )


def _next_step(decision: Decision) -> str:
    if decision.kind is DecisionKind.NO_CHANGE:
        return f"Nothing: {'; '.join(decision.reasons)}."
    passed_over = "".join(f"; not {path}: {why}" for path, why in decision.passed_over.items())
    return f"{decision.describe()}{passed_over if decision.kind is DecisionKind.ESCALATE else ''}."


def _state(reading: Reading, s: Situation) -> tuple[str, str, str, tuple[str, ...]]:
    kept = reading.lease.get("kept_because")
    if kept:
        return (
            "bad",
            "Needs you",
            "A change could not be undone; Twinspan has stopped.",
            (str(kept),),
        )
    if s.active_path is None:
        return "bad", "Not published", "No routing config is published yet.", ()
    active = s.health_of(s.active_path)
    others = [s.health_of(name) for name in s.order if name != s.active_path]
    ill = [verdict for verdict in (active, *others) if verdict.health is not Health.HEALTHY]
    reasons = tuple(verdict.describe() for verdict in ill)
    acting = reading.lease.get("holder")
    if active.health is Health.FAILED and not any(verdict.carries for verdict in others):
        text = "No path carries. The proxy refuses calls rather than leak them."
        return "bad", "All paths down", text, reasons
    if active.health is Health.FAILED and open_question(reading):
        text = f"{active.path} has failed; what to do about it waits for your answer."
        return "bad", "Waiting for you", text, reasons
    if active.health is Health.FAILED:
        text = f"{active.path} has failed" + (
            "; a run is moving traffic away." if acting else " and traffic is still on it."
        )
        return "bad", "Failing over" if acting else "Active path failed", text, reasons
    if open_question(reading):
        text = f"A decision waits for your answer; traffic is on {active.path}."
        return "warn", "Waiting for you", text, reasons
    if active.path != s.order[0]:
        preferred = s.health_of(s.order[0])
        state = "is well again" if preferred.health is Health.HEALTHY else f"is {preferred.health}"
        text = f"Calls are answered over {active.path}; {preferred.path} {state}."
        return "warn", "On standby", text, reasons
    if ill:
        lost = [verdict.path for verdict in ill if not verdict.carries]
        if lost and active.health is Health.HEALTHY:
            return (
                "warn",
                "No standby",
                f"{active.path} carries; {', '.join(lost)} cannot.",
                reasons,
            )
        text = f"Traffic is on {active.path}, and not all is as it should be."
        return "warn", "Degraded", text, reasons
    if s.policy.mode_at(s.now) is not Mode.AUTOMATIC:
        text = f"Every path is healthy, and Twinspan is in mode {s.policy.mode_at(s.now)}."
        return "warn", "Not automatic", text, ()
    return "good", "All well", f"Traffic is on {active.path}; every path is healthy.", ()


def _done(reading: Reading) -> tuple[str, str, datetime | None]:
    for item in timeline.items(reading.entries):
        if item.word in ("nothing to do", "noted", "dry run"):
            continue
        return f"{item.result or item.cause} ({item.word})", item.cause, item.at
    return "Nothing: no run has changed or refused anything yet.", "", None


def open_question(reading: Reading) -> bool:
    """Whether a decision waits for a person's answer. The run that asked has said that it does, before it asked."""
    question = reading.question
    return question is not None and (
        not question.get("is_answered")
        and datetime.fromisoformat(question["expires_at"]) > reading.read_at
        and not any(
            entry.kind is EntryKind.OUTCOME
            and entry.execution == question["execution"]
            and entry.data["outcome"] != Outcome.AWAITS_APPROVAL
            for entry in reading.entries
        )
    )
