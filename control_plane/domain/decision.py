"""What a decision is: a value that says what to do and accounts for itself.

It travels through the workflow and into the journal, so it holds words and names only; the reader is a
person at night who wants to know why, why not something else, and what would have made it different.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from control_plane.domain.drill import DrillMove


class DecisionKind(StrEnum):
    """What should be done. PUBLISH moves no traffic: proxies are told what the policy says now."""

    NO_CHANGE = "NoChange"
    FAILOVER = "Failover"
    FAILBACK = "Failback"
    ROLLBACK = "Rollback"
    RESTORE = "Restore"
    REPAIR = "Repair"
    PUBLISH = "Publish"
    ESCALATE = "Escalate"


SWITCHES = frozenset(
    {
        DecisionKind.FAILOVER,
        DecisionKind.FAILBACK,
        DecisionKind.ROLLBACK,
        DecisionKind.RESTORE,
    }
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why.

    `passed_over`: path → why it was not chosen. `inputs`: what was looked at, by name, in words.
    `would_change`: what would have led to another decision. `warnings`: what is not well and moves
    nothing. `overrode`: limits that an operator's override passed. `drill`: this begins or ends a drill, which
    keeps traffic away for `drill_seconds`.
    """

    kind: DecisionKind
    reasons: tuple[str, ...]
    path: str | None = None
    passed_over: dict[str, str] = field(default_factory=dict)
    touches_nothing: bool = False
    needs_approval: bool = False
    overridden: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    would_change: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    overrode: tuple[str, ...] = ()
    drill: DrillMove | None = None
    drill_seconds: float | None = None

    @property
    def acts(self) -> bool:
        """Whether a plan follows."""
        return self.kind in SWITCHES or self.kind in (DecisionKind.REPAIR, DecisionKind.PUBLISH)

    def describe(self) -> str:
        """One line for people."""
        target = f" to {self.path}" if self.kind in SWITCHES else ""
        target = f" of {self.path}" if self.kind is DecisionKind.REPAIR else target
        return f"{self.kind}{target}: {'; '.join(self.reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": str(self.kind),
            "path": self.path,
            "reasons": list(self.reasons),
            "passed_over": dict(self.passed_over),
            "touches_nothing": self.touches_nothing,
            "needs_approval": self.needs_approval,
            "overridden": self.overridden,
            "inputs": dict(self.inputs),
            "would_change": list(self.would_change),
            "warnings": list(self.warnings),
            "overrode": list(self.overrode),
            "drill": self.drill,
            "drill_seconds": self.drill_seconds,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Decision:
        """The inverse of `to_dict`; a decision that was stored without its account still reads."""
        return cls(
            kind=DecisionKind(value["kind"]),
            path=value["path"],
            reasons=tuple(value["reasons"]),
            passed_over=dict(value["passed_over"]),
            touches_nothing=value["touches_nothing"],
            needs_approval=value["needs_approval"],
            overridden=value["overridden"],
            inputs=dict(value.get("inputs", {})),
            would_change=tuple(value.get("would_change", ())),
            warnings=tuple(value.get("warnings", ())),
            overrode=tuple(value.get("overrode", ())),
            drill=DrillMove(value["drill"]) if value.get("drill") else None,
            drill_seconds=value.get("drill_seconds"),
        )
