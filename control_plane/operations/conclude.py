"""Ending a run: the outcome in the journal, people told once, questions asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from control_plane.domain.decide import Decision, DecisionKind
from control_plane.domain.journal import EntryKind
from control_plane.domain.plan import Plan
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control


class Outcome(StrEnum):
    """How a round ended."""

    NOTHING_TO_DO = "nothing-to-do"
    DRY_RUN = "dry-run"
    SWITCHED = "switched"
    REPAIRED = "repaired"
    PUBLISHED = "published"
    ESCALATED = "escalated"
    AWAITS_APPROVAL = "awaits-approval"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"


_TOLD = {
    Outcome.SWITCHED,
    Outcome.REPAIRED,
    Outcome.ESCALATED,
    Outcome.ROLLED_BACK,
    Outcome.FAILED,
}


_OUTCOME_OF = {
    DecisionKind.REPAIR: Outcome.REPAIRED,
    DecisionKind.PUBLISH: Outcome.PUBLISHED,
}
# Found anew by every sweep while it lasts. What changed something is news each time.
_SAID_ONCE = {Outcome.ESCALATED, Outcome.FAILED, Outcome.AWAITS_APPROVAL, Outcome.DRY_RUN}


def outcome_of(
    decision: Decision | None,
    *,
    verified: bool,
    rolled_back: bool,
    error: str | None,
) -> Outcome:
    """How a round ended, from what is known at its end."""
    if rolled_back:
        return Outcome.ROLLED_BACK
    if error is not None or decision is None:
        return Outcome.FAILED
    if decision.kind is DecisionKind.ESCALATE:
        return Outcome.ESCALATED
    if not decision.acts:
        return Outcome.NOTHING_TO_DO
    if decision.needs_approval:
        return Outcome.AWAITS_APPROVAL
    if decision.touches_nothing or not verified:
        return Outcome.DRY_RUN
    return _OUTCOME_OF.get(decision.kind, Outcome.SWITCHED)


def record(
    control: Control,
    run: Run,
    outcome: Outcome,
    decision: Decision | None,
    plan: Plan | None,
    error: str | None,
    now: datetime,
) -> None:
    """Write the outcome and tell people, unless it says nothing new.

    A routine look that found nothing to do leaves no entry; the same escalation or failure twice in a
    row, found by routine looks, is written and told once.
    """
    data: dict[str, Any] = {"outcome": str(outcome), "signal": run.signal.about}
    if decision is not None:
        data |= {"decision": decision.describe(), "passed_over": decision.passed_over}
    if plan is not None:
        data |= {"plan_id": plan.plan_id, "effects": plan.describe()}
    if run.refused:
        data["refused"] = run.refused
    if error is not None:
        data["error"] = error
    repeats = outcome in _SAID_ONCE and _already_said(control, run, data)
    if run.routine and (outcome is Outcome.NOTHING_TO_DO or repeats):
        return
    journal(control, run, EntryKind.OUTCOME, data, now)
    if outcome in _TOLD:
        control.notifier.send(f"[{run.link_id}] {outcome}", _letter(run, data))


def request_approval(
    control: Control, run: Run, decision: Decision, task_token: str, now: datetime
) -> datetime:
    """Store the question with its task token and tell people how to answer; returns when it expires."""
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    expires_at = now + timedelta(seconds=policy.approval_seconds)
    control.state.save_approval(
        run.link_id,
        run.execution,
        {
            "task_token": task_token,
            "decision": decision.to_dict(),
            "expires_at": expires_at.isoformat(),
        },
    )
    data = {"decision": decision.describe(), "expires_at": expires_at.isoformat()}
    journal(control, run, EntryKind.APPROVAL, data, now)
    text = (
        f"{decision.describe()}\n\nApprove:  twinspan approve {run.execution}\n"
        f"Reject:   twinspan reject {run.execution}\nNo answer by {expires_at:%H:%M:%SZ} means no.\n"
    )
    control.notifier.send(f"[{run.link_id}] approval needed", text)
    return expires_at


def _already_said(control: Control, run: Run, data: dict[str, Any]) -> bool:
    for entry, _ in control.journal.entries(run.link_id, newest_first=True, limit=20):
        if entry.kind is EntryKind.OUTCOME:
            keys = ("outcome", "error")
            said = tuple(entry.data.get(key) for key in keys)
            return said == tuple(data.get(key) for key in keys)
    return False


def _letter(run: Run, data: dict[str, Any]) -> str:
    lines = [f"{data['outcome']} on {run.link_id}", f"Signal: {data['signal']}"]
    if "decision" in data:
        lines.append(f"Decision: {data['decision']}")
    lines += [f"  {effect}" for effect in data.get("effects", ())]
    lines += [f"Refused {path}: {why}" for path, why in run.refused.items()]
    lines += [f"Passed over {path}: {why}" for path, why in data.get("passed_over", {}).items()]
    if "error" in data:
        lines.append(f"Error: {data['error']}")
    lines.append(f"Execution: {run.execution}")
    return "\n".join(lines) + "\n"
