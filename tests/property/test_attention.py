"""What a sweep leaves alone would have been left alone by a full look: over every state that it can see."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from control_plane.domain.attention import Glance, attention
from control_plane.domain.decide import Situation, judge
from control_plane.domain.drill import Drill
from control_plane.domain.health import Health, PathHealth, assess
from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.limits import ErrorLimits, SourceAges
from control_plane.domain.observation import (
    BreakerState,
    CanaryWindow,
    ObservedPath,
    ObservedRoute,
    ProxyReport,
)
from control_plane.domain.policy import DrillSchedule, Failback, Mode, Policy
from control_plane.domain.situation import Published
from tests.builders import NOON, later, probe, route, seen, topology
from tests.property.decision_space import (
    CONNECTIONS,
    ENDPOINTS,
    FIRST,
    MOVED,
    PLACES,
    SECOND,
    TUNNELS,
    memories,
    rules,
    special_memories,
)

LINK = topology()


def required(name: str) -> tuple[ObservedRoute, ...]:
    """All required routes of a path, as they should be."""
    found = LINK.path(name)
    assert found is not None
    return tuple(
        route(name).model_copy(update={"required": one, "target": one.target})
        for one in found.required_routes
    )


def well(name: str) -> ObservedPath:
    """A path as a sweep sees it when nothing is wrong: described, and not probed."""
    return seen(name, routes=required(name), probe=None)


def described(name: str) -> Iterator[ObservedPath]:
    """Every state of a path that a sweep can see."""
    first, *others = required(name)
    drifted = (route(name, None), route(name, "eni-other"))
    routings = ((first, *others), *((first, one) for one in drifted), ())
    for up, connection, endpoint, routes in product(TUNNELS, CONNECTIONS, ENDPOINTS, routings):
        yield well(name).model_copy(
            update={
                "tunnels": up,
                "connection_state": connection,
                "endpoint_state": endpoint,
                "routes": routes,
            }
        )


def test_only_a_path_that_is_described_as_wholly_well_is_left_alone():
    """Of all states of a path, exactly those that a passing probe would make HEALTHY need no run."""
    for name in (FIRST, SECOND):
        for path in described(name):
            others = tuple(well(other) for other in (FIRST, SECOND) if other != name)
            probed = path.model_copy(update={"probe": probe(name, True)})
            healthy = assess(probed, Policy().latency).health is Health.HEALTHY
            complete = None not in (path.tunnels, path.endpoint_state) and path.routes != ()
            assert (attention(a_glance(paths=(path, *others))) == ()) is (healthy and complete)


def test_whatever_a_sweep_leaves_alone_a_full_look_would_leave_alone():
    """For every memory, policy and published path: where there is no reason for a run, nothing would be done."""
    checked = left_alone = 0
    remembered = (*memories(()), *special_memories(()), *memories((FIRST,)), *memories((SECOND,)))
    verdicts = {name: PathHealth(name, Health.HEALTHY, ()) for name in (FIRST, SECOND)}
    policies = (*rules((), (FIRST,), (SECOND,)), *rules((), failback=Failback(automation="manual")))
    for memory, rule, (active, published) in product(remembered, policies, (*PLACES, *MOVED)):
        glance = a_glance(published=published, policy=rule.policy, history=memory.history)
        checked += 1
        if attention(glance):
            continue
        left_alone += 1
        full = Situation(
            LINK, rule.policy, active, verdicts, frozenset(), memory.history, NOON,
            published=published,
        )  # fmt: skip
        assert not judge(full).acts, glance
    assert checked > 1_000
    assert left_alone > 50


def a_glance(**differences) -> Glance:
    """A link that is well in every respect, save for the differences."""
    usual = {
        "topology": LINK,
        "policy": Policy(),
        "published": Published(FIRST, 7),
        "paths": (well(FIRST), well(SECOND)),
        "history": LinkHistory(),
        "now": NOON,
    }
    return Glance(**(usual | differences))


def test_a_link_that_is_well_needs_no_run():
    """Nothing rings, everything is described as it should be, traffic is at home."""
    assert attention(a_glance()) == ()


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ({"ringing": ("twinspan-bedrock-tunnel-2-probe",)}, "in alarm"),
        ({"open_plan": True}, "not concluded"),
        ({"published": None}, "nothing usable is published"),
        ({"lease_holder": "a run", "lease_ends_at": later(-1)}, "held the lease"),
        ({"history": LinkHistory(paths={SECOND: PathHistory(down=True)})}, "was failing"),
        ({"history": LinkHistory(paths={FIRST: PathHistory(slow_since=NOON)})}, "was slow"),
        ({"published": Published(SECOND, 7)}, "may return"),
    ],
)
def test_each_reason_for_a_run_is_named(differences, word):
    """Whoever reads the sweep's execution sees why a run was started."""
    assert word in "; ".join(attention(a_glance(**differences)))


@pytest.mark.parametrize(
    "differences",
    [
        {"lease_holder": "a run", "lease_ends_at": later(1)},
        {"waits_for_operator": "a change could not be undone"},
    ],
)
def test_a_link_in_somebodys_hands_is_left_to_them(differences):
    """Whatever else is wrong with it."""
    assert attention(a_glance(ringing=("twinspan-bedrock-tunnel-1-down",), **differences)) == ()


def test_traffic_that_was_moved_by_hand_needs_no_look_each_minute():
    """It stays until somebody asks for a failback."""
    moved = Switch(at=later(-9000), from_path=FIRST, to_path=SECOND, kind="Failover", by_hand=True)
    glance = a_glance(published=Published(SECOND, 7), history=LinkHistory(switches=(moved,)))
    assert attention(glance) == ()


@pytest.mark.parametrize("missing", [{"tunnels": None}, {"endpoint_state": None}, {"routes": ()}])
def test_what_was_not_described_is_not_taken_for_well(missing):
    """Missing data is not health."""
    first, second = a_glance().paths
    glance = a_glance(paths=(first.model_copy(update=missing), second))
    assert "could not be observed" in attention(glance)[0]


def test_a_paused_link_that_is_well_needs_no_run():
    """The mode makes no difference where nothing would be done."""
    assert attention(a_glance(policy=Policy(mode=Mode.PAUSED))) == ()


class TestEveryReasonWordForWord:
    """It is what the sweep's record says of the link."""

    AWAY = Published(SECOND, 7)
    BY_HAND = Switch(
        at=later(-1800), from_path=FIRST, to_path=SECOND, kind="Failover", by_hand=True
    )
    DRILL = Drill(home=FIRST, away=SECOND, until=later(600))

    @pytest.mark.parametrize(
        ("differences", "reasons"),
        [
            (
                {"lease_holder": "run-1", "lease_ends_at": NOON, "open_plan": True},
                ["run-1 held the lease until it ran out", "a plan was begun and not concluded"],
            ),
            ({"ringing": ("one", "another")}, ["in alarm: one, another"]),
            ({"published": None}, ["nothing usable is published"]),
            (
                {"history": LinkHistory(drill=DRILL)},
                ["a drill is over, and what it came to is not recorded"],
            ),
            (
                {"history": LinkHistory(drill=DRILL, switches=(BY_HAND,)), "published": AWAY},
                ["traffic is on tunnel-2, and may return to tunnel-1"],
            ),
            (
                {"published": AWAY, "history": LinkHistory(switches=(BY_HAND,))},
                [],
            ),
            (
                {"history": LinkHistory(paths={SECOND: PathHistory(failed_in_a_row=1)})},
                ["tunnel-2 was failing when it was last looked at"],
            ),
            (
                {"history": LinkHistory(paths={SECOND: PathHistory(erring_since=NOON)})},
                ["tunnel-2 was slow or losing calls when it was last looked at"],
            ),
        ],
    )
    def test_what_a_link_went_through(self, differences, reasons):
        """Its lease, its alarms, its drill, its memory."""
        assert list(attention(a_glance(**differences))) == reasons

    def test_what_could_not_be_observed(self):
        """Part by part."""
        blind = well(FIRST).model_copy(
            update={"tunnels": None, "endpoint_state": None, "routes": None}
        )
        assert list(attention(a_glance(paths=(blind, well(SECOND))))) == [
            "tunnel-1: its tunnels, its endpoint, its routes could not be observed"
        ]


class TestADrillThatIsDue:
    """The sweep finds it: nothing else would begin it."""

    POLICY = Policy(drill=DrillSchedule(automation="automatic"))
    WELL = LinkHistory(
        paths={name: PathHistory(healthy_since=later(-7200)) for name in (FIRST, SECOND)}
    )

    def test_needs_a_run(self):
        """Otherwise the link is well."""
        due = a_glance(policy=self.POLICY, history=self.WELL)
        assert list(attention(due)) == ["Failover to tunnel-2: a drill is due: none has passed yet"]

    def test_waits_for_alarms(self):
        """They are a reason by themselves, and the drill is none."""
        ringing = a_glance(policy=self.POLICY, history=self.WELL, ringing=("an alarm",))
        assert list(attention(ringing)) == ["in alarm: an alarm"]


class TestOtherWitnesses:
    """What the canary and the proxies say of a path counts beside what the sweep supposes of it."""

    def test_a_canary_that_loses_calls_is_heard_while_its_window_is_new(self):
        """By the policy's limits, for the loss and for the age."""
        lossy = CanaryWindow(begins_at=later(-60), ends_at=NOON, calls=10, lost=3)
        path = well(FIRST).model_copy(update={"canary": lossy})
        glance = a_glance(paths=(path, well(SECOND)))
        heard = attention(glance)
        assert heard[0] == "tunnel-1 is DEGRADED: 30% of 10 canary calls failed (3 lost)"
        lenient = Policy(errors=ErrorLimits(recover_ratio=0.4))
        assert attention(replace(glance, policy=lenient)) == ()
        assert attention(replace(glance, now=later(181))) == ()
        patient = Policy(maximum_source_age=SourceAges(canary_seconds=600))
        assert attention(replace(glance, policy=patient, now=later(181))) == heard

    def test_a_breaker_that_opened_earlier_is_taken_for_overtaken(self):
        """A call that gets through now is the newer word; that it does is for the canary's alarms to deny."""
        opened = ProxyReport(state=BreakerState.OPEN, reported_at=later(-30))
        path = well(FIRST).model_copy(update={"proxy": opened})
        assert attention(a_glance(paths=(path, well(SECOND)))) == ()
