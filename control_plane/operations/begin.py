"""Starting and ending a run: reading what started it, taking the lease, giving it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from control_plane.adapters.lease import Lease
from control_plane.domain.journal import EntryKind
from control_plane.domain.policy import Policy
from control_plane.domain.signals import (
    Ignored,
    Intent,
    Signal,
    SignalKind,
    claimed_link,
    is_intent,
    is_routing_config,
    parse_event,
)
from control_plane.domain.signals.fields import clean
from control_plane.domain.topology import Topology
from control_plane.errors import InvalidEvent, InvalidPublishedConfig, LeaseTaken, UnknownLink
from control_plane.operations.run import RECENT_ENTRIES, HeldLease, Run, journal
from control_plane.wiring import Control


@dataclass(frozen=True, slots=True)
class Begun:
    """The run, or why there is none; `unfinished` says that a crashed run left its plan open.

    `detected_after`: from the time that the signal gives to the run's beginning; None for a run that no event began.
    """

    run: Run | None
    reason: str
    unfinished: bool = False
    detected_after: timedelta | None = None


def begin(
    control: Control,
    event: Mapping[str, Any],
    execution: str,
    approved: dict[str, Any] | None,
    now: datetime,
) -> Begun:
    """Read the signal and take the lease of its link.

    A signal that finds the lease taken is left with the holder, which will observe again. An intent is
    not: it names something to be done, so it waits for its turn. A sweep leaves nothing: it tells of no
    change, and if every sweep were left, a slow run would never end.

    What no known link has, and what is kept for the record only, is journaled when it is first met.

    Raises:
        InvalidEvent, InvalidIntent, UnknownLink: the input is no use; nothing was written.
        LeaseTaken: an intent must try again.
    """
    link_id = control.settings.link_id
    intent = Intent.from_dict(event) if is_intent(event) else None
    named = intent.link_id if intent else claimed_link(event)
    if named is not None and named != link_id:
        raise UnknownLink(named)
    topology = control.documents.topology(link_id)
    policy = control.documents.policy(link_id, topology)
    if intent is not None:
        intent.check_against(topology)
        about = f"{intent.requested_by} asked for a {intent.intent}"
        signal = Signal(kind=SignalKind.INTENT, link_id=link_id, about=about, path=intent.to)
    else:
        read = _follow(control, event, execution, topology, policy, now)
        if isinstance(read, str):
            return Begun(None, read)
        signal = read
    lease = control.leases.acquire(link_id, execution, policy.lease_seconds, now)
    if lease is None:
        holder = str(control.leases.current(link_id).get("holder", "another run"))
        if intent is not None:
            raise LeaseTaken(link_id, holder)
        if signal.kind is SignalKind.SWEEP:
            return Begun(None, f"{holder} is looking at the link; the next sweep comes anyway")
        if control.leases.leave_signal(link_id, signal.about if signal.trouble else None):
            return Begun(None, f"left with {holder}, which holds the lease")
        raise LeaseTaken(link_id, holder)
    run = Run(
        execution=execution,
        link_id=link_id,
        signal=signal,
        trouble=signal.about if signal.trouble else lease.trouble,
        intent=intent,
        lease=HeldLease(holder=lease.holder, token=lease.token, expires_at=lease.expires_at),
        approved_decision=approved,
    )
    if not run.routine:
        journal(control, run, EntryKind.SIGNAL, signal.model_dump(mode="json"), now)
    occurred_at = signal.occurred_at
    return Begun(
        run,
        "",
        unfinished=control.state.open_plan(link_id) is not None,
        detected_after=now - occurred_at if occurred_at is not None else None,
    )


def _follow(
    control: Control,
    event: Mapping[str, Any],
    execution: str,
    topology: Topology,
    policy: Policy,
    now: datetime,
) -> Signal | str:
    """The signal to follow, or why there is none."""
    read = parse_event(event, {topology.link_id: topology})
    if isinstance(read, Ignored):
        if read.malformed is not None:
            raise InvalidEvent(read.malformed, read.reason)
        note_once(control, topology.link_id, read, execution, now)
        return read.reason
    if is_routing_config(read) and _is_ours(control, topology.link_id):
        return "what is published is what this link's own run published last"
    if read.occurred_at is None:
        return read
    age_seconds = (now - read.occurred_at).total_seconds()
    if age_seconds > policy.maximum_signal_age_seconds:
        return f"the signal is {age_seconds:.0f} s old; the sweep will look"
    # A clock that is ahead must not make a report outlive those that come after it.
    return read.model_copy(update={"occurred_at": min(read.occurred_at, now)})


def _is_ours(control: Control, link_id: str) -> bool:
    """Whether the stored routing config is the newest that a run of ours journaled.

    The event of a change names no writer, but each publication names its run, and each run journals its
    publication. Between the two the run holds the lease: it is left a signal, and looks once more. A
    forgery of all that the journal tells of a publication passes for ours here, and is left to what
    each look compares.
    """
    try:
        config = control.documents.routing_config(link_id)
    except InvalidPublishedConfig:
        return False
    if config is None:
        return False
    told = {
        "generation": config.generation,
        "active_path": config.active_path,
        "reason": config.reason,
    }
    newest = control.journal.entries(link_id, newest_first=True, limit=RECENT_ENTRIES)
    for entry, _ in newest:
        if entry.kind is EntryKind.PUBLISHED:
            return entry.execution == config.published_by and told.items() <= entry.data.items()
    return False


def note_once(control: Control, link_id: str, read: Ignored, execution: str, now: datetime) -> None:
    """Journal what matched nothing, or is for the record, the first time that it is met.

    Raises:
        AwsUnavailable, AwsRefused, JournalContended: it is not journaled; trying again is right.
    """
    if read.unmatched is not None:
        kind, subject = EntryKind.UNMATCHED, read.unmatched
    elif read.audit is not None:
        kind, subject = EntryKind.NOTED, read.audit
    else:
        return
    if control.first_times.claim(link_id, f"{kind} {subject}", execution):
        data = {"subject": subject, "reason": read.reason}
        control.journal.append(link_id, kind, execution, data, now)


@dataclass(frozen=True, slots=True)
class LetGo:
    """`again`: another signal came, the lease is still held, and the link must be observed once more.

    `trouble` is what that signal told of, if it told of something that stopped working.
    """

    again: bool
    approval_seconds: int
    trouble: str | None = None


def release(control: Control, run: Run, now: datetime) -> LetGo:
    """Give the lease back, unless another signal came meanwhile.

    After `maximum_rounds` the lease is released all the same: the sweep goes on from there.
    """
    lease = run.held()
    topology = control.documents.topology(run.link_id)
    policy = control.documents.policy(run.link_id, topology)
    if run.round >= policy.maximum_rounds:
        control.leases.release(lease, even_if_pending=True)
        return LetGo(False, policy.approval_seconds)
    if control.leases.release(lease):
        return LetGo(False, policy.approval_seconds)
    trouble = control.leases.take_pending(lease)
    control.leases.renew(lease, policy.lease_seconds, now)
    return LetGo(True, policy.approval_seconds, trouble)


def reject(
    control: Control,
    event: Mapping[str, Any],
    execution: str,
    error: str,
    cause: str,
    now: datetime,
) -> None:
    """Record a start that came to nothing. It is recorded for this link: the one asked.

    A step that died after it took the lease holds it still: that is given back first, so that nobody waits.
    """
    held = control.leases.current(control.settings.link_id)
    if held.get("holder") == execution and "kept_because" not in held:
        mine = Lease(control.settings.link_id, execution, int(held["token"]), now)
        control.leases.release(mine, even_if_pending=True)
    data = {
        "error": error,
        "cause": clean(cause),
        "claimed_link": claimed_link(event),
        "fields": sorted(clean(str(key), 100) for key in event)[:20],
    }
    control.journal.append(control.settings.link_id, EntryKind.REJECTED, execution, data, now)
