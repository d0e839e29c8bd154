"""Acting: applying a plan's routes, publishing, verifying, and undoing. Each may be run twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane.adapters.lease import Lease
from control_plane.domain.changes import Change
from control_plane.domain.decide import DecisionKind
from control_plane.domain.history import Switch
from control_plane.domain.journal import EntryKind
from control_plane.domain.plan import Plan
from control_plane.domain.policy import Policy
from control_plane.domain.signals import IntentKind, SignalKind
from control_plane.domain.topology import Topology
from control_plane.errors import (
    AwsRefused,
    PublishedUnverified,
    RollbackIncomplete,
    RouteChanged,
    TableNotManaged,
)
from control_plane.operations.drills import (
    after_publication,
    after_rollback,
    after_verification,
)
from control_plane.operations.published import (
    claim_next,
    digest_of,
    readable_config,
    routing_config,
)
from control_plane.operations.run import RECENT_ENTRIES, Run, journal
from control_plane.wiring import Control
from proxy.routing_config import RoutingConfig


@dataclass(frozen=True, slots=True)
class Undone:
    """What a rollback did: `finished` when the plan had gone through and was let stand."""

    generation: int
    routes_put_back: int
    finished: bool = False


def apply_routes(control: Control, run: Run, plan: Plan) -> int:
    """Put the plan's route changes into effect, in order; returns how many were still to do.

    Raises:
        LeaseLost, RouteChanged, TableNotManaged, RouteTableBusy, AwsUnavailable, AwsRefused.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    return _apply_each(control, run, topology, policy, plan.changes, EntryKind.APPLIED)


def publish(control: Control, run: Run, plan: Plan, now: datetime) -> int:
    """Publish the plan's active path as the next generation; returns that generation.

    Raises:
        LeaseLost: another run took over; nothing was published.
        StaleGeneration: someone else published since the plan was made.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    assert plan.active_after is not None
    current = readable_config(control, run.link_id)
    mine = current is not None and current.published_by == run.execution
    if not (mine and current is not None and current.active_path == plan.active_after):
        reason = f"{plan.kind}: {plan.active_before} → {plan.active_after}"
        if plan.kind is DecisionKind.PUBLISH:
            reason = f"{plan.kind}: policy version {policy.version}"
        current = _publish(
            control,
            run,
            topology,
            policy,
            plan,
            plan.active_after,
            plan.generation_before,
            now,
            reason,
        )
    _keep_account(control, run, policy, plan, current)
    return current.generation


def _keep_account(
    control: Control, run: Run, policy: Policy, plan: Plan, config: RoutingConfig
) -> None:
    """Journal a publication and remember its switch, each unless that was done before.

    Publishing is a write of its own: a step that died after it is run again, or its plan is settled by the
    next run, and either finds here what is missing.
    """
    before = {"generation": plan.generation_before, "active_path": plan.active_before}
    _journal_publication(control, run, config, before if plan.active_before else None)
    history = control.state.history(run.link_id)
    if plan.kind is DecisionKind.PUBLISH or history.remembers(config.generation):
        return
    assert plan.active_after is not None
    by_hand = _was_asked_for(control, run, config.published_by)
    if plan.kind is DecisionKind.RESTORE:
        # What is put back is as much by hand as it was when it was lost.
        by_hand = history.last_switch is not None and history.last_switch.by_hand
    switch = Switch(
        generation=config.generation,
        at=config.published_at,
        from_path=plan.active_before,
        to_path=plan.active_after,
        kind=str(plan.kind),
        by_hand=by_hand,
    )
    failed_away = plan.kind is DecisionKind.FAILOVER and not by_hand and plan.drill is None
    history = after_publication(history, plan, by_hand=by_hand).after_switch(
        switch, policy.flap_damping, penalise=plan.active_before if failed_away else None
    )
    control.state.save_history(run.link_id, history, run.held())


def _journal_publication(
    control: Control, run: Run, config: RoutingConfig, replaced: dict[str, Any] | None = None
) -> None:
    """Journal what was published, in the name of the execution that did, unless it is there already."""
    newest = control.journal.entries(run.link_id, newest_first=True, limit=RECENT_ENTRIES)
    for entry, _ in newest:
        if entry.kind is EntryKind.PUBLISHED:
            if entry.data["generation"] >= config.generation:
                return
            break
    data: dict[str, Any] = {
        "generation": config.generation,
        "active_path": config.active_path,
        "reason": config.reason,
        "sha256": digest_of(config),
    }
    if replaced is not None:
        data["replaced"] = replaced
    control.journal.append(
        run.link_id, EntryKind.PUBLISHED, config.published_by, data, control.now()
    )


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What verification saw, in a line. `adopted_after`: from the publication to as many answers over the new
    path as the policy requires; None where no traffic moved."""

    seen: str
    adopted_after: timedelta | None = None


def verify(control: Control, run: Run, plan: Plan, generation: int, now: datetime) -> Confirmed:
    """Confirm the result from the caller's side; returns what was seen.

    A switch is verified by calls through the proxy, which must have used the new generation and the
    target path. A repair moves no traffic, so the repaired path itself is probed.

    Raises:
        PublishedUnverified: fewer calls passed than the policy requires.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    if not plan.publishes:
        path = topology.path(plan.target_path)
        assert path is not None
        result = control.prober(topology).probe(path, policy.probe)
        if not result.passed:
            raise PublishedUnverified(
                plan.target_path, result.answered, result.required, result.describe()
            )
        seen = result.describe()
    else:
        passed, last = 0, "no call was made"
        for _ in range(policy.probe.attempts):
            answer = control.proxy.call(generation, policy.probe.model_id)
            last = answer.detail
            on_target = answer.tunnel_used == plan.active_after
            adopted = answer.generation is not None and answer.generation >= generation
            passed += 0 < answer.status < 500 and on_target and adopted
            if passed >= policy.probe.required:
                break
        if passed < policy.probe.required:
            raise PublishedUnverified(plan.target_path, passed, policy.probe.required, last)
        seen = f"{passed} calls through the proxy used {plan.active_after}, generation {generation}"
    answered_at = control.now()
    history = control.state.history(run.link_id)
    adopted_after = None
    if plan.publishes and (switch := history.last_switch) and switch.generation == generation:
        adopted_after = max(answered_at - switch.at, timedelta(0))
    confirmed = after_verification(history, plan)
    if history.path(plan.target_path).set_back_at is not None:
        confirmed = confirmed.after_success(plan.target_path)
    if confirmed != history:
        control.state.save_history(run.link_id, confirmed, run.held())
    journal(control, run, EntryKind.VERIFIED, {"plan_id": plan.plan_id, "seen": seen}, now)
    control.state.close_plan(plan, "done", run.held())  # last: what fails before it is undone
    return Confirmed(seen, adopted_after)


def abandon(control: Control, run: Run, plan: Plan) -> None:
    """Close a plan of which nothing was applied."""
    control.state.close_plan(plan, "abandoned", run.held())


def abandon_unapplied(control: Control, run: Run) -> None:
    """Close the plan that this run may have stored before it failed. Only for a run that applied nothing."""
    if (plan := control.state.open_plan(run.link_id)) is not None:
        abandon(control, run, plan)


def roll_back(control: Control, run: Run, plan: Plan, cause: str, now: datetime) -> Undone:
    """Put everything that this plan changed back as it was: traffic first, then the routes.

    A policy that was published stays so: it is the operator's, and the one before may have allowed more.

    A plan that is closed is left alone: it was verified, and only the answer to that got lost.

    Raises:
        RollbackIncomplete: something could not be put back; the rest was.
        LeaseLost: another run took over, and it will find the plan open.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    current = readable_config(control, run.link_id)
    generation = current.generation if current else 0
    if control.state.open_plan(run.link_id) != plan:
        return Undone(generation, 0, finished=True)
    moved = plan.publishes and generation > plan.generation_before
    if moved and current is not None and current.active_path == plan.active_after:
        _keep_account(control, run, policy, plan, current)
    # Where nothing was published before, what is published now is better than nothing, and stays.
    before = plan.active_before if plan.active_before != plan.active_after else None
    if moved and before and current is not None and current.active_path == plan.active_after:
        reason = f"rollback of {plan.kind}: {plan.active_after} → {before}"
        current = _publish(control, run, topology, policy, plan, before, generation, now, reason)
        generation = current.generation
    if moved and before and current is not None and current.active_path == before:
        _journal_publication(control, run, current)
        _remember_switch_back(control, run, policy, plan, current)
    put_back = _undo_routes(control, run, topology, policy, plan)
    if plan.kind is not DecisionKind.PUBLISH:
        history = control.state.history(run.link_id).after_setback(plan.target_path, now)
        control.state.save_history(run.link_id, history, run.held())
    data = {"plan_id": plan.plan_id, "cause": cause, "routes_put_back": put_back}
    journal(control, run, EntryKind.ROLLED_BACK, {**data, "generation": generation}, now)
    control.state.close_plan(plan, "undone", run.held())
    return Undone(generation, put_back)


def recover(control: Control, run: Run, now: datetime) -> Undone:
    """Finish what a crashed run left open: wholly new if it had published, otherwise wholly old.

    Raises:
        RollbackIncomplete, LeaseLost: as `roll_back`.
    """
    plan = control.state.open_plan(run.link_id)
    if plan is None:
        return Undone(0, 0, finished=True)
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    current = readable_config(control, run.link_id)
    published = (
        plan.publishes
        and current is not None
        and current.generation > plan.generation_before
        and current.active_path == plan.active_after
    )
    if published and current is not None:
        _keep_account(control, run, policy, plan, current)
        data = {"plan_id": plan.plan_id, "seen": "published before the run that made it crashed"}
        journal(control, run, EntryKind.VERIFIED, data, now)
        control.state.close_plan(plan, "done", run.held())
        return Undone(current.generation, 0, finished=True)
    return roll_back(control, run, plan, "the run that made this plan did not finish it", now)


def _remember_switch_back(
    control: Control, run: Run, policy: Policy, plan: Plan, config: RoutingConfig
) -> None:
    """A switch that did not hold counts as a switch back, and as a failure of the path it led to."""
    history = control.state.history(run.link_id)
    if history.remembers(config.generation):
        return
    assert plan.active_after is not None and plan.active_before is not None
    back = Switch(
        generation=config.generation,
        at=config.published_at,
        from_path=plan.active_after,
        to_path=plan.active_before,
        kind="Rollback",
    )
    history = history.after_observation(
        {plan.active_after: False},
        policy.hysteresis.failed_observations_to_fail,
        policy.hysteresis.healthy_observations_to_recover,
        config.published_at,
    )
    history = after_rollback(history, plan).after_switch(
        back, policy.flap_damping, penalise=plan.active_after
    )
    control.state.save_history(run.link_id, history, run.held())


def _was_asked_for(control: Control, run: Run, execution: str) -> bool:
    """Whether an operator's intent made this execution move traffic: this one, or one that died."""
    if execution == run.execution:
        return run.intent is not None and run.intent.intent is not IntentKind.RECONCILE
    newest = control.journal.entries(run.link_id, newest_first=True, limit=RECENT_ENTRIES)
    for entry, _ in newest:
        if entry.kind is EntryKind.SIGNAL and entry.execution == execution:
            return bool(entry.data.get("kind") == SignalKind.INTENT)
    return False


def _publish(
    control: Control,
    run: Run,
    topology: Topology,
    policy: Policy,
    plan: Plan,
    active_path: str,
    generation_before: int,
    now: datetime,
    reason: str,
) -> RoutingConfig:
    _renew(control, run, policy)
    generation = claim_next(control, run.link_id, generation_before)
    config = routing_config(topology, policy, active_path, generation, run.execution, reason, now)
    restoring = plan.kind is DecisionKind.RESTORE
    control.documents.publish(config, generation_before, replace_unreadable=restoring)
    return config


def _apply_each(
    control: Control,
    run: Run,
    topology: Topology,
    policy: Policy,
    changes: tuple[Change, ...],
    kind: EntryKind,
) -> int:
    if not changes:
        return 0
    routes, written = control.routes(topology), 0
    for change in changes:
        if change.table_id not in topology.managed_route_tables:
            raise TableNotManaged(change.table_id)
        _renew(control, run, policy)
        if routes.apply(change):
            written += 1
            journal(control, run, kind, change.to_dict(), control.now())
    return written


def _undo_routes(control: Control, run: Run, topology: Topology, policy: Policy, plan: Plan) -> int:
    """Undo each change by itself: one that cannot be undone does not keep the others from it."""
    put_back, stuck = 0, []
    for change in plan.inverse_changes():
        try:
            put_back += _apply_each(
                control, run, topology, policy, (change,), EntryKind.ROLLED_BACK
            )
        except (RouteChanged, AwsRefused) as error:
            if isinstance(error, RouteChanged) and not _was_applied(control, run, plan, change):
                continue  # neither as the plan found it nor as the plan would have it: not ours to undo
            stuck.append(f"{change.describe()} ({error})")
    if stuck:
        raise RollbackIncomplete(plan.plan_id, stuck)
    return put_back


def _was_applied(control: Control, run: Run, plan: Plan, inverse: Change) -> bool:
    """Whether the journal tells that the plan's change was put into effect."""
    applied = inverse.inverse().to_dict()
    newest = control.journal.entries(run.link_id, newest_first=True, limit=RECENT_ENTRIES)
    for entry, _ in newest:
        if entry.kind is EntryKind.APPLIED and entry.data == applied:
            return True
        if entry.kind is EntryKind.PLANNED and entry.data["plan_id"] == plan.plan_id:
            return False
    return False


def _renew(control: Control, run: Run, policy: Policy) -> Lease:
    """Prove the right to write, right before a write."""
    return control.leases.renew(run.held(), policy.lease_seconds, control.now())
