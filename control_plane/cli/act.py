"""Commands that start something: an intent is an execution of the workflow, no more and no less."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from control_plane.cli.asking import YesOption, drill_time
from control_plane.cli.completion import complete_paths
from control_plane.cli.context import JsonOption, LinkOption
from control_plane.cli.executions import WaitOption, start

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is journaled.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Decide, plan and prove without asking; touch nothing.")
]
OverrideOption = Annotated[
    bool,
    typer.Option("--override", help="Pass the policy's limits and the proofs; needs a reason."),
]


def failover(
    to: Annotated[
        str | None,
        typer.Option("--to", help="The path to move traffic to.", autocompletion=complete_paths),
    ] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move traffic to a standby path.

    Examples:

        twinspan failover --to tunnel-2 --reason "carrier maintenance" --wait

        twinspan failover --dry-run --wait
    """
    fields = {"to": to, "dry_run": dry_run, "override": override, "reason": reason}
    start(link, {"intent": "failover", **fields}, wait, yes, as_json)


def failback(
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Return traffic to the preferred path.

    Examples:

        twinspan failback --wait
    """
    fields = {"dry_run": dry_run, "override": override, "reason": reason}
    start(link, {"intent": "failback", **fields}, wait, yes, as_json)


def rollback(
    to_generation: Annotated[
        int, typer.Option("--to-generation", min=1, help="As `twinspan explain` names it.")
    ],
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make active again what was active at an earlier generation.

    Examples:

        twinspan rollback --to-generation 7 --wait
    """
    fields = {"to_generation": to_generation, "dry_run": dry_run, "reason": reason}
    start(link, {"intent": "rollback", **fields}, wait, yes, as_json)


def restore(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Another path than the one published last.",
            autocompletion=complete_paths,
        ),
    ] = None,
    to_generation: Annotated[
        int | None, typer.Option("--to-generation", min=1, help="As it was at this generation.")
    ] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    override: OverrideOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish anew what was published last, where it was deleted or overwritten by others.

    Examples:

        twinspan restore --wait
    """
    fields = {"to": to, "to_generation": to_generation, "dry_run": dry_run}
    fields |= {"override": override, "reason": reason}
    start(link, {"intent": "restore", **fields}, wait, yes, as_json)


def drill(
    to: Annotated[
        str | None,
        typer.Option("--to", help="The path to practise with.", autocompletion=complete_paths),
    ] = None,
    lasting: Annotated[
        timedelta | None,
        typer.Option(
            "--for",
            parser=drill_time,
            help="Until traffic goes back by itself: 90s, 10m; at most 1d.",
        ),
    ] = None,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Practise a failover: traffic goes to another path, and back by itself.

    Needs a link that is well, with no alarm in ALARM. Ends at once when something real happens.

    Examples:

        twinspan drill --for 10m --wait
    """
    seconds = lasting.total_seconds() if lasting else None
    fields = {"to": to, "duration_seconds": seconds, "dry_run": dry_run, "reason": reason}
    start(link, {"intent": "drill", **fields}, wait, yes, as_json)


def reconcile(
    link: LinkOption = "bedrock",
    dry_run: DryRunOption = False,
    wait: WaitOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Look at the link now, and do what the policy says.

    Examples:

        twinspan reconcile --wait
    """
    start(link, {"intent": "reconcile", "dry_run": dry_run}, wait, yes, as_json)
