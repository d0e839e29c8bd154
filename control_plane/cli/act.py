"""Commands that start something: an intent is an execution of the workflow, no more and no less."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from control_plane.adapters.aws import calling
from control_plane.cli.context import (
    EXIT_BAD_INPUT,
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    control,
    err,
    failing_in_words,
    out,
    print_json,
    state_machine_arn,
)
from control_plane.domain.signals import Intent
from control_plane.operations.operator import resolve as resolve_link

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is journaled.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Decide, plan and prove; touch nothing.")
]
OverrideOption = Annotated[
    bool,
    typer.Option("--override", help="Pass the policy's limits and the proofs; needs a reason."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the execution to its end.")]
POLL_SECONDS = 0.3


def failover(
    to: Annotated[str | None, typer.Option("--to", help="The path to move traffic to.")] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move traffic to a standby path."""
    fields = {"to": to, "dry_run": dry_run, "override": override, "reason": reason}
    _start(link, {"intent": "failover", **fields}, wait, as_json)


def failback(
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Return traffic to the preferred path."""
    fields = {"dry_run": dry_run, "override": override, "reason": reason}
    _start(link, {"intent": "failback", **fields}, wait, as_json)


def rollback(
    to_generation: Annotated[int, typer.Option("--to-generation", min=1)],
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make active again what was active at an earlier generation."""
    fields = {"to_generation": to_generation, "dry_run": dry_run, "reason": reason}
    _start(link, {"intent": "rollback", **fields}, wait, as_json)


def restore(
    to: Annotated[
        str | None, typer.Option("--to", help="Another path than the one published last.")
    ] = None,
    to_generation: Annotated[
        int | None, typer.Option("--to-generation", min=1, help="As it was at this generation.")
    ] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish anew what was published last, where it was deleted or overwritten by others."""
    fields = {"to": to, "to_generation": to_generation, "dry_run": dry_run}
    fields |= {"override": override, "reason": reason}
    _start(link, {"intent": "restore", **fields}, wait, as_json)


def drill(
    to: Annotated[str | None, typer.Option("--to", help="The path to practise with.")] = None,
    duration_seconds: Annotated[
        float | None,
        typer.Option("--for", min=1, max=86400, help="Seconds until traffic goes back by itself."),
    ] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Practise a failover: traffic goes to another path, and back by itself.

    Needs a link that is well, with no alarm in ALARM. Ends at once when something real happens.
    """
    fields = {"to": to, "duration_seconds": duration_seconds, "dry_run": dry_run, "reason": reason}
    _start(link, {"intent": "drill", **fields}, wait, as_json)


def reconcile(
    link: LinkOption = "bedrock",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look at the link now, and do what the policy says."""
    _start(link, {"intent": "reconcile", "dry_run": dry_run}, wait, as_json)


def approve(execution: str, link: LinkOption = "bedrock") -> None:
    """Approve the decision that an execution waits with."""
    _answer(link, execution, approved=True)


def reject(execution: str, link: LinkOption = "bedrock") -> None:
    """Reject the decision that an execution waits with."""
    _answer(link, execution, approved=False)


def resolve(
    reason: Annotated[str, typer.Option("--reason", help="What was found and done; journaled.")],
    link: LinkOption = "bedrock",
    leave_plan: Annotated[
        bool,
        typer.Option("--leave-plan", help="Leave what the failed plan changed as it is now."),
    ] = False,
) -> None:
    """Let Twinspan act on a link again, after a person has put it right.

    Its next run tries once more to undo what the failed plan changed, unless told to leave it.
    """
    if not reason.strip():
        err.print("reason: must say what was found and done")
        raise typer.Exit(EXIT_BAD_INPUT)
    by, now = getpass.getuser(), datetime.now(UTC)
    with failing_in_words():
        waited = resolve_link(control(link), link, by, reason, now, leave_plan=leave_plan)
    if not waited:
        err.print(f"{link} does not wait for an operator")
        raise typer.Exit(EXIT_NOT_DONE)
    out.print(f"{link} is released; the next signal or sweep goes on")


def _start(link: str, fields: dict[str, Any], wait: bool, as_json: bool) -> None:
    with failing_in_words():
        requested_by = f"{getpass.getuser()} by command line"
        document = {"link_id": link, "requested_by": requested_by} | {
            key: value for key, value in fields.items() if value not in (None, "", False)
        }
        here = control(link)
        Intent.from_dict(document).check_against(here.documents.topology(link))
        steps = here.session.client("stepfunctions")
        name = f"{document['intent']}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        with calling("states:StartExecution"):
            arn = steps.start_execution(
                stateMachineArn=state_machine_arn(here.session, link),
                name=name,
                input=json.dumps(document),
            )["executionArn"]
        answer = _follow(steps, arn) if wait else {"status": "RUNNING"}
    result = {"execution": name, "execution_arn": arn, **answer}
    if as_json:
        print_json(result)
    else:
        out.print(f"{name}: {result['status']}" + (f", {result.get('cause', '')}".rstrip(", ")))
    if answer["status"] not in ("RUNNING", "SUCCEEDED"):
        raise typer.Exit(EXIT_NOT_DONE)


def _follow(steps: Any, arn: str) -> dict[str, Any]:
    while True:
        with calling("states:DescribeExecution"):
            seen = steps.describe_execution(executionArn=arn)
        if seen["status"] != "RUNNING":
            kept = {"status": seen["status"]}
            kept |= {key: seen[key] for key in ("error", "cause") if seen.get(key)}
            return kept
        time.sleep(POLL_SECONDS)


def _answer(link: str, execution: str, *, approved: bool) -> None:
    with failing_in_words():
        here = control(link)
        waiting = here.state.approval(link, execution)
        if waiting is None:
            err.print(f"{execution} does not wait for an approval")
            raise typer.Exit(EXIT_BAD_INPUT)
        if datetime.fromisoformat(waiting["expires_at"]) < datetime.now(UTC):
            err.print(f"{execution}: the question expired at {waiting['expires_at']}; it means no")
            approved = False
        steps = here.session.client("stepfunctions")
        with calling("states:SendTaskResult"):
            if approved:
                answer = {"approved_by": getpass.getuser()}
                steps.send_task_success(taskToken=waiting["task_token"], output=json.dumps(answer))
            else:
                steps.send_task_failure(
                    taskToken=waiting["task_token"],
                    error="NotApproved",
                    cause="an operator said no",
                )
    out.print(f"{execution}: {'approved' if approved else 'rejected'}")
