"""What every command needs: which link, which account, how to print, how to fail."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError
from rich.console import Console

from control_plane.adapters.aws import AwsSession, calling
from control_plane.cli.completion import complete_links
from control_plane.errors import AwsRefused, TransientError, TwinspanError
from control_plane.settings import Settings
from control_plane.wiring import Control

EXIT_NOT_DONE = 1
EXIT_BAD_INPUT = 2
EXIT_TRY_AGAIN = 3
EXIT_INTERRUPTED = 130  # as shells have it: 128 and the signal's number

LinkOption = Annotated[
    str,
    typer.Option(
        "--link",
        envvar="TWINSPAN_LINK",
        help="The link to act on.",
        autocompletion=complete_links,
    ),
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


_ADVICE = {
    "ExpiredToken": "the credentials have expired: sign in anew",
    "ExpiredTokenException": "the credentials have expired: sign in anew",
    "RequestExpired": "the credentials have expired, or this machine's clock is wrong",
    "InvalidClientTokenId": "AWS does not know these credentials: is it the right partition and profile?",
    "UnrecognizedClientException": "AWS does not know these credentials: is it the right partition and profile?",
    "AuthFailure": "AWS does not know these credentials: is it the right partition and profile?",
    "AccessDenied": "these credentials lack the right that is named: docs/reference/iam.md",
    "AccessDeniedException": "these credentials lack the right that is named: docs/reference/iam.md",
    "UnauthorizedOperation": "these credentials lack the right that is named: docs/reference/iam.md",
}


@contextmanager
def failing_in_words(doing: str = "") -> Iterator[None]:
    """Turn our own errors, and a missing configuration of AWS, into a line or two and an exit code.

    2 where the input, the credentials or the rights are to be mended first, 3 for "try again". `doing` is shown on a
    terminal meanwhile.
    """
    try:
        with working(doing):
            yield
    except TransientError as error:
        err.print(f"{type(error).__name__}: {error}", markup=False)
        if isinstance(error.__cause__, BotoCoreError):
            err.print(f"  {error.__cause__}", markup=False)
        raise typer.Exit(EXIT_TRY_AGAIN) from None
    except TwinspanError as error:
        err.print(f"{type(error).__name__}: {error}", markup=False)
        if isinstance(error, AwsRefused) and error.code in _ADVICE:
            err.print(f"  {_ADVICE[error.code]}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    except BotoCoreError as error:
        # No credentials, no region, no such profile, a sign-in that has run out: the SDK's own words name which.
        err.print(f"AWS: {error}", markup=False)
        err.print(
            "  account and region come from the usual AWS variables and profiles", markup=False
        )
        raise typer.Exit(EXIT_BAD_INPUT) from None


@contextmanager
def working(doing: str) -> Iterator[None]:
    """Say on a terminal, aside, what takes its time; it is gone when it is done, and pipes never see it."""
    if not doing or not err.is_terminal:
        yield
        return
    with err.status(doing):
        yield


def text_of(file: Path) -> str:
    """A file's text; one that is none ends the command, by its name."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not text in UTF-8"
        err.print(f"{file}: {reason}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT) from None


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")
