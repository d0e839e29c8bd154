"""`twinspan status`: one link as a document, and the document as lines for people.

Pure. The document is what `--json` prints; `schema_version` counts changes that a reader could notice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from control_plane.domain.drill import describe_open
from control_plane.domain.health import PathHealth
from control_plane.domain.moments import clock
from control_plane.domain.situation import Situation
from control_plane.overview.headline import headline, open_question
from control_plane.overview.reading import Reading
from control_plane.overview.verdicts import judge, situation

SCHEMA_VERSION = 1


def summarise(reading: Reading, *, intact: bool) -> dict[str, Any]:
    """The link as JSON values. `intact`: nobody else wrote what is published.

    Times are ISO 8601 in UTC. `state.tone` is good, warn or bad; `path.health` HEALTHY, DEGRADED, FAILED or UNKNOWN.
    """
    health = judge(reading)
    s = situation(reading, health)
    said, now, policy = headline(reading, s), reading.read_at, reading.policy
    published = reading.published
    return {
        "schema_version": SCHEMA_VERSION,
        "link": reading.topology.link_id,
        "read_at": now.isoformat(),
        "state": {"tone": said.tone, "word": said.word, "text": said.text, "why": list(said.why)},
        "last_action": {"text": said.done, "why": said.done_why, "at": _iso(said.done_at)},
        "next_step": said.next_step,
        "generation": published.generation if published else None,
        "active_path": s.active_path,
        "published_by_others": not intact,
        "mode": str(policy.mode_at(now)),
        "policy_version": policy.version if policy.stored else None,
        "lease_holder": reading.lease.get("holder"),
        "needs_operator": reading.lease.get("kept_because"),
        "question": _question(reading),
        "hold_down_until": _iso(s.held_down_until),
        "switches_this_hour": s.switches_this_hour,
        "maximum_switches_per_hour": policy.maximum_switches_per_hour,
        "drill": _drill(reading),
        "paths": [_path(reading, s, health[name], name) for name in s.order],
        "problems": list(reading.problems),
    }


def in_essence(document: Mapping[str, Any]) -> dict[str, Any]:
    """A summary without what changes by itself from look to look: two alike have nothing new to tell apart."""
    aging = {"looked_at", "penalty"}
    paths = [{k: v for k, v in path.items() if k not in aging} for path in document["paths"]]
    return {**document, "read_at": None, "paths": paths}


def _path(reading: Reading, s: Situation, verdict: PathHealth, name: str) -> dict[str, Any]:
    memory, damping = reading.history.path(name), reading.policy.flap_damping
    seen = next(path for path in reading.seen if path.name == name)
    by_policy = reading.policy.quarantined(name, s.now)
    standing = reading.history.quarantines.get(name)
    suppressed = memory.suppressed(damping, s.now)
    quarantine = None
    if standing is not None:
        quarantine = {"reason": standing.reason, "until": None}
    elif by_policy is not None:
        quarantine = {"reason": by_policy.reason, "until": by_policy.until.isoformat()}
    tunnels = [
        {
            "outside_ip": tunnel.outside_ip,
            "status": str(tunnel.status),
            "message": tunnel.status_message,
            "since": _iso(tunnel.last_status_change),
        }
        for tunnel in seen.tunnels or ()
    ]
    return {
        "path": name,
        "active": name == s.active_path,
        "health": str(verdict.health),
        "reasons": list(verdict.reasons),
        "looked_at": _iso(memory.seen_at),
        "healthy_since": _iso(memory.healthy_since),
        "tunnels": None if seen.tunnels is None else tunnels,
        "endpoint_state": seen.endpoint_state,
        "drift": [one.describe() for one in seen.drift],
        "maintenance_due": _iso(verdict.maintenance_due),
        "quarantine": quarantine,
        "suppressed": suppressed,
        "suppressed_until": _iso(memory.suppressed_until(damping)) if suppressed else None,
        "penalty": round(memory.penalty_now(damping, s.now)),
    }


def _drill(reading: Reading) -> dict[str, Any]:
    history = reading.history
    drills = history.drills
    return {
        "going_on": describe_open(history.drill) if history.drill else None,
        "last": drills.last.model_dump(mode="json") if drills.last else None,
        "last_in_words": drills.last.describe() if drills.last else None,
        "passed_at": _iso(drills.passed_at),
        "overdue": drills.overdue(reading.policy.drill, reading.read_at),
    }


def _question(reading: Reading) -> dict[str, Any] | None:
    if not open_question(reading) or reading.question is None:
        return None
    asked = reading.question
    return {"execution": asked["execution"], "expires_at": asked["expires_at"]}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def lines(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(style, line) of a summary, the most pressing first. Styles are rich's."""
    state, link = document["state"], document["link"]
    colour = {"good": "green", "warn": "yellow", "bad": "red"}[state["tone"]]
    yield f"bold {colour}", f"{link}: {state['word']}. {state['text']}"
    if state["tone"] != "good":
        for why in state["why"]:
            yield colour, f"  {why}"
    yield "", f"last done  {document['last_action']['text']}"
    yield "", f"next       {document['next_step']}"
    if document["question"]:
        execution = document["question"]["execution"]
        until = _time(document["question"]["expires_at"])
        yield (
            "bold yellow",
            f"waits for   twinspan approve|reject {execution} --link {link}  (until {until})",
        )
    if document["needs_operator"]:
        yield "bold red", f"waits for   twinspan resolve --link {link} --reason …"
    if document["published_by_others"]:
        what = (
            "others wrote what is published"
            if document["generation"]
            else "nothing usable is published"
        )
        yield "bold red", f"{what}: `twinspan restore --link {link}` puts it right"
    yield "", ""
    yield "", "  ".join(_facts(document))
    for note in _drill_lines(document["drill"]):
        yield "", note
    for problem in document["problems"]:
        yield "yellow", f"not read: {problem}"


def _facts(document: Mapping[str, Any]) -> Iterator[str]:
    yield f"generation {document['generation'] or 'none'}"
    stored = document["policy_version"]
    yield f"mode {document['mode']}" + ("" if stored else " (no policy is stored)")
    switches, limit = document["switches_this_hour"], document["maximum_switches_per_hour"]
    yield f"switches this hour {switches} of {limit}"
    if document["hold_down_until"]:
        yield f"hold-down until {_time(document['hold_down_until'])}"
    if document["lease_holder"]:
        yield f"acting now {document['lease_holder']}"


def _drill_lines(drill: Mapping[str, Any]) -> Iterator[str]:
    if drill["going_on"]:
        yield f"drill: {drill['going_on']}"
    if drill["last_in_words"]:
        yield f"last drill: {drill['last_in_words']}"
    if drill["overdue"]:
        yield f"WARNING: {drill['overdue']}"


def notes(path: Mapping[str, Any]) -> Iterator[str]:
    """What is to be said of a path beside its health, a line each."""
    yield from path["reasons"]
    if quarantine := path["quarantine"]:
        until = f"until {_time(quarantine['until'])}" if quarantine["until"] else "until resolved"
        yield f"quarantined {until}: {quarantine['reason']}"
    if path["suppressed"]:
        until = f" until {_time(path['suppressed_until'])}" if path["suppressed_until"] else ""
        yield f"suppressed for flapping{until}"


def _time(iso: str) -> str:
    return clock(datetime.fromisoformat(iso))
