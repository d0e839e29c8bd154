"""What the page shows, made from one reading. Pure: equal readings give equal pages.

The first lines answer, in this order: what is wrong, what was done about it and why, what can be done now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from control_plane.console import charts, picture
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.journal import EntryKind
from control_plane.domain.obstacles import Move, first_obstacle
from control_plane.domain.situation import Situation
from control_plane.domain.topology import SideName
from control_plane.overview import timeline
from control_plane.overview.headline import Headline, headline, open_question
from control_plane.overview.reading import CHART_PERIODS, Reading
from control_plane.overview.verdicts import judge, situation


@dataclass(frozen=True, slots=True)
class TunnelView:
    """One tunnel, as EC2 reports it."""

    outside_ip: str
    up: bool
    message: str
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PathView:
    """One path with all that is known of it."""

    name: str
    health: Health
    reasons: tuple[str, ...]
    active: bool
    preferred: bool
    notes: tuple[str, ...]
    tunnels: tuple[TunnelView, ...] | None
    endpoint_state: str | None
    seen_at: datetime | None
    charts: charts.Charts


@dataclass(frozen=True, slots=True)
class ActionView:
    """A thing that an operator may start. `fields` go with the form; `obstacle` says what stands in the way."""

    key: str
    action: str
    title: str
    consequence: str
    command: str
    fields: tuple[tuple[str, str], ...] = ()
    obstacle: str = ""
    override: bool = False
    intent: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """The page."""

    link_id: str
    read_at: datetime
    generation: int | None
    active: str | None
    mode: str
    facts: tuple[tuple[str, str], ...]
    headline: Headline
    wide: picture.Picture
    tall: picture.Picture
    paths: tuple[PathView, ...]
    actions: tuple[ActionView, ...]
    items: tuple[timeline.Item, ...]
    plan: timeline.PlanDiff | None
    problems: tuple[str, ...]
    chart_minutes: str
    sides: tuple[tuple[str, str, str], tuple[str, str, str]]


def make(reading: Reading) -> View:
    """The page for this reading."""
    health = judge(reading)
    s = situation(reading, health)
    active = s.active_path
    sides = reading.topology.sides
    govcloud, commercial = sides[SideName.GOVCLOUD], sides[SideName.COMMERCIAL]
    return View(
        link_id=reading.topology.link_id,
        read_at=reading.read_at,
        generation=reading.published.generation if reading.published else None,
        active=active,
        mode=str(reading.policy.mode_at(reading.read_at)),
        facts=tuple(_facts(reading, s)),
        headline=headline(reading, s),
        wide=picture.draw(reading.topology, reading.seen, health, active, tall=False),
        tall=picture.draw(reading.topology, reading.seen, health, active, tall=True),
        paths=tuple(_path(reading, s, name) for name in s.order),
        actions=tuple(_actions(reading, s)),
        items=timeline.items(reading.entries),
        plan=timeline.newest_plan(reading.entries),
        problems=reading.problems,
        chart_minutes=_span(CHART_PERIODS * reading.period_seconds),
        sides=(
            ("GovCloud", govcloud.region, govcloud.cidr),
            ("Commercial", commercial.region, commercial.cidr),
        ),
    )


def _facts(reading: Reading, s: Situation) -> Iterator[tuple[str, str]]:
    published = reading.published
    yield "Active path", s.active_path or "none"
    yield "Generation", str(published.generation) if published else "none"
    yield "Mode", str(s.policy.mode_at(s.now))
    holder = str(reading.lease.get("holder") or "")
    yield "Acting now", f"run {holder[:8]}…" if len(holder) > 24 else holder or "nobody"
    held = s.held_down_until
    yield "Hold-down", f"until {held:%H:%M:%SZ}" if held else "none"
    yield "Switches this hour", f"{s.switches_this_hour} of {s.policy.maximum_switches_per_hour}"


def _path(reading: Reading, s: Situation, name: str) -> PathView:
    seen = next(path for path in reading.seen if path.name == name)
    verdict, memory = s.health_of(name), s.history.path(name)
    return PathView(
        name=name,
        health=verdict.health,
        reasons=verdict.reasons,
        active=name == s.active_path,
        preferred=name == s.order[0],
        notes=tuple(_notes(s, name, verdict)),
        tunnels=None
        if seen.tunnels is None
        else tuple(
            TunnelView(t.outside_ip, t.status == "UP", t.status_message, t.last_status_change)
            for t in seen.tunnels
        ),
        endpoint_state=seen.endpoint_state,
        seen_at=memory.seen_at,
        charts=charts.draw(
            reading.metrics.get(name, ()),
            reading.read_at,
            CHART_PERIODS,
            reading.period_seconds,
            s.policy.latency.warning_ms,
        ),
    )


def _notes(s: Situation, name: str, verdict: PathHealth) -> Iterator[str]:
    damping, memory = s.policy.flap_damping, s.history.path(name)
    if quarantine := s.policy.quarantined(name, s.now):
        yield f"quarantined until {quarantine.until:%Y-%m-%d %H:%M:%SZ}: {quarantine.reason}"
    if memory.suppressed(damping, s.now):
        until = memory.suppressed_until(damping)
        yield "suppressed for flapping" + (f" until {until:%H:%M:%SZ}" if until else "")
    if verdict.maintenance_due:
        yield f"maintenance due {verdict.maintenance_due:%Y-%m-%d %H:%M:%SZ}"


def _actions(reading: Reading, s: Situation) -> Iterator[ActionView]:
    link = reading.topology.link_id
    if reading.lease.get("kept_because"):
        yield ActionView(
            "resolve", "resolve", "Resolve",
            "Twinspan acts on this link again. Its next run undoes what is left of the failed plan, or lets it stand "
            "if its config is published; quarantined paths come back into use.",
            f"twinspan resolve --link {link} --reason …", intent=False,
        )  # fmt: skip
    if open_question(reading) and reading.question is not None:
        execution = str(reading.question["execution"])
        decision = reading.question["decision"]
        what = f"{decision['kind']} {decision['path'] or ''}: {'; '.join(decision['reasons'])}"
        for answer, word in (("approve", "Approve"), ("reject", "Reject")):
            yield ActionView(
                answer, answer, f"{word} {decision['kind']}", what,
                f"twinspan {answer} {execution} --link {link}",
                (("execution", execution),), intent=False,
            )  # fmt: skip
    for name in s.order:
        if name == s.active_path:
            continue
        obstacle = first_obstacle(s, name, Move.ASKED)
        yield ActionView(
            f"failover-{name}", "failover", f"Fail over to {name}",
            f"Proves {name} on the route model and by a probe, then moves all traffic there.",
            f"twinspan failover --to {name} --link {link} --wait",
            (("to", name),),
            obstacle.text if obstacle else "",
            override=obstacle is not None and obstacle.passable,
        )  # fmt: skip
    if s.active_path is not None and s.active_path != s.order[0]:
        yield ActionView(
            "failback", "failback", "Fail back",
            f"Returns traffic to {s.order[0]}, after the same proofs.",
            f"twinspan failback --link {link} --wait",
        )  # fmt: skip
    earlier = _earlier_generation(reading)
    if earlier is not None:
        yield ActionView(
            "rollback", "rollback", f"Roll back to generation {earlier[0]}",
            f"Makes {earlier[1]} active again, as it was at generation {earlier[0]}.",
            f"twinspan rollback --to-generation {earlier[0]} --link {link} --wait",
            (("to_generation", str(earlier[0])),),
        )  # fmt: skip
    yield ActionView(
        "reconcile", "reconcile", "Look now",
        "Looks at the link now and does what the policy says, as the next sweep would.",
        f"twinspan reconcile --link {link} --wait",
    )  # fmt: skip


def _earlier_generation(reading: Reading) -> tuple[int, str] | None:
    if reading.published is None:
        return None
    for entry in reading.entries:
        if entry.kind is EntryKind.PUBLISHED:
            generation = int(entry.data["generation"])
            if generation < reading.published.generation:
                return generation, str(entry.data["active_path"])
    return None


def _span(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"
