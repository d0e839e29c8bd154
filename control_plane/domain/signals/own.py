"""Twinspan's own events: reports of the proxy's circuit breakers, results of the canary, the sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.domain.signals.fields import text
from control_plane.domain.signals.model import Ignored, Signal, SignalKind, signal
from control_plane.domain.signals.resources import Topologies

CANARY_SOURCE = "twinspan.canary"
CANARY_DETAIL_TYPE = "Twinspan Canary Result"


def read_path_report(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """A proxy's circuit breaker opened or closed on a path."""
    link_id, path, state = (text(detail.get(key)) for key in ("link_id", "path", "state"))
    if link_id is None or path is None or state is None:
        return Ignored("a path report names its link, path and state", malformed="detail.link_id")
    if (unknown := _unknown(link_id, path, topologies)) is not None:
        return unknown
    reason = text(detail.get("reason"))
    about = f"proxy breaker {state} on {path}" + (f": {reason}" if reason else "")
    return signal(SignalKind.PATH_REPORT, link_id, about, event, path, trouble=state == "open")


def read_canary_result(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """The canary probed a path. One that answers gives nothing to look at: the sweep sees to recovery."""
    link_id, path = text(detail.get("link_id")), text(detail.get("path"))
    passed = detail.get("passed")
    if link_id is None or path is None:
        return Ignored("a canary's result names its link and path", malformed="detail.link_id")
    if not isinstance(passed, bool):
        return Ignored("a canary's result says whether it passed", malformed="detail.passed")
    if (unknown := _unknown(link_id, path, topologies)) is not None:
        return unknown
    if passed:
        return Ignored(f"the canary's probe of {path} passed")
    seen = text(detail.get("seen"))
    about = f"canary failed on {path}" + (f": {seen}" if seen else "")
    return signal(SignalKind.CANARY, link_id, about, event, path, trouble=True)


def read_sweep(
    event: Mapping[str, Any], detail: Mapping[str, Any], topologies: Topologies
) -> Signal | Ignored:
    """The clock: look at the link whether or not anything was heard of it."""
    link_id = text(detail.get("link_id"))
    if link_id is None or link_id not in topologies:
        return Ignored(f"no link {link_id!r} is known here", malformed="detail.link_id")
    return signal(SignalKind.SWEEP, link_id, "the periodic sweep", event)


def _unknown(link_id: str, path: str, topologies: Topologies) -> Ignored | None:
    if link_id not in topologies:
        return Ignored(f"no link {link_id!r} is known here", unmatched=f"link {link_id}")
    if topologies[link_id].path(path) is None:
        return Ignored(f"no path {path!r} on {link_id}", unmatched=f"path {path}")
    return None
