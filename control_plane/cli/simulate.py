"""`twinspan simulate`: policies played against an outage, side by side, before one of them is adopted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from control_plane.cli.context import JsonOption, failing_in_words, out, print_json, text_of
from control_plane.cli.policy_commands import read_policy
from control_plane.domain.policy import Policy
from control_plane.domain.replay import Replayed, Trace, replay


def simulate(
    trace: Annotated[
        Path,
        typer.Option(
            "--trace", exists=True, dir_okay=False, help="What the paths were like, as JSON."
        ),
    ],
    policy: Annotated[
        list[Path] | None,
        typer.Option("--policy", exists=True, dir_okay=False, help="May be given more than once."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play an outage against policies: what would have happened, and when. Touches nothing.

    Without --policy the defaults are played. Traces to start from are in docs/traces.

    Examples:

        twinspan simulate --trace docs/traces/flapping-tunnel.json --policy mine.json --policy yours.json
    """
    with failing_in_words():
        outage = Trace.from_json(text_of(trace))
        policies = {str(file): read_policy(file, None) for file in policy or []}
    policies = policies or {"the defaults": Policy()}
    results = {name: replay(outage, one) for name, one in policies.items()}
    if as_json:
        print_json({name: result.to_dict() for name, result in results.items()})
        return
    if outage.description:
        out.print(outage.description, markup=False)
    for name, result in results.items():
        out.print(f"\n{name}", markup=False, style="bold")
        for event in result.events:
            target = f" {event.path}" if event.path else ""
            out.print(
                f"{_clock(event.at_seconds)}  {event.what}{target}: {event.why}", markup=False
            )
    out.print()
    out.print(_summary(results))


def _summary(results: dict[str, Replayed]) -> Table:
    table = Table("policy", "switches", "suppressed", "failed", "slow", "away", "ends on", box=None)
    for name, result in results.items():
        table.add_row(
            name,
            str(result.switches),
            str(result.suppressed),
            f"{result.failed_seconds:.0f} s",
            f"{result.slow_seconds:.0f} s",
            f"{result.away_seconds:.0f} s",
            result.active_path,
        )
    return table


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
