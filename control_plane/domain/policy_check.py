"""Reading a policy as its author: everything that is wrong with it, and what is right but unwise.

`Policy.from_json` names the first fault, which is what a workflow needs. Somebody who writes a policy wants
all of them at once, with the field that was meant and the default that would do. Advice is never a
refusal: what parses may be adopted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from control_plane.domain.documents import problems
from control_plane.domain.limits import FlapDamping
from control_plane.domain.moments import day
from control_plane.domain.policy import SWITCHES_OF_A_DRILL, Action, Automation, Mode, Policy
from control_plane.domain.topology import RoutingMethod, Topology

MAXIMUM_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: dotted field, reason, and what may help."""

    field: str
    reason: str
    hint: str = ""

    def describe(self) -> str:
        """One line for people."""
        return f"{self.field}: {self.reason}" + (f" ({self.hint})" if self.hint else "")


def check_policy(
    text: str, topology: Topology | None = None
) -> tuple[Policy | None, list[Problem]]:
    """The policy, if the text is one, and every problem; with a topology, also of the paths it names."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice.extend(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return dict(pairs)

    try:
        document = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        return None, [Problem(where, error.msg)]
    found = [Problem(key, "given twice, and only the last one would count") for key in twice]
    if "{{" in text:
        found.append(Problem("document", "contains {{, which Parameter Store refuses"))
    if (size := len(text.encode())) > MAXIMUM_BYTES:
        found.append(Problem("document", f"{size} bytes; a parameter holds {MAXIMUM_BYTES}"))
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        found += (Problem(field, reason, _hint(field)) for field, reason in problems(error))
        return None, found
    if topology is not None:
        found += (Problem(*unknown) for unknown in policy.unknown_paths(topology))
    return (None if found else policy), found


def advice(policy: Policy, topology: Topology | None, now: datetime) -> list[str]:
    """What is allowed and probably not meant, a line each."""
    return [*_on_itself(policy, now), *(_on_link(policy, topology, now) if topology else ())]


def _on_itself(policy: Policy, now: datetime) -> Iterator[str]:
    if policy.mode is Mode.PAUSED:
        yield "mode paused has no end: `pause` with an `until` is a pause that ends by itself"
    if policy.pause is not None and policy.pause.until <= now:
        yield f"pause: ended at {day(policy.pause.until)} and can be removed"
    for index, item in enumerate(policy.quarantine):
        if item.until <= now:
            yield f"quarantine.{index}: ended at {day(item.until)} and can be removed"
    if len(set(policy.path_order)) < len(policy.path_order):
        yield "path_order: names a path twice; the first place counts"
    if policy.maximum_switches_per_hour == 1:
        yield "maximum_switches_per_hour: 1 means that a failed standby cannot be left for an hour"
    if not _damping_can_bite(policy.flap_damping, policy.maximum_switches_per_hour):
        yield (
            "flap_damping: so many switches an hour never reach suppress_limit, so nothing is ever "
            "suppressed; raise penalty_per_switch or half_life_seconds"
        )
    hysteresis, probe = policy.hysteresis, policy.probe
    if hysteresis.healthy_observations_to_recover < hysteresis.failed_observations_to_fail:
        yield "hysteresis: a path recovers sooner than it fails, which invites flapping"
    if probe.required == probe.attempts and hysteresis.failed_observations_to_fail == 1:
        yield "probe: every attempt must be answered, so one lost packet fails a path"
    if policy.lease_seconds < 2 * probe.attempts * probe.timeout_seconds:
        yield "lease_seconds: two rounds of probes that time out outlast the lease"
    if policy.drill.automation is Automation.AUTOMATIC:
        if policy.mode is not Mode.AUTOMATIC or Action.FAILOVER in policy.approval.always:
            yield "drill: no drill begins by itself where a failover needs an approval"
        if policy.maximum_switches_per_hour < SWITCHES_OF_A_DRILL:
            yield "maximum_switches_per_hour: leaves no room for a drill, so none begins by itself"
    if policy.drill.maximum_age_days < policy.drill.every_days:
        yield "drill: maximum_age_days is shorter than every_days, so a link is always overdue"
    if policy.maximum_source_age.probe_seconds < probe.attempts * probe.timeout_seconds:
        yield "maximum_source_age.probe_seconds: a slow probe is too old before it is read"
    for name, methods in sorted(policy.data_classes.items()):
        if not methods:
            yield f"data_classes.{name}: may use no routing method, so its calls are refused"
        if RoutingMethod.INTERNET in methods:
            yield f"data_classes.{name}: may use the internet"


def _on_link(policy: Policy, topology: Topology, now: datetime) -> Iterator[str]:
    usable = [
        path.name
        for path in topology.paths
        if policy.permits(path.routing_method) and not policy.quarantined(path.name, now)
    ]
    if not usable:
        yield f"no path of {topology.link_id} may be used: each is quarantined or not permitted"
    elif len(usable) == 1:
        yield f"only {usable[0]} of {topology.link_id} may be used: an outage of it has no way out"


def _damping_can_bite(damping: FlapDamping, switches_per_hour: int) -> bool:
    """Whether evenly spread failures, one for every other switch, ever add up to the suppress limit."""
    failures = max(1, switches_per_hour // 2)
    decay = float(0.5 ** (3600 / failures / damping.half_life_seconds))
    # The ceiling of a penalty that is added once per interval and decays by `decay` in each; failures in
    # quick succession decay less, and come to at most their sum.
    together = damping.penalty_per_switch * failures
    return max(damping.penalty_per_switch / (1 - decay), together) >= damping.suppress_limit


def _hint(field: str) -> str:
    """What may help with this field: the name that was meant, or the default."""
    model: type[BaseModel] | None = Policy
    *parents, last = field.split(".")
    for part in parents:
        if model is None:
            return ""
        if not part.isdigit():
            known = model.model_fields.get(part)
            model = _model_in(known.annotation) if known else None
    if model is None:
        return ""
    if last not in model.model_fields:
        near = get_close_matches(last, model.model_fields, 1, 0.6)
        if near:
            return f"did you mean {near[0]}?"
        return "" if last.isdigit() else f"known here: {', '.join(model.model_fields)}"
    default = model.model_fields[last].default
    if isinstance(default, str | int | float):
        return f"the default is {default}"
    return ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The document inside an annotation such as `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType, tuple):
        return next((m for m in map(_model_in, get_args(annotation)) if m is not None), None)
    return None
