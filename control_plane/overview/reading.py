"""Everything that the console shows of a link, read through the adapters that the workflow uses.

Nothing is written, probed or decided here. What cannot be read is named in `problems`, and the rest is shown:
at 3 a.m. half a picture that says which half is missing beats an error page.

Costs: a reading is one SSM call per document, four of DynamoDB, one of EC2 per side and kind. CloudWatch, which bills each
metric, is asked once per `METRICS_EVERY_SECONDS`, the credential once a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from control_plane.adapters.aws import AwsSession
from control_plane.adapters.fleet import describe_parts
from control_plane.adapters.path_metrics import Measured, PathMetrics
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import Entry
from control_plane.domain.observation import ObservedPath
from control_plane.domain.plan import Plan
from control_plane.domain.policy import Policy
from control_plane.domain.seen import see_paths
from control_plane.domain.situation import Published
from control_plane.domain.topology import SideName, Topology
from control_plane.errors import PermanentError, TwinspanError
from control_plane.operations.published import in_essence, readable_config
from control_plane.wiring import Control

T = TypeVar("T")

ENTRIES = 150
CHART_PERIODS = 30
METRICS_EVERY_SECONDS = 15.0
CREDENTIAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A link at one moment, as far as it could be read.

    `entries`: the newest of the journal, newest first. `metrics`: path → periods of `period_seconds`, oldest
    first. `problems`: what could not be read, and why.
    """

    read_at: datetime
    topology: Topology
    policy: Policy
    published: Published | None
    history: LinkHistory
    lease: Mapping[str, Any]
    question: Mapping[str, Any] | None
    open_plan: Plan | None
    entries: tuple[Entry, ...]
    seen: tuple[ObservedPath, ...]
    metrics: Mapping[str, tuple[Measured, ...]]
    period_seconds: int
    problems: tuple[str, ...] = ()


class Reader:
    """Reads one link again and again; keeps what need not be read each time. Used by one thread at a time."""

    def __init__(self, control: Control, link_id: str, period_seconds: int = 60) -> None:
        self._control, self._link = control, link_id
        self._period_seconds = period_seconds
        self._metrics: dict[str, tuple[Measured, ...]] = {}
        self._measured_at: datetime | None = None
        self._sessions: Mapping[SideName, AwsSession] | None = None
        self._sessions_at: datetime | None = None
        self._head: tuple[int, str] | None = None
        self._entries: tuple[Entry, ...] = ()

    def read(self) -> Reading:
        """Read the link now.

        Raises:
            TwinspanError: its documents or its state could not be read, so there is nothing to show.
        """
        control, link = self._control, self._link
        now = control.now()
        topology = control.documents.topology(link)
        problems: list[str] = []
        seen = self._optional(problems, "what EC2 says", lambda: self._see(topology, now))
        metrics = self._optional(problems, "the canary's metrics", lambda: self._measure(topology))
        return Reading(
            read_at=now,
            topology=topology,
            policy=control.documents.policy(link, topology),
            published=in_essence(readable_config(control, link)),
            history=control.state.history(link),
            lease=control.leases.current(link),
            question=control.state.latest_question(link),
            open_plan=control.state.open_plan(link),
            entries=self._journal(),
            seen=seen or tuple(ObservedPath(name=name) for name in topology.path_names),
            metrics=self._metrics if metrics is None else metrics,
            period_seconds=self._period_seconds,
            problems=tuple(problems),
        )

    @staticmethod
    def _optional(problems: list[str], what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except TwinspanError as error:
            problems.append(f"{what} could not be read: {error}")
            return None

    def _see(self, topology: Topology, now: datetime) -> tuple[ObservedPath, ...]:
        try:
            sessions = self._both_sides(topology, now)
            sides = {
                side: describe_parts(session.client("ec2"), side, [topology])
                for side, session in sessions.items()
            }
        except PermanentError:
            self._sessions = None  # a credential that was rotated is read anew
            raise
        return see_paths(topology, sides, {}, now)

    def _both_sides(self, topology: Topology, now: datetime) -> Mapping[SideName, AwsSession]:
        fresh = self._sessions_at is not None and (
            now - self._sessions_at < timedelta(seconds=CREDENTIAL_SECONDS)
        )
        if self._sessions is None or not fresh:
            credential = self._control.credential(topology)
            self._sessions = self._control.sessions(topology, credential)
            self._sessions_at = now
        return self._sessions

    def _measure(self, topology: Topology) -> dict[str, tuple[Measured, ...]]:
        now = self._control.now()
        every = min(METRICS_EVERY_SECONDS, float(self._period_seconds))
        if self._measured_at is None or now - self._measured_at >= timedelta(seconds=every):
            # Periods begin at multiples of their length, or a point would move from look to look.
            end = now.timestamp() // self._period_seconds * self._period_seconds
            begins_at = datetime.fromtimestamp(
                end - (CHART_PERIODS - 1) * self._period_seconds, tz=now.tzinfo
            )
            self._metrics = PathMetrics(self._control.session).since(
                self._link, topology.path_names, begins_at, now, self._period_seconds
            )
            self._measured_at = now
        return self._metrics

    def _journal(self) -> tuple[Entry, ...]:
        head = self._control.journal.head(self._link)
        if head != self._head:
            stored = self._control.journal.entries(self._link, newest_first=True, limit=ENTRIES)
            self._entries = tuple(entry for entry, _ in stored)
            self._head = head
        return self._entries
