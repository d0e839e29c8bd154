"""Where boto3 clients come from: one per service and side. The deployment knows no more of credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import boto3

from infra.deploy.settings import COMMERCIAL, GOVCLOUD


class Clients(Protocol):
    """One client per service and side (`govcloud`, `commercial`)."""

    def client(self, service: str, side: str) -> Any: ...


class AwsClients:
    """Clients of both partitions, from two named profiles of the AWS configuration.

    Raises:
        botocore.exceptions.ProfileNotFound: naming the profile.
    """

    def __init__(self, profiles: Mapping[str, str], regions: Mapping[str, str]) -> None:
        self._sessions = {
            side: boto3.Session(profile_name=profiles[side], region_name=regions[side])
            for side in (GOVCLOUD, COMMERCIAL)
        }
        self._made: dict[tuple[str, str], Any] = {}

    def client(self, service: str, side: str) -> Any:
        """A client; each is made once."""
        key = (service, side)
        if key not in self._made:
            self._made[key] = self._sessions[side].client(service)  # type: ignore[call-overload]
        return self._made[key]
