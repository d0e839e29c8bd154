"""Roles that AWS acts in, or a machine of ours: no call of theirs is recorded here, so each action stands with its reason.

Functions, state machines, rules, the container's task and the commercial principal are held against recorded calls
(`tests/workflows/test_permissions.py`, `test_edge_permissions.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.permissions import of_role
from infra.rendering import EVERYTHING, Rendered, render
from tests.templates import REGION

SIDES = {side: render(side, parameters) for side, parameters in EVERYTHING.items()}
ARN = {
    "govcloud": "arn:aws-us-gov:{}:us-gov-west-1:111111111111:",
    "commercial": "arn:aws:{}:us-east-1:222222222222:",
}


@dataclass(frozen=True)
class Expected:
    """What a role is for. `actions`: why each is there; `on`: the one resource of each service but for those in
    `everywhere`, which know none; `managed`: policies of AWS's own, and why they are taken whole."""

    service: str
    actions: dict[str, str]
    on: dict[str, str] = field(default_factory=dict)
    everywhere: frozenset[str] = frozenset()
    managed: dict[str, str] = field(default_factory=dict)


FLOW_LOGS = Expected(
    service="vpc-flow-logs.amazonaws.com",
    actions={
        "logs:CreateLogStream": "a stream for each network interface",
        "logs:DescribeLogStreams": "it looks whether an interface has one",
        "logs:PutLogEvents": "the records",
    },
    on={"logs": "log-group:/twinspan/bedrock/flow:*"},
)


def router(zone: str) -> Expected:
    return Expected(
        service="ec2.amazonaws.com",
        actions={
            "cloudwatch:PutMetricData": "memory and disk, by the CloudWatch agent",
            "logs:CreateLogStream": "the agent makes the router's two streams",
            "logs:PutLogEvents": "what the daemons wrote, and the tunnels' metrics in their embedded form",
            "secretsmanager:GetSecretValue": "its own configuration, each minute",
        },
        on={
            "logs": "log-group:/twinspan/bedrock/routers:*",
            "secretsmanager": f"secret:twinspan/bedrock/router-{zone}-AbCdEf",
        },
        everywhere=frozenset({"cloudwatch:PutMetricData"}),
        managed={
            "AmazonSSMManagedInstanceCore": "sessions instead of SSH; AWS keeps it as its agent needs it"
        },
    )


EXPECTED = {
    ("commercial", "FlowLogRole"): FLOW_LOGS,
    ("commercial", "RouterRoleA"): router("a"),
    ("commercial", "RouterRoleB"): router("b"),
    ("govcloud", "FlowLogRole"): FLOW_LOGS,
    ("govcloud", "TrailRole"): Expected(
        service="cloudtrail.amazonaws.com",
        actions={
            "logs:CreateLogStream": "a stream for each region",
            "logs:PutLogEvents": "the trail's events, from which metrics are drawn",
        },
        on={"logs": "log-group:/twinspan/bedrock/trail:*"},
    ),
    ("govcloud", "ApiLogWriterRole"): Expected(
        service="apigateway.amazonaws.com",
        actions={},
        managed={
            "service-role/AmazonAPIGatewayPushToCloudWatchLogs": (
                "one role for all APIs of the account and region, whose groups are not this link's to name; API Gateway "
                "accepts a role for this only with what that policy permits"
            )
        },
    ),
    ("govcloud", "EdgeStartRole"): Expected(
        service="ecs-tasks.amazonaws.com",
        actions={
            "ecr:BatchCheckLayerAvailability": "Fargate pulls the image",
            "ecr:BatchGetImage": "the same",
            "ecr:GetAuthorizationToken": "the same; a token is for the whole registry",
            "ecr:GetDownloadUrlForLayer": "the same",
            "logs:CreateLogStream": "a stream for each task",
            "logs:PutLogEvents": "what the server prints",
        },
        on={"ecr": "repository/proxy", "logs": "log-group:/twinspan/bedrock/edge:*"},
        everywhere=frozenset({"ecr:GetAuthorizationToken"}),
    ),
}
each_role = pytest.mark.parametrize(("side", "name"), EXPECTED)


def roles(side: str) -> dict[str, Rendered]:
    return {n: item for n, item in SIDES[side].items() if item.type_name == "AWS::IAM::Role"}


def trusted(item: Rendered) -> tuple[str, dict[str, Any]]:
    """Who may act in a role, and under which conditions."""
    (statement,) = item.properties["AssumeRolePolicyDocument"]["Statement"]
    return str(statement["Principal"]["Service"]), dict(statement.get("Condition", {}))


@pytest.mark.parametrize("side", REGION)
def test_every_role_is_held_against_something(side: str) -> None:
    """Either its calls are recorded, or it stands here."""
    recorded = {"lambda.amazonaws.com", "states.amazonaws.com", "events.amazonaws.com"}
    left = {
        name
        for name, item in roles(side).items()
        if trusted(item)[0] not in recorded and name != "EdgeTaskRole"
    }
    assert left == {name for where, name in EXPECTED if where == side}


@each_role
def test_a_services_role_holds_what_it_is_for(side: str, name: str) -> None:
    """Exactly the actions with a reason, each on the one thing that it is about."""
    expected = EXPECTED[side, name]
    assert trusted(roles(side)[name])[0] == expected.service
    given = of_role(SIDES[side], name)
    assert given.actions == set(expected.actions)
    for statement in given.statements:
        for action in statement.actions:
            service = action.partition(":")[0]
            if action in expected.everywhere:
                assert statement.resources == ("*",)
            else:
                wanted = ARN[side].format(service) + expected.on[service]
                assert statement.resources == (wanted,)


@each_role
def test_policies_of_awss_own_are_the_named_ones(side: str, name: str) -> None:
    """They change without us, so each is taken knowingly."""
    attached = roles(side)[name].properties.get("ManagedPolicyArns", [])
    foreign = {arn.partition(":aws:policy/")[2] for arn in attached if ":iam::aws:" in arn}
    assert foreign == set(EXPECTED[side, name].managed)


@each_role
def test_a_service_acts_for_this_account_alone(side: str, name: str) -> None:
    """Nobody else's flow log, trail or task can be led into the role. EC2 and API Gateway's account setting hand over
    a role that somebody of this account must be allowed to pass, and send no source to ask for."""
    service, conditions = trusted(roles(side)[name])
    if service in ("ec2.amazonaws.com", "apigateway.amazonaws.com"):
        assert conditions == {}
    else:
        (asked,) = conditions["StringEquals"].items()
        account = ARN[side].split(":")[4]
        assert asked[0] in ("aws:SourceAccount", "aws:SourceArn")
        assert account in asked[1]
