"""Bearer keys for callers of the proxy: made once, shown once, kept as a digest.

A key is `twk_<id>_<secret>`: the id names it in lists and logs, the secret has 256 random bits. The proxy owns the
form in which keys are stored, and reads nothing else of the control plane's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from control_plane.errors import InvalidDocument

PREFIX = "twk"


class InvalidCallerKey(InvalidDocument):
    """A field of a key that is to be made is wrong."""

    document = "caller key"


@dataclass(frozen=True, slots=True)
class CallerKey:
    """A key as it is stored; the key itself is not here."""

    key_digest: str
    """SHA-256 of the whole key, in hex."""
    key_id: str
    principal: str
    created_at: datetime
    expires_at: datetime
    data_class: str | None = None
    allowed_models: tuple[str, ...] = ()
    """Exact or `prefix*`; empty for all that the proxy allows."""
    usage_plan: str | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """`valid`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at <= now else "valid"

    @classmethod
    def made(
        cls,
        *,
        key_id: str,
        secret: str,
        principal: str,
        created_at: datetime,
        expires_at: datetime,
        data_class: str | None = None,
        allowed_models: tuple[str, ...] = (),
        usage_plan: str | None = None,
    ) -> tuple[Self, str]:
        """A new key's record, and the key to hand over.

        Raises:
            InvalidCallerKey: naming the field.
        """
        if not principal or not principal.isprintable() or len(principal) > 128:
            raise InvalidCallerKey("principal", "must be 1 to 128 printable characters")
        if expires_at <= created_at:
            raise InvalidCallerKey("expires_at", "is not in the future")
        for model in allowed_models:
            if not model or "," in model or "*" in model[:-1]:
                reason = "must be a model id, or the beginning of one with `*` at its end"
                raise InvalidCallerKey("allowed_models", reason)
        key = f"{PREFIX}_{key_id}_{secret}"
        record = cls(
            key_digest=hashlib.sha256(key.encode()).hexdigest(),
            key_id=key_id,
            principal=principal,
            created_at=created_at,
            expires_at=expires_at,
            data_class=data_class,
            allowed_models=allowed_models,
            usage_plan=usage_plan,
        )
        return record, key
