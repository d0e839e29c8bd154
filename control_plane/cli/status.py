"""`twinspan status` and `twinspan history`: how a link is, and what became of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.fleet import Fleet
from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    control,
    err,
    failing_in_words,
    out,
    print_json,
)
from control_plane.domain.moments import day
from control_plane.errors import TransientError, TwinspanError
from control_plane.operations.published import is_intact, readable_config
from control_plane.overview import timeline
from control_plane.overview.reading import Reader
from control_plane.overview.summary import SCHEMA_VERSION, in_essence, lines, notes, summarise
from control_plane.wiring import Control

_COLOURS = {"HEALTHY": "green", "DEGRADED": "yellow", "FAILED": "bold red", "UNKNOWN": "dim"}
_TONES = {"good": "green", "warn": "yellow", "bad": "red", "plain": "dim"}
_ROUTINE = ("nothing to do", "noted")


def status(
    link: LinkOption = "bedrock",
    every_link: Annotated[
        bool, typer.Option("--all", help="A line for each link of this account and region.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between looks, with --watch.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Say how the link is, what was done about it, what comes next, and what waits for you.

    Exit code 1 where no call may get through or a person is needed, so that a script can ask as well. A watch on a
    terminal keeps the screen; in a pipe it prints the link anew whenever something changed, with --json as a document
    on a line of its own.

    Examples:

        twinspan status

        twinspan status --all

        twinspan status --watch --every 2

        twinspan status --json | jq .active_path
    """
    if every_link and watch:
        raise typer.BadParameter("does not go with --all", param_hint="--watch")
    if every_link:
        _all(as_json)
        return
    with failing_in_words(f"reading {link} …"):
        here = control(link)
        reader = Reader(here, link)
        document = _look(here, reader, link)
    if watch:
        looks = _looks(here, reader, link, document, every)
        with failing_in_words():
            if out.is_terminal and not as_json:
                _keep_on_screen(looks)
            else:
                _print_changes(looks, as_json)
        return
    if as_json:
        print_json(document)
    else:
        out.print(_shown(document))
    if document["state"]["tone"] == "bad":
        raise typer.Exit(EXIT_NOT_DONE)


def history(
    link: LinkOption = "bedrock",
    last: Annotated[int, typer.Option(min=1, help="How many of the newest entries to read.")] = 500,
    everything: Annotated[
        bool, typer.Option("--all", help="Runs that found nothing to do as well.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List what runs did, newest first: when, what came of it, why.

    Examples:

        twinspan history

        twinspan history --all --last 2000
    """
    with failing_in_words("reading the journal …"):
        stored = control(link).journal.entries(link, newest_first=True, limit=last)
    found = timeline.items((entry for entry, _ in stored), most=None)
    runs = [item for item in found if everything or item.word not in _ROUTINE]
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "runs": [_run(item) for item in runs]})
        return
    if not runs:
        out.print(f"nothing has happened to {link} in the newest {last} entries of its journal")
        return
    for item in runs:
        line = Text.assemble(
            (f"{day(item.at)}  ", "dim"), (f"{item.word:<16}", _TONES[item.tone]), item.cause
        )
        out.print(line)
        if item.result:
            out.print(f"{'':23}{item.result}", markup=False)
        out.print(f"{'':23}{item.execution}", style="dim", markup=False)


def _run(item: timeline.Item) -> dict[str, Any]:
    return {
        "execution": item.execution,
        "at": item.at.isoformat(),
        "outcome": item.word,
        "cause": item.cause,
        "result": item.result,
    }


def _look(here: Control, reader: Reader, link: str) -> dict[str, Any]:
    reading = reader.read()
    return summarise(reading, intact=is_intact(here, readable_config(here, link), link))


def _all(as_json: bool) -> None:
    """A line a link; one that cannot be read is said to be, and counts as bad."""
    with failing_in_words("reading the links …"):
        found = [_of(one.link_id) for one in Fleet(AwsSession()).registrations()]
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "links": found})
    elif not found:
        err.print("no link is registered in this account and region")
    else:
        for document in found:
            state = document["state"]
            line = f"{document['link']}: {state['word']}. {state['text']}"
            out.print(Text(line, _TONES[state["tone"]]))
    if any(document["state"]["tone"] == "bad" for document in found):
        raise typer.Exit(EXIT_NOT_DONE)


def _of(link: str) -> dict[str, Any]:
    try:
        here = control(link)
        return _look(here, Reader(here, link), link)
    except TwinspanError as error:
        why = [f"{type(error).__name__}: {error}"]
        state = {"tone": "bad", "word": "Unreadable", "text": why[0], "why": why}
        return {"schema_version": SCHEMA_VERSION, "link": link, "state": state}


def _looks(
    here: Control, reader: Reader, link: str, document: dict[str, Any], every: float
) -> Iterator[tuple[dict[str, Any], str]]:
    """(the link as it was read last, why it could not be read anew) until Ctrl-C."""
    trouble = ""
    while True:
        yield document, trouble
        time.sleep(every)
        try:
            document, trouble = _look(here, reader, link), ""
        except TransientError as error:
            trouble = f"not read anew: {error}"


def _keep_on_screen(looks: Iterator[tuple[dict[str, Any], str]]) -> None:
    with Live(console=out, auto_refresh=False) as live:
        try:
            for document, trouble in looks:
                said = [Text(trouble, "yellow")] if trouble else []
                live.update(Group(_shown(document), *said), refresh=True)
        except KeyboardInterrupt:
            err.print("")


def _print_changes(looks: Iterator[tuple[dict[str, Any], str]], as_json: bool) -> None:
    """For pipes and logs: nothing twice. When a path was looked at last is no change."""
    before: tuple[Any, str] | None = None
    with suppress(KeyboardInterrupt):
        for document, trouble in looks:
            essence = in_essence(document) if as_json else _said(document)
            if (told := (essence, trouble)) == before:
                continue
            before = told
            if trouble:
                err.print(trouble, markup=False)
            elif as_json:
                typer.echo(json.dumps(document, ensure_ascii=False))
            else:
                out.rule(document["read_at"], align="left", characters="─")
                out.print(_shown(document))
            sys.stdout.flush()  # whoever reads the pipe waits for it


def _said(document: dict[str, Any]) -> list[Any]:
    """What a person reads of it, but for when each path was looked at."""
    about = [
        (p["path"], p["active"], p["health"], p["tunnels"], *notes(p)) for p in document["paths"]
    ]
    return [*lines(document), *about]


def _shown(document: dict[str, Any]) -> RenderableType:
    return Group(*(Text(line, style) for style, line in lines(document)), _paths(document))


def _paths(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("path", "", "health", "tunnels", "endpoint", "looked at"):
        table.add_column(heading)
    table.add_column("", overflow="fold")
    for path in document["paths"]:
        table.add_row(
            path["path"],
            "active" if path["active"] else "",
            Text(path["health"], _COLOURS[path["health"]]),
            _tunnels(path),
            path["endpoint_state"] or "not read",
            f"{datetime.fromisoformat(path['looked_at']):%H:%M:%SZ}"
            if path["looked_at"]
            else "never",
            "\n".join(notes(path)),
        )
    return table


def _tunnels(path: dict[str, Any]) -> str:
    if path["tunnels"] is None:
        return "not read"
    return " ".join(_tunnel_words(path["tunnels"])) or "none"


def _tunnel_words(tunnels: list[dict[str, Any]]) -> Iterator[str]:
    for tunnel in tunnels:
        yield tunnel["status"]
