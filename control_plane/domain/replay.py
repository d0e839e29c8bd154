"""A policy played against a recorded or written outage: what would have been done, and when.

The very functions that run in the workflow judge, remember and decide; only looking and publishing are
replaced, by the trace and by a note. Virtual time: hours take milliseconds.

Not guaranteed: that a plan would have been proved and applied. Routes are taken to be in order, and every
probe and verification to see what the trace says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from control_plane.domain.decide import Decision, Situation, decide
from control_plane.domain.decision import SWITCHES, DecisionKind
from control_plane.domain.documents import Document, parse_json
from control_plane.domain.health import assess_all
from control_plane.domain.history import LinkHistory, Switch
from control_plane.domain.observation import (
    Observation,
    ObservedPath,
    ObservedTunnel,
    ProbeResult,
    TunnelStatus,
)
from control_plane.domain.policy import Policy
from control_plane.domain.topology import LinkId, PathName, Topology
from control_plane.errors import InvalidTrace

START = datetime(2026, 1, 1, tzinfo=UTC)
"""The moment that a trace calls 0 seconds; a Thursday, for policies with change windows."""

_LONGEST_SECONDS = 7 * 86400
_MOST_LOOKS = 50_000


class Condition(Document):
    """What a path is like from `at_seconds` on, until the trace says otherwise.

    `answers`: whether calls over the path are answered; `tunnels_up` is AWS's telemetry, which may say
    something else. `endpoint_state` is the VPC endpoint's, in EC2's words.
    """

    at_seconds: float = Field(ge=0)
    path: PathName
    answers: bool = True
    latency_ms: float = Field(default=50.0, gt=0)
    tunnels_up: int = Field(default=2, ge=0, le=2)
    endpoint_state: str = "available"


class Trace(Document):
    """An outage: how long it is watched, how often Twinspan looks by itself, and what the paths were like.

    `signal_seconds` is how soon after a change an alarm or a proxy's report has it look; None when nothing
    tells of changes and only the sweep looks.
    """

    schema_version: Literal[1] = 1
    description: str = ""
    link_id: LinkId = "bedrock"
    paths: tuple[PathName, ...] = Field(min_length=1)
    duration_seconds: float = Field(gt=0, le=_LONGEST_SECONDS)
    sweep_seconds: float = Field(default=60.0, ge=1)
    signal_seconds: float | None = Field(default=5.0, ge=0)
    conditions: tuple[Condition, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.paths)) != len(self.paths):
            raise ValueError("paths: one is named twice")
        if self.duration_seconds / self.sweep_seconds > _MOST_LOOKS:
            raise ValueError(f"sweep_seconds: that would be more than {_MOST_LOOKS} looks")
        previous = 0.0
        for number, condition in enumerate(self.conditions):
            if condition.path not in self.paths:
                raise ValueError(f"conditions.{number}.path: {condition.path} is not among paths")
            if condition.at_seconds < previous:
                raise ValueError(f"conditions.{number}.at_seconds: is before the one above it")
            previous = condition.at_seconds
        return self

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse a trace.

        Raises:
            InvalidTrace: naming the field and the reason.
        """
        return parse_json(cls, text, InvalidTrace)

    def moments(self) -> list[float]:
        """Every second at which Twinspan looks: sweeps, and soon after each change."""
        count = int(self.duration_seconds // self.sweep_seconds)
        found = {number * self.sweep_seconds for number in range(count + 1)}
        if self.signal_seconds is not None:
            found |= {change.at_seconds + self.signal_seconds for change in self.conditions}
        return sorted(moment for moment in found if moment <= self.duration_seconds)

    def at(self, second: float) -> dict[str, Condition]:
        """What each path is like at this second; a path of which nothing is said is well."""
        found = {name: Condition(at_seconds=0, path=name) for name in self.paths}
        found |= {one.path: one for one in self.conditions if one.at_seconds <= second}
        return found


@dataclass(frozen=True, slots=True)
class Event:
    """Something that the policy would have done, or not done, at this second."""

    at_seconds: float
    what: Literal["switched", "suppressed", "escalated", "asked"]
    path: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a policy. `failed_seconds`: time during which the active path answered no calls.

    `suppressed`: switches that hold-down, damping or the hourly limit kept from happening.
    """

    events: tuple[Event, ...]
    failed_seconds: float
    slow_seconds: float
    away_seconds: float
    active_path: str

    @property
    def switches(self) -> int:
        """How often traffic would have moved."""
        return sum(event.what == "switched" for event in self.events)

    @property
    def suppressed(self) -> int:
        """How many moves the policy's limits would have kept from happening."""
        return sum(event.what == "suppressed" for event in self.events)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "switches": self.switches,
            "suppressed_switches": self.suppressed,
            "failed_seconds": round(self.failed_seconds, 3),
            "slow_seconds": round(self.slow_seconds, 3),
            "away_from_preferred_seconds": round(self.away_seconds, 3),
            "active_path_at_end": self.active_path,
            "events": [
                {"at_seconds": e.at_seconds, "what": e.what, "path": e.path, "why": e.why}
                for e in self.events
            ],
        }


def replay(trace: Trace, policy: Policy) -> Replayed:
    """Play the trace against the policy from a fresh start on the preferred path."""
    topology = _topology(trace)
    order = policy.order(topology)
    preferred = order[0]
    active, history = preferred, LinkHistory()
    unlimited = _without_limits(policy)
    events: list[Event] = []
    moves: list[tuple[float, str]] = [(0.0, active)]
    said: tuple[str, str | None] | None = None
    for second in trace.moments():
        now = START + timedelta(seconds=second)
        health = assess_all(_look(trace.at(second), trace.link_id, now), policy, now)
        history = history.after_look(health, policy, now)
        situation = Situation(
            topology=topology,
            policy=policy,
            active_path=active,
            health=health,
            drifted=frozenset(),
            history=history,
            now=now,
        )
        decision = decide(situation)
        event = _event(second, decision)
        if event is None:
            wished = decide(_under(situation, unlimited))
            if wished.kind in SWITCHES:
                why = decision.passed_over.get(wished.path or "", "; ".join(decision.reasons))
                event = Event(second, "suppressed", wished.path, why)
        if event is not None and (event.what, event.path) != said:
            events.append(event)
        said = (event.what, event.path) if event is not None else None
        if event is not None and event.what == "switched":
            assert decision.path is not None
            switch = Switch(
                at=now, from_path=active, to_path=decision.path, kind=str(decision.kind)
            )
            failed = decision.kind is DecisionKind.FAILOVER
            history = history.after_switch(
                switch, policy.flap_damping, penalise=active if failed else None
            )
            active, said = decision.path, None
            moves.append((second, active))
    spans = list(_spans(trace, moves))
    return Replayed(
        events=tuple(events),
        failed_seconds=sum(length for length, _, one in spans if not one.answers),
        slow_seconds=sum(
            length
            for length, _, one in spans
            if one.answers and one.latency_ms > policy.latency.critical_ms
        ),
        away_seconds=sum(length for length, name, _ in spans if name != preferred),
        active_path=active,
    )


def _event(second: float, decision: Decision) -> Event | None:
    why = "; ".join(decision.reasons)
    if decision.kind is DecisionKind.ESCALATE:
        return Event(second, "escalated", None, why)
    if decision.kind not in SWITCHES:
        return None
    if decision.needs_approval or decision.touches_nothing:
        return Event(second, "asked", decision.path, why)
    return Event(second, "switched", decision.path, why)


def _under(situation: Situation, policy: Policy) -> Situation:
    """The same situation under another policy, and with no switch remembered that could hold it back."""
    paths = {
        name: path.model_copy(update={"penalty": 0.0, "suppressed_since": None})
        for name, path in situation.history.paths.items()
    }
    history = situation.history.model_copy(update={"paths": paths, "switches": ()})
    return Situation(
        topology=situation.topology,
        policy=policy,
        active_path=situation.active_path,
        health=situation.health,
        drifted=situation.drifted,
        history=history,
        now=situation.now,
    )


def _without_limits(policy: Policy) -> Policy:
    """The policy with nothing that holds back a return: what it would wish, rather than what it allows."""
    failback = policy.failback.model_copy(update={"stable_seconds": 0})
    return policy.model_copy(update={"hold_down_seconds": 0, "failback": failback})


def _look(conditions: Mapping[str, Condition], link_id: str, now: datetime) -> Observation:
    return Observation(
        link_id=link_id,
        observed_at=now,
        paths=tuple(_seen(condition, now) for condition in conditions.values()),
    )


def _seen(condition: Condition, now: datetime) -> ObservedPath:
    tunnels = tuple(
        ObservedTunnel(
            outside_ip=f"203.0.113.{number}",
            status=TunnelStatus.UP if number < condition.tunnels_up else TunnelStatus.DOWN,
        )
        for number in range(2)
    )
    probe = ProbeResult(
        path=condition.path,
        attempts=1,
        answered=int(condition.answers),
        required=1,
        median_latency_ms=condition.latency_ms if condition.answers else None,
        taken_at=now,
    )
    return ObservedPath(
        name=condition.path,
        described_at=now,
        connection_state="available",
        tunnels=tunnels,
        endpoint_state=condition.endpoint_state,
        routes=(),
        probe=probe,
    )


def _spans(trace: Trace, moves: list[tuple[float, str]]) -> Iterator[tuple[float, str, Condition]]:
    """(seconds, active path, what it was like) of each stretch in which neither changed."""
    edges = {0.0, trace.duration_seconds, *(second for second, _ in moves)}
    edges |= {one.at_seconds for one in trace.conditions}
    ordered = sorted(edge for edge in edges if edge <= trace.duration_seconds)
    for start, end in pairwise(ordered):
        active = [path for second, path in moves if second <= start][-1]
        yield end - start, active, trace.at(start)[active]


def _topology(trace: Trace) -> Topology:
    """A link with the trace's paths; of what a topology says, deciding uses the names only."""
    side = {"account_id": "000000000000", "vpc_id": "vpc-0", "subnet_ids": ["subnet-0"]}
    return Topology.model_validate(
        {
            "link_id": trace.link_id,
            "sides": {
                "govcloud": {
                    **side,
                    "partition": "aws-us-gov",
                    "region": "us-gov-west-1",
                    "cidr": "10.0.0.0/16",
                },
                "commercial": {
                    **side,
                    "partition": "aws",
                    "region": "us-east-1",
                    "cidr": "172.16.0.0/16",
                },
            },
            "credentials_secret_id": "none",
            "paths": [
                {
                    "name": name,
                    "endpoint_url": "https://endpoint.invalid",
                    "peer_networks": [f"172.16.{number}.0/24"],
                    "vpn_connection_id": f"vpn-{number}",
                    "vpc_endpoint_id": "vpce-0",
                    "endpoint_address": f"172.16.{number}.10",
                }
                for number, name in enumerate(trace.paths)
            ],
        }
    )
