"""A change to one route: the unit that plans are made of, proofs consider and adapters apply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from control_plane.domain.topology import SideName, TableKind


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """Make `destination` in `table_id` lead to `after`, given that it leads to `before`.

    `None` stands for "no such static route": `before=None` creates, `after=None` deletes. Targets are
    AWS ids (`tgw-…`, `eni-…`, `tgw-attach-…`), as `describe_route_tables` shows them.
    """

    side: SideName
    table_kind: TableKind
    table_id: str
    destination: str
    before: str | None
    after: str | None

    def inverse(self) -> Change:
        """The change that puts back exactly what this one replaced."""
        return replace(self, before=self.after, after=self.before)

    def describe(self) -> str:
        """One line for people: `commercial rtb-1 10.0.0.0/16: none → eni-2`."""
        before, after = self.before or "none", self.after or "none"
        return f"{self.side} {self.table_id} {self.destination}: {before} → {after}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "side": str(self.side),
            "table_kind": str(self.table_kind),
            "table_id": self.table_id,
            "destination": self.destination,
            "before": self.before,
            "after": self.after,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Change:
        """The inverse of `to_dict`."""
        return cls(
            side=SideName(value["side"]),
            table_kind=TableKind(value["table_kind"]),
            table_id=value["table_id"],
            destination=value["destination"],
            before=value["before"],
            after=value["after"],
        )
