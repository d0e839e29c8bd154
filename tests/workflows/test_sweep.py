"""The sweep: a healthy fleet costs one execution, and no link that needs a run goes without one."""

import json

import pytest

from infra.local.lambda_runtime import Fault, FaultKind


@pytest.fixture(autouse=True)
def _no_alarm_rings(link):
    """On this standing link no datapoint ever comes, which alarms take for failing."""
    link.ring(*link.alarms(), state="OK")


QUIET = ["ListLinks", "Batches", "Glance", "DoesAnyNeedARun", "AllIsWell", "Swept"]


def test_a_healthy_link_costs_no_run(link):
    """One glance, nothing started, nothing journaled."""
    entries = len(link.entries())
    swept, started = link.sweep()
    assert (swept.status, swept.states, started) == ("SUCCEEDED", QUIET, [])
    assert len(link.entries()) == entries


def test_a_dead_tunnel_that_told_nobody_is_found(link):
    """Telemetry alone is enough to start a run, which moves traffic."""
    link.environment.faults.cut("tunnel-1")
    assert link.environment.plane.wait_until(lambda plane: not plane.tunnels_are_up(), 10)
    _, [run] = link.sweep()
    assert run.name.startswith("sweep-")
    assert link.published[1] == "tunnel-2"


def test_an_alarm_that_rings_starts_a_run(link):
    """Also when its event was lost."""
    link.ring("twinspan-bedrock-tunnel-2-probe", state="ALARM")
    assert len(link.sweep()[1]) == 1


def test_an_alarm_of_another_link_starts_none_for_this_one(link):
    """One link's name may begin like another's."""
    link.register("bedrock-two")
    link.client("cloudwatch").put_metric_alarm(
        AlarmName="twinspan-bedrock-two-probe",
        Namespace="Twinspan",
        MetricName="PathProbeSuccess",
        Statistic="Minimum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="LessThanThreshold",
    )
    link.ring("twinspan-bedrock-two-probe", state="ALARM")
    try:
        needs = link.glance()
        assert [need["link_id"] for need in needs] == ["bedrock-two"]
        assert "UnknownLink" in needs[0]["reasons"][0] or "topology" in needs[0]["reasons"][0]
    finally:
        link.client("cloudwatch").delete_alarms(AlarmNames=["twinspan-bedrock-two-probe"])
        link.unregister("bedrock-two")


def test_a_deleted_route_that_told_nobody_is_put_back(link):
    """The sweep compares the required routes of both partitions."""
    link.delete_route(link.return_route(1))
    _, [run] = link.sweep()
    assert "Apply" in run.states
    assert "was failing" in link.glance()[0]["reasons"][0], "until a look has found it well again"
    link.sweep()
    assert link.glance() == []


@pytest.mark.parametrize("automation", ["manual", "automatic"])
def test_traffic_away_from_home_is_looked_after_if_it_may_return_by_itself(link, automation):
    """Looks count towards a return; one that is left to people costs nothing meanwhile."""
    link.intent("failover", to="tunnel-2", override=True, reason="a test")
    link.set_policy(failback={"automation": automation, "stable_seconds": 0})
    history = link.state.history("bedrock")
    assert history.last_switch is not None
    unasked = history.last_switch.model_copy(update={"by_hand": False})
    link.store_history(history.model_copy(update={"switches": (unasked,)}))
    assert [bool(need) for need in link.glance()] == [True] * (automation == "automatic")


def test_a_document_that_does_not_parse_is_brought_to_a_run(link):
    """A link that cannot be glanced at is not taken for a healthy one."""
    good = json.dumps(link.config)
    put = {"Name": "/twinspan/bedrock/routing-config", "Type": "String", "Overwrite": True}
    link.client("ssm").put_parameter(Value='{"generation": "nine"}', **put)
    try:
        _, started = link.sweep()
        assert len(started) == 1
    finally:
        link.client("ssm").put_parameter(Value=good, **put)


def test_a_glance_that_fails_for_good_looks_at_every_link_of_its_batch(link):
    """Not knowing is a reason to look."""
    link.fail_next("glance", Fault(FaultKind.KILL_BEFORE), times=4)
    swept, started = link.sweep()
    assert "LookAtAll" in swept.states
    assert len(started) == 1


def test_a_link_that_waits_for_an_operator_is_left_alone(link):
    """Nothing acts on it, so nothing is started for it either."""
    link.environment.faults.cut("tunnel-1")
    lease = link.leases.acquire("bedrock", "a run that gave up", 30, link.now())
    assert lease is not None
    link.leases.keep(lease, "a change could not be undone")
    assert link.sweep()[1] == []


def test_a_run_that_died_is_followed_by_another(link):
    """An open plan, or a lease that ran out, needs somebody to settle it."""
    lease = link.leases.acquire("bedrock", "a run that died", 0, link.now())
    assert lease is not None
    assert link.sweep()[1] == [], "within the allowance for clocks that differ"
    link.settle()
    _, [run] = link.sweep()
    assert run.status == "SUCCEEDED"
    assert link.lease_holder is None
