"""Commands that answer what Twinspan waits with: a question of approval, or a link that it handed over."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from control_plane.cli.asking import DryRunOption, YesOption, ask
from control_plane.cli.completion import complete_questions
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
    working,
)
from control_plane.cli.executions import WaitOption, followed
from control_plane.domain.decision import Decision
from control_plane.errors import InvalidIntent
from control_plane.operations.approvals import answer
from control_plane.operations.operator import resolve as resolve_link
from control_plane.overview.preview import foresee_approved
from control_plane.wiring import Control

ExecutionArgument = Annotated[
    str,
    typer.Argument(
        help="Its name, as the notification gives it.", autocompletion=complete_questions
    ),
]


def approve(
    execution: ExecutionArgument,
    link: LinkOption = "bedrock",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Approve the decision that an execution waits with: it is shown first, with what it would change.

    Examples:

        twinspan approve 0a1b2c3d-0000-4000-8000-000000000000 --wait
    """
    _answer(link, execution, yes, dry_run, wait, as_json, approved=True)


def reject(
    execution: ExecutionArgument,
    link: LinkOption = "bedrock",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Reject the decision that an execution waits with.

    Examples:

        twinspan reject 0a1b2c3d-0000-4000-8000-000000000000
    """
    _answer(link, execution, yes, dry_run, wait, as_json, approved=False)


def resolve(
    reason: Annotated[str, typer.Option("--reason", help="What was found and done; journaled.")],
    link: LinkOption = "bedrock",
    leave_plan: Annotated[
        bool,
        typer.Option("--leave-plan", help="Leave what the failed plan changed as it is now."),
    ] = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
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
        if dry_run:
            waited = here.leases.current(link).get("kept_because") is not None
        else:
            ask(yes, "Let Twinspan act again?")
            waited = resolve_link(here, link, by, reason, now, leave_plan=leave_plan)
    if as_json:
        print_json({"link": link, "waits": waited, "resolved": waited and not dry_run})
    elif waited and not dry_run:
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


def _answer(
    link: str,
    execution: str,
    yes: bool,
    dry_run: bool,
    wait: bool,
    as_json: bool,
    *,
    approved: bool,
) -> None:
    execution = execution.rsplit(":", 1)[-1]  # an ARN ends in the name
    with failing_in_words():
        with working(f"reading {link} …"):
            here = control(link)
            waiting = here.state.approval(link, execution)
            if waiting is None:
                raise InvalidIntent("execution", f"{execution} does not wait for an approval")
            foreseen = foresee_approved(here, link, Decision.from_dict(waiting["decision"]))
        for line in foreseen.lines():
            err.print(line, markup=False)
        known: dict[str, Any] = {"foreseen": foreseen.to_dict()}
        if dry_run:
            if as_json:
                print_json({"execution": execution, "approved": None, **known})
            return
        ask(yes, "Approve it?" if approved else "Reject it?")
        by, now = getpass.getuser(), datetime.now(UTC)
        goes_on = answer(here, link, execution, by, now, approved=approved)
        if approved and not goes_on:
            err.print(f"{execution}: the question had expired, which means no")
        if wait and goes_on == approved:
            arn = execution_arn(state_machine_arn(here.session, link), execution)
            followed(here, link, execution, arn, wait, as_json, {"approved": goes_on, **known})
            return
    if as_json:
        print_json({"execution": execution, "approved": goes_on, **known})
    else:
        out.print(f"{execution}: {'approved' if goes_on else 'rejected'}")
    if approved and not goes_on:
        raise typer.Exit(EXIT_NOT_DONE)


def execution_arn(machine_arn: str, name: str) -> str:
    """The ARN of a standard workflow's execution, which its state machine's ARN and its name make up."""
    return f"{machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
