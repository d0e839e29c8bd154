"""Checks `credentials`, `partitions` and `clock`: who we are on a side, and whether we agree on the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from botocore.exceptions import BotoCoreError, ClientError

from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, GOVCLOUD
from infra.doctor.findings import BOTH, Finding, Result

# A signature is refused when its time is off by five minutes (Signature Version 4).
_REFUSED_SECONDS = 300
# Leases are compared by clocks of different machines, which are taken to agree within two seconds.
_DOUBTFUL_SECONDS = 30
_PARTITION = {GOVCLOUD: "aws-us-gov", COMMERCIAL: "aws"}
_SKEWED = (
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "RequestExpired",
    "InvalidSignatureException",
)
_SET_CLOCK = "set this machine's clock by NTP"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as STS says."""

    account_id: str
    arn: str
    partition: str


def check(
    clients: Clients, side: str, now: Callable[[], datetime]
) -> tuple[list[Finding], Identity | None]:
    """Ask STS who we are; its answer also tells the time."""
    try:
        answer = clients.client("sts", side).get_caller_identity()
    except ClientError as error:
        inner = error.response.get("Error", {})
        code, message = inner.get("Code", ""), inner.get("Message", "")
        skewed = code in _SKEWED
        return [
            Finding(
                "clock" if skewed else "credentials",
                side,
                Result.FAILED,
                f"STS refuses these credentials: {code}: {message}",
                _SET_CLOCK if skewed else f"renew the credentials of the {side} profile",
            )
        ], None
    except BotoCoreError as error:
        return [
            Finding(
                "credentials",
                side,
                Result.FAILED,
                str(error),
                f"give the {side} profile credentials, and see whether STS can be reached",
            )
        ], None
    arn = answer["Arn"]
    who = Identity(answer["Account"], arn, arn.split(":")[1])
    found = [Finding("credentials", side, Result.OK, f"account {who.account_id} as {arn}")]
    header = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    found.append(_clock(side, header, now()))
    return found, who


def check_partitions(known: Mapping[str, Identity]) -> list[Finding]:
    """Each side is in the partition that it is meant to be in."""
    found = []
    for side, wanted in _PARTITION.items():
        actual = known[side].partition
        if actual != wanted:
            found.append(
                Finding(
                    "partitions",
                    side,
                    Result.FAILED,
                    f"these credentials are of the partition {actual}, {wanted} is wanted",
                    f"name another profile for the {side} side",
                )
            )
    ours = {side: who.partition for side, who in known.items()}
    return found or [
        Finding("partitions", BOTH, Result.OK, f"{ours[GOVCLOUD]} and {ours[COMMERCIAL]}")
    ]


def _clock(side: str, header: str | None, now: datetime) -> Finding:
    if header is None:
        return Finding("clock", side, Result.UNKNOWN, "STS's answer has no date", _SET_CLOCK)
    theirs = parsedate_to_datetime(header)
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    seconds = abs((now - theirs).total_seconds())
    detail = f"differs from AWS's by {seconds:.0f} s"
    if seconds >= _REFUSED_SECONDS:
        return Finding("clock", side, Result.FAILED, detail, _SET_CLOCK)
    if seconds >= _DOUBTFUL_SECONDS:
        return Finding("clock", side, Result.WARNING, detail, _SET_CLOCK)
    return Finding("clock", side, Result.OK, detail)
