"""Situations worth telling of, by name: one of each kind of thing that a decision can say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from control_plane.domain.drill import Drill, DrillOutcome, DrillRecord
from control_plane.domain.health import assess
from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.observation import ObservedPath, PendingMaintenance
from control_plane.domain.policy import (
    Automation,
    ChangeWindow,
    DrillSchedule,
    Failback,
    Hysteresis,
    Mode,
    Pause,
    Policy,
    Quarantine,
    Resend,
)
from control_plane.domain.situation import ProxyRules, Published, Situation
from control_plane.domain.topology import RoutingMethod, Topology
from tests.builders import (
    NOON,
    dead,
    gray,
    intent,
    later,
    probe,
    route,
    seen,
    topology,
    topology_document,
)

FIRST, SECOND, GONE = "tunnel-1", "tunnel-2", "tunnel-9"
LONG_WELL = PathHistory(healthy_since=later(-7200))
DOWN = PathHistory(down=True, failed_in_a_row=1)
SETTLED = LinkHistory(paths={FIRST: LONG_WELL, SECOND: LONG_WELL})
DRILL = Drill(home=FIRST, away=SECOND, until=later(600), began_at=later(-60))
MONTHLY = DrillSchedule(automation=Automation.AUTOMATIC)
REPLACED = PendingMaintenance(outside_ip="203.0.113.0", due_at=later(1800))


def situation(*paths: ObservedPath, **differences: object) -> Situation:
    """A link at home, long well; these paths are seen otherwise, and what else differs."""
    usual: dict[str, object] = {
        "topology": topology(),
        "policy": Policy(),
        "active_path": FIRST,
        "history": SETTLED,
        "now": NOON,
    }
    given = usual | differences
    link, policy = given["topology"], given["policy"]
    assert isinstance(link, Topology)
    assert isinstance(policy, Policy)
    looks = {name: seen(name) for name in link.path_names} | {path.name: path for path in paths}
    health = {name: assess(look, policy.latency, now=NOON) for name, look in looks.items()}
    drifted = frozenset(name for name, verdict in health.items() if verdict.drifted)
    return Situation(**({"health": health, "drifted": drifted} | given))  # type: ignore[arg-type]


def remembering(**paths: PathHistory) -> LinkHistory:
    """The settled memory, save for `first` and `second`."""
    names = {"first": FIRST, "second": SECOND}
    return LinkHistory(paths=SETTLED.paths | {names[key]: paths[key] for key in paths})


def routeless(name: str) -> ObservedPath:
    """It answers nothing, and has lost its return route."""
    return seen(name, routes=(route(name, None),), probe=probe(name, False))


def drifted(name: str) -> ObservedPath:
    """It answers, and its return route leads elsewhere."""
    return seen(name, routes=(route(name, "eni-other"),))


def slow(name: str) -> ObservedPath:
    """It answers too slowly."""
    return seen(name, probe=probe(name, True, 2500))


def switch(seconds_ago: float, **fields: object) -> Switch:
    """Traffic left home so long ago."""
    return Switch.model_validate(
        {"at": later(-seconds_ago), "from_path": FIRST, "to_path": SECOND, "kind": "Failover"}
        | fields
    )


def with_one_path() -> Topology:
    """The link without its second path."""
    document = topology_document()
    return Topology.model_validate({**document, "paths": document["paths"][:1]})


def over_the_internet() -> Topology:
    """The link whose second path is not a tunnel."""
    document = topology_document()
    for field in ("vpn_connection_id", "vpc_endpoint_id", "endpoint_address"):
        document["paths"][1][field] = None
    document["paths"][1]["routing_method"] = "internet"
    return Topology.model_validate(document)


def all_situations() -> Iterator[tuple[str, Situation]]:
    """Each with its name."""
    yield from by_itself()
    yield from going_home()
    yield from published()
    yield from modes()
    yield from asked()
    yield from practice()


def by_itself() -> Iterator[tuple[str, Situation]]:
    """What is seen of the paths, and nothing else."""
    lost = remembering(first=DOWN)
    patient = Policy(hysteresis=Hysteresis(failed_observations_to_fail=2))
    manual = Policy(drift_repair=Automation.MANUAL)
    in_vain = remembering(first=DOWN).after_setback(FIRST, later(-60))
    yield "a link that is well", situation()
    yield (
        "a link that is well, looked at with its alarms",
        situation(published=Published(FIRST, 7), alarms=()),
    )
    yield (
        "two alarms ring",
        situation(published=Published(FIRST, 7), alarms=("probe of tunnel-1", "5xx")),
    )
    yield "the active path is lost", situation(dead(FIRST), history=lost)
    yield (
        "one failing look of two that are needed",
        situation(
            gray(FIRST), policy=patient, history=remembering(first=PathHistory(failed_in_a_row=1))
        ),
    )
    yield (
        "both paths are lost",
        situation(dead(FIRST), dead(SECOND), history=remembering(first=DOWN, second=DOWN)),
    )
    yield (
        "the only path is lost",
        situation(dead(FIRST), topology=with_one_path(), history=LinkHistory(paths={FIRST: DOWN})),
    )
    yield "the only path is well", situation(topology=with_one_path())
    yield "the active path lost its route", situation(routeless(FIRST), history=lost)
    yield (
        "the active path lost its route, and its repair was in vain",
        situation(routeless(FIRST), history=in_vain),
    )
    yield "the standby has drifted", situation(drifted(SECOND))
    yield (
        "the standby has drifted, and its repair was in vain a minute ago",
        situation(drifted(SECOND), history=SETTLED.after_setback(SECOND, later(-60))),
    )
    yield (
        "the standby has drifted, and people repair",
        situation(drifted(SECOND), policy=manual),
    )
    yield "the active path is slow", situation(slow(FIRST))
    yield "the active path is slow, and the standby too", situation(slow(FIRST), slow(SECOND))
    yield "the active path was not looked at", replace(situation(), health={})
    yield "the active path was not probed", situation(seen(FIRST, probe=None))
    yield "the standby is about to be replaced", situation(seen(SECOND, maintenance=(REPLACED,)))
    yield (
        "the standby was refused in this run",
        situation(dead(FIRST), history=lost, refused={SECOND: "the route model refuses it"}),
    )
    alerting = remembering(
        first=PathHistory(slow_since=later(-900)), second=PathHistory(erring_since=later(-900))
    )
    yield "people must be told of both paths", situation(history=alerting)
    limited = Policy(maximum_switches_per_hour=2)
    often = lost.model_copy(update={"switches": (switch(1800), switch(900))})
    yield (
        "the active path is lost, and the hour's switches are used up",
        situation(dead(FIRST), policy=limited, history=often),
    )
    barred = (Quarantine(path=FIRST, reason="a test", until=later(600)),)
    yield "the active path is quarantined", situation(policy=Policy(quarantine=barred))
    stands = SETTLED.quarantine((SECOND,), "a route could not be put back", later(-60))
    yield "Twinspan waits for an operator", situation(history=stands)
    nobody = Policy(data_classes={"default": (RoutingMethod.INTERNET,)})
    yield (
        "the active path is one that no data class may use",
        situation(topology=over_the_internet(), policy=nobody),
    )


def going_home() -> Iterator[tuple[str, Situation]]:
    """Traffic is on the second path, and everything that may keep it there."""
    away: dict[str, object] = {"active_path": SECOND, "published": Published(SECOND, 7)}
    yield "traffic may return", situation(**away)
    at_once = Policy(failback=Failback(stable_seconds=0))
    yield (
        "traffic may return at once",
        situation(policy=at_once, history=LinkHistory(), **away),
    )
    flapped = PathHistory(
        down=True,
        healthy_in_a_row=1,
        healthy_since=later(-60),
        penalty=3000.0,
        penalty_at=later(-60),
        suppressed_since=later(-60),
    )
    windows = (ChangeWindow(opens="22:00", closes="23:30"),)
    strict = Policy(
        failback=Failback(automation=Automation.MANUAL, change_windows=windows),
        maximum_switches_per_hour=1,
        quarantine=(Quarantine(path=FIRST, reason="a test", until=later(600)),),
    )
    everything = remembering(first=flapped).model_copy(update={"switches": (switch(60),)})
    sluggish = seen(FIRST, maintenance=(REPLACED,), probe=probe(FIRST, True, 1500))
    yield (
        "everything keeps traffic away",
        situation(
            sluggish,
            policy=strict,
            history=everything,
            active_path=SECOND,
            published=Published(SECOND, 7, frozenset({FIRST})),
        ),
    )
    by_hand = SETTLED.model_copy(update={"switches": (switch(1800, by_hand=True),)})
    yield "traffic was moved by hand", situation(history=by_hand, **away)
    over = remembering(
        first=LONG_WELL.model_copy(
            update={"penalty": 800.0, "penalty_at": later(-5400), "suppressed_since": later(-5400)}
        )
    )
    yield "a suppression is over", situation(history=over, **away)
    yield (
        "home is degraded",
        situation(drifted(FIRST), policy=Policy(drift_repair="manual"), **away),
    )


def published() -> Iterator[tuple[str, Situation]]:
    """What is published is not what it should be."""
    nothing: dict[str, object] = {"active_path": None}
    barred = tuple(
        Quarantine(path=name, reason="a test", until=later(600)) for name in (FIRST, SECOND)
    )
    yield "another path was published meanwhile", situation(published=Published(SECOND, 8))
    yield (
        "a path is published that the link does not have",
        situation(active_path=GONE, published=Published(GONE, 7)),
    )
    yield (
        "a path is published that the link does not have, and no other may be used",
        situation(active_path=GONE, policy=Policy(quarantine=barred)),
    )
    loose = ProxyRules(frozenset({("default", frozenset({"internet"}))}), frozenset({"a.*"}))
    differs: dict[str, object] = {
        "policy": Policy(quarantine=barred[1:], resend=Resend.NEVER),
        "published": Published(FIRST, 7, rules=loose),
    }
    yield "the published config is not what the policy says now", situation(**differs)
    yield (
        "the published config is not what the policy says now, and the active path is lost",
        situation(
            dead(FIRST),
            history=remembering(first=DOWN),
            policy=Policy(),
            published=Published(FIRST, 7, rules=loose),
        ),
    )
    yield (
        "the published config is not what the policy says now, and the policy is paused",
        situation(published=Published(FIRST, 7, rules=loose), policy=Policy(mode=Mode.PAUSED)),
    )
    yield (
        "the published config is not what the policy says now, under mode approve",
        situation(published=Published(FIRST, 7, rules=loose), policy=Policy(mode=Mode.APPROVE)),
    )
    yield (
        "the published config is not what the defaults say, and no policy is stored",
        situation(published=Published(FIRST, 7, rules=loose), policy=Policy.absent()),
    )
    yield (
        "the published config still excludes a path",
        situation(published=Published(FIRST, 7, frozenset({SECOND}), ProxyRules.of(Policy()))),
    )
    yield (
        "nothing is published, and the last path is known",
        situation(rollback_path=SECOND, **nothing),
    )
    yield "nothing is published, and nobody knows what was", situation(**nothing)
    yield (
        "nothing is published, and the last path was put back in vain",
        situation(
            rollback_path=SECOND, history=SETTLED.after_setback(SECOND, later(-60)), **nothing
        ),
    )
    yield (
        "nothing is published, and nothing may be",
        situation(policy=Policy(quarantine=barred), rollback_path=SECOND, **nothing),
    )


def modes() -> Iterator[tuple[str, Situation]]:
    """The same outage under each mode."""
    lost = remembering(first=DOWN)
    until = later(600)
    for name, policy in (
        ("mode approve", Policy(mode=Mode.APPROVE)),
        ("mode observe", Policy(mode=Mode.OBSERVE)),
        ("mode paused", Policy(mode=Mode.PAUSED)),
        ("a pause", Policy(pause=Pause(reason="a release", until=until))),
        ("no policy", Policy.absent()),
    ):
        yield f"an outage under {name}", situation(dead(FIRST), policy=policy, history=lost)
    held_back = Policy(pause=Pause(reason="a release", until=until), path_order=(SECOND, FIRST))
    gone = situation(slow(SECOND), active_path=GONE, policy=held_back)
    yield "a pause holds back what would have passed a path over", gone
    yield (
        "a dry run",
        situation(intent=intent(to=SECOND, dry_run=True), policy=Policy(mode=Mode.OBSERVE)),
    )
    overriding = intent(to=SECOND, override=True, reason="the vendor asks")
    yield "an override during a pause", situation(intent=overriding, policy=held_back)


def asked() -> Iterator[tuple[str, Situation]]:
    """What operators ask for."""
    foreign: dict[str, object] = {"intact": False, "rollback_path": FIRST}
    barred = Policy(quarantine=(Quarantine(path=SECOND, reason="a test", until=later(600)),))
    insist = intent(to=SECOND, override=True, reason="the vendor asks", requested_by="alice")
    yield "a failover is asked for", situation(intent=intent(requested_by="alice", reason="a test"))
    yield "the active path is asked for", situation(intent=intent(to=FIRST))
    yield (
        "a failover with nowhere to go",
        situation(intent=intent(), refused={SECOND: "the route model refuses it"}),
    )
    yield "a failback is asked for", situation(intent=intent("failback"), active_path=SECOND)
    yield "a path is asked for that the link does not have", situation(intent=intent(to=GONE))
    yield (
        "a path is asked for that no data class may use",
        situation(intent=intent(to=SECOND), topology=over_the_internet()),
    )
    yield (
        "a path is asked for that is dead and quarantined",
        situation(dead(SECOND), intent=intent(to=SECOND), policy=barred),
    )
    yield (
        "a path that is dead and quarantined is insisted on",
        situation(dead(SECOND), intent=insist, policy=barred),
    )
    yield (
        "a path that was refused in this run is insisted on",
        situation(intent=insist, refused={SECOND: "the route model refuses it"}, policy=barred),
    )
    stands = SETTLED.quarantine((SECOND,), "a route could not be put back", later(-60))
    yield (
        "a path is asked for that waits for an operator",
        situation(intent=intent(to=SECOND), history=stands),
    )
    back = intent("rollback", to_generation=6)
    yield "a rollback", situation(intent=back, rollback_path=SECOND)
    yield "a rollback to nobody knows what", situation(intent=back)
    restore = intent("restore")
    yield "a restore of what is intact", situation(intent=restore, rollback_path=FIRST)
    yield "a restore of what somebody else wrote", situation(intent=restore, **foreign)
    yield (
        "a restore of a path that is lost",
        situation(dead(FIRST), intent=restore, history=remembering(first=DOWN), **foreign),
    )
    yield (
        "a restore of a path that was put back in vain",
        situation(intent=restore, history=SETTLED.after_setback(FIRST, later(-60)), **foreign),
    )
    yield (
        "a restore of a path by name",
        situation(intent=intent("restore", to=SECOND), **foreign),
    )
    yield (
        "a restore of the active path by name",
        situation(intent=intent("restore", to=FIRST), **foreign),
    )
    yield (
        "a restore of a generation, to a path that is lost",
        situation(
            dead(SECOND),
            intent=intent("restore", to_generation=6),
            **(foreign | {"rollback_path": SECOND}),
        ),
    )
    yield (
        "a restore that is insisted on",
        situation(dead(FIRST), intent=intent("restore", override=True, reason="a test"), **foreign),
    )
    yield "a restore of nobody knows what", situation(intent=restore, intact=False)


def practice() -> Iterator[tuple[str, Situation]]:
    """Drills: begun by hand or by the schedule, refused, ended."""
    by_hand = intent("drill", to=SECOND, duration_seconds=300)
    insist = intent("drill", to=SECOND, override=True, reason="a test")
    yield "a drill is asked for", situation(intent=by_hand, alarms=())
    yield "a drill is asked for while alarms ring", situation(intent=by_hand, alarms=("a", "b"))
    yield "a drill is insisted on while alarms ring", situation(intent=insist, alarms=("a", "b"))
    yield "a drill is asked for, and nobody knows of the alarms", situation(intent=by_hand)
    yield (
        "a drill is asked for on a link that is not well",
        situation(slow(SECOND), intent=by_hand, alarms=()),
    )
    going_on = SETTLED.in_drill(DRILL).model_copy(update={"switches": (switch(60, by_hand=True),)})
    away: dict[str, object] = {"active_path": SECOND, "alarms": ()}
    yield (
        "a drill is asked for during another",
        situation(intent=intent("drill", to=FIRST), history=going_on, **away),
    )
    yield (
        "a drill is asked for before another is settled",
        situation(intent=by_hand, history=going_on, alarms=()),
    )
    yield (
        "a drill is asked for where nothing is published",
        situation(intent=by_hand, active_path=None, alarms=()),
    )
    yield "a drill is going on", situation(history=going_on, **away)
    over = going_on.in_drill(DRILL.model_copy(update={"until": later(-1)}))
    yield "a drill is over", situation(history=over, **away)
    disturbed = going_on.after_trouble("an alarm", NOON)
    yield "a drill was disturbed", situation(history=disturbed, **away)
    yield (
        "a drill was disturbed, and home is lost",
        situation(dead(FIRST), history=disturbed, **away),
    )
    due: dict[str, object] = {"routine": True, "policy": Policy(drill=MONTHLY)}
    passed = DrillRecord(
        outcome=DrillOutcome.PASSED,
        why="a test",
        home=FIRST,
        away=SECOND,
        began_at=None,
        ended_at=later(-31 * 86400),
    )
    yield "a first drill is due", situation(alarms=(), **due)
    yield (
        "a drill is due again",
        situation(alarms=(), history=SETTLED.after_drill(passed), **due),
    )
    yield "a drill is due while alarms ring", situation(alarms=("a", "b"), **due)
    yield (
        "a drill is due, and the standby is not fit for it",
        situation(
            seen(SECOND, maintenance=(REPLACED,)),
            alarms=(),
            history=remembering(second=PathHistory(healthy_since=later(-60))),
            **due,
        ),
    )
