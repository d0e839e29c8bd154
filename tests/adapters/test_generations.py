"""Generations in DynamoDB, and publications found again in the journal."""

from __future__ import annotations

from datetime import UTC, datetime

from control_plane.adapters.alarms import Alarms
from control_plane.adapters.aws import AwsSession
from control_plane.adapters.generations import Generations
from control_plane.adapters.journal import Journal
from control_plane.adapters.lease import LeaseStore
from control_plane.domain.journal import EntryKind
from tests.adapters.conftest import TABLE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_generation_is_claimed_once_and_the_number_only_grows(session: AwsSession) -> None:
    """Neither the same number nor a lower one can be had again, by anybody."""
    generations = Generations(session, TABLE)
    assert generations.highest("bedrock") == 0
    assert generations.claim("bedrock", 2)
    assert generations.claim("bedrock", 5)
    assert not generations.claim("bedrock", 5)
    assert not generations.claim("bedrock", 3)
    assert generations.highest("bedrock") == 5
    assert generations.claim("other", 2), "each link counts for itself"


def test_publications_are_found_newest_first_among_all_other_entries(session: AwsSession) -> None:
    """However much was journaled since."""
    journal = Journal(session, TABLE)
    for number in range(1, 7):
        kind = EntryKind.PUBLISHED if number % 2 else EntryKind.NOTED
        journal.append("bedrock", kind, f"run-{number}", {"generation": number}, NOW)
    found = [entry.data["generation"] for entry in journal.of_kind("bedrock", EntryKind.PUBLISHED)]
    assert found == [5, 3, 1]


def test_trouble_that_is_left_with_a_holder_is_found_by_it_or_by_the_next(
    session: AwsSession,
) -> None:
    """Even if the holder dies, or gives up with a signal still pending."""
    leases = LeaseStore(session, TABLE)
    first = leases.acquire("bedrock", "run-1", 30, NOW)
    assert first is not None
    assert leases.leave_signal("bedrock", "an alarm is ALARM")
    assert leases.leave_signal("bedrock")
    assert not leases.release(first)
    assert leases.take_pending(first) == "an alarm is ALARM"
    assert leases.leave_signal("bedrock", "another one")
    assert leases.release(first, even_if_pending=True)
    second = leases.acquire("bedrock", "run-2", 30, NOW)
    assert second is not None
    assert second.trouble == "another one"
    assert leases.release(second)
    third = leases.acquire("bedrock", "run-3", 30, NOW)
    assert third is not None
    assert third.trouble is None


def test_alarms_that_ring_are_found_by_the_links_prefix_or_by_name(session: AwsSession) -> None:
    """Others that the policy does not name are not among them. (moto takes no state beside a prefix.)"""
    cloudwatch = session.client("cloudwatch")
    for name in ("twinspan-bedrock-tunnel-1-down", "payroll", "other"):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="N",
            MetricName="M",
            Statistic="Minimum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
        )
    for name in ("twinspan-bedrock-tunnel-1-down", "payroll", "other"):
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    alarms = Alarms(session)
    assert alarms.ringing("twinspan-bedrock-", ()) == ("twinspan-bedrock-tunnel-1-down",)
    both = alarms.ringing("twinspan-bedrock-", ("payroll",))
    assert both == ("payroll", "twinspan-bedrock-tunnel-1-down")
