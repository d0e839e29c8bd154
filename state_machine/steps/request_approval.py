"""AwaitApproval: ask a person, and hand out the token that resumes the execution."""

from __future__ import annotations

from pydantic import AwareDatetime

from control_plane.domain.decide import Decision
from control_plane.domain.documents import Document
from control_plane.operations.conclude import request_approval
from control_plane.wiring import Control
from state_machine.contracts import ApprovalRequest
from state_machine.runtime import step


class Asked(Document):
    """When the question expires."""

    expires_at: AwareDatetime


@step(ApprovalRequest)
def handler(control: Control, request: ApprovalRequest) -> Asked:
    """The answer does not come from here: it comes through the task token."""
    decision = Decision.from_dict(request.decision)
    expires_at = request_approval(control, request.run, decision, request.task_token, control.now())
    return Asked(expires_at=expires_at)
