"""A person's answer to a decision that waits for one.

The answer is stored with the question first: the run that asked may find that another has the link, and leaves what
was approved to that one. Then the waiting execution is told, and the journal.
"""

from __future__ import annotations

import json
from datetime import datetime

from control_plane.adapters.aws import calling
from control_plane.domain.journal import EntryKind
from control_plane.errors import InvalidIntent
from control_plane.wiring import Control


def answer(
    control: Control, link_id: str, execution: str, by: str, now: datetime, *, approved: bool
) -> bool:
    """Answer the question that an execution waits with; returns whether it goes on. One that expired means no.

    Raises:
        InvalidIntent: it does not wait for an answer.
        AwsRefused: it no longer does.
    """
    waiting = control.state.approval(link_id, execution)
    if waiting is None:
        raise InvalidIntent("execution", f"{execution} does not wait for an approval")
    goes_on = approved and now <= datetime.fromisoformat(waiting["expires_at"])
    control.state.mark_answered(link_id, execution, approved=goes_on)
    steps, token = control.session.client("stepfunctions"), waiting["task_token"]
    with calling("states:SendTaskResult"):
        if goes_on:
            steps.send_task_success(taskToken=token, output=json.dumps({"approved_by": by}))
        else:
            cause = "an operator said no" if not approved else "the question had expired"
            steps.send_task_failure(taskToken=token, error="NotApproved", cause=cause)
    said = {"answer": "approved" if goes_on else "rejected", "by": by}
    control.journal.append(link_id, EntryKind.APPROVAL, execution, said, now)
    return goes_on
