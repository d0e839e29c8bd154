"""Storing a policy: checked, under a new version, journaled with who changed what and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from control_plane.domain.policy_change import Difference, differences, next_version
from control_plane.wiring import Control


@dataclass(frozen=True, slots=True)
class Proposal:
    """A policy that could follow the one in force. `document_version`: what SSM called the latter, 0 for none."""

    link_id: str
    before: Policy
    after: Policy
    document_version: int

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What would change."""
        return differences(self.before, self.after)


def propose(control: Control, link_id: str, change: Callable[[Policy], Policy]) -> Proposal:
    """Apply a change to the policy in force; nothing is stored.

    Raises:
        InvalidPolicy: what is in force is none, or what would follow is not.
    """
    topology = control.documents.topology(link_id)
    before, document_version = control.documents.policy_as_stored(link_id, topology)
    after = next_version(before, change(before))
    after.check_against(topology)
    return Proposal(link_id, before, after, document_version)


def store(control: Control, proposal: Proposal, by: str, reason: str, now: datetime) -> None:
    """Put a proposal in force.

    Raises:
        StalePolicy: somebody changed the policy since it was proposed; it is as they left it, unless both wrote
            in the same moment, which the error says.
    """
    control.documents.store_policy(
        proposal.link_id, proposal.after.model_dump_json(), proposal.document_version
    )
    data = {
        "by": by,
        "reason": reason,
        "version": proposal.after.version,
        "changes": [difference.describe() for difference in proposal.differences],
    }
    execution = f"policy-{now:%Y%m%dT%H%M%S%f}"
    control.journal.append(proposal.link_id, EntryKind.POLICY, execution, data, now)
