"""Each function's role suffices for what the function calls, and is no wider than that.

The link is brought into every situation that makes one of its functions call something else, on the embedded cloud,
which records what IAM would be asked. `conftest.environment` holds every other test's calls against the roles too.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
import urllib.error
import urllib.request
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.config import Config

from control_plane.domain.changes import Change
from control_plane.domain.decide import DecisionKind
from control_plane.domain.plan import Plan
from control_plane.domain.signals import Signal, SignalKind
from control_plane.domain.topology import SideName, TableKind
from control_plane.operations.run import HeldLease, Run
from infra.iam_actions import Question
from infra.local.call_record import RecordedCall
from infra.local.environment import Environment
from infra.local.held_against import Deployed, Verdict
from infra.local.lambda_runtime import FaultKind
from tests.events.reading import event, pack, unpack
from tests.workflows.conftest import REPORT, SWEEP, Link

pytestmark = pytest.mark.proof
MODEL_ID = "anthropic.claude-3-5-sonnet-20241022-v2:0"
# What AWS itself does in a role, which no function calls: by what the role is for, and why it is there.
BY_LAMBDA = {
    "ec2:AssignPrivateIpAddresses": "Lambda gives a function in a VPC its interfaces with the function's role",
    "ec2:CreateNetworkInterface": "the same",
    "ec2:DeleteNetworkInterface": "the same",
    "ec2:DescribeNetworkInterfaces": "the same",
    "ec2:DescribeSubnets": "the same",
    "ec2:UnassignPrivateIpAddresses": "the same",
    "logs:CreateLogStream": "Lambda ships what a function prints with the function's role",
    "logs:PutLogEvents": "the same",
    "xray:PutTelemetryRecords": "the tracing daemon beside the function",
    "xray:PutTraceSegments": "the same",
}
BY_STEP_FUNCTIONS = {
    "logs:CreateLogDelivery": "Step Functions sets up the delivery of its logs with the machine's role",
    "logs:DeleteLogDelivery": "the same",
    "logs:DescribeLogGroups": "the same",
    "logs:DescribeResourcePolicies": "the same",
    "logs:GetLogDelivery": "the same",
    "logs:ListLogDeliveries": "the same",
    "logs:PutResourcePolicy": "the same",
    "logs:UpdateLogDelivery": "the same",
    "states:DescribeExecution": "a distributed map follows its batches with the machine's role",
    "states:StopExecution": "the same",
    "xray:GetSamplingRules": "Step Functions traces with the machine's role",
    "xray:GetSamplingTargets": "the same",
    "xray:PutTelemetryRecords": "the same",
    "xray:PutTraceSegments": "the same",
}
# What a function may call and does not in any situation that can be brought about here.
NEVER_MET = {
    (
        "decide",
        "s3:GetObject",
    ): "evidence is read the same wherever it lies, an observation of many paths too",
    ("plan", "s3:PutObject"): "a proof of very many violations would be too large for the table",
}


def invoke(link: Link, function: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Run a function by itself; its answer."""
    answer = link.client("lambda").invoke(
        FunctionName=f"twinspan-bedrock-{function}", Payload=json.dumps(payload)
    )
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return dict(said)


def every_kind_of_change(link: Link) -> tuple[Change, ...]:
    """A route made, replaced and deleted, in each kind of table that a plan may touch; undone in reverse the same."""
    there = link.environment.deployment
    attachments = [
        one["TransitGatewayAttachmentId"]
        for one in link.client("ec2").describe_transit_gateway_attachments()[
            "TransitGatewayAttachments"
        ]
    ]
    interface = link.client("ec2").describe_network_interfaces(
        Filters=[{"Name": "vpc-id", "Values": [there.govcloud["VpcId"]]}]
    )["NetworkInterfaces"][0]["NetworkInterfaceId"]
    routers = [there.commercial[f"RouterInterface{zone}Id"] for zone in "AB"]
    gateway = there.govcloud["TransitGatewayId"]
    tables = (
        (SideName.GOVCLOUD, TableKind.VPC, "FunctionRouteTableId", [gateway, interface]),
        (SideName.GOVCLOUD, TableKind.TRANSIT_GATEWAY, "TransitGatewayRouteTableId", attachments),
        (SideName.COMMERCIAL, TableKind.VPC, "PrivateRouteTableAId", routers),
    )
    changes = []
    for side, kind, name, (first, second, *_) in tables:
        table = getattr(there, side)[name]
        steps = [None, first, second, None]
        for before, after in itertools.pairwise(steps):
            changes.append(Change(side, kind, table, "198.51.100.0/24", before, after))
    return tuple(changes)


def plan_of(link: Link) -> Plan:
    return Plan(
        "bedrock",
        DecisionKind.REPAIR,
        "tunnel-1",
        "tunnel-1",
        "tunnel-1",
        link.config["generation"],
        every_kind_of_change(link),
    )


def begun(link: Link, plan: Plan) -> tuple[dict[str, Any], Any]:
    """A run that holds the lease and has stored its plan: what Apply is given, and the lease."""
    lease = link.leases.acquire("bedrock", "a run", 30, link.now())
    assert lease is not None
    link.state.save_plan(plan, "a run", lease)
    held = HeldLease(holder="a run", token=lease.token, expires_at=lease.expires_at)
    signal = Signal(kind=SignalKind.INTENT, link_id="bedrock", about="a test")
    run = Run(execution="a run", link_id="bedrock", signal=signal, lease=held)
    document = {
        "run": json.loads(run.model_dump_json()),
        "observation_ref": "0" * 64,
        "health": {},
        "active_path": "tunnel-1",
        "generation": plan.generation_before,
        "decision": {},
        "action": "act",
        "plan": plan.to_dict(),
        "proof_ref": "0" * 64,
        "verdict": "proved",
        "changes_routes": True,
        "publishes": False,
    }
    return document, lease


def change_routes(link: Link) -> None:
    """Apply and undo; then apply and die, so that the next run undoes. Returns with the tables as they were."""
    tables = link.route_tables()
    document, lease = begun(link, plan_of(link))
    assert invoke(link, "apply", document)["applied"]
    invoke(link, "roll-back", {**document, "error": {"Error": "ATest", "Cause": "a test"}})
    assert link.leases.release(lease, even_if_pending=True)
    assert link.route_tables() == tables
    document, lease = begun(link, plan_of(link))
    invoke(link, "apply", document)
    assert link.leases.release(lease, even_if_pending=True)
    assert "Recover" in link.run(SWEEP).states
    assert link.route_tables() == tables


def drill_and_return(link: Link) -> None:
    """A drill that a later look ends, and one that an alarm forbids."""
    link.intent("drill", to="tunnel-2", duration_seconds=60)  # without override: alarms are asked
    link.intent("drill", to="tunnel-2", duration_seconds=1, override=True, reason="a test")
    drill = link.state.history("bedrock").drill
    assert drill is not None
    time.sleep(max(0.0, drill.until.timestamp() - time.time()))
    assert link.run(SWEEP).status == "SUCCEEDED"
    assert link.entries("drill")[-1].data["outcome"] == "passed"


def raise_an_alert(link: Link) -> None:
    """A path that has been slow for as long as the policy lets it be without a word."""
    long_ago = link.now() - timedelta(days=1)
    history = link.state.history("bedrock")
    slow = history.path("tunnel-1").model_copy(update={"slow_since": long_ago, "seen_at": None})
    link.store_history(history.model_copy(update={"paths": {"tunnel-1": slow}}))
    link.set_policy(latency={"warning_ms": 0.001, "critical_ms": 0.002, "alert_after_seconds": 60})
    link.run(SWEEP)
    link.set_policy()


def die_with_the_lease(link: Link) -> None:
    """A first step that dies once it holds the lease: the start is rejected, and the lease given back."""
    link.fail_next("acquire-lease", FaultKind.KILL_AFTER)
    assert "Reject" in link.run(SWEEP).states
    assert link.lease_holder is None


def leave_it_to_an_operator(link: Link) -> None:
    """A run that had published, and could neither be verified nor undone."""
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    link.fail_next("roll-back", FaultKind.RAISE, times=1)
    assert link.intent("failover", to="tunnel-2").error == "NeedsOperator"
    assert link.resolve()


def ask_a_person(link: Link) -> None:
    """Asked, answered, and asked again when the world has changed: questions are made and taken back."""
    link.set_policy(mode="approve", approval_seconds=60)
    link.environment.faults.cut("tunnel-1")
    arn = link.start(SWEEP)
    name = arn.rsplit(":", 1)[-1]
    while (question := link.state.approval("bedrock", name)) is None:
        assert (
            link.client("stepfunctions").describe_execution(executionArn=arn)["status"] == "RUNNING"
        )
    link.client("stepfunctions").send_task_success(taskToken=question["task_token"], output="{}")
    assert link.finish(arn).status == "SUCCEEDED"
    link.set_policy()
    link.environment.faults.heal("all")


def tell_of_tunnels(link: Link) -> None:
    """Log lines of a tunnel of the link, and of one that is nobody's."""
    path = link.environment.deployment.topology["paths"][0]
    (address, *_) = [tunnel["OutsideIpAddress"] for tunnel in link.client("ec2").describe_vpn_connections(
        VpnConnectionIds=[path["vpn_connection_id"]])["VpnConnections"][0]["VgwTelemetry"]]  # fmt: skip
    payload = unpack(event("vpn-log-ike-down"))
    payload["logStream"] = f"{path['vpn_connection_id']}-{address}"
    assert invoke(link, "vpn-logs", pack(payload))["told"]
    payload["logStream"] = "vpn-0nobodys-192.0.2.9"
    assert invoke(link, "vpn-logs", pack(payload))["ignored"]


def fill_both_accounts(environment: Environment) -> None:
    """Others' prefix lists, too long to keep beside the state, and a transit gateway that is not the link's."""
    for side in ("govcloud", "commercial"):
        ec2 = environment.client("ec2", side)
        for number in range(2):
            entries = [
                {
                    "Cidr": f"203.{n // 250}.{n % 250}.0/24",
                    "Description": secrets.token_urlsafe(190),
                }
                for n in range(1000)
            ]
            ec2.create_managed_prefix_list(
                PrefixListName=f"others-{number}",
                MaxEntries=1000,
                AddressFamily="IPv4",
                Entries=entries,
            )
    ec2 = environment.client("ec2", "commercial")
    gateway = ec2.create_transit_gateway()["TransitGateway"]["TransitGatewayId"]
    ec2.create_transit_gateway_route_table(TransitGatewayId=gateway)


def sweep_a_route_of_the_gateway(link: Link) -> None:
    """A link whose path requires a static route in a transit gateway's table, which is not there."""
    link.register("two")
    link.copy_documents("two")
    stored = link.client("ssm").get_parameter(Name="/twinspan/two/topology")
    topology = json.loads(stored["Parameter"]["Value"])
    [change, *_] = [
        c for c in every_kind_of_change(link) if c.table_kind is TableKind.TRANSIT_GATEWAY
    ]
    topology["paths"][0]["required_routes"].append(
        {
            "side": "govcloud",
            "table_kind": "transit-gateway",
            "table_id": change.table_id,
            "destination": change.destination,
            "target": change.after,
        }
    )
    link.client("ssm").put_parameter(
        Name="/twinspan/two/topology", Value=json.dumps(topology), Type="String", Overwrite=True
    )
    try:
        reasons = [" ".join(one["reasons"]) for one in link.glance() if one["link_id"] == "two"]
        assert change.destination in reasons[0], reasons
    finally:
        link.unregister("two")


def infer(link: Link) -> None:
    """Whole and streamed, through a path that then fails, so that the proxy tells of it."""
    bedrock = boto3.client(
        "bedrock-runtime",
        endpoint_url=link.environment.proxy_url,
        region_name="us-gov-west-1",
        aws_access_key_id="anybody",
        aws_secret_access_key="anybody",
        config=Config(read_timeout=20, retries={"total_max_attempts": 1}),
    )
    asked = {"modelId": MODEL_ID, "messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    bedrock.converse(**asked)
    list(bedrock.converse_stream(**asked)["stream"])
    link.environment.faults.cut("tunnel-1")
    for _ in range(6):
        bedrock.converse(**asked)
    link.environment.faults.heal("all")
    bedrock.close()


def show_an_unknown_key(link: Link) -> None:
    """At API Gateway, which asks the authorizer."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            urllib.request.Request(
                f"{link.environment.api_url}/model/{MODEL_ID}/converse",
                data=b"{}",
                headers={"Authorization": "Bearer unknown"},
            )
        )
    assert refused.value.code == 401
    refused.value.close()


@pytest.fixture(scope="module")
def verdict(environment: Environment, link_as_left: Link) -> Verdict:
    """What everybody called in every situation, held against what was deployed."""
    link = link_as_left
    link.reset()
    infer(link)
    show_an_unknown_key(link)
    fill_both_accounts(environment)
    link.intent("failover", to="tunnel-2")
    link.intent("failback", override=True, reason="a test")
    link.intent("rollback", to_generation=link.published[0] - 1)
    link.reset()
    drill_and_return(link)
    raise_an_alert(link)
    die_with_the_lease(link)
    link.run({"intent": "no such thing", "link_id": "bedrock"})
    link.run(event("parameter-change-routing-config"))
    link.reset()
    link.fail_next("proxy", FaultKind.RAISE, times=2)
    assert link.intent("failover", to="tunnel-2").error == "RolledBack"
    link.reset()
    change_routes(link)
    leave_it_to_an_operator(link)
    link.run(SWEEP)
    link.reset()
    link.client("ssm").delete_parameter(Name="/twinspan/bedrock/routing-config")
    link.run(SWEEP)
    link.reset()
    ask_a_person(link)
    link.reset()
    link.ring(*link.alarms(), state="OK")
    link.sweep()
    link.delete_route(link.return_route(1))
    link.sweep()
    sweep_a_route_of_the_gateway(link)
    invoke(link, "canary", {})
    link.environment.faults.cut("tunnel-1")
    link.environment.faults.cut("tunnel-2")
    invoke(link, "canary", {})
    link.run(SWEEP)
    link.environment.faults.heal("all")
    tell_of_tunnels(link)
    entry = {
        "Source": REPORT["source"],
        "DetailType": REPORT["detail-type"],
        "Detail": json.dumps(REPORT["detail"]),
    }
    link.client("events").put_events(Entries=[entry])
    assert environment.cloud.wait_until_idle(120)
    record = environment.cloud.calls
    assert record is not None
    return Deployed(environment.cloud).judge(record.calls)


def test_everything_that_is_called_is_permitted(verdict: Verdict) -> None:
    """By the caller's own policies and by the endpoint's that the call goes through, conditions included."""
    assert verdict.refused == ()


def test_everything_that_is_permitted_is_called(verdict: Verdict, environment: Environment) -> None:
    """A role holds no action that its function never calls, beside what AWS does in it and what is argued above."""
    deployed, unused = Deployed(environment.cloud), {}
    for arn, name in deployed.principals.items():
        by_aws = BY_LAMBDA if arn in deployed.functions else BY_STEP_FUNCTIONS
        short = name.removeprefix("twinspan-bedrock-")
        called = verdict.used.get(name, frozenset()) | {a for who, a in NEVER_MET if who == short}
        if left := deployed.permissions[arn].actions - called - set(by_aws):
            unused[short] = sorted(left)
    assert unused == {}


def test_what_is_argued_is_permitted_and_never_called(
    verdict: Verdict, environment: Environment
) -> None:
    """An exception that no longer excuses anything is taken off the list."""
    deployed = Deployed(environment.cloud)
    arns = {
        name.removeprefix("twinspan-bedrock-"): arn for arn, name in deployed.principals.items()
    }
    for who, action in NEVER_MET:
        assert action in deployed.permissions[arns[who]].actions
        assert action not in verdict.used[f"twinspan-bedrock-{who}"]


def test_every_function_was_called(verdict: Verdict, environment: Environment) -> None:
    """No role passes for want of calls."""
    assert set(Deployed(environment.cloud).principals.values()) <= set(verdict.used)


OTHERS = [
    pytest.param(
        "plan",
        "dynamodb",
        Question("dynamodb:PutItem", "arn:aws-us-gov:dynamodb:us-gov-west-1:111111111111:table/others"),
        id="another table",
    ),
    pytest.param(
        "glance",
        "dynamodb",
        Question(
            "dynamodb:BatchWriteItem",
            "arn:aws-us-gov:dynamodb:us-gov-west-1:111111111111:table/twinspan-state",
            {"dynamodb:LeadingKeys": ("GLANCE#bedrock", "LINK#bedrock")},
        ),
        id="another item",
    ),
    pytest.param(
        "apply",
        "ec2",
        Question("ec2:CreateRoute", "arn:aws-us-gov:ec2:us-gov-west-1:111111111111:route-table/rtb-0others"),
        id="a table without the tags",
    ),
    pytest.param(
        "canary",
        "events",
        Question(
            "events:PutEvents",
            "arn:aws-us-gov:events:us-gov-west-1:111111111111:event-bus/default",
            {"events:source": ("twinspan.proxy",)},
        ),
        id="another's event",
    ),
    pytest.param(
        "publish",
        "ssm",
        Question("ssm:PutParameter", "arn:aws-us-gov:ssm:us-gov-west-1:111111111111:parameter/twinspan/bedrock/policy"),
        id="another document",
    ),
    pytest.param("observe", "kms", Question("kms:CreateGrant", "*"), id="an action of nobody's"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "service", "question"), OTHERS)
def test_other_calls_are_refused(
    environment: Environment, function: str, service: str, question: Question
) -> None:
    """The judge is no rubber stamp: resource, tag, leading key and source are each looked at."""
    deployed = Deployed(environment.cloud)
    (arn,) = (a for a, name in deployed.functions.items() if name == f"twinspan-bedrock-{function}")
    assert deployed.judge([RecordedCall(arn, service, question)]).refused


def test_bedrock_is_not_called_but_through_the_endpoint(environment: Environment) -> None:
    """The commercial user's denial holds for every other way, unless the link has an internet path."""
    deployed = Deployed(environment.cloud)
    (user,) = (arn for arn in deployed.principals if ":user/" in arn)
    model = "arn:aws:bedrock:us-east-1::foundation-model/any"
    given = deployed.permissions[user]
    assert not given.allow("bedrock:InvokeModel", model, {"aws:SourceVpce": ("vpce-0others",)})
    assert not given.allow("bedrock:InvokeModel", model, {})
