"""What `twinspan status` says of a link, from readings made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from control_plane.domain.history import LinkHistory, PathHistory, Switch
from control_plane.domain.observation import ObservedTunnel, PendingMaintenance
from control_plane.domain.policy import Policy
from control_plane.overview.preview import preview
from control_plane.overview.reading import Reading
from control_plane.overview.summary import lines, notes, summarise
from tests.builders import NOON, intent, later, route, seen
from tests.console.test_view import ran, reading


def summary(intact: bool = True, **differences: Any) -> dict[str, Any]:
    return json.loads(json.dumps(summarise(reading(**differences), intact=intact)))


def text(document: dict[str, Any]) -> str:
    return "\n".join(line for _, line in lines(document))


def path(document: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in document["paths"] if one["path"] == name)


def with_canary(link: Reading, name: str) -> Reading:
    return replace(link, metrics={**link.metrics, name: ran(False)})


def test_a_link_that_is_well_takes_one_line():
    """The first line answers the question; paths come in the policy's order."""
    document = summary()
    assert document["state"]["tone"] == "good"
    assert text(document).startswith("bedrock: All well. Traffic is on tunnel-1")
    assert [one["path"] for one in document["paths"]] == ["tunnel-1", "tunnel-2"]
    assert [one["active"] for one in document["paths"]] == [True, False]


def test_what_is_wrong_comes_with_its_reasons():
    """A standby that lost its route is named with the route."""
    broken = seen("tunnel-2", probe=None, routes=(route("tunnel-2", None),))
    document = summary(seen=(reading().seen[0], broken))
    assert document["state"]["tone"] == "warn"
    assert path(document, "tunnel-2")["drift"] == [
        "commercial route table rtb-cb has no route 10.0.0.0/16 → eni-router-b"
    ]
    assert "rtb-cb has no route" in text(document)


def test_timers_that_run_are_told():
    """Hold-down, suppression, quarantine, maintenance: each with its end."""
    flapping = PathHistory(penalty=3000, penalty_at=NOON, suppressed_since=later(-60))
    history = LinkHistory(
        paths={"tunnel-1": flapping},
        switches=(
            Switch(at=later(-10), from_path="tunnel-1", to_path="tunnel-2", kind="Failover"),
        ),
    )
    policy = Policy.model_validate(
        {"quarantine": [{"path": "tunnel-2", "reason": "unwell", "until": later(90)}]}
    )
    due = PendingMaintenance(outside_ip="203.0.113.0", due_at=later(3600))
    waiting = seen("tunnel-1", probe=None, maintenance=(due,))
    document = summary(history=history, policy=policy, seen=(waiting, reading().seen[1]))
    assert document["hold_down_until"] == later(290).isoformat()
    assert "hold-down until 12:04:50Z" in text(document)
    assert path(document, "tunnel-1")["suppressed_until"] is not None
    assert path(document, "tunnel-1")["maintenance_due"] == later(3600).isoformat()
    assert list(notes(path(document, "tunnel-2")))[-1] == "quarantined until 12:01:30Z: unwell"


def test_what_waits_for_a_person_is_told_with_its_command():
    """At night nobody looks commands up."""
    kept = summary(lease={"holder": "run-1", "kept_because": "a route could not be put back"})
    assert kept["needs_operator"] == "a route could not be put back"
    assert "twinspan resolve --link bedrock" in text(kept)
    asked = {"execution": "run-2", "expires_at": later(60).isoformat()}
    assert "twinspan approve|reject run-2 --link bedrock  (until 12:01:00Z)" in text(
        summary(question=asked)
    )
    assert "twinspan restore --link bedrock" in text(summary(intact=False))


def test_what_could_not_be_read_is_said():
    """Half a picture says which half is missing."""
    blind = seen("tunnel-1", probe=None, tunnels=None, endpoint_state=None, routes=None)
    document = summary(seen=(blind, reading().seen[1]), problems=("EC2 could not be read: x",))
    assert path(document, "tunnel-1")["tunnels"] is None
    assert "not read: EC2 could not be read: x" in text(document)


def test_tunnels_are_told_as_ec2_has_them():
    """Address, state, AWS's own message and since when."""
    gone = ObservedTunnel(
        outside_ip="203.0.113.9",
        status="DOWN",
        status_message="IPSEC IS DOWN",
        last_status_change=later(-5),
    )
    document = summary(seen=(seen("tunnel-1", probe=None, tunnels=(gone,)), reading().seen[1]))
    assert path(document, "tunnel-1")["tunnels"] == [
        {
            "outside_ip": "203.0.113.9",
            "status": "DOWN",
            "message": "IPSEC IS DOWN",
            "since": later(-5).isoformat(),
        }
    ]


class TestPreview:
    """What an intent would do, before anybody is asked."""

    def test_a_failover_is_shown_with_every_change(self):
        """The published config, and the route that the target lacks."""
        broken = seen("tunnel-2", probe=None, routes=(route("tunnel-2", None),))
        link = reading(seen=(reading().seen[0], broken))
        shown = list(preview(link, intent(to="tunnel-2")).lines())
        assert shown[0].startswith("Failover to tunnel-2")
        assert any("generation 3 → 4" in line for line in shown)
        assert any("10.0.0.0/16: none → eni-router-b" in line for line in shown)

    def test_what_stands_in_the_way_is_shown_with_what_would_lift_it(self):
        """A person sees before they agree that nothing would happen."""
        link = with_canary(reading(), "tunnel-2")
        foreseen = preview(link, intent(to="tunnel-2"))
        assert foreseen.plan is None
        shown = "\n".join(foreseen.lines())
        assert "Escalate" in shown
        assert "needs         passing probes of tunnel-2" in shown
        assert preview(link, intent(to="tunnel-2", override=True, reason="x")).plan is not None

    def test_a_rollback_needs_to_know_what_was_active(self):
        """The reading does not hold it; whoever asks supplies it."""
        asked = intent("rollback", to_generation=2)
        assert preview(reading(), asked).plan is None
        assert preview(reading(), asked, rollback_path="tunnel-2").plan.active_after == "tunnel-2"
