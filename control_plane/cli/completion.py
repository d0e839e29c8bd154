"""What the shell may complete beside commands and options: links, paths, executions.

Each is asked of AWS, with the credentials that a command would have. Where they cannot be had nothing is offered,
and nothing is said: a line that is being typed is no place for an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer
from botocore.exceptions import BotoCoreError

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.fleet import Fleet
from control_plane.adapters.journal import Journal
from control_plane.adapters.link_state import LinkState
from control_plane.adapters.ssm import LinkDocuments
from control_plane.errors import TwinspanError

_LATELY = 200  # newest journal entries whose executions are offered


def complete_links(incomplete: str) -> list[str]:
    """Links that are registered in this account and region."""
    found: list[str] = []
    with _in_silence():
        found = [one.link_id for one in Fleet(AwsSession()).registrations()]
    return _beginning(found, incomplete)


def complete_paths(ctx: typer.Context, incomplete: str) -> list[str]:
    """Paths of the link that the line names."""
    found: list[str] = []
    with _in_silence():
        topology = LinkDocuments(AwsSession()).topology(_link(ctx))
        found = [path.name for path in topology.paths]
    return _beginning(found, incomplete)


def complete_executions(ctx: typer.Context, incomplete: str) -> list[str]:
    """Executions that the newest entries of the journal tell of, the newest first."""
    found: list[str] = []
    with _in_silence():
        entries = Journal(AwsSession(), _state_table()).entries(
            _link(ctx), newest_first=True, limit=_LATELY
        )
        found = list(dict.fromkeys(entry.execution for entry, _ in entries))
    return _beginning(["last", *found], incomplete)


def complete_questions(ctx: typer.Context, incomplete: str) -> list[str]:
    """The execution that waits for an answer."""
    found: list[str] = []
    with _in_silence():
        asked = LinkState(AwsSession(), _state_table()).latest_question(_link(ctx))
        if asked is not None and not asked.get("is_answered"):
            found = [asked["execution"]]
    return _beginning(found, incomplete)


def _link(ctx: typer.Context) -> str:
    return str(ctx.params.get("link") or os.environ.get("TWINSPAN_LINK", "bedrock"))


def _state_table() -> str:
    return os.environ.get("TWINSPAN_STATE_TABLE", "twinspan-state")


def _beginning(found: list[str], incomplete: str) -> list[str]:
    return [one for one in found if one.startswith(incomplete)]


@contextmanager
def _in_silence() -> Iterator[None]:
    with suppress(TwinspanError, BotoCoreError):
        yield
