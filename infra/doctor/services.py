"""Check `services`: what a link needs and the region may lack.

Which services have an interface endpoint, and in which zones, the region itself says. The services asked for are
those that the templates name, so that the two cannot part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.deploy.clients import Clients
from infra.deploy.settings import TEMPLATES
from infra.doctor.findings import Finding, Result

NAME = "services"
_ZONES = 2
_SERVICE = re.compile(r"ServiceName: !Sub '?(com\.amazonaws\.\$\{AWS::Region\}\.[\w.-]+)'?")


def check(clients: Clients, side: str) -> Iterator[Finding]:
    """Endpoints for each service that the side's templates name, in two zones at least."""
    ec2 = clients.client("ec2", side)
    region = ec2.meta.region_name
    available = [{"Name": "state", "Values": ["available"]}]
    found = ec2.describe_availability_zones(Filters=available)["AvailabilityZones"]
    zones = {zone["ZoneName"] for zone in found}
    if len(zones) < _ZONES:
        yield Finding(
            NAME,
            side,
            Result.FAILED,
            f"{region} has {len(zones)} zone(s) for this account, {_ZONES} are needed",
            "deploy to another region",
        )
    offered = _offered(ec2)
    lacking = False
    for service in needed(side, region):
        if service not in offered:
            lacking = True
            yield Finding(
                NAME,
                side,
                Result.FAILED,
                f"{region} offers no endpoint for {service}",
                "deploy to a region that has it",
            )
        elif offered[service] and len(offered[service] & zones) < _ZONES:
            lacking = True
            yield Finding(
                NAME,
                side,
                Result.WARNING,
                f"{service} is offered in {', '.join(sorted(offered[service]))} only",
                "choose zones that have it: --parameter SIDE:ZoneA=… and SIDE:ZoneB=…",
            )
    if not lacking:
        detail = f"{region} has every endpoint that the templates name"
        yield Finding(NAME, side, Result.OK, detail)


def needed(side: str, region: str) -> list[str]:
    """The endpoint services that a side's templates name, nested ones included."""
    names: set[str] = set()
    for path in _templates(side):
        names.update(_SERVICE.findall(path.read_text(encoding="utf-8")))
    return sorted(name.replace("${AWS::Region}", region) for name in names)


def _templates(side: str) -> list[Path]:
    return [TEMPLATES / f"{side}.yaml", *sorted((TEMPLATES / side).rglob("*.yaml"))]


def _offered(ec2: Any) -> dict[str, set[str]]:
    """Service names and the zones that they are offered in; no zones where the answer tells none."""
    offered: dict[str, set[str]] = {}
    arguments: dict[str, str] = {}
    while True:
        page = ec2.describe_vpc_endpoint_services(**arguments)
        for name in page.get("ServiceNames", ()):
            offered.setdefault(name, set())
        for detail in page.get("ServiceDetails", ()):
            zones = offered.setdefault(detail["ServiceName"], set())
            zones.update(detail.get("AvailabilityZones", ()))
        if not page.get("NextToken"):
            return offered
        arguments = {"NextToken": page["NextToken"]}
