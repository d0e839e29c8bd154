"""What a run carries from one operation to the next: who acts on which link, by which right, and why."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime

from control_plane.adapters.lease import Lease
from control_plane.domain.documents import Document
from control_plane.domain.journal import EntryKind
from control_plane.domain.signals import Intent, Signal, SignalKind
from control_plane.wiring import Control

# How far back the journal is searched for what a run did a moment ago. A change whose publication lies further
# back is looked into like anybody else's.
RECENT_ENTRIES = 200


class HeldLease(Document):
    """A lease, as it travels between steps."""

    holder: str
    token: int
    expires_at: AwareDatetime


class Run(Document):
    """One execution's hold on one link. `trouble` is what signals told of that stopped working, if any did."""

    execution: str
    link_id: str
    signal: Signal
    trouble: str | None = None
    intent: Intent | None = None
    lease: HeldLease
    round: int = 1
    approved_decision: dict[str, Any] | None = None
    refused: dict[str, str] = {}

    def held(self) -> Lease:
        """The lease as the store knows it."""
        lease = self.lease
        return Lease(self.link_id, lease.holder, lease.token, lease.expires_at)

    @property
    def routine(self) -> bool:
        """Whether nothing but the clock started this: then only what matters is journaled."""
        return self.signal.kind is SignalKind.SWEEP


def journal(
    control: Control, run: Run, kind: EntryKind, data: dict[str, Any], now: datetime
) -> None:
    """Append an entry of this run."""
    control.journal.append(run.link_id, kind, run.execution, data, now)
