"""Commands that only look: status, journal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    control,
    failing_in_words,
    out,
    print_json,
)
from control_plane.domain.drill import describe_open
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import Entry, verify
from control_plane.domain.policy import Policy
from control_plane.operations.published import is_intact, readable_config

journal_app = typer.Typer(
    help="The journal: every decision, with its evidence.", no_args_is_help=True
)


def status(link: LinkOption = "bedrock", as_json: JsonOption = False) -> None:
    """Say what is published, what each path was last seen as, and who holds the lease."""
    with failing_in_words():
        here = control(link)
        topology = here.documents.topology(link)
        policy = here.documents.policy(link, topology)
        config = readable_config(here, link)
        intact = is_intact(here, config, link)
        history, lease = here.state.history(link), here.leases.current(link)
    now = datetime.now(UTC)
    paths: list[dict[str, Any]] = []
    for name in policy.order(topology):
        memory, quarantine = history.path(name), policy.quarantined(name, now)
        standing = history.quarantines.get(name)
        paths.append(
            {
                "path": name,
                "active": config is not None and config.active_path == name,
                "seen": "failing" if memory.down or memory.failed_in_a_row else "carrying",
                "carrying_since": memory.healthy_since,
                "penalty": round(memory.penalty_now(policy.flap_damping, now)),
                "suppressed": memory.suppressed(policy.flap_damping, now),
                "quarantine": standing.describe()
                if standing
                else quarantine.reason
                if quarantine
                else None,
            }
        )
    document = {
        "link": link,
        "generation": config.generation if config else None,
        "active_path": config.active_path if config else None,
        "reason": config.reason if config else None,
        "mode": policy.mode_at(now),
        "lease_holder": lease.get("holder"),
        "needs_operator": lease.get("kept_because"),
        "published_by_others": not intact,
        "drill": {
            "going_on": describe_open(history.drill) if history.drill else None,
            "last": history.drills.last.model_dump(mode="json") if history.drills.last else None,
            "passed_at": history.drills.passed_at,
            "overdue": history.drills.overdue(policy.drill, now),
        },
        "paths": paths,
    }
    if as_json:
        print_json(document)
        return
    out.print(
        f"[bold]{link}[/]  generation {document['generation']}, active [bold]{document['active_path']}[/]"
        f", mode {document['mode']}" + (f"  ({config.reason})" if config and config.reason else "")
    )
    if document["needs_operator"]:
        out.print(f"[bold red]NEEDS OPERATOR[/] {document['needs_operator']}")
    if not intact:
        what = "nothing usable is published" if config is None else "others wrote what is published"
        out.print(f"[bold red]NOT AS PUBLISHED[/] {what}; `twinspan restore` puts it right")
    for line in _drills(history, policy, now):
        out.print(line, markup=False)
    table = Table(box=None, pad_edge=False)
    for heading in ("path", "", "last seen", "carrying since", "penalty", "note"):
        table.add_column(heading)
    for path in paths:
        since = path["carrying_since"]
        note = path["quarantine"] or ("suppressed for flapping" if path["suppressed"] else "")
        table.add_row(
            path["path"],
            "active" if path["active"] else "",
            path["seen"],
            f"{since:%Y-%m-%d %H:%M:%SZ}" if since else "",
            str(path["penalty"]),
            note,
        )
    out.print(table)


def _drills(history: LinkHistory, policy: Policy, now: datetime) -> Iterator[str]:
    """What there is to say about practice on this link."""
    if history.drill is not None:
        yield f"drill: {describe_open(history.drill)}"
    if history.drills.last is not None:
        yield f"last drill: {history.drills.last.describe()}"
    if (overdue := history.drills.overdue(policy.drill, now)) is not None:
        yield f"WARNING: {overdue}"


def _line(entry: Entry) -> str:
    data = entry.data
    for key in ("decision", "seen", "outcome", "reason", "about", "cause"):
        if isinstance(data.get(key), str):
            return str(data[key])
    if entry.kind == "decided":
        return f"{data['kind']} {data['path'] or ''}: {'; '.join(data['reasons'])}"
    if "violations" in data:
        return "; ".join(data["violations"])
    return "; ".join(data.get("effects", ())) or ", ".join(f"{k}={v}" for k, v in data.items())


@journal_app.command("show")
def journal_show(
    link: LinkOption = "bedrock",
    last: Annotated[int, typer.Option(help="How many of the newest entries.", min=1)] = 30,
    as_json: JsonOption = False,
) -> None:
    """Print the newest entries, oldest of them first."""
    with failing_in_words():
        entries = control(link).journal.entries(link, newest_first=True, limit=last)[::-1]
    if as_json:
        print_json(
            [
                {
                    "sequence": entry.sequence,
                    "at": entry.at,
                    "kind": entry.kind,
                    "execution": entry.execution,
                    "data": entry.data,
                    "hash": stored,
                }
                for entry, stored in entries
            ]
        )
        return
    for entry, _ in entries:
        out.print(f"{entry.sequence:>5} {entry.at:%H:%M:%S} {entry.kind:<14} ", end="", style="dim")
        out.print(_line(entry), markup=False)


@journal_app.command("verify")
def journal_verify(link: LinkOption = "bedrock") -> None:
    """Check the chain of hashes; exit 1 where it does not hold."""
    with failing_in_words():
        journal = control(link).journal
        entries, head = journal.entries(link), journal.head(link)
    found = verify(entries, head if head[0] else None)
    if found is None:
        out.print(f"{len(entries)} entries, unbroken")
        return
    out.print(f"[bold red]entry {found.sequence}[/] {found.reason}")
    raise typer.Exit(EXIT_NOT_DONE)
