"""Bearer keys: who a caller is, and what their key lets them do.

A stock Bedrock client can show one (`AWS_BEARER_TOKEN_BEDROCK`), where API Gateway's IAM authorisation would refuse
its signature. The table holds a key's SHA-256 and never the key; a key has 256 random bits, so that no slow hash is
needed. What is read is remembered for a while: a revoked key may go on working for `ttl_seconds`, longer while the
table cannot be read (`OUTAGE_SECONDS`), and never beyond its own expiry.

The table's items are the contract with whoever makes keys: `keyDigest` (its key), `keyId`, `principal`, `dataClass`,
`allowedModels`, `usagePlan`, `createdAt`, `expiresAt` and `revokedAt`; times are seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from proxy.messages import Refused
from proxy.model_lists import is_listed

logger = logging.getLogger(__name__)

OUTAGE_SECONDS = 900.0
WAIT_SECONDS = 5.0
REMEMBERED = 4096
KEY_LIMIT_CHARACTERS = 512


class InvalidKeyItem(ValueError):
    """A stored key cannot be used; the message is `field: reason`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may do."""

    principal: str
    data_class: str | None = None
    """The only data class that the caller may ask for; None leaves the choice to the request."""
    allowed_models: tuple[str, ...] = ()
    """Model ids in lower case, exact or `prefix*`; empty for all that the proxy allows."""
    usage_plan: str | None = None
    expires_at: float = float("inf")
    """Seconds since the epoch."""
    within: str | None = None
    """A data class beyond whose paths the caller gets nowhere, whichever class is asked for; None for no such bound."""

    def permits(self, model_id: str) -> bool:
        """Whether the caller may use this model."""
        return not self.allowed_models or is_listed(model_id, self.allowed_models)


class KeyGetter(Protocol):
    """Reads one key. Called in a thread; any exception counts as an outage."""

    def get(self, digest: str) -> Mapping[str, Any] | None:
        """The item in low-level attribute values; None when there is none."""


def digest_of(authorization: str | None) -> str | None:
    """SHA-256, in hex, of the bearer key in an `Authorization` header; None without one."""
    scheme, _, key = (authorization or "").partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key or len(key) > KEY_LIMIT_CHARACTERS:
        return None
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def grant_from_item(item: Mapping[str, Any]) -> Grant | None:
    """What an item grants; None when the key was revoked.

    Raises:
        InvalidKeyItem: a field is missing or of the wrong form; such a key opens nothing.
    """
    if "revokedAt" in item:
        return None
    try:
        principal = item["principal"]["S"]
        expires_at = float(item["expiresAt"]["N"])
        models = tuple(entry["S"].lower() for entry in item.get("allowedModels", {"L": []})["L"])
        data_class = item["dataClass"]["S"] if "dataClass" in item else None
        usage_plan = item["usagePlan"]["S"] if "usagePlan" in item else None
    except KeyError as error:
        raise InvalidKeyItem(f"{error.args[0]}: is missing or of the wrong type") from None
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise InvalidKeyItem("item: a field is of the wrong type") from None
    said = (principal, *(text for text in (data_class, usage_plan) if text is not None))
    if not all(isinstance(text, str) for text in said):
        raise InvalidKeyItem("item: a field is of the wrong type")
    if not principal or not math.isfinite(expires_at):
        raise InvalidKeyItem("principal or expiresAt: is empty")
    return Grant(principal, data_class, models, usage_plan, expires_at)


class CallerKeys:
    """Looks keys up, and remembers. Belongs to one event loop."""

    def __init__(
        self,
        getter: KeyGetter,
        executor: Executor,
        clock: Callable[[], float],
        *,
        ttl_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._getter = getter
        self._executor = executor
        self._clock = clock
        self._ttl_seconds = ttl_seconds
        self._now = now
        self._known: OrderedDict[str, tuple[float, Grant | None]] = OrderedDict()
        self._reading: dict[str, asyncio.Task[Grant | None]] = {}
        self.failures = 0

    async def grant(self, authorization: str | None) -> Grant | None:
        """What the caller's key grants now; None for a missing, unknown, expired or revoked key.

        Raises:
            Refused: 503, when the key is not remembered and the table cannot be read.
        """
        digest = digest_of(authorization)
        if digest is None:
            return None
        found = self._known.get(digest)
        if found is None or self._clock() - found[0] >= self._ttl_seconds:
            grant = await self._looked_up(digest, found)
        else:
            grant = found[1]
        return grant if grant is not None and grant.expires_at > self._now() else None

    async def _looked_up(
        self, digest: str, found: tuple[float, Grant | None] | None
    ) -> Grant | None:
        task = self._reading.get(digest)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(digest))
            self._reading[digest] = task
            task.add_done_callback(lambda _: self._reading.pop(digest, None))
        try:
            return await asyncio.wait_for(asyncio.shield(task), WAIT_SECONDS)
        except InvalidKeyItem as error:
            logger.error("caller key refused", extra={"reason": str(error)})
            return None
        except Exception as error:  # noqa: BLE001 -- whatever the client raises, it is an outage
            self.failures += 1
            logger.warning("caller keys unavailable", extra={"error": type(error).__name__})
        if found is not None and self._clock() - found[0] < OUTAGE_SECONDS:
            return found[1]
        message = "Callers' keys cannot be looked up."
        retry = [(b"retry-after", b"2")]
        code = "ServiceUnavailableException"
        raise Refused(503, code, message, kind="KeysUnavailable", headers=retry)

    async def _read(self, digest: str) -> Grant | None:
        loop = asyncio.get_running_loop()
        item = await loop.run_in_executor(self._executor, self._getter.get, digest)
        grant = None if item is None else grant_from_item(item)
        self._known[digest] = (self._clock(), grant)
        self._known.move_to_end(digest)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return grant
