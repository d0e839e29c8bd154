"""The compliance table says what is there, and what it points at proves it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infra.compliance import CONTROLS, Means, NothingBehindIt, resources_of, table
from infra.local import resource_policies
from infra.rendering import EVERYTHING, Rendered, render

ROOT = Path(__file__).parents[2]
SIDES = {side: render(side, parameters) for side, parameters in EVERYTHING.items()}


def of_type(*kinds: str) -> Iterator[Rendered]:
    for items in SIDES.values():
        yield from (item for item in items.values() if item.type_name in kinds)


def test_the_table_in_the_documentation_is_the_templates_own() -> None:
    """A changed template changes the table; the documentation follows (`python -m infra.compliance`)."""
    assert (ROOT / "docs" / "compliance.md").read_text() == table()


@pytest.mark.parametrize("test", sorted({test for control in CONTROLS for test in control.tests}))
def test_every_proof_exists(test: str) -> None:
    """Each test that a control points at is there."""
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)


def test_a_control_that_nothing_carries_is_an_error() -> None:
    """A resource that loses its setting leaves no empty promise in the table."""
    hollow = replace(CONTROLS[0], means=(Means("AWS::KMS::Key", lambda _: False),))
    with pytest.raises(NothingBehindIt, match="AC-3"):
        resources_of(hollow, SIDES)


def test_every_key_is_turned_over() -> None:
    """No key of our own goes without rotation."""
    assert all(key.properties["EnableKeyRotation"] is True for key in of_type("AWS::KMS::Key"))


@pytest.mark.parametrize(
    ("kind", "property_name"),
    [
        ("AWS::SecretsManager::Secret", "KmsKeyId"),
        ("AWS::Logs::LogGroup", "KmsKeyId"),
        ("AWS::SNS::Topic", "KmsMasterKeyId"),
        ("AWS::SQS::Queue", "KmsMasterKeyId"),
        ("AWS::CloudTrail::Trail", "KMSKeyId"),
        ("AWS::DynamoDB::Table", "SSESpecification"),
        ("AWS::S3::Bucket", "BucketEncryption"),
    ],
)
def test_everything_kept_is_encrypted_with_our_keys(kind: str, property_name: str) -> None:
    """Whatever keeps something names one of the link's own keys."""
    found = list(of_type(kind))
    assert found
    for item in found:
        assert re.search(r"arn:[\w-]+:kms:[^']*key/\w+Key", str(item.properties[property_name]))


def test_everything_that_happens_is_recorded() -> None:
    """Both VPCs have a flow log of all traffic, and the trail records all calls in all regions."""
    logs = list(of_type("AWS::EC2::FlowLog"))
    assert len(logs) == len(list(of_type("AWS::EC2::VPC"))) == 2
    assert {log.properties["TrafficType"] for log in logs} == {"ALL"}
    (trail,) = of_type("AWS::CloudTrail::Trail")
    assert trail.properties["IsLogging"] is True
    assert trail.properties["IsMultiRegionTrail"] is True


def test_nothing_that_keeps_data_takes_plaintext() -> None:
    """Each bucket, topic and queue has a policy that denies a connection without TLS."""
    denied = " ".join(
        str(statement["Resource"])
        for policy in of_type("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and "aws:SecureTransport" in str(statement["Condition"])
    )  # fmt: skip
    names = {"AWS::S3::Bucket": "BucketName", "AWS::SNS::Topic": "TopicName", "AWS::SQS::Queue": "QueueName"}  # fmt: skip
    for kind, name in names.items():
        for item in of_type(kind):
            assert item.properties.get(name, item.logical_id) in denied


def test_every_alarm_for_people_reaches_somebody() -> None:
    """An alarm that wakes no workflow publishes to a topic, or repairs a router by itself."""
    for alarm in of_type("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        if alarm.properties["AlarmName"].startswith("twinspan."):
            (action,) = alarm.properties["AlarmActions"]
            assert re.fullmatch(r"arn:[\w-]+:(sns:.*-(page|notify)|automate:.*)", action)


def test_every_topic_lets_the_alarms_in_that_publish_to_it() -> None:
    """An alarm that its topic's policy does not name rings, and nobody hears of it."""
    asked = 0
    for alarm in of_type("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"):
        properties = alarm.properties
        for topic in {*properties.get("AlarmActions", []), *properties.get("OKActions", [])}:
            if ":sns:" not in topic:
                continue
            _, partition, _, region, account, _ = topic.split(":")
            name = f"arn:{partition}:cloudwatch:{region}:{account}:alarm:{properties['AlarmName']}"
            (policy,) = (
                item.properties["PolicyDocument"]
                for item in of_type("AWS::SNS::TopicPolicy")
                if topic in item.properties["Topics"]
            )
            asked += 1
            assert resource_policies.allows(
                policy["Statement"],
                service="cloudwatch.amazonaws.com",
                action="sns:Publish",
                source_arn=name,
                source_account=account,
            ), f"{name} may not publish to {topic}"
    assert asked >= 20
