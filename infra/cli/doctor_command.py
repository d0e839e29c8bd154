"""`twinspan doctor`: what would stand in a deployment's way, found by reading and by dry runs only."""

from __future__ import annotations

from typing import Annotated

import typer

from control_plane.cli.context import (
    EXIT_NOT_DONE,
    JsonOption,
    LinkOption,
    out,
    print_json,
    working,
)
from infra.cli import options
from infra.deploy import DeploySettings
from infra.doctor import Result, examine

DriftOption = Annotated[
    bool,
    typer.Option(
        "--drift",
        help="Also ask CloudFormation what was changed by hand since the link was deployed (takes minutes).",
    ),
]
_MARKS = {
    Result.OK: "ok",
    Result.WARNING: "warning",
    Result.FAILED: "FAILED",
    Result.UNKNOWN: "unknown",
}


def doctor(
    link: LinkOption = "bedrock",
    govcloud_profile: options.GovCloudProfile = "govcloud",
    commercial_profile: options.CommercialProfile = "commercial",
    govcloud_region: options.GovCloudRegion = "us-gov-west-1",
    commercial_region: options.CommercialRegion = "us-east-1",
    parameter: options.Parameters = None,
    drift: DriftOption = False,
    as_json: JsonOption = False,
) -> None:
    """Could this link be deployed from here? Credentials, clock, rights, quotas, networks, services, the routers' image.

    Examples:

        twinspan doctor

        twinspan doctor --drift
    """
    given = options.parameters(parameter)
    settings = DeploySettings(
        link_id=link,
        govcloud_parameters=given["govcloud"],
        commercial_parameters=given["commercial"],
    )
    clients = options.clients(
        govcloud_profile, commercial_profile, govcloud_region, commercial_region
    )
    with working("looking at both sides …"):
        findings = examine(clients, settings, with_drift=drift)
    failed = [finding for finding in findings if finding.result is Result.FAILED]
    if as_json:
        print_json({"ok": not failed, "findings": [finding.to_dict() for finding in findings]})
    else:
        for finding in findings:
            out.print(
                f"{_MARKS[finding.result]:<8} {finding.side:<11} {finding.check:<12} {finding.detail}",
                markup=False,
            )
            if finding.remedy:
                out.print(f"{'':<8} {'→':<11} {finding.remedy}", markup=False)
        out.print(f"{len(findings)} checks, {len(failed)} in the way of a deployment", markup=False)
    if failed:
        raise typer.Exit(EXIT_NOT_DONE)
