"""`twinspan status` and `twinspan history`: how a link is, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

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
from control_plane.errors import TransientError
from control_plane.operations.published import is_intact, readable_config
from control_plane.overview import timeline
from control_plane.overview.reading import Reader
from control_plane.overview.summary import SCHEMA_VERSION, lines, notes, summarise
from control_plane.wiring import Control

_COLOURS = {"HEALTHY": "green", "DEGRADED": "yellow", "FAILED": "bold red", "UNKNOWN": "dim"}
_TONES = {"good": "green", "warn": "yellow", "bad": "red", "plain": "dim"}
_ROUTINE = ("nothing to do", "noted")


def status(
    link: LinkOption = "bedrock",
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")
    ] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between looks, with --watch.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """Say how the link is, what was done about it, what comes next, and what waits for you.

    Exit code 1 where no call may get through or a person is needed, so that a script can ask as well.

    Examples:

        twinspan status

        twinspan status --watch --every 2

        twinspan status --json | jq .active_path
    """
    with failing_in_words():
        here = control(link)
        reader = Reader(here, link)
        document = _look(here, reader, link)
    if watch:
        with failing_in_words():
            _watch(here, reader, link, document, every)
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
    with failing_in_words():
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


def _watch(
    here: Control, reader: Reader, link: str, document: dict[str, Any], every: float
) -> None:
    """Show the link until Ctrl-C; a look that fails for a while is said, and the last one stays."""
    with Live(_shown(document), console=out, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(every)
                try:
                    document = _look(here, reader, link)
                    shown: RenderableType = _shown(document)
                except TransientError as error:
                    shown = Group(_shown(document), Text(f"not read anew: {error}", "yellow"))
                live.update(shown, refresh=True)
        except KeyboardInterrupt:
            err.print("")


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
