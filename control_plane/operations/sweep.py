"""The sweep: find all links, glance at them in batches, and say which of them need a run of the workflow.

It decides nothing and starts nothing by itself; the state machine starts the runs. Whatever keeps a link from
being glanced at (a document that does not parse, a credential that is refused) is a reason for a run, which will
name and journal it: no link is left alone because it could not be looked at, and none hides behind another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control_plane.adapters.fleet import Fleet, Registration, StoredState, describe_parts
from control_plane.domain.attention import Glance, attention
from control_plane.domain.policy import Policy
from control_plane.domain.seen import see_paths
from control_plane.domain.topology import SideName, Topology
from control_plane.errors import TwinspanError
from control_plane.operations.published import in_essence
from control_plane.wiring import Control
from proxy.routing_config import InvalidRoutingConfig, RoutingConfig

ALARM_PREFIX = "twinspan-"
# Both halves of a batch travel as one payload of at most 262,144 characters, and so do all batches together.
LINKS_PER_BATCH = 25


@dataclass(frozen=True, slots=True)
class Need:
    """A link that needs a run, and why."""

    registration: Registration
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read:
    """A link whose documents parse."""

    registration: Registration
    topology: Topology
    policy: Policy
    config: RoutingConfig | None


def batches(control: Control, size: int = LINKS_PER_BATCH) -> list[list[Registration]]:
    """All registered links, in batches."""
    found = Fleet(control.session).registrations()
    return [found[start : start + size] for start in range(0, len(found), size)]


def glance(control: Control, links: Sequence[Registration], now: datetime) -> list[Need]:
    """Look at these links without probing; returns those that need a run.

    Raises:
        AwsUnavailable, AwsRefused: nothing can be said of any of them.
    """
    fleet = Fleet(control.session)
    texts = fleet.documents(link.link_id for link in links)
    seen: dict[Registration, tuple[str, ...]] = {}
    readable: list[_Read] = []
    for link in links:
        try:
            readable.append(_read(link, texts))
        except (TwinspanError, InvalidRoutingConfig) as error:
            seen[link] = (f"{type(error).__name__}: {error}",)
    states = fleet.states([one.registration for one in readable])
    ringing = _by_link(fleet.ringing(ALARM_PREFIX), [link.link_id for link in links])
    for group in _by_credential(readable):
        sides, failed = _described(control, [one.topology for one in group])
        for one in group:
            if failed:
                seen[one.registration] = failed
            else:
                looked = _glance_at(one, states[one.registration.link_id], ringing, sides, now)
                seen[one.registration] = attention(looked)
    fleet.remember(seen, now)
    return [Need(link, seen[link]) for link in links if seen[link]]


def _read(link: Registration, texts: Mapping[tuple[str, str], str]) -> _Read:
    topology = Topology.from_json(texts.get((link.link_id, "topology"), ""))
    stored = texts.get((link.link_id, "policy"))
    policy = Policy.absent() if stored is None else Policy.from_json(stored)
    policy.check_against(topology)
    published = texts.get((link.link_id, "routing-config"))
    config = None if published is None else RoutingConfig.from_json(published)
    return _Read(link, topology, policy, config)


def _glance_at(
    link: _Read,
    state: StoredState,
    ringing: Mapping[str, tuple[str, ...]],
    sides: Mapping[SideName, Mapping[str, Any]],
    now: datetime,
) -> Glance:
    return Glance(
        topology=link.topology,
        policy=link.policy,
        published=in_essence(link.config),
        paths=see_paths(link.topology, sides, {}, now),
        history=state.history,
        now=now,
        ringing=ringing.get(link.registration.link_id, ()),
        lease_holder=state.lease_holder,
        lease_ends_at=state.lease_ends_at,
        open_plan=state.open_plan,
        waits_for_operator=state.waits_for_operator,
    )


def _by_credential(links: Iterable[_Read]) -> list[list[_Read]]:
    """Links that one commercial credential can describe together."""
    groups: dict[tuple[str, str], list[_Read]] = {}
    for link in links:
        region = link.topology.sides[SideName.COMMERCIAL].region
        groups.setdefault((link.topology.credentials_secret_id, region), []).append(link)
    return list(groups.values())


def _described(
    control: Control, topologies: Sequence[Topology]
) -> tuple[dict[SideName, dict[str, Any]], tuple[str, ...]]:
    """Both sides of these links, or why they could not be described."""
    try:
        sessions = control.sessions(topologies[0], control.credential(topologies[0]))
        with ThreadPoolExecutor(max_workers=len(sessions)) as pool:
            asked = {
                side: pool.submit(describe_parts, session.client("ec2"), side, topologies)
                for side, session in sessions.items()
            }
            return {side: answer.result() for side, answer in asked.items()}, ()
    except TwinspanError as error:
        return {}, (f"{type(error).__name__}: {error}",)


def _by_link(alarms: Iterable[str], link_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Alarms by the link that they belong to. One link's name may begin like another's: the longest counts."""
    found: dict[str, list[str]] = {}
    for alarm in alarms:
        owners = [link for link in link_ids if alarm.startswith(f"{ALARM_PREFIX}{link}-")]
        if owners:
            found.setdefault(max(owners, key=len), []).append(alarm)
    return {link: tuple(names) for link, names in found.items()}
