"""A plan is data: what will change, from what, to what, and how to put it back.

Built purely from the topology, what was observed and the decision. A plan carries its inverse's
ingredients in `before`, so it prints, diffs, dry-runs and inverts; storing it before anything is applied
is what makes a crash at any point recoverable.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from control_plane.domain.changes import Change
from control_plane.domain.decide import Decision, DecisionKind
from control_plane.domain.documents import canonical_json
from control_plane.domain.drill import DrillMove
from control_plane.domain.observation import ObservedPath
from control_plane.domain.policy import Automation, Policy
from control_plane.domain.topology import Topology


@dataclass(frozen=True, slots=True)
class Plan:
    """Route changes, in the order in which they are applied, and the active path before and after.

    `generation_before` is the published generation that the plan was made against; a plan that moves no
    traffic has `active_before == active_after`. `drill`: it begins or ends one.
    """

    link_id: str
    kind: DecisionKind
    target_path: str
    active_before: str | None
    active_after: str | None
    generation_before: int
    changes: tuple[Change, ...]
    drill: DrillMove | None = None

    @property
    def plan_id(self) -> str:
        """Content hash of the plan: equal plans have equal ids."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode()).hexdigest()[:16]

    @property
    def publishes(self) -> bool:
        """Whether the plan ends in a publication: traffic moves, or what is published is not what should be."""
        anew = self.kind in (DecisionKind.RESTORE, DecisionKind.PUBLISH)
        return self.active_before != self.active_after or anew

    def inverse_changes(self) -> tuple[Change, ...]:
        """What undoes the route changes: each inverted, in the opposite order."""
        return tuple(change.inverse() for change in reversed(self.changes))

    def describe(self) -> list[str]:
        """One line per effect, for people."""
        lines = [change.describe() for change in self.changes]
        if self.publishes and self.active_before is None:
            lines.append(f"routing config: published anew, active path {self.active_after}")
        elif self.kind is DecisionKind.PUBLISH:
            lines.append(
                f"routing config: as the policy is now, active path {self.active_after} as before "
                f"(generation {self.generation_before} → {self.generation_before + 1})"
            )
        elif self.publishes:
            lines.append(
                f"routing config: active path {self.active_before} → {self.active_after} "
                f"(generation {self.generation_before} → {self.generation_before + 1})"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "link_id": self.link_id,
            "kind": str(self.kind),
            "target_path": self.target_path,
            "active_before": self.active_before,
            "active_after": self.active_after,
            "generation_before": self.generation_before,
            "changes": [change.to_dict() for change in self.changes],
            **({"drill": str(self.drill)} if self.drill is not None else {}),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Plan:
        """The inverse of `to_dict`."""
        return cls(
            link_id=value["link_id"],
            kind=DecisionKind(value["kind"]),
            target_path=value["target_path"],
            active_before=value["active_before"],
            active_after=value["active_after"],
            generation_before=value["generation_before"],
            changes=tuple(Change.from_dict(item) for item in value["changes"]),
            drill=DrillMove(value["drill"]) if "drill" in value else None,
        )


def make_plan(
    topology: Topology,
    policy: Policy,
    decision: Decision,
    target: ObservedPath,
    active_path: str | None,
    generation: int,
) -> Plan:
    """The difference between what the target path requires and what was observed of it.

    With drift repair left to operators the plan holds no route changes: the route model then judges the
    target as it stands, and says what is missing.
    """
    assert decision.path is not None, "only a decision that acts is planned"
    changes: tuple[Change, ...] = ()
    repairs = policy.drift_repair is Automation.AUTOMATIC or decision.overridden
    if repairs and decision.kind is not DecisionKind.PUBLISH:
        changes = tuple(
            Change(
                side=seen.required.side,
                table_kind=seen.required.table_kind,
                table_id=seen.required.table_id,
                destination=seen.required.destination,
                before=seen.target,
                after=seen.required.target,
            )
            for seen in target.drift
            if seen.target != seen.required.target
        )
    moves = decision.kind is not DecisionKind.REPAIR
    return Plan(
        link_id=topology.link_id,
        kind=decision.kind,
        target_path=decision.path,
        active_before=active_path,
        active_after=decision.path if moves else active_path,
        generation_before=generation,
        changes=changes,
        drill=decision.drill,
    )
