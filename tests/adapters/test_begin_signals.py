"""Beginning a run: which signals are followed, what is journaled, and how often."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.journal import EntryKind, verify
from control_plane.errors import InvalidEvent
from control_plane.operations.begin import Begun, begin, reject
from control_plane.wiring import Control
from proxy.routing_config import RoutingConfig
from tests.adapters.conftest import routing_config, store
from tests.builders import NOON, later
from tests.events.reading import event, pack, unpack

# The golden events' own time is within a minute of noon.
NOW = later(60)


def start(control: Control, document: dict[str, Any], execution: str = "run-1") -> Begun:
    return begin(control, document, execution, None, NOW)


def told(control: Control, *kinds: EntryKind) -> list[tuple[str, dict[str, Any]]]:
    """(execution, data) of the entries of these kinds; the chain holds whenever anybody looks."""
    stored = control.journal.entries("bedrock")
    assert verify(stored, control.journal.head("bedrock") if stored else None) is None
    return [(entry.execution, entry.data) for entry, _ in stored if entry.kind in kinds]


def holder(control: Control) -> str | None:
    return control.leases.current("bedrock").get("holder")


def strange_tunnel(number: int = 9) -> dict[str, Any]:
    document = event("network-manager-bgp-down")
    document["resources"] = []
    document["detail"]["vpnConnectionArn"] = f"arn:aws-us-gov:ec2:r:1:vpn-connection/vpn-{number}"
    return document


# -- what matches nothing ----------------------------------------------------------------------------


def test_an_unknown_connection_is_journaled_once_however_often_it_is_heard_of(
    control: Control,
) -> None:
    """A stranger's flapping tunnel fills no journal, and takes no lease."""
    for number in range(5):
        begun = start(control, strange_tunnel(), f"run-{number}")
        assert begun.run is None
        assert "not a VPN connection of a known link" in begun.reason
    assert told(control, EntryKind.UNMATCHED) == [
        (
            "run-0",
            {
                "subject": "vpn-9",
                "reason": "VPN-CONNECTION-BGP-DOWN: not a VPN connection of a known link",
            },
        )
    ]
    assert holder(control) is None


def test_each_unknown_resource_is_journaled(control: Control) -> None:
    """That one stranger is known hides no other."""
    for run, number in enumerate((7, 8, 7, 9)):
        start(control, strange_tunnel(number), f"run-{run}")
    assert [data["subject"] for _, data in told(control, EntryKind.UNMATCHED)] == [
        "vpn-7",
        "vpn-8",
        "vpn-9",
    ]


def test_a_step_that_is_tried_again_after_a_crash_still_journals(control: Control) -> None:
    """Between the marker and the entry a crash loses nothing: the same execution may write again."""
    assert control.first_times.claim("bedrock", "unmatched vpn-9", "run-1")
    start(control, strange_tunnel(), "run-2")
    assert told(control, EntryKind.UNMATCHED) == []
    start(control, strange_tunnel(), "run-1")
    assert [execution for execution, _ in told(control, EntryKind.UNMATCHED)] == ["run-1"]


def test_aws_health_is_noted_once_for_each_status_and_starts_nothing(control: Control) -> None:
    """Health is on record, and no run comes of it."""
    closed = event("health-vpn-redundancy-loss")
    closed["detail"]["statusCode"] = "closed"
    for number, document in enumerate([event("health-vpn-redundancy-loss"), closed] * 2):
        assert start(control, document, f"run-{number}").run is None
    noted = told(control, EntryKind.NOTED)
    assert [execution for execution, _ in noted] == ["run-0", "run-1"]
    assert "AWS_VPN_REDUNDANCY_LOSS on vpn-1" in noted[0][1]["reason"]
    assert holder(control) is None


# -- what we did ourselves ---------------------------------------------------------------------------


def publish(control: Control, published: RoutingConfig) -> None:
    """What a run does: it publishes, and journals the publication."""
    store(control, "routing-config", published.to_json())
    data = {
        "generation": published.generation,
        "active_path": published.active_path,
        "reason": published.reason,
    }
    control.journal.append("bedrock", EntryKind.PUBLISHED, published.published_by, data, NOON)


def test_our_own_publication_starts_nothing(control: Control) -> None:
    """The echo of a publication that the journal tells of is no signal."""
    publish(control, routing_config())
    begun = start(control, event("parameter-change-routing-config"))
    assert begun.run is None
    assert "own run published" in begun.reason


def test_a_publication_that_is_not_journaled_yet_is_left_with_its_run(control: Control) -> None:
    """Between writing and journaling, the run that publishes holds the lease and looks once more."""
    assert control.leases.acquire("bedrock", "run-0", 60, NOW)
    store(control, "routing-config", routing_config().to_json())
    begun = start(control, event("parameter-change-routing-config"))
    assert begun.run is None
    assert begun.reason == "left with run-0, which holds the lease"
    assert control.leases.current("bedrock")["signal_pending"] is True


def test_nonsense_in_place_of_a_routing_config_is_looked_into(control: Control) -> None:
    """What cannot be read is not ours, and the run that looks says what is wrong with it."""
    publish(control, routing_config())
    store(control, "routing-config", "{}")
    assert start(control, event("parameter-change-routing-config")).run is not None


@pytest.mark.parametrize(
    "forged",
    [
        {"generation": 2},
        {"active_path": "tunnel-2"},
        {"published_by": "j.doe"},
        {"reason": "by hand"},
    ],
)
def test_someone_elses_publication_is_looked_into(control: Control, forged: dict[str, Any]) -> None:
    """A routing config that differs from the newest one journaled is another's."""
    publish(control, routing_config())
    store(control, "routing-config", routing_config(**forged).to_json())
    begun = start(control, event("parameter-change-routing-config"))
    assert begun.run is not None
    assert begun.run.signal.resource == "/twinspan/bedrock/routing-config"


def test_an_older_publication_of_ours_put_back_by_someone_is_looked_into(
    control: Control,
) -> None:
    """Only the newest publication is what should be there."""
    publish(control, routing_config())
    publish(control, routing_config(generation=2, active_path="tunnel-2", published_by="run-5"))
    store(control, "routing-config", routing_config().to_json())
    assert start(control, event("parameter-change-routing-config")).run is not None


def test_a_deleted_routing_config_is_looked_into(control: Control) -> None:
    """What is gone is not ours."""
    publish(control, routing_config())
    control.session.client("ssm").delete_parameter(Name="/twinspan/bedrock/routing-config")
    assert start(control, event("parameter-change-routing-config")).run is not None


@pytest.mark.parametrize("document", ["policy", "topology"])
def test_a_changed_policy_or_topology_is_looked_into(control: Control, document: str) -> None:
    """Twinspan writes neither by itself, so each change asks for a look."""
    change = event("parameter-change-policy")
    change["detail"]["name"] = f"/twinspan/bedrock/{document}"
    assert start(control, change).run is not None


def test_our_own_route_change_starts_nothing(control: Control) -> None:
    """The workflow does not run because the workflow ran."""
    assert start(control, event("cloudtrail-replace-route-own")).run is None
    assert control.journal.entries("bedrock") == []


# -- following ---------------------------------------------------------------------------------------


def test_a_signal_begins_a_run_and_is_journaled(control: Control) -> None:
    """Someone else's route change takes the lease, and the journal says who did what."""
    begun = start(control, event("cloudtrail-replace-route"))
    assert begun.run is not None
    assert holder(control) == "run-1"
    ((_, data),) = told(control, EntryKind.SIGNAL)
    assert data["about"] == "ReplaceRoute on rtb-gov 172.16.0.0/16 by j.doe"


def test_a_log_payload_begins_a_run_by_itself(control: Control) -> None:
    """A payload of the log subscription is a start like any other."""
    begun = start(control, event("vpn-log-ike-down"))
    assert begun.run is not None
    assert begun.run.signal.path == "tunnel-1"


def test_a_stale_signal_is_left_to_the_sweep(control: Control) -> None:
    """An event that was delivered late moves nothing."""
    late = begin(control, event("network-manager-bgp-down"), "run-1", None, later(3600))
    assert late.run is None
    assert "the sweep will look" in late.reason


def test_a_signal_from_a_clock_that_is_ahead_counts_as_of_now(control: Control) -> None:
    """A report dated tomorrow must not outlive those that follow it."""
    ahead = event("path-report-open")
    ahead["time"] = "2026-03-02T12:00:00Z"
    begun = start(control, ahead)
    assert begun.run is not None
    assert begun.run.signal.occurred_at == NOW


@pytest.mark.parametrize("kind", ["drill", "restore"])
def test_practice_and_restoration_are_begun_like_any_intent(control: Control, kind: str) -> None:
    """The run holds the lease and knows what it was asked for."""
    begun = start(control, event(f"intent-{kind}"))
    assert begun.run is not None
    assert begun.run.intent is not None
    assert begun.run.intent.intent == kind
    assert holder(control) == begun.run.execution


def test_an_unreadable_start_is_refused_and_its_rejection_can_be_stored(control: Control) -> None:
    """Even keys that are no proper text reach the journal as something storable."""
    strange = {"source": "aws.ec2", "\ud800": 1}
    with pytest.raises(InvalidEvent):
        start(control, strange)
    reject(control, strange, "run-1", "InvalidEvent", "event: detail: \ud800", NOW)
    ((_, data),) = told(control, EntryKind.REJECTED)
    assert data["fields"] == ["?", "source"]


def test_a_payload_about_a_strange_tunnel_is_unmatched_once(control: Control) -> None:
    """Log lines of a connection that was taken out of the topology are journaled once."""
    payload = unpack(event("vpn-log-ike-down"))
    payload["logStream"] = "vpn-9-203.0.113.99"
    for number in range(3):
        assert start(control, pack(payload), f"run-{number}").run is None
    assert [data["subject"] for _, data in told(control, EntryKind.UNMATCHED)] == ["vpn-9"]


def test_a_start_that_died_with_the_lease_gives_it_back_when_it_is_rejected(
    control: Control,
) -> None:
    """The next run need not wait for the lease to run out; somebody else's is not touched."""
    begun = start(control, event("alarm-single-metric"), "run-1")
    assert begun.run is not None
    reject(control, {}, "run-2", "Lambda.Unknown", "the process died", NOW)
    assert holder(control) == "run-1"
    reject(control, {}, "run-1", "Lambda.Unknown", "the process died", NOW)
    assert holder(control) is None
