"""ReleaseLease: give the lease back, unless another signal came while it was held."""

from __future__ import annotations

from control_plane.operations.begin import release
from control_plane.wiring import Control
from state_machine.contracts import Concluded, Released
from state_machine.runtime import step


@step(Concluded)
def handler(control: Control, concluded: Concluded) -> Released:
    """A next round starts with nothing refused, and without the intent, which has been dealt with."""
    run = concluded.run
    let_go = release(control, run, control.now())
    if let_go.again:
        run = run.model_copy(
            update={
                "round": run.round + 1,
                "refused": {},
                "intent": None,
                "trouble": let_go.trouble,
            }
        )
    return Released(
        **{**dict(concluded), "run": run},
        again=let_go.again,
        approval_seconds=let_go.approval_seconds,
    )
