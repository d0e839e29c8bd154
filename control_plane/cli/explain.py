"""`twinspan explain`: what an execution did or did not do, and why, in plain words.

Told from the journal alone, so it holds for any execution whose entries are there, however long ago, and
says what was known then. A routine look that found nothing to do leaves no entries, and nothing to tell.
"""

from __future__ import annotations

from typing import Annotated

import typer

from control_plane.cli.completion import complete_executions
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
from control_plane.overview.telling import tell, timings


def explain(
    execution: Annotated[
        str,
        typer.Argument(help="An execution's name, or `last`.", autocompletion=complete_executions),
    ] = "last",
    link: LinkOption = "bedrock",
    as_json: JsonOption = False,
) -> None:
    """Say why an execution did what it did, or did nothing, and what would have changed its mind.

    Examples:

        twinspan explain

        twinspan explain failover-20260301T120000000000
    """
    with failing_in_words("reading the journal …"):
        newest_first = [
            entry for entry, _ in control(link).journal.entries(link, newest_first=True)
        ]
    if execution == "last" and newest_first:
        execution = newest_first[0].execution
    # An execution's ARN ends in its name, which is what people copy from a console.
    name = execution.rsplit(":", 1)[-1]
    entries = [entry for entry in reversed(newest_first) if entry.execution == name]
    if not entries:
        err.print(
            f"the journal of {link} has no entry of {name}: a routine look that found nothing to do "
            "leaves none",
            markup=False,
        )
        raise typer.Exit(EXIT_NOT_DONE)
    took = timings(entries)
    if as_json:
        told = [{"at": e.at.isoformat(), "kind": e.kind, "data": e.data} for e in entries]
        print_json({"execution": name, "entries": told, "seconds_to": took})
        return
    for line in tell(entries):
        out.print(line, markup=False)
    if len(took) > 1:
        stages = ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in took.items())
        out.print(f"Counted from its first entry: {stages}.", markup=False)
