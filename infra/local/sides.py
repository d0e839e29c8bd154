"""The two AWS partitions that the embedded cloud serves, with their stand-in credentials.

moto tells accounts apart by access key, so each side has one key. The keys are no secrets: they open
nothing but a server on the loopback interface. They lack AWS's usual `AKIA` prefix so that no secret
scanner takes them for real ones.
"""

from __future__ import annotations

import enum
import functools
import threading
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

_session_lock = threading.Lock()


@functools.cache
def _session() -> Any:
    # One for all: a session parses a service's description once. It holds no credentials of its own.
    return boto3.session.Session()


class Side(enum.StrEnum):
    """One end of the link."""

    GOVCLOUD = "govcloud"
    COMMERCIAL = "commercial"


@dataclass(frozen=True, slots=True)
class SideAccount:
    """The account, region and stand-in access key of a side. `access_key_id` is 20 characters long."""

    side: Side
    partition: str
    region: str
    account_id: str
    access_key_id: str
    secret_access_key: str


GOVCLOUD = SideAccount(
    side=Side.GOVCLOUD,
    partition="aws-us-gov",
    region="us-gov-west-1",
    account_id="111111111111",
    access_key_id="LOCALGOVCLOUD0000000",
    secret_access_key="stand-in-for-the-govcloud-account",  # noqa: S106 - opens nothing
)
COMMERCIAL = SideAccount(
    side=Side.COMMERCIAL,
    partition="aws",
    region="us-east-1",
    account_id="222222222222",
    access_key_id="LOCALCOMMERCIAL00000",
    secret_access_key="stand-in-for-the-commercial-account",  # noqa: S106 - opens nothing
)
SIDES = (GOVCLOUD, COMMERCIAL)


def account_of(side: Side | str) -> SideAccount:
    """The account of a side. Raises `ValueError` for a name that is no side."""
    wanted = Side(side)
    return GOVCLOUD if wanted is Side.GOVCLOUD else COMMERCIAL


def account_of_region(region: str) -> SideAccount:
    """The account that uses a region: partitions share nothing, so the region's partition decides."""
    return GOVCLOUD if region.startswith("us-gov-") else COMMERCIAL


def account_of_access_key(access_key_id: str) -> SideAccount:
    """The account that an access key opens; an unknown key opens the GovCloud account."""
    return COMMERCIAL if access_key_id == COMMERCIAL.access_key_id else GOVCLOUD


def connect(
    account: SideAccount,
    service: str,
    endpoint_url: str,
    *,
    region: str | None = None,
    config: Config | None = None,
    session_token: str | None = None,
) -> Any:
    """A boto3 client with a side's stand-in key, in the side's region unless another is given."""
    with _session_lock:  # making a client is not thread-safe; using it is
        return _session().client(
            service,
            region_name=region or account.region,
            endpoint_url=endpoint_url,
            aws_access_key_id=account.access_key_id,
            aws_secret_access_key=account.secret_access_key,
            aws_session_token=session_token,
            config=config,
        )
