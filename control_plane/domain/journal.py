"""The journal's chain: each entry carries the hash of the one before it.

Pure: building and checking entries. An edit, a removal or a reordering anywhere breaks the chain from
there on; a chain that was cut at its end is only noticed against the stored head.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from control_plane.domain.documents import canonical_json

GENESIS = "0" * 64


class EntryKind(StrEnum):
    """What an entry records."""

    SIGNAL = "signal"
    REJECTED = "rejected"
    UNMATCHED = "unmatched"
    NOTED = "noted"
    OBSERVED = "observed"
    DECIDED = "decided"
    PLANNED = "planned"
    REFUSED = "refused"
    PROBED = "probed"
    APPLIED = "applied"
    PUBLISHED = "published"
    VERIFIED = "verified"
    ROLLED_BACK = "rolled-back"
    APPROVAL = "approval"
    OUTCOME = "outcome"
    DRILL = "drill"
    NEEDS_OPERATOR = "needs-operator"
    RESOLVED = "resolved"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the chain. `data` holds JSON values; large evidence is referenced, not held."""

    link_id: str
    sequence: int
    at: datetime
    kind: EntryKind
    execution: str
    data: dict[str, Any]
    previous_hash: str

    @property
    def hash(self) -> str:
        """SHA-256 over everything above, canonically serialised."""
        content = {
            "link_id": self.link_id,
            "sequence": self.sequence,
            "at": self.at.isoformat(),
            "kind": str(self.kind),
            "execution": self.execution,
            "data": self.data,
            "previous_hash": self.previous_hash,
        }
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Break:
    """Where a chain does not hold."""

    sequence: int
    reason: str


def verify(entries: Iterable[tuple[Entry, str]], head: tuple[int, str] | None) -> Break | None:
    """Check a whole chain, given (entry, stored hash) in order and the stored head (sequence, hash)."""
    expected_sequence, previous = 1, GENESIS
    for entry, stored_hash in entries:
        if entry.sequence != expected_sequence:
            return Break(expected_sequence, f"missing: the next entry is {entry.sequence}")
        if entry.previous_hash != previous:
            return Break(entry.sequence, "does not follow the entry before it")
        if entry.hash != stored_hash:
            return Break(entry.sequence, "was edited: its content does not have its hash")
        expected_sequence, previous = entry.sequence + 1, stored_hash
    if head is not None and head != (expected_sequence - 1, previous):
        return Break(expected_sequence, f"the head says {head[0]} entries were written")
    return None
