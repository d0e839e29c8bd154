"""What an intent would do, before anybody asks for it: the decision and the plan, from one reading.

The workflow decides anew, on what it observes and probes then, and has the route model prove the plan; a preview
does neither, so it promises nothing. It is what a person is shown before they are asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from control_plane.domain.decide import Decision, decide
from control_plane.domain.plan import Plan, make_plan
from control_plane.domain.signals import Intent, IntentKind
from control_plane.operations.drills import alarms_in_the_way
from control_plane.operations.published import is_intact, path_to_put_back, readable_config
from control_plane.overview.reading import Reader, Reading
from control_plane.overview.verdicts import judge, situation
from control_plane.wiring import Control


@dataclass(frozen=True, slots=True)
class Preview:
    """The decision that the intent would lead to now; `plan` where it would act."""

    decision: Decision
    plan: Plan | None

    def lines(self) -> Iterator[str]:
        """For people: what, why, with which effects, and what stands in the way."""
        yield self.decision.describe()
        if self.plan is not None:
            yield from (f"  would change  {effect}" for effect in self.plan.describe())
        if self.decision.needs_approval:
            yield "  would wait for an approval"
        yield from (f"  warning       {warning}" for warning in self.decision.warnings)
        if not self.decision.acts:
            yield from (f"  needs         {change}" for change in self.decision.would_change)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: the decision, and the plan's effects in words."""
        effects = list(self.plan.describe()) if self.plan is not None else []
        return {"decision": self.decision.to_dict(), "effects": effects}


def preview(
    reading: Reading,
    intent: Intent,
    *,
    rollback_path: str | None = None,
    alarms: tuple[str, ...] | None = None,
    intact: bool = True,
) -> Preview:
    """Foresee an intent. The keywords are `Situation`'s, where they cannot be had from the reading."""
    seen_as = situation(reading, judge(reading))
    s = replace(seen_as, intent=intent, rollback_path=rollback_path, alarms=alarms, intact=intact)
    return _with_plan(reading, decide(s), s.active_path)


def _with_plan(reading: Reading, decision: Decision, active_path: str | None) -> Preview:
    target = next((path for path in reading.seen if path.name == decision.path), None)
    if not decision.acts or target is None:
        return Preview(decision, None)
    generation = reading.published.generation if reading.published else 0
    plan = make_plan(reading.topology, reading.policy, decision, target, active_path, generation)
    return Preview(decision, plan)


def foresee_approved(control: Control, link_id: str, decision: Decision) -> Preview:
    """Read the link, and foresee a decision that waits for an approval, as if it had one."""
    reading = Reader(control, link_id).read()
    active_path = reading.published.active_path if reading.published else None
    return _with_plan(reading, replace(decision, needs_approval=False), active_path)


def foresee_intent(control: Control, link_id: str, intent: Intent) -> Preview:
    """Read the link, and foresee an intent upon it.

    Raises:
        UnknownGeneration: a rollback asks for a generation that was never published.
    """
    reading = Reader(control, link_id).read()
    config = readable_config(control, link_id)
    alarms = None
    if intent.intent is IntentKind.DRILL:
        alarms = alarms_in_the_way(control, link_id, reading.policy)
    back = path_to_put_back(control, intent, reading.topology, reading.policy, config is None)
    intact = is_intact(control, config, link_id)
    return preview(reading, intent, rollback_path=back, alarms=alarms, intact=intact)
