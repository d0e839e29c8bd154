"""The sweep: a healthy fleet costs one execution, and no link that needs a run goes without one."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from botocore.client import BaseClient

from control_plane.operations.sweep import batches, glance
from control_plane.settings import Settings
from control_plane.wiring import Control
from infra import costs
from infra.local.lambda_runtime import Fault, FaultKind
from infra.packaging import distributed_sweep
from tests.embedded_cloud.conftest import eventually
from tests.workflows.conftest import Link


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


def test_a_changed_policy_reaches_the_proxies(link):
    """A sweep finds that proxies follow an older policy: a run tells them, traffic stays, and the next sweep is quiet."""
    generation, active = link.published
    assert infer(link) == 200
    link.set_policy(allowed_models=["amazon.*"], resend="never")
    _, [run] = link.sweep()
    kinds = [entry.kind for entry in link.entries(execution=run.name)]
    assert kinds == ["decided", "planned", "probed", "published", "verified", "outcome"]
    assert link.published == (generation + 1, active)
    assert (link.config["allowed_models"], link.config["resend"]) == (["amazon.*"], "never")
    eventually(lambda: infer(link) == 403)
    assert link.sweep()[1] == []
    link.set_policy()
    link.sweep()
    assert link.config.keys().isdisjoint({"allowed_models", "resend"})
    eventually(lambda: infer(link) == 200)


def infer(link: Link) -> int:
    """The status of a call through the running proxy."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "hello"}]}]})
    url = f"{link.environment.proxy_url}/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse"
    headers = {"Content-Type": "application/json"}
    with urllib3.PoolManager() as pool:
        return pool.request("POST", url, body=body, headers=headers, retries=False).status


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


@pytest.fixture
def fleet(link):
    """Twenty-nine more links, as well as this one, whose network they share: more than a batch."""
    names = [f"link-{number}" for number in range(29)]
    for name in names:
        link.register(name)
        link.copy_documents(name)
    yield link
    for name in names:
        link.unregister(name)


@contextmanager
def swept_by(link: Link, definition: str) -> Iterator[None]:
    """The deployed sweep with another definition, in its own role."""
    steps, arn = link.client("stepfunctions"), link.sweep_arn
    before = steps.describe_state_machine(stateMachineArn=arn)["definition"]
    steps.update_state_machine(stateMachineArn=arn, definition=definition)
    try:
        yield
    finally:
        steps.update_state_machine(stateMachineArn=arn, definition=before)


def calls_of(link, monkeypatch, action):
    """(service, operation) of every AWS call that this makes, counted."""
    for variable, value in link.environment.exports().items():
        monkeypatch.setenv(variable, value)
    function = link.client("lambda").get_function_configuration(
        FunctionName="twinspan-bedrock-glance"
    )
    for variable, value in function["Environment"]["Variables"].items():
        monkeypatch.setenv(variable, value)
    counted = Counter()
    original = BaseClient._make_api_call

    def counting(client, operation, parameters):
        counted[client.meta.service_model.service_name, operation] += 1
        return original(client, operation, parameters)

    monkeypatch.setattr(BaseClient, "_make_api_call", counting)
    action(Control.from_settings(Settings.load()))
    return counted


def test_a_healthy_fleet_costs_a_handful_of_transitions(fleet):
    """As many as the statement of costs counts: six, and three for each further batch."""
    _, started = fleet.sweep()
    assert started == []
    swept, _ = fleet.sweep()
    assert len(swept.states) == costs.TRANSITIONS_A_SWEEP + costs.TRANSITIONS_A_FURTHER_BATCH


def test_a_healthy_fleet_costs_as_few_calls_as_batching_allows(fleet, monkeypatch):
    """Calls grow with batches, pages and credentials, not with links."""

    def sweep(control):
        found = batches(control)
        assert [len(batch) for batch in found] == [25, 5]
        assert glance(control, found[0], control.now()) == []

    assert calls_of(fleet, monkeypatch, sweep) == {
        ("ssm", "GetParametersByPath"): 4,  # three pages of ten, and an empty one
        ("ssm", "GetParameters"): 8,  # of ten names each
        ("dynamodb", "BatchGetItem"): 1,
        ("dynamodb", "BatchWriteItem"): 1,
        ("cloudwatch", "DescribeAlarms"): 1,
        ("secretsmanager", "GetSecretValue"): 1,
        ("ec2", "DescribeVpnConnections"): 1,
        ("ec2", "DescribeVpcEndpoints"): 1,
        ("ec2", "DescribeRouteTables"): 2,  # one for each side
    }


@pytest.mark.proof
def test_a_distributed_sweep_finds_the_same(fleet, tmp_path):
    """For fleets beyond one execution's limits each batch runs in an execution of its own."""
    text = distributed_sweep(tmp_path).path.read_text().replace("${Partition}", "aws-us-gov")
    for step in ("list-links", "glance"):
        name = "".join(part.title() for part in step.split("-"))
        arn = fleet.client("lambda").get_function_configuration(
            FunctionName=f"twinspan-bedrock-{step}"
        )["FunctionArn"]
        text = text.replace(f"${{{name}FunctionArn}}", arn)
    with swept_by(fleet, text):
        fleet.delete_route(fleet.return_route(1))
        swept, started = fleet.sweep()
    assert swept.status == "SUCCEEDED"
    assert len(started) == 30, "all share the route that is gone"


def test_the_readme_states_what_a_healthy_link_costs():
    """The table there is the one that `python -m infra.costs` prints."""
    readme = (Path(costs.__file__).parents[1] / "README.md").read_text()
    assert costs.table(costs.SIZES) in readme
