"""Commands about the policy: is this file one, and what would it do now."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from control_plane.cli.asking import DryRunOption, YesOption
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
    text_of,
)
from control_plane.cli.exits import HELD, exits
from control_plane.cli.hold_commands import ReasonOption, change
from control_plane.domain.decide import Decision
from control_plane.domain.policy import Policy
from control_plane.domain.policy_change import differences
from control_plane.domain.policy_check import advice, check_policy
from control_plane.domain.topology import Topology
from control_plane.operations.choose import foresee

policy_app = typer.Typer(help="The policy: what Twinspan may do by itself.", no_args_is_help=True)
FileArgument = Annotated[
    Path, typer.Argument(exists=True, dir_okay=False, help="The policy, as JSON.")
]


@policy_app.command("check", epilog=exits())
def policy_check(
    file: FileArgument,
    topology: Annotated[
        Path | None,
        typer.Option("--topology", exists=True, dir_okay=False, help="Check the paths it names."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a policy file: every field that is wrong (exit 2), and what is allowed but unwise.

    Examples:

        twinspan policy check policy.json --topology topology.json
    """
    with failing_in_words():
        known = Topology.from_json(text_of(topology)) if topology else None
    if as_json:
        policy, problems = check_policy(text_of(file), known)
        told = advice(policy, known, datetime.now(UTC)) if policy else ()
        print_json(
            {
                "valid": policy is not None,
                "problems": [problem.describe() for problem in problems],
                "advice": list(told),
            }
        )
        if policy is None:
            raise typer.Exit(EXIT_BAD_INPUT)
        return
    policy = read_policy(file, known)
    out.print(f"{file.name}: a valid policy")
    for line in advice(policy, known, datetime.now(UTC)):
        out.print(f"  advice: {line}", markup=False)


@policy_app.command("show", epilog=exits())
def policy_show(
    link: LinkOption = "bedrock",
    file: Annotated[
        Path | None,
        typer.Option("--file", exists=True, dir_okay=False, help="Ask about this policy instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the policy in force would do now, and why; nothing is touched.

    Examples:

        twinspan policy show

        twinspan policy show --file policy.json
    """
    now = datetime.now(UTC)
    with failing_in_words(f"reading {link} …"):
        here = control(link)
        topology = here.documents.topology(link)
        policy = read_policy(file, topology) if file else here.documents.policy(link, topology)
        decision = foresee(here, link, policy, now)
    if as_json:
        print_json({"policy": policy.model_dump(mode="json"), "now": decision.to_dict()})
        return
    for line in describe_policy(policy, topology, decision, now):
        out.print(line, markup=False)


@policy_app.command("set", epilog=exits(HELD))
def policy_set(
    file: FileArgument,
    link: LinkOption = "bedrock",
    reason: ReasonOption = "",
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a policy file in force: checked, shown as a difference, stored under a new version, journaled.

    Examples:

        twinspan policy set policy.json --reason "quicker failback"
    """
    with failing_in_words():
        policy = read_policy(file, control(link).documents.topology(link))
    change(link, lambda _: policy, reason, yes, dry_run, as_json)


@policy_app.command("diff", epilog=exits("it differs"))
def policy_diff(
    file: FileArgument, link: LinkOption = "bedrock", as_json: JsonOption = False
) -> None:
    """Say in what a policy file differs from the policy in force, and what it would do now; exit 1 if it differs.

    Examples:

        twinspan policy diff policy.json
    """
    now = datetime.now(UTC)
    with failing_in_words(f"reading {link} …"):
        here = control(link)
        topology = here.documents.topology(link)
        policy, current = read_policy(file, topology), here.documents.policy(link, topology)
        found = differences(current, policy)
        then, today = foresee(here, link, policy, now), foresee(here, link, current, now)
    if as_json:
        print_json(
            {
                "changes": [
                    {"field": d.field, "before": d.before, "after": d.after} for d in found
                ],
                "now": today.to_dict(),
                "then": then.to_dict(),
            }
        )
    elif not found:
        out.print("no difference")
    else:
        for difference in found:
            out.print(difference.describe(), markup=False)
        out.print(f"now:  {today.describe()}", markup=False)
        out.print(f"then: {then.describe()}", markup=False)
    if found:
        raise typer.Exit(EXIT_NOT_DONE)


def describe_policy(
    policy: Policy, topology: Topology, decision: Decision, now: datetime
) -> list[str]:
    """The policy and its present effect, a line each."""
    version = f"version {policy.version}" if policy.stored else "none stored: the defaults"
    lines = [f"policy of {topology.link_id}, {version}, mode {policy.mode_at(now)}"]
    changed = policy.model_dump(mode="json", exclude_defaults=True)
    lines += [f"  {field} = {value}" for field, value in changed.items() if field != "version"]
    lines.append(f"now: {decision.describe()}")
    if decision.needs_approval:
        lines.append("  it would wait for an approval")
    if decision.touches_nothing:
        lines.append("  it would touch nothing")
    lines += [f"  not {path}: {why}" for path, why in decision.passed_over.items()]
    lines += [f"  warning: {warning}" for warning in decision.warnings]
    lines += [f"  would change it: {change}" for change in decision.would_change]
    lines += [f"  saw {name}: {value}" for name, value in decision.inputs.items()]
    lines += [f"advice: {line}" for line in advice(policy, topology, now)]
    return lines


def read_policy(file: Path, topology: Topology | None) -> Policy:
    """The policy in a file; one that is none is told of field by field, and ends the command."""
    policy, found = check_policy(text_of(file), topology)
    if policy is None:
        err.print(f"{file.name}: {len(found)} problem{'s' if len(found) > 1 else ''}")
        for problem in found:
            err.print(f"  {problem.describe()}", markup=False)
        raise typer.Exit(EXIT_BAD_INPUT)
    return policy
