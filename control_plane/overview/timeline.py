"""The journal as a timeline: one item per execution, with what it did in a word and its entries beneath."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control_plane.domain.changes import Change
from control_plane.domain.journal import Entry, EntryKind
from control_plane.overview.telling import tell

EXECUTIONS = 25
_TIME_COLUMN = 10
_WORDS = {
    "switched": ("switched", "good"),
    "repaired": ("repaired", "good"),
    "published": ("published", "good"),
    "nothing-to-do": ("nothing to do", "plain"),
    "dry-run": ("dry run", "plain"),
    "escalated": ("escalated", "bad"),
    "awaits-approval": ("awaits approval", "warn"),
    "rolled-back": ("rolled back", "bad"),
    "failed": ("failed", "bad"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An entry in words; `references` are the evidence that it points to, by name."""

    sequence: int
    at: datetime
    kind: str
    first: str
    rest: tuple[str, ...]
    references: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Item:
    """One execution, its entries oldest first."""

    execution: str
    at: datetime
    cause: str
    word: str
    tone: str
    result: str
    entries: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a plan: what goes (`-`) or comes (`+`), or the place that it is about."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class PlanDiff:
    """The newest plan: what it changes, and what became of it."""

    execution: str
    at: datetime
    lines: tuple[DiffLine, ...]
    fate: str
    violations: tuple[str, ...]
    evidence: str | None


def items(entries: Iterable[Entry], most: int | None = EXECUTIONS) -> tuple[Item, ...]:
    """From the journal, newest entry first; returns the newest executions first, all if `most` is None."""
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(entry.execution, []).append(entry)
    return tuple(_item(name, found[::-1]) for name, found in list(grouped.items())[:most])


def newest_plan(entries: Sequence[Entry]) -> PlanDiff | None:
    """The newest plan of the journal (newest entry first) as a diff."""
    for entry in entries:
        if entry.kind not in (EntryKind.PLANNED, EntryKind.REFUSED):
            continue
        outcome = next(
            (
                later.data["outcome"]
                for later in entries
                if later.execution == entry.execution
                and later.kind is EntryKind.OUTCOME
                and later.sequence > entry.sequence
            ),
            None,
        )
        fate = (
            "refused by the route model"
            if entry.kind is EntryKind.REFUSED
            else _WORDS.get(str(outcome), ("in progress", ""))[0]
        )
        return PlanDiff(
            execution=entry.execution,
            at=entry.at,
            lines=tuple(_diff(entry.data["plan"])),
            fate=fate,
            violations=tuple(entry.data.get("violations", ())),
            evidence=entry.data.get("evidence"),
        )
    return None


def _diff(plan: dict[str, Any]) -> Iterable[DiffLine]:
    for document in plan["changes"]:
        change = Change.from_dict(document)
        yield DiffLine(" ", f"{change.side} {change.table_id}")
        if change.before:
            yield DiffLine("-", f"{change.destination} → {change.before}")
        if change.after:
            yield DiffLine("+", f"{change.destination} → {change.after}")
    if plan["active_before"] != plan["active_after"]:
        generation = plan["generation_before"]
        yield DiffLine(" ", "routing config")
        yield DiffLine("-", f"generation {generation}: active path {plan['active_before']}")
        yield DiffLine("+", f"generation {generation + 1}: active path {plan['active_after']}")


def _item(execution: str, entries: list[Entry]) -> Item:
    outcomes = [e for e in entries if e.kind is EntryKind.OUTCOME]
    decided = [e for e in entries if e.kind is EntryKind.DECIDED]
    signals = [e for e in entries if e.kind is EntryKind.SIGNAL]
    word, tone = "in progress", "warn"
    if any(e.kind is EntryKind.NEEDS_OPERATOR for e in entries):
        word, tone = "needs operator", "bad"
    elif outcomes:
        # A run looks again when another signal came meanwhile: that nothing was left to do then is not what it did.
        ended = [str(outcome.data["outcome"]) for outcome in outcomes]
        told_by = next((one for one in reversed(ended) if one != "nothing-to-do"), ended[-1])
        word, tone = _WORDS.get(told_by, (told_by, "plain"))
    elif any(e.kind is EntryKind.POLICY for e in entries):
        word, tone = "policy", "plain"
    elif not decided:
        word, tone = "noted", "plain"
    told = tuple(_told(entry) for entry in entries)
    result = ""
    if decided:
        chief = next((e for e in reversed(decided) if e.data["kind"] != "NoChange"), decided[-1])
        result = f"{_told(chief).first} {'; '.join(chief.data['reasons'])}"
    # A look of the sweep is journaled only when it found something, so it has no entry of its signal.
    abouts = [e.data.get("about") for e in signals] + [e.data.get("signal") for e in outcomes]
    cause = str(next((about for about in abouts if about), told[0].first))
    return Item(execution, entries[-1].at, cause, word, tone, result, told)


def _told(entry: Entry) -> Told:
    first, *rest = tell([entry])
    references = tuple(
        (name, str(entry.data[name]))
        for name in ("observation", "evidence")
        if isinstance(entry.data.get(name), str)
    )
    return Told(
        entry.sequence,
        entry.at,
        str(entry.kind),
        first[_TIME_COLUMN:],
        tuple(line[_TIME_COLUMN:] for line in rest),
        references,
    )
