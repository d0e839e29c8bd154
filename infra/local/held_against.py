"""The recorded calls of an embedded cloud held against what was deployed there: roles, users and endpoint policies.

The policies are read from the cloud's own IAM and its own VPC endpoints, so that what is judged is what the templates
came to, with the identifiers of real resources in it. A call of a function, or of the container edge, passes its role and
the policy of the VPC endpoint of that service; a call of a state machine or of EventBridge passes the role alone, for they stand in no VPC; a
call of the commercial user passes the user's policies and that side's endpoint.

Not guaranteed: resource policies and the key policies of KMS are not asked.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.local.call_record import RecordedCall
from infra.local.server import EmbeddedCloud
from infra.local.sides import COMMERCIAL, SIDES, Side
from infra.permissions import Permissions, of_documents

_ROUTE_TABLES = (
    ("route-table/", "describe_route_tables", "RouteTables", "RouteTableId"),
    (
        "transit-gateway-route-table/",
        "describe_transit_gateway_route_tables",
        "TransitGatewayRouteTables",
        "TransitGatewayRouteTableId",
    ),
)
# The service in an endpoint's name, where requests to it are signed for another.
_ENDPOINTS = {"bedrock": "bedrock-runtime"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`refused`: a sentence per call that AWS would refuse. `used`: the actions that each principal called, by its name."""

    refused: tuple[str, ...]
    used: Mapping[str, frozenset[str]]


class Deployed:
    """What a running cloud's deployment permits."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self._cloud = cloud

    def judge(self, calls: Sequence[RecordedCall]) -> Verdict:
        """Hold calls against the policies that they meet.

        Raises:
            UnknownOperator: a policy has a condition that cannot be evaluated.
        """
        used: dict[str, set[str]] = defaultdict(set)
        refused = [reason for call in calls for reason in self._reasons(call)]
        for call in calls:
            used[self.principals.get(call.principal, call.principal)].add(call.question.action)
        return Verdict(tuple(refused), {name: frozenset(of) for name, of in used.items()})

    def _reasons(self, call: RecordedCall) -> Iterator[str]:
        asked = call.question
        context = self._context(call)
        said = f"{self.principals.get(call.principal, call.principal)}: {asked.action} on {asked.resource}"
        given = self.permissions.get(call.principal, Permissions(()))
        if not given.allow(asked.action, asked.resource, context):
            yield f"{said}: its policies do not permit it"
        if call.principal in self.outside:
            return
        side = COMMERCIAL.side if ":user/" in call.principal else Side.GOVCLOUD
        passed = self._endpoints[side].get(call.service)
        if passed is None:
            yield f"{said}: there is no endpoint for {call.service}"
        elif not passed.allow(asked.action, asked.resource, context):
            yield f"{said}: the endpoint for {call.service} does not let it through"

    def _context(self, call: RecordedCall) -> Mapping[str, Sequence[str]]:
        asked, account = call.question, call.principal.split(":")[4]
        context: dict[str, Sequence[str]] = {"aws:PrincipalAccount": (account,), **asked.context}
        if ":user/" in call.principal and call.service in self._endpoint_ids[COMMERCIAL.side]:
            context["aws:SourceVpce"] = (self._endpoint_ids[COMMERCIAL.side][call.service],)
        for key, value in self._tags.get(asked.resource, {}).items():
            context[f"aws:ResourceTag/{key}"] = (value,)
        return context

    @cached_property
    def permissions(self) -> Mapping[str, Permissions]:
        """What each role and user has, by ARN."""
        found = {}
        for account in SIDES:
            iam = self._cloud.client("iam", account.side)
            for role in _pages(iam, "list_roles", "Roles"):
                name = {"RoleName": role["RoleName"]}
                documents = [
                    iam.get_role_policy(**name, PolicyName=policy)["PolicyDocument"]
                    for policy in iam.list_role_policies(**name)["PolicyNames"]
                ]
                for attached in iam.list_attached_role_policies(**name)["AttachedPolicies"]:
                    documents.append(_managed(iam, attached["PolicyArn"]))
                found[role["Arn"]] = of_documents(documents)
            for user in _pages(iam, "list_users", "Users"):
                name = {"UserName": user["UserName"]}
                documents = [
                    iam.get_user_policy(**name, PolicyName=policy)["PolicyDocument"]
                    for policy in iam.list_user_policies(**name)["PolicyNames"]
                ]
                for attached in iam.list_attached_user_policies(**name)["AttachedPolicies"]:
                    documents.append(_managed(iam, attached["PolicyArn"]))
                found[user["Arn"]] = of_documents(documents)
        return found

    @cached_property
    def functions(self) -> Mapping[str, str]:
        """A function's name by its role's ARN."""
        functions = _pages(self._cloud.client("lambda"), "list_functions", "Functions")
        return {function["Role"]: str(function["FunctionName"]) for function in functions}

    @cached_property
    def outside(self) -> Mapping[str, str]:
        """What acts in a role and stands in no VPC, by the role's ARN: state machines and the rules that start them."""
        steps, events = self._cloud.client("stepfunctions"), self._cloud.client("events")
        found = {}
        for machine in _pages(steps, "list_state_machines", "stateMachines"):
            described = steps.describe_state_machine(stateMachineArn=machine["stateMachineArn"])
            found[described["roleArn"]] = str(machine["name"])
        for rule in _pages(events, "list_rules", "Rules"):
            for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]:
                if "RoleArn" in target:
                    found[target["RoleArn"]] = "rules"
        return found

    @cached_property
    def containers(self) -> Mapping[str, str]:
        """The family of a task definition by the ARN of its task's role."""
        ecs = self._cloud.client("ecs")
        found = {}
        for arn in ecs.list_task_definitions(status="ACTIVE")["taskDefinitionArns"]:
            task = ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
            found[str(task["taskRoleArn"])] = str(task["family"])
        return found

    @property
    def principals(self) -> Mapping[str, str]:
        """All whose calls can be recorded, by ARN: functions, containers, state machines, rules, the commercial user."""
        users = {
            arn: arn.rpartition("/")[2] for arn in self.permissions if ":user/twinspan-" in arn
        }
        return {**self.functions, **self.containers, **self.outside, **users}

    @cached_property
    def _described(self) -> Mapping[Side, list[dict[str, Any]]]:
        return {
            account.side: self._cloud.client("ec2", account.side).describe_vpc_endpoints()[
                "VpcEndpoints"
            ]
            for account in SIDES
        }

    @cached_property
    def _endpoints(self) -> Mapping[Side, Mapping[str, Permissions]]:
        """What each side's endpoints let through, by the name that requests to them are signed for."""
        return {
            side: {
                _signed_for(one): of_documents([json.loads(one["PolicyDocument"])])
                for one in endpoints
            }
            for side, endpoints in self._described.items()
        }

    @cached_property
    def _endpoint_ids(self) -> Mapping[Side, Mapping[str, str]]:
        return {
            side: {_signed_for(one): one["VpcEndpointId"] for one in endpoints}
            for side, endpoints in self._described.items()
        }

    @cached_property
    def _tags(self) -> Mapping[str, Mapping[str, str]]:
        """The tags of what changes are limited to by tag: route tables, by ARN."""
        found = {}
        for account in SIDES:
            ec2 = self._cloud.client("ec2", account.side)
            for kind, call, key, identifier in _ROUTE_TABLES:
                for table in getattr(ec2, call)()[key]:
                    arn = f"arn:{account.partition}:ec2:{account.region}:{account.account_id}:{kind}{table[identifier]}"
                    found[arn] = {tag["Key"]: tag["Value"] for tag in table.get("Tags", [])}
        return found


def _signed_for(endpoint: Mapping[str, Any]) -> str:
    name = str(endpoint["ServiceName"]).rpartition(".")[2]
    return next((signed for signed, named in _ENDPOINTS.items() if named == name), name)


def _managed(iam: Any, arn: str) -> Mapping[str, Any]:
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)
    return dict(found["PolicyVersion"]["Document"])


def _pages(client: Any, operation: str, key: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate():
        yield from page[key]
