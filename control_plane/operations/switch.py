"""Acting: applying a plan's routes, publishing, verifying, and undoing. Each may be run twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from control_plane.adapters.dynamodb import Lease
from control_plane.domain.changes import Change
from control_plane.domain.decide import DecisionKind
from control_plane.domain.history import Switch
from control_plane.domain.journal import EntryKind
from control_plane.domain.plan import Plan
from control_plane.domain.policy import Policy
from control_plane.domain.signals import IntentKind
from control_plane.domain.topology import Topology
from control_plane.errors import (
    AwsRefused,
    PublishedUnverified,
    RollbackIncomplete,
    RouteChanged,
    TableNotManaged,
)
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control
from proxy.routing_config import PathConfig, RoutingConfig


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
    current = control.documents.routing_config(run.link_id)
    mine = current is not None and current.published_by == run.execution
    if mine and current is not None and current.active_path == plan.active_after:
        return current.generation
    reason = f"{plan.kind}: {plan.active_before} → {plan.active_after}"
    generation = _publish(
        control, run, topology, policy, plan.active_after, plan.generation_before, reason, now
    )
    by_hand = run.intent is not None and run.intent.intent is not IntentKind.RECONCILE
    switch = Switch(
        at=now,
        from_path=plan.active_before,
        to_path=plan.active_after,
        kind=str(plan.kind),
        by_hand=by_hand,
    )
    failed_away = plan.kind is DecisionKind.FAILOVER and not by_hand
    history = control.state.history(run.link_id).after_switch(
        switch, policy.flap_damping, penalise=plan.active_before if failed_away else None
    )
    control.state.save_history(run.link_id, history, run.held())
    return generation


def verify(control: Control, run: Run, plan: Plan, generation: int, now: datetime) -> str:
    """Confirm the result from the caller's side; returns what was seen, in a line.

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
    history = control.state.history(run.link_id)
    if history.path(plan.target_path).set_back_at is not None:
        control.state.save_history(run.link_id, history.after_success(plan.target_path), run.held())
    control.state.close_plan(plan, "done", run.held())
    journal(control, run, EntryKind.VERIFIED, {"plan_id": plan.plan_id, "seen": seen}, now)
    return seen


def abandon(control: Control, run: Run, plan: Plan) -> None:
    """Close a plan of which nothing was applied."""
    control.state.close_plan(plan, "abandoned", run.held())


def abandon_unapplied(control: Control, run: Run) -> None:
    """Close the plan that this run may have stored before it failed. Only for a run that applied nothing."""
    if (plan := control.state.open_plan(run.link_id)) is not None:
        abandon(control, run, plan)


def roll_back(control: Control, run: Run, plan: Plan, cause: str, now: datetime) -> Undone:
    """Put everything that this plan changed back as it was: traffic first, then the routes.

    Raises:
        RollbackIncomplete: something could not be put back; the rest was.
        LeaseLost: another run took over, and it will find the plan open.
    """
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    current = control.documents.routing_config(run.link_id)
    generation = current.generation if current else 0
    moved = plan.publishes and generation > plan.generation_before
    if moved and current is not None and current.active_path == plan.active_after:
        assert plan.active_before is not None
        reason = f"rollback of {plan.kind}: {plan.active_after} → {plan.active_before}"
        generation = _publish(
            control, run, topology, policy, plan.active_before, generation, reason, now
        )
        _remember_switch_back(control, run, policy, plan, now)
    put_back = _undo_routes(control, run, topology, policy, plan)
    history = control.state.history(run.link_id).after_setback(plan.target_path, now)
    control.state.save_history(run.link_id, history, run.held())
    control.state.close_plan(plan, "undone", run.held())
    data = {"plan_id": plan.plan_id, "cause": cause, "routes_put_back": put_back}
    journal(control, run, EntryKind.ROLLED_BACK, {**data, "generation": generation}, now)
    return Undone(generation, put_back)


def recover(control: Control, run: Run, now: datetime) -> Undone:
    """Finish what a crashed run left open: wholly new if it had published, otherwise wholly old.

    Raises:
        RollbackIncomplete, LeaseLost: as `roll_back`.
    """
    plan = control.state.open_plan(run.link_id)
    if plan is None:
        return Undone(0, 0, finished=True)
    current = control.documents.routing_config(run.link_id)
    published = (
        plan.publishes
        and current is not None
        and current.generation > plan.generation_before
        and current.active_path == plan.active_after
    )
    if published and current is not None:
        control.state.close_plan(plan, "done", run.held())
        data = {"plan_id": plan.plan_id, "seen": "published before the run that made it crashed"}
        journal(control, run, EntryKind.VERIFIED, data, now)
        return Undone(current.generation, 0, finished=True)
    return roll_back(control, run, plan, "the run that made this plan did not finish it", now)


def routing_config(
    topology: Topology,
    policy: Policy,
    active_path: str,
    generation: int,
    published_by: str,
    reason: str,
    now: datetime,
) -> RoutingConfig:
    """The document to publish; quarantined paths and paths that no data class may use are excluded."""
    paths = []
    for path in topology.paths:
        excluded: str | None = None
        if quarantine := policy.quarantined(path.name, now):
            excluded = f"quarantined: {quarantine.reason}"
        elif not policy.permits(path.routing_method):
            excluded = f"the policy lets no data class use {path.routing_method}"
        if path.name == active_path:
            excluded = None
        paths.append(
            PathConfig(
                name=path.name,
                routing_method=path.routing_method.value,
                endpoint_url=path.endpoint_url,
                peer_networks=path.peer_networks,
                state="excluded" if excluded else "enabled",
                excluded_reason=excluded,
            )
        )
    return RoutingConfig(
        schema_version=1,
        link_id=topology.link_id,
        generation=generation,
        active_path=active_path,
        paths=tuple(paths),
        data_classes={
            name: tuple(method.value for method in methods)
            for name, methods in policy.data_classes.items()
        },
        published_at=now,
        published_by=published_by,
        reason=reason,
    )


def _remember_switch_back(
    control: Control, run: Run, policy: Policy, plan: Plan, now: datetime
) -> None:
    """A switch that did not hold counts as a switch back, and as a failure of the path it led to."""
    assert plan.active_after is not None and plan.active_before is not None
    back = Switch(at=now, from_path=plan.active_after, to_path=plan.active_before, kind="Rollback")
    history = control.state.history(run.link_id).after_observation(
        {plan.active_after: False},
        policy.hysteresis.failed_observations_to_fail,
        policy.hysteresis.healthy_observations_to_recover,
        now,
    )
    history = history.after_switch(back, policy.flap_damping, penalise=plan.active_after)
    control.state.save_history(run.link_id, history, run.held())


def _publish(
    control: Control,
    run: Run,
    topology: Topology,
    policy: Policy,
    active_path: str,
    generation_before: int,
    reason: str,
    now: datetime,
) -> int:
    config = routing_config(
        topology, policy, active_path, generation_before + 1, run.execution, reason, now
    )
    _renew(control, run, policy)
    control.documents.publish(config, generation_before)
    data = {"generation": config.generation, "active_path": active_path, "reason": reason}
    journal(control, run, EntryKind.PUBLISHED, data, now)
    return config.generation


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
            stuck.append(f"{change.describe()} ({error})")
    if stuck:
        raise RollbackIncomplete(plan.plan_id, stuck)
    return put_back


def _renew(control: Control, run: Run, policy: Policy) -> Lease:
    """Prove the right to write, right before a write."""
    return control.leases.renew(run.held(), policy.lease_seconds, control.now())
