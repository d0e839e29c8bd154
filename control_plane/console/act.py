"""Starting what an operator asks for: an execution of the workflow, an answer to its question, a resolve.

The same things that the command line does, in the same way: no route or document is written from here.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from control_plane.adapters.aws import calling
from control_plane.adapters.fleet import Fleet
from control_plane.domain.signals import Intent
from control_plane.errors import InvalidIntent, UnknownLink
from control_plane.operations.approvals import answer
from control_plane.operations.operator import resolve
from control_plane.wiring import Control

INTENTS = frozenset({"failover", "failback", "rollback", "reconcile"})


def perform(control: Control, link_id: str, action: str, form: Mapping[str, str]) -> str:
    """Do what the form asks for; returns what was begun, in words.

    Raises:
        InvalidIntent: the form asks for something that cannot be done; names the field.
        TwinspanError: AWS did not do it.
    """
    if action in INTENTS:
        return _start(control, link_id, action, form)
    if action in ("approve", "reject"):
        return _answer(control, link_id, form.get("execution", ""), approved=action == "approve")
    if action == "resolve":
        return _resolve(control, link_id, form.get("reason", "").strip())
    raise InvalidIntent("action", "is none of the console's actions")


def _start(control: Control, link_id: str, action: str, form: Mapping[str, str]) -> str:
    document: dict[str, Any] = {
        "intent": action,
        "link_id": link_id,
        "requested_by": f"{getpass.getuser()} by console",
    }
    for name in ("to", "reason"):
        if form.get(name, "").strip():
            document[name] = form[name].strip()
    if action == "rollback":
        given = form.get("to_generation", "")
        if not given.isascii() or not given.isdigit():
            raise InvalidIntent("to_generation", "must be a number")
        document["to_generation"] = int(given)
    document |= {name: True for name in ("dry_run", "override") if form.get(name) == "yes"}
    Intent.from_dict(document).check_against(control.documents.topology(link_id))
    name = f"{action}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    with calling("states:StartExecution"):
        control.session.client("stepfunctions").start_execution(
            stateMachineArn=_state_machine(control, link_id), name=name, input=json.dumps(document)
        )
    return f"Started {name}."


def _state_machine(control: Control, link_id: str) -> str:
    for registration in Fleet(control.session).registrations():
        if registration.link_id == link_id:
            return registration.state_machine_arn
    raise UnknownLink(link_id)


def _answer(control: Control, link_id: str, execution: str, *, approved: bool) -> str:
    now = datetime.now(UTC)
    goes_on = answer(control, link_id, execution, getpass.getuser(), now, approved=approved)
    if approved and not goes_on:
        return f"{execution}: the question had expired, which means no."
    return f"{execution}: {'approved' if goes_on else 'rejected'}."


def _resolve(control: Control, link_id: str, reason: str) -> str:
    if not reason:
        raise InvalidIntent("reason", "is needed: what was found and done")
    now = datetime.now(UTC)
    if not resolve(control, link_id, getpass.getuser(), reason, now, leave_plan=False):
        raise InvalidIntent("action", f"{link_id} does not wait for an operator")
    return f"{link_id} is released; the next signal or sweep goes on."
