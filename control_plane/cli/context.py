"""What every command needs: which link, which account, how to print, how to fail."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from control_plane.adapters.aws import AwsSession, calling
from control_plane.errors import TransientError, TwinspanError
from control_plane.settings import Settings
from control_plane.wiring import Control

EXIT_NOT_DONE = 1
EXIT_BAD_INPUT = 2
EXIT_TRY_AGAIN = 3

LinkOption = Annotated[
    str, typer.Option("--link", envvar="TWINSPAN_LINK", help="The link to act on.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def control(link_id: str) -> Control:
    """Adapters for the link, by the names that the stacks give; the account is the caller's own."""
    return Control.from_settings(
        Settings(
            link_id=link_id,
            state_table=os.environ.get("TWINSPAN_STATE_TABLE", "twinspan-state"),
            evidence_bucket=os.environ.get("TWINSPAN_EVIDENCE_BUCKET", ""),
            notify_topic_arn=os.environ.get("TWINSPAN_NOTIFY_TOPIC_ARN", ""),
            proxy_function=f"twinspan-{link_id}-proxy",
        )
    )


def state_machine_arn(session: AwsSession, link_id: str) -> str:
    """The remediation workflow of the link: from the environment, or by its name in this account."""
    if arn := os.environ.get("TWINSPAN_STATE_MACHINE_ARN"):
        return arn
    name = f"twinspan-{link_id}-remediation"
    with calling("states:ListStateMachines"):
        pages = session.client("stepfunctions").get_paginator("list_state_machines").paginate()
        for page in pages:
            for machine in page["stateMachines"]:
                if machine["name"] == name:
                    return str(machine["stateMachineArn"])
    err.print(f"no state machine {name} in this account and region")
    raise typer.Exit(EXIT_BAD_INPUT)


@contextmanager
def failing_in_words() -> Iterator[None]:
    """Turn our own errors into one line and an exit code: 2 for bad input, 3 for "try again"."""
    try:
        yield
    except TransientError as error:
        err.print(f"{type(error).__name__}: {error}", markup=False)
        raise typer.Exit(EXIT_TRY_AGAIN) from None
    except TwinspanError as error:
        err.print(f"{type(error).__name__}: {error}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT) from None


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
