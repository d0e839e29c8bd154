"""What a link has been through: the memory that hysteresis, hold-down and damping need.

One small document per link, updated once per observation and once per switch. It is an aid to judgement
and not a record: the journal is the record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime

from control_plane.domain.documents import Document
from control_plane.domain.policy import FlapDamping

SWITCH_MEMORY = timedelta(hours=1)


class PathHistory(Document):
    """One path: runs of equal observations, and its flap penalty as of `penalty_at`."""

    failed_in_a_row: int = 0
    healthy_in_a_row: int = 0
    healthy_since: AwareDatetime | None = None
    down: bool = False
    penalty: float = 0.0
    penalty_at: AwareDatetime | None = None
    suppressed_since: AwareDatetime | None = None

    def penalty_now(self, damping: FlapDamping, now: datetime) -> float:
        """The penalty decayed to `now`: halved every `half_life_seconds`."""
        if self.penalty_at is None:
            return 0.0
        age_seconds = max(0.0, (now - self.penalty_at).total_seconds())
        return float(self.penalty * 0.5 ** (age_seconds / damping.half_life_seconds))

    def suppressed(self, damping: FlapDamping, now: datetime) -> bool:
        """Whether the path is still held back: from the suppress limit until the reuse limit."""
        if self.suppressed_since is None:
            return False
        if (now - self.suppressed_since).total_seconds() >= damping.maximum_suppress_seconds:
            return False
        return self.penalty_now(damping, now) > damping.reuse_limit


class Switch(Document):
    """One change of the published active path; `by_hand` when an operator's intent made it."""

    at: AwareDatetime
    from_path: str | None
    to_path: str
    kind: str
    by_hand: bool = False


class LinkHistory(Document):
    """The memory of one link."""

    paths: dict[str, PathHistory] = {}
    switches: tuple[Switch, ...] = ()

    def path(self, name: str) -> PathHistory:
        """The memory of one path; blank for one never seen."""
        return self.paths.get(name, PathHistory())

    @property
    def last_switch(self) -> Switch | None:
        """The newest switch still remembered."""
        return self.switches[-1] if self.switches else None

    def switches_within(self, seconds: float, now: datetime) -> int:
        """How many switches fell into the last `seconds`."""
        return sum((now - switch.at).total_seconds() < seconds for switch in self.switches)

    def after_observation(
        self,
        healthy: dict[str, bool | None],
        failed_to_fail: int,
        healthy_to_recover: int,
        now: datetime,
    ) -> LinkHistory:
        """Count one more observation: True healthy, False failing, None not known (counts as neither).

        A path goes down after `failed_to_fail` failures in a row and comes back after
        `healthy_to_recover` healthy observations in a row.
        """
        paths = dict(self.paths)
        for name, ok in healthy.items():
            old = self.path(name)
            if ok is None:
                continue
            if ok:
                healthy_in_a_row = old.healthy_in_a_row + 1
                paths[name] = old.model_copy(
                    update={
                        "healthy_in_a_row": healthy_in_a_row,
                        "failed_in_a_row": 0,
                        "healthy_since": old.healthy_since or now,
                        "down": old.down and healthy_in_a_row < healthy_to_recover,
                    }
                )
            else:
                failed_in_a_row = old.failed_in_a_row + 1
                paths[name] = old.model_copy(
                    update={
                        "failed_in_a_row": failed_in_a_row,
                        "healthy_in_a_row": 0,
                        "healthy_since": None,
                        "down": old.down or failed_in_a_row >= failed_to_fail,
                    }
                )
        return self.model_copy(update={"paths": paths})

    def after_switch(
        self, switch: Switch, damping: FlapDamping, penalise: str | None = None
    ) -> LinkHistory:
        """Remember a switch; `penalise` is the path whose failure caused it, if that was the cause."""
        recent = (*self.switches, switch)
        kept = tuple(s for s in recent if switch.at - s.at < SWITCH_MEMORY) or (switch,)
        paths = dict(self.paths)
        if penalise is not None:
            old = self.path(penalise)
            penalty = old.penalty_now(damping, switch.at) + damping.penalty_per_switch
            still = old.suppressed_since if old.suppressed(damping, switch.at) else None
            starts = switch.at if penalty >= damping.suppress_limit else None
            paths[penalise] = old.model_copy(
                update={
                    "penalty": penalty,
                    "penalty_at": switch.at,
                    "suppressed_since": still or starts,
                }
            )
        return self.model_copy(update={"paths": paths, "switches": kept})

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")
