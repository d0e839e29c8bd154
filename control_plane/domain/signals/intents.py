"""Reading an operator's intent: the other thing, beside events, that an execution is started with."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from control_plane.domain.documents import Document, parse
from control_plane.domain.topology import LinkId, PathName, Topology
from control_plane.errors import InvalidIntent


class IntentKind(StrEnum):
    """What an operator may ask for."""

    FAILOVER = "failover"
    FAILBACK = "failback"
    ROLLBACK = "rollback"
    DRILL = "drill"
    RECONCILE = "reconcile"
    RESTORE = "restore"


class Intent(Document):
    """An operator's request, as the execution's input."""

    intent: IntentKind
    link_id: LinkId
    to: PathName | None = None
    to_generation: int | None = Field(default=None, ge=1)
    duration_seconds: float | None = Field(default=None, ge=1, le=86400)
    reason: str = Field(default="", max_length=500)
    requested_by: str = Field(default="unnamed operator", max_length=200)
    dry_run: bool = False
    override: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.intent is IntentKind.ROLLBACK and self.to_generation is None:
            raise ValueError("to_generation: a rollback says to which generation")
        if self.duration_seconds is not None and self.intent is not IntentKind.DRILL:
            raise ValueError(f"duration_seconds: only a drill lasts, and a {self.intent} does not")
        if self.override and not self.reason:
            raise ValueError("reason: an override must give one")
        return self

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Intent:
        """Parse an execution's input.

        Raises:
            InvalidIntent: naming the field and the reason.
        """
        return parse(cls, dict(value), InvalidIntent)

    def check_against(self, topology: Topology) -> None:
        """Refuse an intent that cannot be carried out on this link.

        Raises:
            InvalidIntent: the link has no such path; names those that exist.
        """
        if self.to is not None and topology.path(self.to) is None:
            known = ", ".join(topology.path_names)
            raise InvalidIntent("to", f"no path {self.to!r} on {self.link_id} (has {known})")


def is_intent(document: Mapping[str, Any]) -> bool:
    """Whether an execution's input is an intent rather than an event."""
    return "intent" in document
