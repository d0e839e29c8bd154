"""Many at once: one acts at a time, and nothing that was asked is lost."""

import pytest

from control_plane.domain.journal import EntryKind
from tests.workflows.conftest import REPORT, SWEEP

pytestmark = pytest.mark.proof


def generations(link, since: int) -> list[int]:
    """Every generation published after `since`, in the journal's order."""
    published = (entry.data["generation"] for entry in link.entries(EntryKind.PUBLISHED))
    return [generation for generation in published if generation > since]


def test_many_signals_of_one_outage_make_one_switch(link):
    """Ten events about the same failure, at once: one generation more, and nobody holds the lease."""
    before = link.config["generation"]
    link.environment.faults.cut("tunnel-1")
    ends = [link.finish(arn) for arn in [link.start(REPORT) for _ in range(10)]]
    assert {end.status for end in ends} == {"SUCCEEDED"}
    assert link.published == (before + 1, "tunnel-2")
    assert generations(link, before) == [before + 1]
    assert sum("Publish" in end.states for end in ends) == 1
    assert link.lease_holder is None
    assert link.state.open_plan("bedrock") is None


def test_a_manual_failover_during_an_automatic_one_waits_for_its_turn(link):
    """Both run to their end, one after the other, and traffic is where the operator asked."""
    before = link.config["generation"]
    link.environment.faults.cut("tunnel-1")
    automatic = link.start(SWEEP)
    manual = link.start(
        {"intent": "failover", "link_id": "bedrock", "to": "tunnel-2", "requested_by": "a test"}
    )
    ends = {link.finish(automatic).status, link.finish(manual).status}
    assert ends == {"SUCCEEDED"}
    assert link.config["active_path"] == "tunnel-2"
    assert generations(link, before) == list(range(before + 1, link.config["generation"] + 1))
    assert link.lease_holder is None


def test_opposite_intents_at_once_are_carried_out_one_after_the_other(link):
    """Each generation is published by one of them, in order, and the last one stands."""
    link.intent("failover", to="tunnel-2")
    before = link.config["generation"]
    asked = [
        {"intent": "failback", "link_id": "bedrock", "requested_by": "a test"},
        {"intent": "failover", "link_id": "bedrock", "to": "tunnel-2", "requested_by": "a test"},
    ]
    ends = [link.finish(arn) for arn in [link.start(intent) for intent in asked]]
    assert {end.status for end in ends} == {"SUCCEEDED"}
    made = [
        entry for entry in link.entries(EntryKind.PUBLISHED) if entry.data["generation"] > before
    ]
    assert [entry.data["generation"] for entry in made] == [
        before + 1 + n for n in range(len(made))
    ]
    assert (made[-1].data["generation"], made[-1].data["active_path"]) == link.published
    assert link.lease_holder is None
