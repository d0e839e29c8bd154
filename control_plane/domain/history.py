"""What a link has been through: the memory that hysteresis, hold-down and damping need.

One small document per link, updated once per observation and once per switch. It is an aid to judgement
and not a record: the journal is the record. Since every look leaves its verdicts here, "what would be done
now" can be asked without looking again, as long as they are fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import log2
from typing import Any

from pydantic import AwareDatetime

from control_plane.domain.documents import Document
from control_plane.domain.drill import Drill, DrillMemory, DrillRecord
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.limits import FlapDamping
from control_plane.domain.moments import clock, day
from control_plane.domain.observation import ProxyReport
from control_plane.domain.policy import Policy

SWITCH_MEMORY = timedelta(hours=1)
SETBACK_MEMORY = timedelta(hours=1)


class PathHistory(Document):
    """One path: runs of equal observations, and its flap penalty as of `penalty_at`.

    `slow_since`, `erring_since`: since when every look found it above the critical latency, or above the
    alert's share of failing calls. `known_at`: the last look that told carrying from failing. `verdict` is
    the last look's, at `seen_at`; `report` a proxy's newest. `set_back_at`: when a plan that led to this path
    was last undone.
    """

    failed_in_a_row: int = 0
    healthy_in_a_row: int = 0
    healthy_since: AwareDatetime | None = None
    down: bool = False
    penalty: float = 0.0
    penalty_at: AwareDatetime | None = None
    suppressed_since: AwareDatetime | None = None
    known_at: AwareDatetime | None = None
    slow_since: AwareDatetime | None = None
    erring_since: AwareDatetime | None = None
    verdict: PathHealth | None = None
    seen_at: AwareDatetime | None = None
    report: ProxyReport | None = None
    set_back_at: AwareDatetime | None = None

    def resumed(self, longest_gap_seconds: float | None, now: datetime) -> PathHistory:
        """The memory as it counts now: after too long a gap no run of observations goes on."""
        if longest_gap_seconds is None or self.known_at is None:
            return self
        if (now - self.known_at).total_seconds() <= longest_gap_seconds:
            return self
        return self.model_copy(
            update={
                "failed_in_a_row": 0,
                "healthy_in_a_row": 0,
                "healthy_since": None,
                "slow_since": None,
                "erring_since": None,
            }
        )

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

    def set_back(self, now: datetime) -> datetime | None:
        """When a plan that led here was last undone; None once that is too long ago to matter."""
        if self.set_back_at is None or now - self.set_back_at >= SETBACK_MEMORY:
            return None
        return self.set_back_at

    def suppressed_until(self, damping: FlapDamping) -> datetime | None:
        """When the penalty will have decayed to the reuse limit, or the longest suppression ends."""
        if self.suppressed_since is None or self.penalty_at is None:
            return None
        longest = self.suppressed_since + timedelta(seconds=damping.maximum_suppress_seconds)
        if self.penalty <= damping.reuse_limit:
            return min(longest, self.penalty_at)
        half_lives = log2(self.penalty / damping.reuse_limit)
        decayed = self.penalty_at + timedelta(seconds=half_lives * damping.half_life_seconds)
        return min(longest, decayed)


_BLANK = PathHistory()


class Switch(Document):
    """One change of the published active path; `by_hand` when an operator's intent made it.

    `generation`: the one that published it; by it a step that runs again knows what it has remembered.
    """

    generation: int | None = None
    at: AwareDatetime
    from_path: str | None
    to_path: str
    kind: str
    by_hand: bool = False


class StandingQuarantine(Document):
    """A path that nothing is to be moved to until an operator has resolved the link."""

    reason: str
    since: AwareDatetime

    def describe(self) -> str:
        """One line for people."""
        return f"quarantined since {day(self.since)} until an operator resolves it: {self.reason}"


class LinkHistory(Document):
    """The memory of one link. `quarantines` by path: those that Twinspan itself has laid on."""

    paths: dict[str, PathHistory] = {}
    switches: tuple[Switch, ...] = ()
    drill: Drill | None = None
    drills: DrillMemory = DrillMemory()
    quarantines: dict[str, StandingQuarantine] = {}

    def path(self, name: str) -> PathHistory:
        """The memory of one path; blank for one never seen."""
        return self.paths.get(name, _BLANK)

    @property
    def last_switch(self) -> Switch | None:
        """The newest switch still remembered."""
        return self.switches[-1] if self.switches else None

    def remembers(self, generation: int) -> bool:
        """Whether the switch that this generation published is remembered."""
        return any(switch.generation == generation for switch in self.switches)

    def switches_within(self, seconds: float, now: datetime) -> int:
        """How many switches fell into the last `seconds`."""
        return sum((now - switch.at).total_seconds() < seconds for switch in self.switches)

    def after_observation(
        self,
        healthy: dict[str, bool | None],
        failed_to_fail: int,
        healthy_to_recover: int,
        now: datetime,
        longest_gap_seconds: float | None = None,
    ) -> LinkHistory:
        """Count one more observation: True healthy, False failing, None not known (counts as neither).

        A path goes down after `failed_to_fail` failures in a row and comes back after
        `healthy_to_recover` healthy observations in a row. With `longest_gap_seconds`, observations
        further apart than that are not "in a row": nobody knows what was in between.
        """
        paths = dict(self.paths)
        for name, ok in healthy.items():
            old = self.path(name).resumed(longest_gap_seconds, now)
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
                        "known_at": now,
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
                        "known_at": now,
                    }
                )
        return self.model_copy(update={"paths": paths})

    def after_look(
        self, verdicts: Mapping[str, PathHealth], policy: Policy, now: datetime
    ) -> LinkHistory:
        """Count one more observation, with all that its verdicts say; see `after_observation`."""
        counted = self.after_observation(
            {n: None if v.health is Health.UNKNOWN else v.carries for n, v in verdicts.items()},
            policy.hysteresis.failed_observations_to_fail,
            policy.hysteresis.healthy_observations_to_recover,
            now,
            longest_gap_seconds=policy.maximum_source_age.telemetry_seconds,
        )
        paths = dict(counted.paths)
        for name, verdict in verdicts.items():
            old = counted.path(name)
            update: dict[str, Any] = {"verdict": verdict, "seen_at": now}
            if (
                verdict.too_slow
            ):  # a path that was left for being slow is stable once it no longer is
                update |= {"healthy_since": None, "healthy_in_a_row": 0}
            if verdict.health is not Health.UNKNOWN:
                erring = (verdict.error_ratio or 0.0) > policy.errors.alert_ratio
                update["slow_since"] = (old.slow_since or now) if verdict.too_slow else None
                update["erring_since"] = (old.erring_since or now) if erring else None
            paths[name] = old.model_copy(update=update)
        return self.model_copy(update={"paths": paths})

    def after_report(self, path: str, report: ProxyReport) -> LinkHistory:
        """Remember a proxy's word on a path, unless a newer one is known already."""
        old = self.path(path)
        if old.report is not None and old.report.reported_at > report.reported_at:
            return self
        paths = {**self.paths, path: old.model_copy(update={"report": report})}
        return self.model_copy(update={"paths": paths})

    def alerts(self, policy: Policy, now: datetime) -> tuple[str, ...]:
        """What people must be told: a path that has been slow, or failing calls, for long enough."""
        found = []
        for name, memory in sorted(self.paths.items()):
            slow, erring = memory.slow_since, memory.erring_since
            if slow and (now - slow).total_seconds() >= policy.latency.alert_after_seconds:
                limit = f"{policy.latency.critical_ms:g} ms"
                found.append(f"{name}: latency above {limit} since {clock(slow)}")
            if erring and (now - erring).total_seconds() >= policy.errors.alert_after_seconds:
                limit = f"{policy.errors.alert_ratio:.0%}"
                found.append(f"{name}: more than {limit} of calls fail since {clock(erring)}")
        return tuple(found)

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

    def after_setback(self, path: str, now: datetime) -> LinkHistory:
        """Remember that a plan which led to this path was undone."""
        memory = self.path(path).model_copy(update={"set_back_at": now})
        return self.model_copy(update={"paths": {**self.paths, path: memory}})

    def after_success(self, path: str) -> LinkHistory:
        """A plan that led to this path was verified: what was undone before no longer counts."""
        memory = self.path(path).model_copy(update={"set_back_at": None})
        return self.model_copy(update={"paths": {**self.paths, path: memory}})

    def quarantine(self, paths: Iterable[str], reason: str, now: datetime) -> LinkHistory:
        """Take these paths out of use until `resolved`; one that is already keeps its first reason."""
        laid_on = {path: StandingQuarantine(reason=reason, since=now) for path in paths}
        return self.model_copy(update={"quarantines": laid_on | self.quarantines})

    def resolved(self) -> LinkHistory:
        """The memory once an operator has put the link right."""
        return self.model_copy(update={"quarantines": {}})

    def in_drill(self, drill: Drill) -> LinkHistory:
        """Remember that a drill has begun; the switch that began it is remembered by itself."""
        return self.model_copy(update={"drill": drill})

    def after_trouble(self, trouble: str | None, occurred_at: datetime | None) -> LinkHistory:
        """Remember that something real came while a drill was going on."""
        if self.drill is None or trouble is None:
            return self
        return self.model_copy(update={"drill": self.drill.disturbed(trouble, occurred_at)})

    def after_drill(self, record: DrillRecord) -> LinkHistory:
        """Remember how a drill ended; none is going on any more."""
        return self.model_copy(update={"drill": None, "drills": self.drills.after(record)})

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return self.model_dump(mode="json")
