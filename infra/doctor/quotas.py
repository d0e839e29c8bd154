"""Check `quotas`: whether what a link makes still fits into the account.

Codes and defaults are those of the VPC user guide's page on quotas and of Service Quotas' own lists. Where the
service does not tell the account's value, AWS's default is taken, and the finding says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from control_plane.adapters.snapshot import pages
from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.doctor.findings import Finding, Result

NAME = "quotas"


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota, how many of it a new link on a side takes, and how many there are."""

    title: str
    service: str
    code: str
    default: int
    takes: dict[str, int]
    used: Callable[[Any], int]


def _live(operation: str, key: str) -> Callable[[Any], int]:
    def count(ec2: Any) -> int:
        gone = ("deleted", "deleting")
        return sum(
            str(item.get("State", "")).lower() not in gone for item in pages(ec2, operation, key)
        )

    return count


QUOTAS = (
    Quota(
        "VPCs per region",
        "vpc",
        "L-F678F1CE",
        5,
        {GOVCLOUD: 1, COMMERCIAL: 1},
        _live("describe_vpcs", "Vpcs"),
    ),
    Quota(
        "Elastic IP addresses",
        "ec2",
        "L-0263D0A3",
        5,
        {COMMERCIAL: 2},
        _live("describe_addresses", "Addresses"),
    ),
    Quota(
        "Internet gateways per region",
        "vpc",
        "L-A4707A72",
        5,
        {COMMERCIAL: 1},
        _live("describe_internet_gateways", "InternetGateways"),
    ),
    Quota(
        "Transit gateways per account",
        "ec2",
        "L-A2478D36",
        5,
        {GOVCLOUD: 1},
        _live("describe_transit_gateways", "TransitGateways"),
    ),
    Quota(
        "VPN connections per region",
        "ec2",
        "L-3E6EC3A3",
        50,
        {GOVCLOUD: 2},
        _live("describe_vpn_connections", "VpnConnections"),
    ),
)


def check(clients: Clients, side: str, settings: DeploySettings) -> Iterator[Finding]:
    """Each quota that a new link on this side takes from. A link that is there already takes nothing more."""
    ec2 = clients.client("ec2", side)
    tag = [{"Name": "tag:twinspan:link", "Values": [settings.link_id]}]
    is_there = any(True for _ in pages(ec2, "describe_vpcs", "Vpcs", Filters=tag))
    for quota in QUOTAS:
        needed = 0 if is_there else quota.takes.get(side, 0)
        if side not in quota.takes:
            continue
        limit, source = _limit(clients.client("service-quotas", side), quota)
        used = quota.used(ec2)
        detail = f"{quota.title}: {used} of {limit} used{source}, {needed} more needed"
        if used + needed > limit:
            yield Finding(
                NAME,
                side,
                # A default that the account may have outgrown long ago is no proof.
                Result.WARNING if source else Result.FAILED,
                detail,
                f"ask Service Quotas for more of {quota.service}/{quota.code}, or free some",
            )
        else:
            yield Finding(NAME, side, Result.OK, detail)


def _limit(client: Any, quota: Quota) -> tuple[int, str]:
    try:
        answer = client.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
        return int(answer["Quota"]["Value"]), ""
    except (ClientError, BotoCoreError, ResponseParserError):
        return quota.default, " (AWS's default; the account's own value could not be read)"
