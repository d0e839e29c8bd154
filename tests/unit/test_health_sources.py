"""Where the inputs of a verdict come from: describe output, proxy reports, announced maintenance."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.stub import Stubber

from control_plane.adapters.maintenance import pending_maintenance
from control_plane.domain.health import assess
from control_plane.domain.history import LinkHistory
from control_plane.domain.observation import BreakerState, PendingMaintenance
from control_plane.domain.policy import Policy
from control_plane.domain.seen import see_paths
from control_plane.domain.signals import Signal, SignalKind, parse_event
from control_plane.domain.topology import SideName
from control_plane.operations.observe import newly_raised, reported
from tests.builders import NOON, later, probe, seen, topology

DUE = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def path_report(state: str, **detail: object) -> Signal:
    event = {
        "source": "twinspan.proxy",
        "detail-type": "Twinspan Path Report",
        "time": "2026-03-01T12:00:00Z",
        "id": "1",
        "detail": {
            "schema_version": 1,
            "link_id": "bedrock",
            "path": "tunnel-1",
            "state": state,
            **detail,
        },
    }
    signal = parse_event(event, {"bedrock": topology()})
    assert isinstance(signal, Signal)
    return signal


class TestProxyReports:
    """From the event to the observation."""

    @pytest.mark.parametrize("state", list(BreakerState))
    def test_a_report_keeps_its_state_its_time_and_its_reason(self, state):
        """What a proxy says reaches the verdict unchanged."""
        report = reported(path_report(state.value, reason="no_response"))
        assert report is not None
        assert (report.state, report.reported_at, report.reason) == (state, NOON, "no_response")

    def test_a_report_without_a_reason_is_one(self):
        """The reason is for people."""
        report = reported(path_report("open"))
        assert report is not None
        assert report.reason == ""

    @pytest.mark.parametrize(
        "signal",
        [
            Signal(kind=SignalKind.SWEEP, link_id="bedrock", about="the periodic sweep"),
            Signal(
                kind=SignalKind.PATH_REPORT,
                link_id="bedrock",
                about="breaker open",
                path="tunnel-1",
            ),
        ],
    )
    def test_what_is_no_report_or_has_no_time_is_not_taken_for_one(self, signal):
        """A report that cannot grow old would count for ever."""
        assert reported(signal) is None


class TestMaintenance:
    """`GetVpnTunnelReplacementStatus`, tunnel by tunnel."""

    @pytest.fixture
    def ec2(self):
        client = boto3.client("ec2", region_name="us-gov-west-1")
        with Stubber(client) as stub:
            client.stub = stub
            yield client
            stub.assert_no_pending_responses()

    @staticmethod
    def answers(ec2, *details):
        for number, detail in enumerate(details):
            ec2.stub.add_response(
                "get_vpn_tunnel_replacement_status",
                {"MaintenanceDetails": detail},
                {"VpnConnectionId": "vpn-1", "VpnTunnelOutsideIpAddress": f"203.0.113.{number}"},
            )

    @pytest.mark.parametrize(
        ("details", "due_at"),
        [
            ({"PendingMaintenance": "True", "MaintenanceAutoAppliedAfter": DUE}, DUE),
            ({"PendingMaintenance": "available"}, None),
            ({"MaintenanceAutoAppliedAfter": DUE}, DUE),
        ],
    )
    def test_what_is_announced_is_seen_with_its_date(self, ec2, details, due_at):
        """A word or a date is enough."""
        self.answers(ec2, details)
        [pending] = pending_maintenance(ec2, "vpn-1", ["203.0.113.0"])
        assert pending == PendingMaintenance(outside_ip="203.0.113.0", due_at=due_at)

    @pytest.mark.parametrize("word", ["None", "false", "No", ""])
    def test_every_word_for_nothing_means_nothing(self, ec2, word):
        """The reference does not say which one it is."""
        self.answers(ec2, {"PendingMaintenance": word}, {"LastMaintenanceApplied": DUE})
        assert pending_maintenance(ec2, "vpn-1", ["203.0.113.0", "203.0.113.1"]) == ()

    def test_a_refusal_is_not_an_answer(self, ec2):
        """Not allowed to ask is "not observed", and never "nothing pending"."""
        ec2.stub.add_client_error("get_vpn_tunnel_replacement_status", "UnauthorizedOperation")
        assert pending_maintenance(ec2, "vpn-1", ["203.0.113.0"]) is None


class TestDescriptions:
    """What EC2's lists say of a path."""

    CONNECTION = {"VpnConnectionId": "vpn-1", "State": "available", "TransitGatewayId": "tgw-1"}

    def first(self, **side):
        sides = {SideName.GOVCLOUD: {"VpnConnections": [self.CONNECTION], **side}}
        return see_paths(topology(), sides, {"tunnel-1": probe("tunnel-1", True)}, NOON)[0]

    @pytest.mark.parametrize(
        ("side", "state"),
        [
            ({"TransitGateways": [{"TransitGatewayId": "tgw-1", "State": "deleting"}]}, "deleting"),
            ({"TransitGateways": []}, "deleted"),
            ({}, None),
        ],
    )
    def test_the_gateway_of_the_connection_is_seen_missed_or_not_observed(self, side, state):
        """A gateway that a complete list lacks is gone; one that was not listed is unknown."""
        assert self.first(**side).gateway_state == state

    def test_every_source_carries_the_moment_of_the_look(self):
        """So that it can grow stale."""
        path = self.first()
        assert path.described_at == NOON
        assert path.probe is not None
        assert path.probe.taken_at == NOON

    def test_a_look_at_nothing_has_no_moment(self):
        """Sides that could not be read were not described."""
        assert see_paths(topology(), {}, {}, NOON)[0].described_at is None


class TestNewAlerts:
    """Each alert is told once."""

    def test_an_alert_is_new_at_the_look_that_raises_it_and_at_no_later_one(self):
        """Minute by minute, for a quarter of an hour of slow answers."""
        slow, policy = seen("tunnel-1", probe=probe("tunnel-1", True, 2500)), Policy()
        history, told = LinkHistory(), []
        for minute in range(16):
            now = later(60 * minute)
            verdicts = {"tunnel-1": assess(slow, policy.latency)}
            after = history.after_look(verdicts, policy, now)
            told += [(minute, alert) for alert in newly_raised(history, after, policy, now)]
            history = after
        assert told == [(10, "tunnel-1: latency above 2000 ms since 12:00:00Z")]
