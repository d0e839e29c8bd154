"""`twinspan journal`: every decision with its evidence, shown, checked, taken along."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

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
)
from control_plane.cli.exits import exits
from control_plane.domain.journal import Break, Entry, verify
from control_plane.overview.telling import in_a_line

journal_app = typer.Typer(
    help="The journal: every decision, with its evidence.", no_args_is_help=True
)


@journal_app.command("show", epilog=exits())
def journal_show(
    link: LinkOption = "bedrock",
    last: Annotated[int, typer.Option(help="How many of the newest entries.", min=1)] = 30,
    as_json: JsonOption = False,
) -> None:
    """Print the newest entries, oldest of them first.

    Examples:

        twinspan journal show --last 100
    """
    with failing_in_words("reading the journal …"):
        entries = control(link).journal.entries(link, newest_first=True, limit=last)[::-1]
    if as_json:
        print_json([_as_json(entry, stored) for entry, stored in entries])
        return
    for entry, _ in entries:
        out.print(f"{entry.sequence:>5} {entry.at:%H:%M:%S} {entry.kind:<14} ", end="", style="dim")
        out.print(in_a_line(entry), markup=False)


@journal_app.command("verify", epilog=exits("the chain is broken"))
def journal_verify(link: LinkOption = "bedrock", as_json: JsonOption = False) -> None:
    """Check the chain of hashes; exit 1 where it does not hold.

    Examples:

        twinspan journal verify
    """
    with failing_in_words("reading the journal …"):
        journal = control(link).journal
        # The head first: what is written from here on makes the journal longer than it, and no shorter.
        head = journal.head(link)
        entries = [one for one in journal.entries(link) if one[0].sequence <= head[0]]
    found = verify(entries, head if head[0] else None)
    if as_json:
        print_json({"entries": len(entries), "broken": _broken(found)})
    elif found is None:
        out.print(f"{len(entries)} entries, unbroken")
    else:
        out.print(f"[bold red]entry {found.sequence}[/] {found.reason}")
    if found is not None:
        raise typer.Exit(EXIT_NOT_DONE)


@journal_app.command("export", epilog=exits("the chain is broken"))
def journal_export(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="A file; standard output unless given."
        ),
    ] = None,
    link: LinkOption = "bedrock",
    as_json: JsonOption = False,
) -> None:
    """Write the whole journal as JSON Lines, each entry with its hash; exit 1 where the chain is broken.

    A broken journal is written all the same: it is evidence. With --output, --json tells of the file.

    Examples:

        twinspan journal export --output bedrock.jsonl
    """
    with failing_in_words("reading the journal …"):
        journal = control(link).journal
        head = journal.head(link)
        entries = [one for one in journal.entries(link) if one[0].sequence <= head[0]]
    text = (json.dumps(_as_json(*one), default=str, ensure_ascii=False) for one in entries)
    if output is None:
        for line in text:
            typer.echo(line)
    else:
        _write_whole(output, text)
    found = verify(entries, head if head[0] else None)
    if output is not None and as_json:
        print_json({"file": str(output), "entries": len(entries), "broken": _broken(found)})
    elif output is not None:
        err.print(f"{len(entries)} entries in {output.name}", markup=False)
    if found is not None:
        err.print(f"[bold red]entry {found.sequence}[/] {found.reason}")
        raise typer.Exit(EXIT_NOT_DONE)


def _write_whole(path: Path, text: Iterable[str]) -> None:
    """Write the file wholly or not at all."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        err.print(f"--output: {path}: {error.strerror}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT) from None
    try:
        with os.fdopen(handle, "w") as file:
            file.writelines(f"{line}\n" for line in text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _broken(found: Break | None) -> dict[str, Any] | None:
    return {"entry": found.sequence, "reason": found.reason} if found else None


def _as_json(entry: Entry, stored_hash: str) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": entry.at.isoformat(),
        "kind": entry.kind,
        "execution": entry.execution,
        "data": entry.data,
        "previous_hash": entry.previous_hash,
        "hash": stored_hash,
    }
