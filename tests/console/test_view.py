"""What the page says of a link, from readings made by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from control_plane.adapters.path_metrics import Measured
from control_plane.console import charts
from control_plane.console.view import View, make
from control_plane.domain.health import Health, PathHealth
from control_plane.domain.history import LinkHistory, PathHistory
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.domain.observation import ObservedTunnel, TunnelStatus
from control_plane.domain.policy import Policy
from control_plane.domain.situation import Published
from control_plane.overview.reading import Reading
from control_plane.overview.verdicts import judge
from tests.builders import NOON, later, seen, topology, tunnels


def ran(passed: bool, at: float = -5) -> tuple[Measured, ...]:
    return (Measured(later(at), runs=1, passed=int(passed), latency_ms=40.0 if passed else None),)


def reading(**differences: Any) -> Reading:
    """A healthy link on tunnel-1 whose canary has just passed on both paths."""
    usual: dict[str, Any] = {
        "read_at": NOON,
        "topology": topology(),
        "policy": Policy(),
        "published": Published("tunnel-1", 3),
        "history": LinkHistory(),
        "lease": {},
        "question": None,
        "open_plan": None,
        "entries": (),
        "seen": (seen("tunnel-1", probe=None), seen("tunnel-2", probe=None)),
        "metrics": {"tunnel-1": ran(True), "tunnel-2": ran(True)},
        "period_seconds": 60,
    }
    return Reading(**usual | differences)


def entry(sequence: int, kind: EntryKind, execution: str = "run-1", **data: Any) -> Entry:
    return Entry("bedrock", sequence, NOON, kind, execution, data, GENESIS)


def actions(view: View) -> dict[str, str]:
    return {action.key: action.obstacle for action in view.actions}


def test_all_is_well() -> None:
    """A healthy link is called well, and its standby may be moved to."""
    view = make(reading())
    assert (view.headline.tone, view.headline.word) == ("good", "All well")
    assert actions(view) == {"failover-tunnel-2": "", "reconcile": ""}


def test_tunnels_that_went_down_since_the_canary_ran() -> None:
    """Calls from before a tunnel went down do not vouch for its path."""
    gone = tuple(
        ObservedTunnel(
            outside_ip=tunnel.outside_ip,
            status=TunnelStatus.DOWN,
            last_status_change=later(-1),
        )
        for tunnel in tunnels(False, False)
    )
    view = make(reading(seen=(seen("tunnel-1", probe=None, tunnels=gone), reading().seen[1])))
    assert view.headline.word == "Active path failed"
    assert "tunnel-1 has failed" in view.headline.text
    lane = next(lane for lane in view.wide.lanes if lane.name == "tunnel-1")
    assert [tunnel.up for tunnel in lane.tunnels] == [False, False]
    assert "tunnel 1 DOWN" in view.wide.description


def test_packets_that_vanish_while_telemetry_says_up() -> None:
    """A fresh verdict of a look that probed is not overruled by tunnels that say UP."""
    failed = PathHealth("tunnel-1", Health.FAILED, ("0 of 2 probes answered",))
    memory = {"tunnel-1": PathHistory(verdict=failed, seen_at=later(-10))}
    looked = reading(history=LinkHistory(paths=memory))
    assert judge(looked)["tunnel-1"].health is Health.FAILED
    assert judge(replace(looked, read_at=later(600)))["tunnel-1"].health is not Health.FAILED


def test_every_path_is_down() -> None:
    """With nothing left the page says so, and an override is offered only where it can pass."""
    dark = {"tunnel-1": ran(False), "tunnel-2": ran(False)}
    view = make(reading(metrics=dark))
    assert (view.headline.tone, view.headline.word) == ("bad", "All paths down")
    assert len(view.headline.why) == 2


def test_a_change_that_could_not_be_undone() -> None:
    """A kept lease comes before everything else, with its reason and the way out."""
    view = make(reading(lease={"holder": "run-9", "kept_because": "RouteChanged: rtb-ca"}))
    assert view.headline.word == "Needs you"
    assert view.headline.why == ("RouteChanged: rtb-ca",)
    assert view.actions[0].action == "resolve"


def test_a_question_waits() -> None:
    """An open question can be answered from the page; an expired one cannot."""
    question = {
        "execution": "run-4",
        "expires_at": later(60).isoformat(),
        "decision": {"kind": "Failover", "path": "tunnel-2", "reasons": ["it is better"]},
    }
    asked = reading(question=question)
    assert make(asked).headline.word == "Waiting for you"
    assert {"approve", "reject"} <= actions(make(asked)).keys()
    assert "approve" not in actions(make(replace(asked, read_at=later(61))))
    assert "approve" not in actions(make(reading(question=question | {"is_answered": True})))


def test_a_question_waits_until_its_own_run_has_gone_on() -> None:
    """The run that asks says so before it asks, which answers nothing; how it ended after that does."""
    question: dict[str, Any] = {"execution": "run-4", "expires_at": later(60).isoformat()}
    question["decision"] = {"kind": "Failover", "path": "tunnel-2", "reasons": ["it is better"]}
    said = entry(1, EntryKind.OUTCOME, "run-4", outcome="awaits-approval", decision="Failover")
    gone_on = entry(2, EntryKind.OUTCOME, "run-4", outcome="switched", decision="Failover")
    failed = {"tunnel-1": ran(False), "tunnel-2": ran(True)}
    asked = make(reading(question=question, entries=(said,), metrics=failed))
    assert (asked.headline.tone, asked.headline.word) == ("bad", "Waiting for you")
    assert {"approve", "reject"} <= actions(asked).keys()
    answered = make(reading(question=question, entries=(said, gone_on), metrics=failed))
    assert answered.headline.word == "Active path failed"
    assert "approve" not in actions(answered)


def test_a_call_for_people_says_why_nothing_else_helps() -> None:
    """Where no path may take over, each is named with what keeps it from that."""
    both = {"tunnel-1": ran(False), "tunnel-2": ran(False)}
    seen_failing = LinkHistory(paths={"tunnel-1": PathHistory(failed_in_a_row=1, down=True)})
    said = make(reading(metrics=both, history=seen_failing)).headline.next_step
    assert said.startswith("Escalate: tunnel-1 is FAILED")
    assert "not tunnel-2: tunnel-2 is FAILED" in said


def test_an_obstacle_is_named_on_its_button() -> None:
    """What stands in the way of a failover is said before it is asked for."""
    view = make(reading(metrics={"tunnel-1": ran(True), "tunnel-2": ran(False)}))
    assert "canary calls failed" in actions(view)["failover-tunnel-2"]
    assert view.headline.word == "No standby"


def test_what_could_not_be_read_is_named() -> None:
    """Half a picture says which half is missing, and unseen tunnels are not drawn as UP."""
    blank = tuple(path.model_copy(update={"tunnels": None}) for path in reading().seen)
    view = make(reading(seen=blank, problems=("what EC2 says could not be read",)))
    assert view.problems == ("what EC2 says could not be read",)
    assert {tunnel.up for lane in view.tall.lanes for tunnel in lane.tunnels} == {None}


def test_the_plan_as_a_diff() -> None:
    """A plan shows what goes and what comes, and what became of it."""
    plan = {
        "changes": [
            {
                "side": "commercial",
                "table_kind": "vpc",
                "table_id": "rtb-cb",
                "destination": "10.0.0.0/16",
                "before": None,
                "after": "eni-b",
            }
        ],
        "active_before": "tunnel-1",
        "active_after": "tunnel-2",
        "generation_before": 3,
    }
    planned = entry(2, EntryKind.PLANNED, plan=plan, effects=["…"], evidence="e" * 64)
    ended = entry(3, EntryKind.OUTCOME, outcome="switched")
    view = make(reading(entries=(ended, planned, entry(1, EntryKind.SIGNAL, about="an alarm"))))
    assert view.plan is not None
    assert [(line.sign, line.text) for line in view.plan.lines] == [
        (" ", "commercial rtb-cb"),
        ("+", "10.0.0.0/16 → eni-b"),
        (" ", "routing config"),
        ("-", "generation 3: active path tunnel-1"),
        ("+", "generation 4: active path tunnel-2"),
    ]
    assert view.plan.fate == "switched"
    (item,) = view.items
    assert (item.word, item.cause) == ("switched", "an alarm")
    assert item.entries[1].references == (("evidence", "e" * 64),)


def test_a_chart_does_not_bridge_what_was_not_measured() -> None:
    """Where the canary did not run the line is broken, and a failed run is a bar of full height."""
    minutes = [0, 1, 2, 10, 11]
    measured = [
        Measured(NOON + timedelta(minutes=m), 1, int(m != 11), 40.0 if m != 11 else None)
        for m in minutes
    ]
    drawn = charts.draw(measured, NOON + timedelta(minutes=12), 30, 60, warning_ms=1000)
    assert [len(line.split()) for line in drawn.lines] == [3, 1]
    (bar,) = drawn.bars
    assert (bar.y, bar.height) == (0, charts.HEIGHT)
    assert drawn.errors_text == "1 of 5 failed"


def test_a_run_that_looked_again_is_told_by_what_it_did() -> None:
    """Another signal came while it acted; that nothing was left to do then is not its story."""
    switched = {"kind": "Failover", "path": "tunnel-2", "reasons": ["tunnel-1 is FAILED"]}
    well = {"kind": "NoChange", "path": None, "reasons": ["tunnel-2 is HEALTHY"]}
    entries = (
        replace(entry(1, EntryKind.DECIDED), data=switched),
        entry(2, EntryKind.OUTCOME, outcome="switched"),
        replace(entry(3, EntryKind.DECIDED), data=well),
        entry(4, EntryKind.OUTCOME, outcome="nothing-to-do"),
    )
    [item] = make(reading(entries=entries[::-1])).items
    assert item.word == "switched"
    assert "move traffic to tunnel-2" in item.result
