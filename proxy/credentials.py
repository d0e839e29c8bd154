"""The commercial partition's credential, from GovCloud's Secrets Manager, kept in memory only.

Rotation without a failed call: the rotation keeps the old key valid for a while, the proxy refreshes on a
timer, and an upstream refusal of the credential makes it refetch once. Where the new key is refused, as it can be
before IAM has told all of itself of it, the one that it replaced is used; a process that started after the rotation
reads that one from the secret's previous version. Through an outage of Secrets Manager the credential in hand stays
in use.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import InvalidCredential
from proxy.signing import Bearer, Signer

logger = logging.getLogger(__name__)

CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
"""Secrets Manager's names for a secret's newest version and the one before it."""
WAIT_SECONDS = 3.0
REFETCH_SECONDS = 2.0
"""Refusals closer together than this share one refetch."""
OVERLAP_SECONDS = 900.0
"""For so long after a rotation the credential before it is tried when the new one is refused."""


class SecretGetter(Protocol):
    """Reads one secret string. Called in a thread; any exception counts as an outage."""

    def get(self, secret_id: str, stage: str) -> str:
        """The secret's value at a stage, `CURRENT` or `PREVIOUS`."""


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """Ways to authenticate to Bedrock; at least one is there."""

    signer: Signer | None
    bearer: Bearer | None

    def for_scheme(self, scheme: str) -> Signer | Bearer | None:
        """What to sign with: an API key goes over TLS only."""
        if scheme == "https" and self.bearer is not None:
            return self.bearer
        return self.signer


def parse_credential(text: str) -> Credential:
    """Read the secret's JSON: an access key with its region, a bearer token, or both.

    Raises:
        InvalidCredential: naming the field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidCredential("secret: is not JSON") from None
    if not isinstance(document, dict):
        raise InvalidCredential("secret: is not a JSON object")
    fields = (
        "aws_access_key_id",
        "aws_secret_access_key",
        "region",
        "bearer_token",
        "session_token",
    )
    values: dict[str, str] = {}
    for name in fields:
        value = document.get(name)
        if value is None:
            continue
        printable = isinstance(value, str) and value and all("!" <= c <= "~" for c in value)
        if not printable:
            raise InvalidCredential(f"{name}: must be a string of printable ASCII")
        values[name] = value
    bearer = Bearer(values["bearer_token"]) if "bearer_token" in values else None
    signer = None
    if "aws_access_key_id" in values or bearer is None:
        for name in fields[:3]:
            if name not in values:
                raise InvalidCredential(f"{name}: is missing")
        signer = Signer(
            values["aws_access_key_id"],
            values["aws_secret_access_key"],
            values["region"],
            values.get("session_token"),
        )
    return Credential(signer, bearer)


class CredentialSource:
    """Holds the newest credential. Belongs to one event loop."""

    def __init__(
        self,
        getter: SecretGetter,
        secret_id: str,
        executor: Executor,
        *,
        ttl_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._getter = getter
        self._secret_id = secret_id
        self._executor = executor
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._text: str | None = None
        self._previous: Credential | None = None
        self._replaced_at = float("-inf")
        self._due_at = float("-inf")
        self._asked_at = float("-inf")
        self._asked_previous_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self.current: Credential | None = None
        self.failures = 0

    async def ready(self) -> Credential | None:
        """The credential to use; None while none could be had."""
        now = self._clock()
        if now >= self._due_at:
            if self.current is not None:
                self.begin_refresh()
            elif now - self._asked_at >= REFETCH_SECONDS or self._refresh is not None:
                await self._refreshed()
        return self.current

    async def after_refusal(self, used: Credential) -> Credential | None:
        """The upstream refused `used`: a different credential to try once, or None if there is none.

        The caller must not ask with the same one twice: the current one and its predecessor may answer for each other.
        """
        if self.current is used and (
            self._refresh is not None or self._clock() - self._asked_at >= REFETCH_SECONDS
        ):
            await self._refreshed()
        if self.current is not used:
            return self.current
        if self._previous is None and self._clock() - self._asked_previous_at >= OVERLAP_SECONDS:
            await self._read_previous()
        if self._clock() - self._replaced_at < OVERLAP_SECONDS:
            return self._previous
        return None

    def refresh_if_due(self) -> None:
        """For housekeeping."""
        if self._clock() >= self._due_at:
            self.begin_refresh()

    def begin_refresh(self) -> None:
        """Start a refresh unless one is under way."""
        if self._refresh is None:
            self._asked_at = self._clock()
            self._refresh = asyncio.get_running_loop().create_task(self._read())
            self._refresh.add_done_callback(self._read_done)

    async def _refreshed(self) -> None:
        self.begin_refresh()
        assert self._refresh is not None
        await asyncio.wait([self._refresh], timeout=WAIT_SECONDS)

    def _read_done(self, task: asyncio.Task[None]) -> None:
        self._refresh = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("credential refresh failed", extra={"error": type(error).__name__})

    async def _read_previous(self) -> None:
        """Look for what was rotated away before this process began; there may be none."""
        self._asked_previous_at = self._clock()
        try:
            text = await asyncio.wait_for(self._stored(PREVIOUS), WAIT_SECONDS)
            previous = parse_credential(text) if text != self._text else None
        except Exception as error:  # noqa: BLE001 -- as below; most often there is no such version
            logger.info("no previous credential", extra={"error": type(error).__name__})
        else:
            if self._previous is None:
                self._previous, self._replaced_at = previous, self._clock()

    async def _stored(self, stage: str) -> str:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._getter.get, self._secret_id, stage)

    async def _read(self) -> None:
        try:
            text = await self._stored(CURRENT)
            if text != self._text:
                fresh = parse_credential(text)
                self._previous, self._replaced_at = self.current, self._clock()
                self.current, self._text = fresh, text
        except InvalidCredential as error:
            self.failures += 1
            self._due_at = self._clock() + min(self._ttl_seconds, 10.0)
            logger.error("credential refused", extra={"reason": str(error)})
        except Exception as error:  # noqa: BLE001 -- whatever the client raises, the credential in hand stays
            self.failures += 1
            self._due_at = self._clock() + min(self._ttl_seconds, 2.0)
            logger.warning("credential unavailable", extra={"error": type(error).__name__})
        else:
            self._due_at = self._clock() + self._ttl_seconds
