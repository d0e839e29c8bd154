"""Options that the commands of the infrastructure share, and how they become settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError

from control_plane.cli.context import EXIT_BAD_INPUT, err
from infra.deploy import COMMERCIAL, GOVCLOUD, AwsClients, Clients

GovCloudProfile = Annotated[
    str,
    typer.Option(envvar="TWINSPAN_GOVCLOUD_PROFILE", help="Profile of the AWS configuration."),
]
CommercialProfile = Annotated[
    str,
    typer.Option(envvar="TWINSPAN_COMMERCIAL_PROFILE", help="Profile of the other partition."),
]
GovCloudRegion = Annotated[str, typer.Option(help="Region of the GovCloud side.")]
CommercialRegion = Annotated[str, typer.Option(help="Region of the commercial side.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="SIDE:NAME=VALUE",
        help="A template parameter, such as commercial:RouterImageId=ami-…; may be repeated.",
    ),
]


def clients(
    govcloud_profile: str, commercial_profile: str, govcloud_region: str, commercial_region: str
) -> Clients:
    """Clients of both sides; a profile that does not exist ends the command."""
    try:
        return AwsClients(
            {GOVCLOUD: govcloud_profile, COMMERCIAL: commercial_profile},
            {GOVCLOUD: govcloud_region, COMMERCIAL: commercial_region},
        )
    except BotoCoreError as error:
        raise refused(str(error)) from None


def parameters(given: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Template parameters by side; one of another form ends the command."""
    found: dict[str, dict[str, str]] = {GOVCLOUD: {}, COMMERCIAL: {}}
    for item in given or ():
        side, _, assignment = item.partition(":")
        name, equals, value = assignment.partition("=")
        if side not in found or not equals or not name:
            raise refused(
                f"--parameter {item}: wanted govcloud:Name=Value or commercial:Name=Value"
            )
        found[side][name] = value
    return found


def json_file(option: str, path: Path | None) -> dict[str, Any] | None:
    """A JSON object from a file; anything else ends the command."""
    if path is None:
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise refused(f"{option} {path}: {error.strerror}") from None
    except ValueError as error:
        raise refused(f"{option} {path}: no JSON: {error}") from None
    if not isinstance(value, dict):
        raise refused(f"{option} {path}: an object is wanted")
    return value


def refused(message: str) -> typer.Exit:
    """Say what is wrong with the input; the exit to raise."""
    err.print(message, markup=False)
    return typer.Exit(EXIT_BAD_INPUT)
