"""Plan: make the plan and have the route model judge it, before anything is touched."""

from __future__ import annotations

from typing import Literal

from control_plane.operations.choose import plan_and_prove
from control_plane.wiring import Control
from state_machine.contracts import Decided, Planned
from state_machine.runtime import step


@step(Decided)
def handler(control: Control, decided: Decided) -> Planned:
    """A refused path joins the run's `refused`, so that Decide passes it over."""
    decision = decided.the_decision()
    proof = plan_and_prove(
        control,
        decided.run,
        decided.observation_ref,
        decision,
        decided.active_path,
        decided.generation,
        control.now(),
    )
    verdict: Literal["proved", "refused", "dry-run"] = "proved" if proof.passed else "refused"
    run = decided.run
    if not proof.passed:
        why = f"the route model refuses it: {'; '.join(proof.violations)}"
        run = run.model_copy(update={"refused": {**run.refused, proof.plan.target_path: why}})
    elif decision.touches_nothing:
        verdict = "dry-run"
    return Planned(
        **{**dict(decided), "run": run},
        plan=proof.plan.to_dict(),
        proof_ref=proof.evidence_ref,
        verdict=verdict,
        changes_routes=bool(proof.plan.changes),
        publishes=proof.plan.publishes,
    )
