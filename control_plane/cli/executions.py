"""An execution of the workflow as a command sees it: foreseen, started, followed to its end."""

from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from control_plane.adapters.aws import calling
from control_plane.cli.asking import ask
from control_plane.cli.context import (
    EXIT_INTERRUPTED,
    EXIT_NOT_DONE,
    control,
    err,
    failing_in_words,
    out,
    print_json,
    state_machine_arn,
    working,
)
from control_plane.domain.signals import Intent
from control_plane.overview.preview import foresee_intent
from control_plane.overview.telling import tell
from control_plane.wiring import Control

WaitOption = Annotated[bool, typer.Option("--wait", help="Follow the execution to its end.")]
POLL_SECONDS = 0.5
TOLD = 200  # newest journal entries among which an execution's own are looked for


def start(link: str, fields: dict[str, Any], wait: bool, yes: bool, as_json: bool) -> None:
    """Show what the intent would do, ask, and start it. Only the answer goes to standard output."""
    with failing_in_words():
        requested_by = f"{getpass.getuser()} by command line"
        document = {"link_id": link, "requested_by": requested_by} | {
            key: value for key, value in fields.items() if value not in (None, "", False)
        }
        with working(f"reading {link} …"):
            here = control(link)
            intent = Intent.from_dict(document)
            intent.check_against(here.documents.topology(link))
            foreseen = foresee_intent(here, link, intent)
        for line in foreseen.lines():
            err.print(line, markup=False)
        if not intent.dry_run:
            ask(yes)
        name = f"{document['intent']}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        with calling("states:StartExecution"):
            arn = here.session.client("stepfunctions").start_execution(
                stateMachineArn=state_machine_arn(here.session, link),
                name=name,
                input=json.dumps(document),
            )["executionArn"]
        followed(here, link, name, arn, wait, as_json, {"foreseen": foreseen.to_dict()})


def followed(
    here: Control,
    link: str,
    name: str,
    arn: str,
    wait: bool,
    as_json: bool,
    known: dict[str, Any],
) -> None:
    """Tell of an execution that goes on: at once, or with `wait` at its end. One that failed ends the command."""
    answer = _to_its_end(here, name, arn) if wait else {"status": "RUNNING"}
    entries = here.journal.entries(link, newest_first=True, limit=TOLD) if wait else []
    if as_json:
        print_json({"execution": name, "execution_arn": arn, **answer, **known})
    else:
        told = [entry for entry, _ in reversed(entries) if entry.execution == name]
        for line in tell(told):
            out.print(line, markup=False)
        out.print(f"{name}: {answer['status']}" + (f", {answer.get('cause', '')}".rstrip(", ")))
    if not wait:
        err.print(f"  what becomes of it: twinspan explain {name}", style="dim", markup=False)
    if answer["status"] not in ("RUNNING", "SUCCEEDED"):
        raise typer.Exit(EXIT_NOT_DONE)


def _to_its_end(here: Control, name: str, arn: str) -> dict[str, Any]:
    try:
        return follow(here.session.client("stepfunctions"), arn)
    except KeyboardInterrupt:
        err.print(f"no longer followed, it goes on: twinspan explain {name}", markup=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def follow(steps: Any, arn: str) -> dict[str, Any]:
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
