"""Every decision there is, over the full product of its discretised inputs.

In two stages, since most of what can be seen of a path makes no difference. First each state of one path is
judged (tunnels x connection x endpoint x probe x breaker x canary x routes x maintenance) and falls into a
class: the parts of a verdict that a decision can tell apart. Then every pair of classes is decided upon under
every mode, hold-down, damping, quarantine, published path and intent, and checked against the design's
invariants 3, 4, 7 and 8. That the classes lose nothing is a test of its own.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import timedelta
from itertools import islice, product

import pytest

from control_plane.domain.decide import SWITCHES, Decision, DecisionKind, Situation, decide, judge
from control_plane.domain.drill import DrillMove
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.observation import (
    BreakerState,
)
from control_plane.domain.policy import ApprovalRules, Automation, DrillSchedule, Policy
from control_plane.domain.topology import RoutingMethod, Topology
from tests.builders import NOON
from tests.property.decision_space import (
    FIRST,
    GONE,
    INTENTS,
    LINK,
    MOVED,
    PLACES,
    POLICY,
    SECOND,
    TUNNELS,
    calm,
    cases,
    classes,
    count,
    judged,
    memories,
    memories_of_practice,
    rules,
    sample,
    special_memories,
    telling,
)


def test_every_state_of_a_path_is_judged_by_the_written_rule():
    """A live witness decides whether a path carries; telemetry only speaks where none did."""
    for seen, verdict in judged():
        probe, canary, proxy = seen.probe, seen.canary, seen.proxy
        live = (probe, canary, proxy) != (None, None, None)
        if probe is not None:
            assert verdict.carries is probe.passed, seen
        elif canary is not None:
            assert verdict.carries is (canary.error_ratio < POLICY.errors.fail_ratio), seen
        elif proxy is not None:
            assert verdict.carries is (proxy.state is BreakerState.CLOSED), seen
        if not live:
            assert verdict.health in (Health.FAILED, Health.UNKNOWN), seen
        if verdict.health is Health.UNKNOWN:
            assert not seen.drift and seen.connection_state == "available", seen
        if verdict.health is Health.HEALTHY:
            assert probe is not None or canary is not None, seen
            assert not seen.drift, seen
        else:
            assert verdict.reasons, seen
        assert not verdict.drift_explains_failure or verdict.health is Health.FAILED, seen


def test_one_tunnel_of_two_down_never_fails_a_path():
    """Of two states that differ in one tunnel only, the verdicts differ by a warning at most."""
    per_tunnel_state = len(judged()) // len(TUNNELS)
    both, one = judged()[:per_tunnel_state], judged()[per_tunnel_state : 2 * per_tunnel_state]
    for (_, whole), (seen, warned) in zip(both, one, strict=True):
        if whole.health is Health.HEALTHY:
            assert warned.health is Health.DEGRADED, seen
            assert "redundancy is lost" in warned.describe(), seen
        else:
            assert warned.health is whole.health, seen


@pytest.mark.slow
def test_every_decision_keeps_the_invariants(record_property, capsys):
    """No combination of health, mode, hold-down, damping, quarantine, published path and intent breaks one."""
    started = time.process_time()
    policies = rules((), (FIRST,), (SECOND,))
    decided = count(cases(policies, memories, PLACES, INTENTS[:4]))
    seconds = time.process_time() - started
    weight = {key: number for key, (_, number) in classes().items()}
    raw_first = sum(weight.values())
    raw_second = sum(number for key, number in weight.items() if key[-1] is None)
    pairs = len(weight) * sum(1 for key in weight if key[-1] is None)
    stand_for = decided // pairs * raw_first * raw_second
    record_property("decisions", decided)
    record_property("states", stand_for)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{decided:,} decisions checked in {seconds:.1f} s of one core; they stand for {stand_for:,} states "
            f"({raw_first:,} of one path in {len(weight)} classes)\n"
        )
    assert decided > 200_000


def test_every_memory_keeps_the_invariants():
    """Whatever the link has been through: nothing, a first bad look, too many switches, a move by hand, a drill."""
    policies = rules((), (FIRST, SECOND))[:4]
    assert count(cases(policies, special_memories, PLACES[:2], INTENTS[:1])) > 10_000


def test_a_drill_keeps_the_invariants():
    """Practice is never held on a link that is not well, whatever the mode, the quarantine and the memory."""
    policies = rules((), (FIRST,), (SECOND,))
    begun = []
    for alarms in ((), ("an alarm",), None):
        found = cases(policies, calm, PLACES[:2], INTENTS[4:], alarms=alarms)
        drills = list(islice(found, 0, None, 1 if alarms == () else 5))
        assert count(iter(drills)) == len(drills)
        begun += [case for case in drills if judge(case[0]).acts]
    assert begun
    assert {situation.alarms for situation, _, _ in begun} == {()}


def test_the_schedule_begins_a_drill_where_everything_allows_it_and_nowhere_else():
    """Every memory, verdict, mode and quarantine: due, in its window, without an alarm, on a routine look only."""
    closed = {"opens": "13:00", "closes": "14:00"}
    schedule = DrillSchedule(automation=Automation.AUTOMATIC)
    waiting = DrillSchedule(automation=Automation.AUTOMATIC, change_windows=(closed,))
    begun = set()
    for drill, routine, alarms in (
        (schedule, True, ()),
        (schedule, True, ("an alarm",)),
        (schedule, True, None),
        (schedule, False, ()),
        (waiting, True, ()),
    ):
        policies = rules((), drill=drill)[:2]
        more = {"routine": routine, "alarms": alarms}
        found = cases(policies, memories_of_practice, PLACES[:1], INTENTS[:1], **more)
        chosen = list(
            islice(found, 0, None, 1 if routine and not alarms and drill is schedule else 11)
        )
        assert count(iter(chosen)) == len(chosen)
        decided = ((memory, judge(situation)) for situation, memory, _ in chosen)
        begun |= {id(memory) for memory, decision in decided if decision.drill is DrillMove.BEGIN}
    fit = {id(memory) for memory in memories_of_practice(()) if memory.fit_for_practice}
    assert begun == fit


def test_a_published_path_that_moved_meanwhile_stops_everything():
    """Nothing is done about a link that is not the one looked at; one never published is looked after."""
    assert count(cases(rules(()), calm, MOVED, INTENTS)) > 5_000
    for last in (FIRST, SECOND, GONE):
        found = cases(rules(()), calm, MOVED[1:], INTENTS, rollback_path=last)
        assert count(islice(found, 0, None, 5)) > 1_000


def test_the_internet_is_taken_only_where_policy_allows_it():
    """Invariant 4 holds for every verdict, mode and intent, an override included."""
    document = LINK.model_dump(mode="json")
    for field in ("vpn_connection_id", "vpc_endpoint_id", "endpoint_address"):
        document["paths"][1][field] = None
    document["paths"][1]["routing_method"] = "internet"
    link = Topology.model_validate(document)
    both = {"default": (RoutingMethod.VPN, RoutingMethod.INTERNET)}
    for policies, destinations in (
        (rules(()), {FIRST}),
        (rules((), data_classes=both), {FIRST, SECOND}),
    ):
        assert count(cases(policies, calm, PLACES[:2], INTENTS, link)) > 5_000
        decided = (judge(s) for s, _, _ in cases(policies, calm, PLACES[:2], INTENTS[1:4], link))
        assert {d.path for d in decided if d.kind in SWITCHES} == destinations


def test_a_path_that_was_refused_in_this_run_is_never_taken():
    """Invariant 3 holds for every verdict and mode: a refusal stands for the rest of the run."""
    refused = {SECOND: "the route model refuses it"}
    found = cases(rules(()), calm, PLACES[:2], INTENTS[:4], refused=refused)
    assert count(found) > 5_000


def test_a_link_with_one_path_is_never_left_and_never_silent():
    """Without another path every failure is escalated, and nothing is switched."""
    document = LINK.model_dump(mode="json")
    document["paths"] = document["paths"][:1]
    link = Topology.model_validate(document)
    for verdict, _ in classes().values():
        down = (FIRST,) if verdict.health is Health.FAILED else ()
        for memory, rule in product(memories(down), rules((), (FIRST,))):
            drifted = frozenset((FIRST,) if verdict.drifted else ())
            situation = Situation(
                link, rule.policy, FIRST, {FIRST: verdict}, drifted, memory.history, NOON
            )
            decision = judge(situation)
            assert decision.kind not in SWITCHES
            lost = verdict.health is Health.FAILED and not verdict.drift_explains_failure
            if lost or rule.quarantined:
                assert decision.kind is DecisionKind.ESCALATE
                assert "no other path" in decision.describe()


def test_the_account_never_changes_the_decision_and_survives_the_journal():
    """What `decide` adds is an account: equal inputs give equal decisions, and JSON loses nothing of them."""
    for situation, _, _ in sample():
        decision = decide(situation)
        assert decision == decide(situation)
        bare = replace(decision, inputs={}, warnings=judge(situation).warnings)
        assert bare == judge(situation)
        assert Decision.from_dict(decision.to_dict()) == decision
        assert decision.inputs["active path"] == str(situation.active_path)


def test_states_of_one_class_are_decided_alike():
    """Nothing that the classes leave out of a verdict makes a difference to what is done."""
    stands_for = classes()
    verdicts = [verdict for _, verdict in judged()]
    stride = len(verdicts) // 2 - 1
    for number, (situation, _, _) in enumerate(sample()):
        first = verdicts[(number * stride) % len(verdicts)]
        second = replace(verdicts[(number * stride * 3 + 1) % len(verdicts)], path=SECOND)
        seen = {FIRST: first, SECOND: second}
        drifted = frozenset(name for name, verdict in seen.items() if verdict.drifted)
        class_of = {
            name: replace(stands_for[telling(verdict)][0], path=name)
            for name, verdict in seen.items()
        }
        raw = judge(replace(situation, health=seen, drifted=drifted))
        same = judge(replace(situation, health=class_of, drifted=drifted))
        assert (raw.kind, raw.path, raw.needs_approval, raw.touches_nothing) == (
            same.kind,
            same.path,
            same.needs_approval,
            same.touches_nothing,
        )


@pytest.mark.parametrize("always", [(), ("failover",), ("repair", "failback")])
def test_approval_rules_add_questions_and_never_actions(always):
    """A rule that asks for approval changes whether a person is asked, and nothing else."""
    approval = ApprovalRules(always=always)
    for situation, _, _ in sample()[::3]:
        policy = situation.policy.model_copy(update={"approval": approval})
        strict, usual = judge(replace(situation, policy=policy)), judge(situation)
        assert (strict.kind, strict.path, strict.reasons) == (usual.kind, usual.path, usual.reasons)
        assert strict.needs_approval or not usual.needs_approval


def test_once_disturbances_stop_a_bounded_number_of_looks_brings_traffic_home():
    """From every case, with both paths healthy from then on, automatic mode ends on the preferred path."""
    policy = Policy()
    well = PathHealth(FIRST, Health.HEALTHY, ())
    health = {FIRST: well, SECOND: replace(well, path=SECOND)}
    longest = timedelta(
        seconds=max(policy.hold_down_seconds, policy.flap_damping.maximum_suppress_seconds)
    )
    for situation, memory, _ in sample()[::5]:
        history = memory.history.after_look(health, policy, NOON)
        history = history.after_look(health, policy, NOON + timedelta(seconds=60))
        later_on = NOON + longest + timedelta(seconds=policy.failback.stable_seconds + 60)
        calm = replace(
            situation,
            policy=policy,
            health=health,
            drifted=frozenset(),
            history=history,
            now=later_on,
            intent=None,
        )
        decision = judge(calm)
        expected = (
            (DecisionKind.NO_CHANGE, None)
            if situation.active_path == FIRST
            else (DecisionKind.FAILBACK, FIRST)
        )
        assert (decision.kind, decision.path) == expected
