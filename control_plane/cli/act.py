"""Commands that start something: an intent is an execution of the workflow, no more and no less."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from control_plane.adapters.aws import calling
from control_plane.cli.asking import YesOption, ask
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
from control_plane.operations.approvals import answer
from control_plane.operations.operator import resolve as resolve_link
from control_plane.overview.preview import foresee_intent
from control_plane.overview.telling import tell
from control_plane.wiring import Control

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is journaled.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Decide, plan and prove without asking; touch nothing.")
]
OverrideOption = Annotated[
    bool,
    typer.Option("--override", help="Pass the policy's limits and the proofs; needs a reason."),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the execution to its end.")]
ExecutionArgument = Annotated[str, typer.Argument(help="Its name, as the notification gives it.")]
POLL_SECONDS = 0.5
TOLD = 200  # newest journal entries among which an execution's own are looked for


def failover(
    to: Annotated[str | None, typer.Option("--to", help="The path to move traffic to.")] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move traffic to a standby path.

    Examples:

        twinspan failover --to tunnel-2 --reason "carrier maintenance" --wait

        twinspan failover --dry-run --wait
    """
    fields = {"to": to, "dry_run": dry_run, "override": override, "reason": reason}
    _start(link, {"intent": "failover", **fields}, wait, yes, as_json)


def failback(
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Return traffic to the preferred path.

    Examples:

        twinspan failback --wait
    """
    fields = {"dry_run": dry_run, "override": override, "reason": reason}
    _start(link, {"intent": "failback", **fields}, wait, yes, as_json)


def rollback(
    to_generation: Annotated[int, typer.Option("--to-generation", min=1)],
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make active again what was active at an earlier generation.

    Examples:

        twinspan rollback --to-generation 7 --wait
    """
    fields = {"to_generation": to_generation, "dry_run": dry_run, "reason": reason}
    _start(link, {"intent": "rollback", **fields}, wait, yes, as_json)


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
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish anew what was published last, where it was deleted or overwritten by others.

    Examples:

        twinspan restore --wait
    """
    fields = {"to": to, "to_generation": to_generation, "dry_run": dry_run}
    fields |= {"override": override, "reason": reason}
    _start(link, {"intent": "restore", **fields}, wait, yes, as_json)


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
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Practise a failover: traffic goes to another path, and back by itself.

    Needs a link that is well, with no alarm in ALARM. Ends at once when something real happens.

    Examples:

        twinspan drill --for 600 --wait
    """
    fields = {"to": to, "duration_seconds": duration_seconds, "dry_run": dry_run, "reason": reason}
    _start(link, {"intent": "drill", **fields}, wait, yes, as_json)


def reconcile(
    link: LinkOption = "bedrock",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look at the link now, and do what the policy says.

    Examples:

        twinspan reconcile --wait
    """
    _start(link, {"intent": "reconcile", "dry_run": dry_run}, wait, yes, as_json)


def approve(
    execution: ExecutionArgument, link: LinkOption = "bedrock", as_json: JsonOption = False
) -> None:
    """Approve the decision that an execution waits with.

    Examples:

        twinspan approve 0a1b2c3d-0000-4000-8000-000000000000
    """
    _answer(link, execution, as_json, approved=True)


def reject(
    execution: ExecutionArgument, link: LinkOption = "bedrock", as_json: JsonOption = False
) -> None:
    """Reject the decision that an execution waits with.

    Examples:

        twinspan reject 0a1b2c3d-0000-4000-8000-000000000000
    """
    _answer(link, execution, as_json, approved=False)


def resolve(
    reason: Annotated[str, typer.Option("--reason", help="What was found and done; journaled.")],
    link: LinkOption = "bedrock",
    leave_plan: Annotated[
        bool,
        typer.Option("--leave-plan", help="Leave what the failed plan changed as it is now."),
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Let Twinspan act on a link again, after a person has put it right.

    Its next run settles the plan that failed: what is left of it is undone, or it stands if its config is published.
    With --leave-plan nothing of it is touched.

    Examples:

        twinspan resolve --reason "the route table's owner put 10.0.0.0/16 back"
    """
    if not reason.strip():
        err.print("reason: must say what was found and done")
        raise typer.Exit(EXIT_BAD_INPUT)
    by, now = getpass.getuser(), datetime.now(UTC)
    with failing_in_words():
        here = control(link)
        for line in _what_resolving_does(here, link, leave_plan):
            err.print(line, markup=False)
        ask(yes, "Let Twinspan act again?")
        waited = resolve_link(here, link, by, reason, now, leave_plan=leave_plan)
    if as_json:
        print_json({"link": link, "resolved": waited})
    elif waited:
        out.print(f"{link} is released; the next signal or sweep goes on")
    if not waited:
        err.print(f"{link} does not wait for an operator")
        raise typer.Exit(EXIT_NOT_DONE)


def _what_resolving_does(here: Control, link: str, leave_plan: bool) -> Iterator[str]:
    kept = here.leases.current(link).get("kept_because")
    yield f"{link} waits because: {kept}" if kept else f"the lease of {link} is not kept"
    for path, standing in here.state.history(link).quarantines.items():
        yield f"  {path} would be in use again: {standing.describe()}"
    plan = here.state.open_plan(link)
    if plan is not None:
        fate = (
            "stays as it is"
            if leave_plan
            else "the next run undoes what is left of it, or lets it stand if its config is published"
        )
        yield f"  {fate}: {'; '.join(plan.describe()) or 'no change'}"


def _start(link: str, fields: dict[str, Any], wait: bool, yes: bool, as_json: bool) -> None:
    """Show what the intent would do, ask, and start it. Only the answer goes to standard output."""
    with failing_in_words():
        requested_by = f"{getpass.getuser()} by command line"
        document = {"link_id": link, "requested_by": requested_by} | {
            key: value for key, value in fields.items() if value not in (None, "", False)
        }
        here = control(link)
        intent = Intent.from_dict(document)
        intent.check_against(here.documents.topology(link))
        for line in foresee_intent(here, link, intent).lines():
            err.print(line, markup=False)
        if not intent.dry_run:
            ask(yes)
        steps = here.session.client("stepfunctions")
        name = f"{document['intent']}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        with calling("states:StartExecution"):
            arn = steps.start_execution(
                stateMachineArn=state_machine_arn(here.session, link),
                name=name,
                input=json.dumps(document),
            )["executionArn"]
        answer = _follow(steps, arn) if wait else {"status": "RUNNING"}
        entries = here.journal.entries(link, newest_first=True, limit=TOLD) if wait else []
    result = {"execution": name, "execution_arn": arn, **answer}
    if as_json:
        print_json(result)
    else:
        told = [entry for entry, _ in reversed(entries) if entry.execution == name]
        for line in tell(told):
            out.print(line, markup=False)
        out.print(f"{name}: {result['status']}" + (f", {result.get('cause', '')}".rstrip(", ")))
    if answer["status"] not in ("RUNNING", "SUCCEEDED"):
        raise typer.Exit(EXIT_NOT_DONE)


def _follow(steps: Any, arn: str) -> dict[str, Any]:
    """Name each state as it is entered, and return how it all ended."""
    told = 0
    while True:
        with calling("states:DescribeExecution"):
            seen = steps.describe_execution(executionArn=arn)
        with calling("states:GetExecutionHistory"):
            pages = steps.get_paginator("get_execution_history").paginate(executionArn=arn)
            entered = [
                event["stateEnteredEventDetails"]["name"]
                for page in pages
                for event in page["events"]
                if "stateEnteredEventDetails" in event
            ]
        for state in entered[told:]:
            err.print(f"  {state}", style="dim", markup=False)
        told = len(entered)
        if seen["status"] != "RUNNING":
            kept = {"status": seen["status"]}
            kept |= {key: seen[key] for key in ("error", "cause") if seen.get(key)}
            return kept
        time.sleep(POLL_SECONDS)


def _answer(link: str, execution: str, as_json: bool, *, approved: bool) -> None:
    with failing_in_words():
        here = control(link)
        goes_on = answer(
            here, link, execution, getpass.getuser(), datetime.now(UTC), approved=approved
        )
    if approved and not goes_on:
        err.print(f"{execution}: the question had expired, which means no")
    approved = goes_on
    if as_json:
        print_json({"execution": execution, "approved": approved})
    else:
        out.print(f"{execution}: {'approved' if approved else 'rejected'}")
