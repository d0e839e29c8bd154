"""A drill's memory, kept beside the switches that make it up: opened, confirmed, left, settled.

Each step writes under the lease, and none depends on the one before it having been survived: what a drill came
to is settled by whichever run next finds that traffic is no longer away.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from control_plane.domain.decision import Decision
from control_plane.domain.drill import Drill, DrillMove
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import EntryKind
from control_plane.domain.plan import Plan
from control_plane.domain.policy import Policy
from control_plane.errors import AwsRefused, AwsUnavailable, LeaseLost
from control_plane.operations.published import readable_config
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control


def alarms_in_the_way(control: Control, link_id: str, policy: Policy) -> tuple[str, ...] | None:
    """Alarms in ALARM that keep a drill from beginning; None when their states cannot be read.

    All alarms whose names begin as the link's do. Those of a link `a-b` count for a link `a` as well: names
    alone do not tell them apart, and a drill can wait.
    """
    try:
        return control.alarms.ringing(f"twinspan-{link_id}-", policy.drill.blocking_alarms)
    except (AwsUnavailable, AwsRefused):
        return None


def open_drill(control: Control, run: Run, plan: Plan, decision: Decision, now: datetime) -> None:
    """Remember that a drill is about to begin, before anything is done for it.

    Raises:
        LeaseLost: another run took over.
    """
    assert decision.drill_seconds is not None, "a decision that begins a drill says for how long"
    assert plan.active_before is not None and plan.active_after is not None
    by = run.intent.requested_by if run.intent is not None else "the schedule"
    drill = Drill(
        home=plan.active_before,
        away=plan.active_after,
        began_at=now,
        until=now + timedelta(seconds=decision.drill_seconds),
        requested_by=by,
        execution=run.execution,
    )
    history = control.state.history(run.link_id).in_drill(drill)
    control.state.save_history(run.link_id, history, run.held())


def after_publication(history: LinkHistory, plan: Plan, *, by_hand: bool) -> LinkHistory:
    """The memory once traffic moved: a drill that it moved away from has come to its end."""
    drill = history.drill
    if drill is None or plan.active_before != drill.away or plan.drill is DrillMove.BEGIN:
        return history
    return history.in_drill(drill.left(plan.drill, by_hand, f"{plan.kind} to {plan.active_after}"))


def after_verification(history: LinkHistory, plan: Plan) -> LinkHistory:
    """The memory once calls were seen to use the path that the plan led to."""
    drill = history.drill
    if drill is None or drill.confirmed or plan.active_after != drill.away:
        return history
    return history.in_drill(drill.model_copy(update={"confirmed": True}))


def after_rollback(history: LinkHistory, plan: Plan) -> LinkHistory:
    """The memory once traffic was put back: a drill whose end did not hold goes on."""
    drill = history.drill
    if drill is None or plan.active_before != drill.away:
        return history
    return history.in_drill(drill.model_copy(update={"ending": None}))


def settle_drill(control: Control, run: Run, error: str | None, now: datetime) -> None:
    """Record what a drill came to, once traffic is no longer away for it.

    The journal is written before the memory: a crash in between tells it twice, and loses nothing. A letter
    that cannot be sent is journaled as such.
    """
    drill = control.state.history(run.link_id).drill
    if drill is None:
        return
    config = readable_config(control, run.link_id)
    if config is None or config.active_path == drill.away:
        return
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    try:
        control.leases.renew(run.held(), policy.lease_seconds, now)
    except LeaseLost:
        return  # another run acts on the link, and will find the drill
    cause = run.refused.get(drill.away) or error if drill.execution == run.execution else None
    record = drill.settled(cause, now)
    data = {**record.model_dump(mode="json"), "seen": f"drill {record.describe()}"}
    try:
        control.notifier.send(f"[{run.link_id}] drill {record.outcome}", f"{data['seen']}\n")
    except (AwsUnavailable, AwsRefused) as failure:
        data["not_sent"] = str(failure)
    journal(control, run, EntryKind.DRILL, data, now)
    history = control.state.history(run.link_id).after_drill(record)
    control.state.save_history(run.link_id, history, run.held())
