"""`twinspan deploy` and `twinspan destroy`: a link in both partitions, planned, made, taken down."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError

from control_plane.cli.asking import DryRunOption, ask
from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    err,
    out,
    print_json,
    working,
)
from infra import deploy as deployment
from infra.cli import options
from infra.deploy import DeploymentError, DeploySettings, OnFailure, Progress
from infra.stacks import Plan

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def deploy(
    link: LinkOption = "bedrock",
    plan: Annotated[
        bool, typer.Option("--plan", "--dry-run", help="Show the change sets, and change no stack.")
    ] = False,
    yes: Yes = False,
    govcloud_profile: options.GovCloudProfile = "govcloud",
    commercial_profile: options.CommercialProfile = "commercial",
    govcloud_region: options.GovCloudRegion = "us-gov-west-1",
    commercial_region: options.CommercialRegion = "us-east-1",
    parameter: options.Parameters = None,
    artifact_bucket: Annotated[
        str | None, typer.Option(help="Made if absent; named after the account otherwise.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The first policy, as JSON.")
    ] = None,
    tunnels_up_seconds: Annotated[
        float, typer.Option(min=0, help="How long tunnels may take to come up; 0 does not wait.")
    ] = 1800.0,
    connectivity_seconds: Annotated[
        float,
        typer.Option(min=0, help="How long each path may take to carry a request; 0 asks none."),
    ] = 300.0,
    credential_days: Annotated[
        int,
        typer.Option(
            min=0, help="Age at which the commercial access key is replaced; 0 replaces it."
        ),
    ] = 90,
    on_failure: Annotated[
        OnFailure,
        typer.Option(help="What a trigger undoes: its phase and what needs it, all, or nothing."),
    ] = OnFailure.PHASE,
    as_json: JsonOption = False,
) -> None:
    """Deploy a link to both partitions, or bring it up to date. Repeating it continues where it stopped.

    Examples:

        twinspan deploy --plan

        twinspan deploy --parameter govcloud:VpcCidr=10.20.0.0/16 --policy policy.json
    """
    given = options.parameters(parameter)
    settings = DeploySettings(
        link_id=link,
        govcloud_parameters=given["govcloud"],
        commercial_parameters=given["commercial"],
        artifact_bucket=artifact_bucket,
        policy=options.json_file("--policy", policy),
        tunnels_up_seconds=tunnels_up_seconds,
        connectivity_seconds=connectivity_seconds,
        credential_days=credential_days,
        on_failure=on_failure,
    )
    if not plan and not yes and not sys.stdin.isatty():
        raise options.refused("nobody is here to look at the change sets: --plan, or --yes")
    clients = options.clients(
        govcloud_profile, commercial_profile, govcloud_region, commercial_region
    )
    report = _show_aside if as_json else _show
    try:
        if plan:
            planned = list(deployment.plan(clients, settings, report))
            if as_json:
                print_json(
                    [{"stack": p.stack, "changes": list(map(str, p.changes))} for p in planned]
                )
            else:
                for one in planned:
                    show_plan(one)
            return
        approve = _approve_all if yes else _ask
        done = deployment.deploy(clients, settings, report, approve=approve)
    except (DeploymentError, BotoCoreError) as error:
        raise _failed(error) from None
    if as_json:
        print_json({"link": done.link_id, "govcloud": done.govcloud, "commercial": done.commercial})
    else:
        out.print(f"link {done.link_id}: {done.govcloud['ApiUrl']}", markup=False)


def destroy(
    link: LinkOption = "bedrock",
    delete_data: Annotated[
        bool,
        typer.Option("--delete-data", help="State, journal, audit and evidence may go: they do."),
    ] = False,
    yes: Yes = False,
    dry_run: DryRunOption = False,
    govcloud_profile: options.GovCloudProfile = "govcloud",
    commercial_profile: options.CommercialProfile = "commercial",
    govcloud_region: options.GovCloudRegion = "us-gov-west-1",
    commercial_region: options.CommercialRegion = "us-east-1",
    as_json: JsonOption = False,
) -> None:
    """Take a link down on both sides, with its data. Goes on past what fails; repeating it goes on with that.

    Examples:

        twinspan destroy --dry-run

        twinspan destroy --delete-data --yes
    """
    if not dry_run and not delete_data:
        raise options.refused(
            "--delete-data: is missing: state, journal, audit and evidence go with the link"
        )
    if not dry_run and not yes and not sys.stdin.isatty():
        raise options.refused("nobody is here to be asked: --yes")
    clients = options.clients(
        govcloud_profile, commercial_profile, govcloud_region, commercial_region
    )
    settings = DeploySettings(link_id=link)
    try:
        with working("looking at what there is …"):
            planned = deployment.would_destroy(clients, settings)
        report = _show_aside if as_json or dry_run else _show
        failures: list[str] = []
        if not as_json:
            for line in planned or ["nothing of it is there"]:
                out.print(f"would go: {line}" if planned else line, markup=False)
        if not dry_run:
            ask(yes, f"Take down link {link} with all of its data?")
            failures = deployment.destroy(clients, settings, delete_data=True, report=report)
    except (DeploymentError, BotoCoreError) as error:
        raise _failed(error) from None
    if as_json:
        document = {"link": link, "planned": planned, "failures": list(map(str, failures))}
        print_json({**document, "destroyed": not dry_run and not failures})
    for failure in failures:
        err.print(f"error: {failure}", markup=False)
    if failures:
        raise typer.Exit(EXIT_NOT_DONE)


def show_plan(plan: Plan) -> None:
    """A change set, a line per resource."""
    out.print(f"{plan.stack}: {len(plan.changes)} changes", markup=False)
    for change in plan.changes:
        out.print(f"  {change}", markup=False)


def _ask(plan: Plan) -> bool:
    if plan.creates:  # what an update changes was told already
        show_plan(plan)
    return typer.confirm(f"Carry this out on {plan.stack}?")


def _approve_all(plan: Plan) -> bool:
    return True


def _show(progress: Progress) -> None:
    out.print(f"{progress.phase:<10} {progress.message}", markup=False)


def _show_aside(progress: Progress) -> None:
    """Beside a JSON answer, which has standard output to itself."""
    err.print(f"{progress.phase:<10} {progress.message}", markup=False)


def _failed(error: Exception) -> typer.Exit:
    err.print(f"error: {error}", markup=False)
    if isinstance(error, DeploymentError):
        for line in error.undone:
            err.print(f"  undone: {line}", markup=False)
        for line in error.left:
            err.print(f"  left to do: {line}", markup=False)
    return typer.Exit(EXIT_NOT_DONE)
