"""Which resources and which tests stand behind each control: a table made from the rendered templates.

    python -m infra.compliance > docs/compliance.md

A row's resources are found by what they are and how they are set, so that a resource which loses the setting drops
out of the row, and a row that would be empty is an error. Controls: NIST SP 800-53 revision 5, those of the FedRAMP
High baseline that a link's own resources can carry.

Not guaranteed: an assessment. Policies, people, the organisation's other systems and AWS's own share are not here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from infra.rendering import EVERYTHING, Rendered, render

Has = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Means:
    """Resources that carry a control: all of a type whose properties pass."""

    type_name: str
    has: Has = lambda properties: True


@dataclass(frozen=True, slots=True)
class Control:
    """One row. `tests`: `file::test`, below `tests/`."""

    number: str
    title: str
    how: str
    means: tuple[Means, ...]
    tests: tuple[str, ...]


class NothingBehindIt(Exception):
    """A control that no resource carries."""

    def __init__(self, number: str) -> None:
        super().__init__(f"{number}: no resource of the templates carries it")


def _policy_denies_plaintext(properties: Mapping[str, Any]) -> bool:
    return "aws:SecureTransport" in str(properties["PolicyDocument"])


def _is_encrypted(properties: Mapping[str, Any]) -> bool:
    names = ("KmsKeyId", "KMSKeyId", "KmsMasterKeyId", "SSESpecification", "BucketEncryption")
    return any(properties.get(name) for name in names)


def _holds_keys(properties: Mapping[str, Any]) -> bool:
    return "keyDigest" in str(properties["KeySchema"])


_NETWORK = "infrastructure/test_templates_network.py"
_PROMISES = "infrastructure/test_templates_promises.py"
_PERMISSIONS = "workflows/test_permissions.py"
_SAFE = f"{_PROMISES}::test_data_is_kept_safe"

CONTROLS = (
    Control(
        "AC-3",
        "Access enforcement",
        "A role for each function with its own actions alone; endpoints pass named calls of this account; the API "
        "takes signed requests and bearer keys through its endpoint only",
        (
            Means("AWS::IAM::Role", lambda p: "lambda.amazonaws.com" in str(p)),
            Means("AWS::EC2::VPCEndpoint", lambda p: "PolicyDocument" in p),
            Means("AWS::ApiGateway::RestApi", lambda p: "aws:SourceVpce" in str(p["Policy"])),
            Means("AWS::ApiGateway::Authorizer"),
        ),
        (
            f"{_PROMISES}::test_each_function_has_a_role_of_its_own",
            f"{_PROMISES}::test_each_step_has_only_its_own_abilities",
            f"{_PROMISES}::test_no_role_may_do_everything",
            f"{_PROMISES}::test_api_is_private_and_lets_no_stranger_in",
            f"{_NETWORK}::test_functions_use_what_their_endpoints_let_through",
        ),
    ),
    Control(
        "AC-4",
        "Information flow enforcement",
        "Calls cross the partitions over the VPN's two paths and no other way; each zone answers by its own router",
        (
            Means("AWS::EC2::TransitGatewayRouteTable"),
            Means("AWS::EC2::Route", lambda p: p["DestinationCidrBlock"] != "0.0.0.0/0"),
        ),
        (
            f"{_NETWORK}::test_each_path_is_delivered_both_ways",
            f"{_PROMISES}::test_each_zone_returns_through_its_own_router",
        ),
    ),
    Control(
        "AC-6",
        "Least privilege",
        "Each role permits what its function calls and nothing else; routes are changed by three roles, in the link's "
        "tagged tables alone; the commercial principal may call Bedrock and repair those tables",
        (
            Means("AWS::IAM::ManagedPolicy", lambda p: "twinspan:managed" in str(p)),
            Means("AWS::IAM::User", lambda p: "OnlyThroughTheEndpoint" in str(p)),
        ),
        (
            f"{_NETWORK}::test_only_three_roles_change_routes",
            f"{_NETWORK}::test_every_managed_table_and_no_other_carries_the_tags",
            f"{_PROMISES}::test_only_tagged_route_tables_of_the_link_can_be_changed",
            f"{_PERMISSIONS}::test_everything_that_is_called_is_permitted",
            f"{_PERMISSIONS}::test_everything_that_is_permitted_is_called",
            "workflows/test_edge_permissions.py::test_the_containers_role_is_what_its_server_calls",
            "infrastructure/test_templates_service_roles.py::test_a_services_role_holds_what_it_is_for",
        ),
    ),
    Control(
        "AU-2",
        "Event logging",
        "API calls, connections, API requests, inference calls, tunnels, routers, functions and workflow runs are recorded",
        (
            Means("AWS::CloudTrail::Trail"),
            Means("AWS::EC2::FlowLog"),
            Means("AWS::Logs::LogGroup"),
            Means("AWS::DynamoDB::Table", lambda p: "TimeToLiveSpecification" in p),
        ),
        (
            "infrastructure/test_compliance.py::test_everything_that_happens_is_recorded",
            "infrastructure/test_router_boot.py::test_the_agent_ships_what_is_written_to_where_the_role_may",
        ),
    ),
    Control(
        "AU-6",
        "Audit record review, analysis and reporting",
        "Refused calls, use of the root user, changes of network, identity, keys and trail raise alarms",
        (
            Means("AWS::Logs::MetricFilter"),
            Means("AWS::CloudWatch::Alarm", lambda p: p.get("Namespace") == "Twinspan/Security"),
        ),
        ("infrastructure/test_compliance.py::test_every_alarm_for_people_reaches_somebody",),
    ),
    Control(
        "AU-9",
        "Protection of audit information",
        "The trail's files are validated, encrypted, versioned and kept when the link goes; the tables refuse deletion",
        (
            Means("AWS::CloudTrail::Trail", lambda p: bool(p.get("EnableLogFileValidation"))),
            Means("AWS::S3::Bucket", lambda p: "VersioningConfiguration" in p),
            Means(
                "AWS::DynamoDB::Table",
                lambda p: bool(p.get("DeletionProtectionEnabled")) and not _holds_keys(p),
            ),
        ),
        (_SAFE,),
    ),
    Control(
        "CP-9",
        "System backup",
        "Tables can be restored to any second of the last five weeks",
        (Means("AWS::DynamoDB::Table", lambda p: "PointInTimeRecoverySpecification" in p),),
        (_SAFE,),
    ),
    Control(
        "IA-5",
        "Authenticator management",
        "Callers' bearer keys are kept as digests, expire, can be revoked, and are looked up by a function that can do "
        "nothing else",
        (
            Means("AWS::DynamoDB::Table", _holds_keys),
            Means("AWS::ApiGateway::Authorizer"),
        ),
        (
            "adapters/test_caller_keys.py::test_the_key_itself_is_kept_nowhere",
            "adapters/test_caller_keys.py::test_a_revoked_an_expired_and_a_made_up_key_open_nothing",
            "infrastructure/test_templates_proxy_role.py::test_the_authorizer_reads_single_keys_and_nothing_else",
        ),
    ),
    Control(
        "SC-7",
        "Boundary protection",
        "No internet gateway in GovCloud; private subnets on both sides without a way out; security groups and "
        "network ACLs let HTTPS alone through",
        (
            Means("AWS::EC2::VPC"),
            Means("AWS::EC2::SecurityGroup"),
            Means("AWS::EC2::NetworkAcl"),
            Means("AWS::EC2::VPCEndpoint"),
        ),
        (
            f"{_NETWORK}::test_no_private_subnet_has_a_way_to_or_from_the_internet",
            f"{_NETWORK}::test_nothing_but_https_is_delivered",
            f"{_PROMISES}::test_govcloud_has_no_internet_gateway",
            f"{_PROMISES}::test_functions_reach_only_what_they_call",
            f"{_PROMISES}::test_endpoints_are_reached_by_functions_and_three_by_clients_too",
        ),
    ),
    Control(
        "SC-8",
        "Transmission confidentiality and integrity",
        "IKEv2 with AES-256-GCM between the partitions; TLS inside it; buckets, topics and queues refuse plaintext",
        (
            Means("AWS::EC2::VPNConnection"),
            Means("AWS::S3::BucketPolicy", _policy_denies_plaintext),
            Means("AWS::SNS::TopicPolicy", _policy_denies_plaintext),
            Means("AWS::SQS::QueuePolicy", _policy_denies_plaintext),
            Means("AWS::ElasticLoadBalancingV2::Listener", lambda p: "TLS13" in p["SslPolicy"]),
        ),
        (
            f"{_PROMISES}::test_all_tunnels_are_ikev2_with_aes_gcm",
            "infrastructure/test_compliance.py::test_nothing_that_keeps_data_takes_plaintext",
        ),
    ),
    Control(
        "SC-12",
        "Cryptographic key establishment and management",
        "Keys of our own, turned over yearly; pre-shared keys made in Secrets Manager, seen by no template or event",
        (
            Means("AWS::KMS::Key", lambda p: bool(p.get("EnableKeyRotation"))),
            Means("AWS::SecretsManager::Secret", lambda p: "GenerateSecretString" in p),
        ),
        (
            "infrastructure/test_compliance.py::test_every_key_is_turned_over",
            "infrastructure/test_templates_cloudformation.py::test_a_secrets_value_reaches_the_service_and_no_record",
        ),
    ),
    Control(
        "SC-28",
        "Protection of information at rest",
        "Tables, buckets, secrets, log groups, topics and queues are encrypted with keys of our own",
        tuple(
            Means(kind, _is_encrypted)
            for kind in (
                "AWS::DynamoDB::Table",
                "AWS::S3::Bucket",
                "AWS::SecretsManager::Secret",
                "AWS::Logs::LogGroup",
                "AWS::SNS::Topic",
                "AWS::SQS::Queue",
            )
        ),
        ("infrastructure/test_compliance.py::test_everything_kept_is_encrypted_with_our_keys",),
    ),
    Control(
        "SI-4",
        "System monitoring",
        "Alarms on tunnels, paths, failures and latency, one answer for each path, a dashboard",
        (Means("AWS::CloudWatch::CompositeAlarm"), Means("AWS::CloudWatch::Dashboard")),
        ("infrastructure/test_compliance.py::test_every_alarm_for_people_reaches_somebody",),
    ),
)


def resources_of(control: Control, sides: Mapping[str, Mapping[str, Rendered]]) -> list[str]:
    """The resources that carry a control, as `side: Type Name, Name`.

    Raises:
        NothingBehindIt: if one of its means is no longer there.
    """
    lines = []
    for means in control.means:
        found = [
            (side, item)
            for side, items in sides.items()
            for item in items.values()
            if item.type_name == means.type_name and means.has(item.properties)
        ]
        if not found:
            raise NothingBehindIt(f"{control.number} ({means.type_name})")
        for side, group in groupby(found, key=lambda pair: pair[0]):
            names = ", ".join(f"`{item.logical_id}`" for _, item in group)
            lines.append(f"{side} {means.type_name.removeprefix('AWS::')}: {names}")
    return lines


def table() -> str:
    """The table, as Markdown."""
    sides = {side: render(side, parameters) for side, parameters in EVERYTHING.items()}
    rows = [
        "# Controls, and what stands behind them",
        "",
        "Made from the templates by `python -m infra.compliance`; a test keeps it up to date. Controls are those of",
        "NIST SP 800-53 that the FedRAMP High baseline holds and a link's own resources can carry. It is no assessment.",
        "",
        "| control | how | resources | proved by |",
        "|---|---|---|---|",
    ]
    for control in CONTROLS:
        resources = "<br>".join(resources_of(control, sides))
        tests = "<br>".join(f"`{test}`" for test in control.tests)
        rows.append(
            f"| **{control.number}** {control.title} | {control.how} | {resources} | {tests} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
