"""Handing a link over to a person, and taking it back.

A rollback that failed leaves a link of which nobody knows what it is like. Four things happen, none of which
depends on another: the lease is kept, the plan's paths are quarantined, people are paged, the journal
says so. Whatever of them fails is told by those that succeed, and tried again with the step.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from control_plane.adapters.lease import Lease
from control_plane.domain.journal import EntryKind
from control_plane.domain.plan import Plan
from control_plane.errors import LeaseTaken, TwinspanError
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control

# A kept lease stops all runs. Where it could not be kept the quarantine stops them, and the other way round.
_RECENT_ENTRIES = 50
_LONGEST_REASON = 900
_RESOLVING_SECONDS = 60


def call_operator(
    control: Control, run: Run, plan: Plan | None, error: str, cause: str, now: datetime
) -> None:
    """Stop acting on the link, and page.

    Raises:
        TwinspanError: the first of the four that failed; all were tried.
    """
    reason = f"{error}: {cause}"[:_LONGEST_REASON]
    failed: list[tuple[str, TwinspanError]] = []

    def attempt(what: str, act: Callable[[], None]) -> None:
        try:
            act()
        except TwinspanError as failure:
            failed.append((what, failure))

    def quarantine() -> None:
        stuck = plan or control.state.open_plan(run.link_id)
        if stuck is None:
            return
        paths = [p for p in (stuck.active_before, stuck.target_path) if p is not None]
        history = control.state.history(run.link_id).quarantine(paths, reason, now)
        control.state.save_history(run.link_id, history, run.held())

    def page() -> None:
        control.notifier.send(
            f"[{run.link_id}] NEEDS OPERATOR", _letter(run, reason, _described(failed))
        )

    def record() -> None:
        if _is_recorded(control, run):
            return
        data = {"error": error, "cause": cause, "failed": _described(failed)}
        journal(control, run, EntryKind.NEEDS_OPERATOR, data, now)

    attempt("the lease could not be kept", lambda: control.leases.keep(run.held(), reason))
    attempt("the paths could not be quarantined", quarantine)
    attempt("nobody could be paged", page)
    attempt("the journal could not be written", record)
    if failed:
        raise failed[0][1]


def resolve(
    control: Control, link_id: str, by: str, reason: str, now: datetime, *, leave_plan: bool
) -> bool:
    """Let Twinspan act on a link again; False when it did not wait for an operator.

    The journal comes first and the lease last: broken off anywhere, the link still waits, and the command can be
    given again. With `leave_plan` what the failed plan changed stays as it is; otherwise the next run
    settles it as it does a crashed one's: undone, or left standing if its config is published.

    Raises:
        LeaseTaken: the lease was not kept, and a run holds it now.
    """
    held = control.leases.current(link_id)
    kept = held.get("kept_because")
    history = control.state.history(link_id)
    if kept is None and not history.quarantines:
        return False
    lease = _lease(control, link_id, held, f"resolved by {by}", now)
    was = {path: one.reason for path, one in history.quarantines.items()}
    data = {"by": by, "reason": reason, "kept_because": kept, "quarantines": was}
    control.journal.append(link_id, EntryKind.RESOLVED, lease.holder, data, now)
    plan = control.state.open_plan(link_id)
    if plan is not None and leave_plan:
        control.state.close_plan(plan, "left", lease)
    control.state.save_history(link_id, history.resolved(), lease)
    if kept is not None:
        control.leases.resolve(link_id)
    else:
        control.leases.release(lease, even_if_pending=True)
    return True


def _lease(
    control: Control, link_id: str, held: dict[str, object], holder: str, now: datetime
) -> Lease:
    """The kept lease, with which nobody else acts; or, where it could not be kept, one of our own."""
    if held.get("kept_because") is not None:
        return Lease(link_id, str(held["holder"]), int(str(held["token"])), now)
    lease = control.leases.acquire(link_id, holder, _RESOLVING_SECONDS, now)
    if lease is None:
        raise LeaseTaken(link_id, str(control.leases.current(link_id).get("holder", "a run")))
    return lease


def _is_recorded(control: Control, run: Run) -> bool:
    """Whether an earlier attempt of this step wrote its entry."""
    recent = control.journal.entries(run.link_id, newest_first=True, limit=_RECENT_ENTRIES)
    return any(
        entry.kind is EntryKind.NEEDS_OPERATOR and entry.execution == run.execution
        for entry, _ in recent
    )


def _described(failed: list[tuple[str, TwinspanError]]) -> list[str]:
    return [f"{what} ({failure})" for what, failure in failed]


def _letter(run: Run, reason: str, failed: list[str]) -> str:
    lines = [
        f"Twinspan stopped acting on {run.link_id}: a change could not be undone.",
        reason,
        *(f"Besides, {line}." for line in failed),
        "",
        f"Execution: {run.execution}",
        f"What happened:  twinspan explain {run.execution} --link {run.link_id}",
        "Once routes and routing config are right by hand:",
        f"  twinspan resolve --link {run.link_id} --reason ...",
    ]
    return "\n".join(lines) + "\n"
