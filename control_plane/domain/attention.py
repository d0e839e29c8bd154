"""Whether a link needs a run of the workflow: what a sweep asks of every link, every minute.

A sweep looks without probing and writes next to nothing, so that a healthy fleet costs little. It supposes that
calls get through wherever no alarm says otherwise (the canary probes each path, and its alarms treat missing
data as failing), and then asks the very function that decides. A link is left alone only if that would leave it
alone too, every path is HEALTHY, and its memory holds nothing that further looks would change.

Not guaranteed: that a link left alone is well. Between two of the canary's probes a path can fail unseen; the
proxy's own report comes first then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from control_plane.domain.decide import judge
from control_plane.domain.decision import DecisionKind
from control_plane.domain.health import Health, PathHealth, assess
from control_plane.domain.history import LinkHistory
from control_plane.domain.observation import ObservedPath, ProbeResult
from control_plane.domain.policy import Automation, Policy
from control_plane.domain.situation import Published, Situation
from control_plane.domain.topology import Topology


@dataclass(frozen=True, slots=True)
class Glance:
    """What a sweep sees of one link. `paths` were described and not probed.

    `ringing`: names of this link's alarms in ALARM. `lease_holder` is None where the lease is free,
    `lease_ends_at` when it may be taken over. `open_plan`: a run began to act and has not concluded.
    `waits_for_operator`: the reason why the lease is kept, if it is.
    """

    topology: Topology
    policy: Policy
    published: Published | None
    paths: tuple[ObservedPath, ...]
    history: LinkHistory
    now: datetime
    ringing: tuple[str, ...] = ()
    lease_holder: str | None = None
    lease_ends_at: datetime | None = None
    open_plan: bool = False
    waits_for_operator: str | None = None


def attention(glance: Glance) -> tuple[str, ...]:
    """Why this link needs a run now; empty when it does not.

    A link that waits for an operator, or that a run is looking after, needs none.
    """
    if glance.waits_for_operator is not None:
        return ()
    if glance.lease_holder is not None and not _abandoned(glance):
        return ()
    return tuple(_reasons(glance))


def _abandoned(glance: Glance) -> bool:
    return glance.lease_ends_at is not None and glance.lease_ends_at <= glance.now


def _reasons(glance: Glance) -> Iterator[str]:
    if glance.lease_holder is not None:
        yield f"{glance.lease_holder} held the lease until it ran out"
    if glance.open_plan:
        yield "a plan was begun and not concluded"
    if glance.ringing:
        yield f"in alarm: {', '.join(glance.ringing)}"
    if glance.published is None:
        yield "nothing usable is published"
        return
    drill = glance.history.drill
    if drill is not None and glance.published.active_path != drill.away:
        yield "a drill is over, and what it came to is not recorded"
    health = {path.name: _supposing_it_answers(glance, path) for path in glance.paths}
    for path in glance.paths:
        if unseen := _unseen(glance.topology, path):
            yield f"{path.name}: {unseen} could not be observed"
        elif health[path.name].health is not Health.HEALTHY:
            yield health[path.name].describe()
    for name in glance.topology.path_names:
        memory = glance.history.path(name)
        if memory.down or memory.failed_in_a_row:
            yield f"{name} was failing when it was last looked at"
        elif memory.slow_since is not None or memory.erring_since is not None:
            yield f"{name} was slow or losing calls when it was last looked at"
    yield from _decided(glance, glance.published, health)


def _unseen(topology: Topology, path: ObservedPath) -> str | None:
    """What the path depends on and was not described."""
    known = topology.path(path.name)
    assert known is not None, "what is glanced at comes from the topology"
    parts = {
        "its tunnels": known.vpn_connection_id is None or path.tunnels is not None,
        "its endpoint": known.vpc_endpoint_id is None or path.endpoint_state is not None,
        "its routes": len(path.routes or ()) == len(known.required_routes),
    }
    return ", ".join(part for part, seen in parts.items() if not seen) or None


def _decided(glance: Glance, published: Published, health: dict[str, PathHealth]) -> Iterator[str]:
    situation = Situation(
        topology=glance.topology,
        policy=glance.policy,
        active_path=published.active_path,
        health=health,
        drifted=frozenset(name for name, verdict in health.items() if verdict.drifted),
        history=glance.history,
        now=glance.now,
        published=published,
        routine=True,
        alarms=glance.ringing,
    )
    decision = judge(situation)
    if decision.kind is not DecisionKind.NO_CHANGE:
        yield decision.describe()
    elif published.active_path != situation.order[0] and _returns_by_itself(glance):
        yield f"traffic is on {published.active_path}, and may return to {situation.order[0]}"


def _returns_by_itself(glance: Glance) -> bool:
    """Whether looks count towards a return; one that people must ask for needs none."""
    if glance.history.drill is not None:
        return True
    last = glance.history.last_switch
    by_hand = last is not None and last.by_hand
    return glance.policy.failback.automation is Automation.AUTOMATIC and not by_hand


def _supposing_it_answers(glance: Glance, path: ObservedPath) -> PathHealth:
    """The verdict on the path if a probe of it passed now."""
    probe = ProbeResult(
        path=path.name,
        attempts=1,
        answered=1,
        required=1,
        taken_at=glance.now,
    )
    limits = glance.policy
    answering = path.model_copy(update={"probe": probe})
    return assess(answering, limits.latency, limits.errors, limits.maximum_source_age, glance.now)
