"""The journal in plain words: each entry as lines for people, without looking anything else up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from control_plane.domain.journal import Entry, EntryKind


def tell(entries: Sequence[Entry]) -> list[str]:
    """The story of one execution: its entries, oldest first, as lines for people."""
    lines: list[str] = []
    for entry in entries:
        first, *rest = _TELLERS.get(entry.kind, _plainly)(entry.data)
        lines.append(f"{entry.at:%H:%M:%S}  {first}")
        lines += [f"          {line}" for line in rest]
    return lines


def in_a_line(entry: Entry) -> str:
    """One entry as one line, where its kind stands beside it: what came of it, and why."""
    data = entry.data
    if entry.kind is EntryKind.SIGNAL:
        return str(data.get("about", "unknown"))
    if entry.kind is EntryKind.DECIDED:
        return f"to {_what(data)}: {'; '.join(data['reasons'])}"
    if entry.kind is EntryKind.PLANNED:
        return "; ".join(data.get("effects") or ["no changes"])
    if entry.kind is EntryKind.REFUSED:
        return "; ".join(data.get("violations") or ["no reason was given"])
    if entry.kind is EntryKind.OUTCOME:
        failed = f": {data['error']}" if "error" in data else ""
        return f"{str(data.get('outcome')).replace('-', ' ')}{failed}"
    first, *rest = _TELLERS.get(entry.kind, _plainly)(data)
    return " ".join([first, "; ".join(line.strip() for line in rest)]).strip().removesuffix(".")


def timings(entries: Sequence[Entry]) -> dict[str, float]:
    """Kind of entry → seconds from the first entry to the last of that kind, in the order they came."""
    latest = {str(entry.kind): (entry.at - entries[0].at).total_seconds() for entry in entries[1:]}
    return dict(sorted(latest.items(), key=lambda kind: kind[1]))


def _signal(data: dict[str, Any]) -> list[str]:
    return [f"Started because: {data.get('about', 'unknown')}."]


def _rejected(data: dict[str, Any]) -> list[str]:
    return [f"The input could not be used: {data.get('error')}: {data.get('cause')}"]


def _decided(data: dict[str, Any]) -> list[str]:
    lines = [f"Decided to {_what(data)}."]
    lines += [f"Because {reason}." for reason in data["reasons"]]
    lines += [f"Not {name}: {why}." for name, why in data.get("passed_over", {}).items()]
    if data.get("overridden"):
        passed = data.get("overrode") or ["nothing stood in the way"]
        lines.append(f"An operator's override was in force, passing: {'; '.join(passed)}.")
    if data.get("needs_approval"):
        lines.append("The policy wants a person's approval first.")
    if data.get("touches_nothing"):
        lines.append("Nothing was to be touched.")
    lines += [f"Warning: {warning}." for warning in data.get("warnings", ())]
    inputs = data.get("inputs") or {f"path {n}": v for n, v in data.get("health", {}).items()}
    if inputs:
        lines.append("It had seen:")
        lines += [f"  {name}: {value}" for name, value in inputs.items()]
    if data.get("would_change"):
        lines.append("It would have decided otherwise with:")
        lines += [f"  {change}" for change in data["would_change"]]
    return lines


def _what(data: dict[str, Any]) -> str:
    """A decision as a verb and what it is about."""
    path = data.get("path") or "the active path"
    did = _WORDS.get(data["kind"], str(data["kind"])).format(path=path)
    return did + _AS_DRILL.get(data.get("drill") or "", "")


def _planned(data: dict[str, Any]) -> list[str]:
    effects = data.get("effects") or ["no changes"]
    return ["Planned, and the route model agreed:", *(f"  {effect}" for effect in effects)]


def _refused(data: dict[str, Any]) -> list[str]:
    violations = data.get("violations") or ["no reason was given"]
    return ["Planned, and the route model refused:", *(f"  {line}" for line in violations)]


def _probed(data: dict[str, Any]) -> list[str]:
    answered, attempts = data.get("answered", 0), data.get("attempts", 0)
    passed = answered >= data.get("required", 1)
    verdict = "it answers" if passed else "it does not answer well enough"
    return [f"Probed {data.get('path')}: {answered} of {attempts} calls answered, so {verdict}."]


def _applied(data: dict[str, Any]) -> list[str]:
    before, after = data.get("before") or "none", data.get("after") or "none"
    where = f"{data.get('side')} {data.get('table_id')} {data.get('destination')}"
    return [f"Changed a route: {where}: {before} → {after}."]


def _published(data: dict[str, Any]) -> list[str]:
    return [f"Published generation {data.get('generation')}: {data.get('active_path')} is active."]


def _verified(data: dict[str, Any]) -> list[str]:
    return [f"Verified: {data.get('seen')}."]


def _rolled_back(data: dict[str, Any]) -> list[str]:
    if "cause" not in data:
        return _applied(data)
    routes = data.get("routes_put_back", 0)
    return [f"Rolled back, {routes} routes put back, because {data['cause']}."]


def _approval(data: dict[str, Any]) -> list[str]:
    if "answer" in data:
        return [f"{str(data['answer']).capitalize()} by {data.get('by')}."]
    return [
        f"Asked for approval of: {data.get('decision')}. No answer by {data.get('expires_at')} means no."
    ]


def _outcome(data: dict[str, Any]) -> list[str]:
    lines = [f"Ended: {data.get('outcome')}."]
    if "error" in data:
        lines.append(f"Error: {data['error']}")
    return lines


def _drill(data: dict[str, Any]) -> list[str]:
    return [
        f"The drill on {data.get('away')} {_ENDED.get(str(data.get('outcome')), 'ended')}: {data.get('why')}."
    ]


def _needs_operator(data: dict[str, Any]) -> list[str]:
    return [f"Stopped for a person: {data.get('error')}: {data.get('cause')}"]


def _plainly(data: dict[str, Any]) -> list[str]:
    return [str(data.get("seen") or ", ".join(f"{key}={value}" for key, value in data.items()))]


def _resolved(data: dict[str, Any]) -> list[str]:
    return [f"Resolved by {data.get('by')}: {data.get('reason')}."]


def _policy(data: dict[str, Any]) -> list[str]:
    head = f"Policy version {data.get('version')} stored by {data.get('by')}"
    reason = f": {data['reason']}" if data.get("reason") else ""
    return [f"{head}{reason}.", *(f"  {change}" for change in data.get("changes", ()))]


_AS_DRILL = {
    "begin": ", as a drill",
    "return": ", which ends a drill",
    "abort": ", which breaks a drill off",
}
_ENDED = {"passed": "passed", "failed": "failed", "aborted": "was aborted"}
_WORDS = {
    "NoChange": "change nothing",
    "Failover": "move traffic to {path}",
    "Failback": "return traffic to {path}",
    "Rollback": "make {path} active again",
    "Restore": "publish {path} as active anew",
    "Repair": "repair the routes of {path}",
    "Publish": "tell proxies what the policy says now; traffic stays on {path}",
    "Escalate": "call a person, and change nothing",
}
_TELLERS = {
    EntryKind.SIGNAL: _signal,
    EntryKind.REJECTED: _rejected,
    EntryKind.DECIDED: _decided,
    EntryKind.PLANNED: _planned,
    EntryKind.REFUSED: _refused,
    EntryKind.PROBED: _probed,
    EntryKind.APPLIED: _applied,
    EntryKind.PUBLISHED: _published,
    EntryKind.VERIFIED: _verified,
    EntryKind.ROLLED_BACK: _rolled_back,
    EntryKind.APPROVAL: _approval,
    EntryKind.OUTCOME: _outcome,
    EntryKind.DRILL: _drill,
    EntryKind.NEEDS_OPERATOR: _needs_operator,
    EntryKind.RESOLVED: _resolved,
    EntryKind.POLICY: _policy,
}
