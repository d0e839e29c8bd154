"""Examines both accounts before a deployment: reads, dry runs and simulations, changing nothing.

Each check stands alone: one that cannot be made is UNKNOWN with its reason, and the next is made. Without
credentials for a side, that side's other checks are left out.

Not guaranteed: that a deployment then succeeds. Service control policies and permissions boundaries show in a dry
run but not in a simulation; zones can be out of capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.doctor import drift, identity, images, networks, permissions, quotas, services
from infra.doctor.findings import Finding, Result
from infra.doctor.identity import Identity

__all__ = ["Finding", "Result", "examine"]


def examine(
    clients: Clients,
    settings: DeploySettings,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    with_drift: bool = False,
) -> list[Finding]:
    """All checks, in the order in which their remedies make sense; `with_drift`, what was changed by hand, too."""
    findings: list[Finding] = []
    known: dict[str, Identity] = {}
    for side in (GOVCLOUD, COMMERCIAL):
        found, who = identity.check(clients, side, now)
        findings += found
        if who is not None:
            known[side] = who
    if len(known) == 2:
        findings += identity.check_partitions(known)
    findings += networks.check_settings(settings)
    for side, who in known.items():
        for name, check in (
            ("services", lambda side=side: services.check(clients, side)),
            ("networks", lambda side=side: networks.check_account(clients, side, settings)),
            ("images", lambda side=side: images.check(clients, side, settings)),
            ("quotas", lambda side=side: quotas.check(clients, side, settings)),
            (
                "permissions",
                lambda side=side, who=who: permissions.check(clients, side, who),
            ),
        ):
            findings += _attempted(name, side, check)
        if with_drift:
            findings += _attempted("drift", side, partial(drift.check, clients, side, settings))
    return findings


def _attempted(name: str, side: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        return [
            Finding(
                name,
                side,
                Result.UNKNOWN,
                f"{error.operation_name} was refused: {code}",
                f"allow the call {error.operation_name}, or look for yourself",
            )
        ]
    except (BotoCoreError, ResponseParserError) as error:
        # What is no answer of AWS's may come from something in between.
        reason = str(error).splitlines()[0]
        return [Finding(name, side, Result.UNKNOWN, reason, "see whether AWS can be reached")]
