"""Deciding, planning and proving: from a stored observation to a plan that the route model has passed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from control_plane.domain.decide import Decision, DecisionKind, Situation, decide
from control_plane.domain.drill import DrillMove
from control_plane.domain.health import assess_all, remembered
from control_plane.domain.journal import EntryKind
from control_plane.domain.observation import Observation, ProbeResult
from control_plane.domain.plan import Plan, make_plan
from control_plane.domain.policy import Policy
from control_plane.domain.practice import alarms_matter
from control_plane.domain.signals import IntentKind
from control_plane.domain.topology import SideName, Topology
from control_plane.operations.drills import alarms_in_the_way, open_drill
from control_plane.operations.published import config_for, in_essence, is_intact, path_to_put_back
from control_plane.operations.run import Run, journal
from control_plane.wiring import Control


@dataclass(frozen=True, slots=True)
class Proof:
    """A plan with the route model's verdict; `violations` are the lines that refused it."""

    plan: Plan
    passed: bool
    violations: tuple[str, ...]
    evidence_ref: str


def choose(
    control: Control,
    run: Run,
    observation_ref: str,
    active_path: str | None,
    now: datetime,
) -> Decision:
    """Decide on the stored observation, and journal it unless a routine look found nothing new to do.

    Raises:
        UnknownGeneration: a rollback asks for a generation that was never published.
    """
    topology, policy, observation = _load(control, run, observation_ref)
    config = config_for(control, run)
    published = in_essence(config)
    situation = Situation(
        topology=topology,
        policy=policy,
        active_path=active_path,
        health=assess_all(observation, policy, now),
        drifted=frozenset(path.name for path in observation.paths if path.drift),
        history=control.state.history(run.link_id),
        now=now,
        intent=run.intent,
        refused=run.refused,
        rollback_path=path_to_put_back(control, run.intent, topology, policy, active_path is None),
        published=published,
        intact=run.intent is None
        or run.intent.intent is not IntentKind.RESTORE
        or is_intact(control, config, run.link_id),
        routine=run.routine and run.trouble is None,
    )
    if alarms_matter(situation):
        ringing = alarms_in_the_way(control, run.link_id, policy)
        situation = replace(situation, alarms=ringing)
    decision = decide(situation)
    if decision.needs_approval and _is_approved(control, run, decision, now):
        decision = decide(replace(situation, approved=True))
        control.state.close_question(run.link_id)
    if decision.needs_approval:
        decision = _asked_once(control, run, decision, now)
    if decision.acts or not run.routine or _is_news(control, run, decision):
        data = {
            **decision.to_dict(),
            "observation": observation_ref,
            "health": {name: verdict.describe() for name, verdict in situation.health.items()},
            "round": run.round,
        }
        journal(control, run, EntryKind.DECIDED, data, now)
    return decision


def plan_and_prove(
    control: Control,
    run: Run,
    observation_ref: str,
    decision: Decision,
    active_path: str | None,
    generation: int,
    now: datetime,
) -> Proof:
    """Make the plan, have the route model judge it, and store plan and inverse if it may be applied.

    Raises:
        LeaseLost: another run took over.
    """
    # The model draws in networkx; only this operation needs it.
    from control_plane.domain.route_model import Flow, Network, PlanLimits, Snapshot

    topology, policy, observation = _load(control, run, observation_ref)
    assert decision.path is not None
    target, path = observation.path(decision.path), topology.path(decision.path)
    assert target is not None and path is not None, "the decision names a path of this topology"
    plan = make_plan(topology, policy, decision, target, active_path, generation)

    violations: tuple[str, ...]
    proof: dict[str, Any] = {}
    if decision.kind is DecisionKind.PUBLISH:
        # Nothing moves: what the network is like is no reason to keep a policy from the proxies.
        violations = ()
    elif path.endpoint_address is None or observation.snapshot_ref is None:
        violations = ("no model exists for a path without an endpoint address",)
    else:
        network = Network.build(
            Snapshot.from_describe(control.evidence.get(observation.snapshot_ref))
        )
        flows = [
            Flow(source=subnet, destination=path.endpoint_address, protocol="tcp", port=443)
            for subnet in topology.sides[SideName.GOVCLOUD].subnet_ids
        ]
        limits = PlanLimits(
            allowed_tables=topology.managed_route_tables,
            max_changes=policy.maximum_route_changes_per_plan,
        )
        report = network.validate(list(plan.changes), flows=flows, limits=limits)
        violations = tuple(v.message for v in report.violations if v.blocking)
        if violations and not plan.changes:
            # The model says where packets stop; the topology says which route belongs there.
            violations += tuple(route.describe() for route in target.drift)
        proof = report.to_dict()
    if decision.kind is not DecisionKind.PUBLISH:
        violations += tuple(f"not observed: {item}" for item in observation.not_observed)

    evidence_ref = control.evidence.put({"plan": plan.to_dict(), "proof": proof})
    passed = not violations or decision.overridden
    data: dict[str, Any] = {
        "plan_id": plan.plan_id,
        "plan": plan.to_dict(),
        "effects": plan.describe(),
        "evidence": evidence_ref,
    }
    if violations:
        data |= {"violations": list(violations), "overridden": decision.overridden}
    journal(control, run, EntryKind.PLANNED if passed else EntryKind.REFUSED, data, now)
    if decision.touches_nothing:
        return Proof(plan, passed, violations, evidence_ref)
    if decision.drill is DrillMove.BEGIN:
        # A drill whose plan is refused has failed, and is to be told of.
        open_drill(control, run, plan, decision, now)
    if passed:
        control.leases.renew(run.held(), policy.lease_seconds, now)
        control.state.save_plan(plan, run.execution, run.held())
    return Proof(plan, passed, violations, evidence_ref)


def probe_target(control: Control, run: Run, plan: Plan, now: datetime) -> ProbeResult:
    """Probe the path that traffic is about to move to, afresh."""
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    path = topology.path(plan.target_path)
    assert path is not None, "the plan was made on this topology"
    result = control.prober(topology).probe(path, policy.probe)
    journal(control, run, EntryKind.PROBED, result.model_dump(mode="json"), now)
    return result


def foresee(control: Control, link_id: str, policy: Policy, now: datetime) -> Decision:
    """What this policy would do now, on what the last look found. Reads, and writes nothing.

    A look that is too old says nothing any more. Its verdicts were drawn under the policy in force then.
    """
    topology, history = control.documents.topology(link_id), control.state.history(link_id)
    seen = {
        name: (memory.verdict, memory.seen_at)
        for name, memory in history.paths.items()
        if memory.verdict is not None and memory.seen_at is not None
    }
    health = remembered(seen, policy.maximum_source_age, now)
    published = in_essence(control.documents.routing_config(link_id))
    missing = published is None
    return decide(
        Situation(
            topology=topology,
            policy=policy,
            active_path=published.active_path if published else None,
            health=health,
            drifted=frozenset(name for name, verdict in health.items() if verdict.drifted),
            history=history,
            now=now,
            published=published,
            rollback_path=path_to_put_back(control, None, topology, policy, missing),
        )
    )


def _load(control: Control, run: Run, reference: str) -> tuple[Topology, Policy, Observation]:
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    return topology, policy, Observation.from_dict(control.evidence.get(reference))


def _is_approved(control: Control, run: Run, decision: Decision, now: datetime) -> bool:
    """Whether a person has said yes to this: to this run, or to one that has left the link to this one since."""
    approved = run.approved_decision
    if approved is None:
        asked = control.state.latest_question(run.link_id)
        if asked and asked.get("is_approved") and now < datetime.fromisoformat(asked["expires_at"]):
            approved = asked["decision"]
    return approved is not None and _essence(decision.to_dict()) == _essence(approved)


def _asked_once(control: Control, run: Run, decision: Decision, now: datetime) -> Decision:
    """The decision, or to wait: until a question expires, nobody is asked the same again, rejected or not."""
    asked = control.state.latest_question(run.link_id)
    if asked is None or datetime.fromisoformat(asked["expires_at"]) <= now:
        return decision
    if _essence(asked["decision"]) != _essence(decision.to_dict()):
        return decision
    reason = f"{asked['execution']} asked for approval until {asked['expires_at']}"
    return replace(
        decision,
        kind=DecisionKind.NO_CHANGE,
        needs_approval=False,
        reasons=(*decision.reasons, reason),
    )


def _is_news(control: Control, run: Run, decision: Decision) -> bool:
    """Whether a routine look escalates something else than the last decision on record did."""
    if decision.kind is not DecisionKind.ESCALATE:
        return False
    for entry, _ in control.journal.entries(run.link_id, newest_first=True, limit=20):
        if entry.kind is EntryKind.DECIDED:
            return _essence(entry.data) != _essence(decision.to_dict())
    return True


def _essence(decision: dict[str, Any]) -> tuple[Any, Any]:
    """What an approval approves: the kind of action and its path. Reasons may be worded anew."""
    return decision["kind"], decision["path"]
