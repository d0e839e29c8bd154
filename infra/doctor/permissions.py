"""Check `permissions`: whether these credentials may do what a deployment does.

EC2's calls are made as dry runs, which go through everything but the change itself, service control policies
included. The other services have no dry run: IAM simulates the caller's policies.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, GOVCLOUD
from infra.doctor.findings import Finding, Result
from infra.doctor.identity import Identity

NAME = "permissions"
_ALLOWED, _DENIED = "DryRunOperation", "UnauthorizedOperation"
# Dry runs that need no resource to exist.
_DRY_RUNS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    GOVCLOUD: (
        ("create_vpc", {"CidrBlock": "10.0.0.0/16"}),
        ("create_transit_gateway", {}),
        ("create_customer_gateway", {"Type": "ipsec.1", "BgpAsn": 65001, "IpAddress": "192.0.2.1"}),
    ),
    COMMERCIAL: (
        ("create_vpc", {"CidrBlock": "172.16.0.0/16"}),
        ("allocate_address", {"Domain": "vpc"}),
        ("create_internet_gateway", {}),
    ),
}
_SIMULATED = {
    GOVCLOUD: (
        "apigateway:POST",
        "cloudformation:CreateChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:UpdateTerminationProtection",
        "cloudwatch:PutMetricAlarm",
        "dynamodb:CreateTable",
        "events:PutRule",
        "iam:CreatePolicy",
        "iam:CreateRole",
        "iam:PassRole",
        "kms:CreateKey",
        "lambda:CreateFunction",
        "lambda:InvokeFunction",
        "logs:CreateLogGroup",
        "s3:CreateBucket",
        "s3:PutObject",
        "secretsmanager:CreateSecret",
        "secretsmanager:PutSecretValue",
        "sns:CreateTopic",
        "sqs:CreateQueue",
        "ssm:PutParameter",
        "states:CreateStateMachine",
    ),
    COMMERCIAL: (
        "cloudformation:CreateChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:UpdateTerminationProtection",
        "cloudwatch:PutMetricAlarm",
        "ec2:RunInstances",
        "iam:CreateAccessKey",
        "iam:CreatePolicy",
        "iam:CreateUser",
        "iam:PassRole",
        "kms:CreateKey",
        "logs:CreateLogGroup",
        "secretsmanager:CreateSecret",
        "secretsmanager:PutSecretValue",
        "sns:CreateTopic",
    ),
}
_ASSUMED = re.compile(
    r"^arn:(?P<partition>[\w-]+):sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/"
)


def check(clients: Clients, side: str, who: Identity) -> Iterator[Finding]:
    """Dry runs of EC2, then a simulation of the rest."""
    yield from _dry_runs(clients.client("ec2", side), side)
    yield from _simulation(clients.client("iam", side), side, who)


def _dry_runs(ec2: Any, side: str) -> Iterator[Finding]:
    denied, allowed = [], []
    for operation, arguments in _DRY_RUNS[side]:
        action = "ec2:" + "".join(part.title() for part in operation.split("_"))
        try:
            getattr(ec2, operation)(DryRun=True, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == _ALLOWED:
                allowed.append(action)
            elif code == _DENIED:
                denied.append(action)
            else:
                # A quota, or an argument: the right to ask was there.
                yield Finding(
                    NAME,
                    side,
                    Result.WARNING,
                    f"a dry run of {action} answers {code}",
                    "see what EC2 means by that",
                )
    if denied:
        yield Finding(
            NAME,
            side,
            Result.FAILED,
            f"dry runs are refused: {', '.join(denied)}",
            "allow these actions, also in service control policies and permissions boundaries",
        )
    elif allowed:
        yield Finding(NAME, side, Result.OK, f"dry runs are allowed: {', '.join(allowed)}")


def _simulation(iam: Any, side: str, who: Identity) -> Iterator[Finding]:
    actions = _SIMULATED[side]
    if who.arn.endswith(":root"):
        yield Finding(
            NAME,
            side,
            Result.WARNING,
            "the account's root user may do all, and should do nothing",
            "use a role",
        )
        return
    try:
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=_principal(iam, who.arn), ActionNames=list(actions)
        )
        refused = [
            result["EvalActionName"]
            for page in pages
            for result in page["EvaluationResults"]
            if result["EvalDecision"] != "allowed"
        ]
    except (ClientError, BotoCoreError, ResponseParserError) as error:
        yield Finding(
            NAME,
            side,
            Result.UNKNOWN,
            f"IAM did not simulate: {str(error).splitlines()[0]}",
            "allow iam:SimulatePrincipalPolicy and iam:GetRole to learn of missing rights beforehand",
        )
        return
    if refused:
        yield Finding(
            NAME,
            side,
            Result.FAILED,
            f"not allowed by the caller's policies: {', '.join(sorted(refused))}",
            "allow these actions",
        )
    else:
        yield Finding(
            NAME, side, Result.OK, f"{len(actions)} actions are allowed, as IAM simulates"
        )


def _principal(iam: Any, arn: str) -> str:
    """What IAM simulates: of a session its role, whose path only IAM itself knows."""
    match = _ASSUMED.match(arn)
    if match is None:
        return arn
    return str(iam.get_role(RoleName=match["role"])["Role"]["Arn"])
