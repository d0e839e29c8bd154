"""The record of who called what of AWS: read from requests in every protocol, and keeping nothing of their contents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from infra.iam_actions import Question
from infra.local.call_record import CallRecord, session_token
from infra.local.server import EmbeddedCloud
from infra.local.sides import GOVCLOUD, connect

ROLE = "arn:aws-us-gov:iam::111111111111:role/a-role"
HERE = "us-gov-west-1:111111111111"


@pytest.fixture(scope="module")
def cloud() -> Iterator[EmbeddedCloud]:
    with EmbeddedCloud(timers=False, record_calls=True) as running:
        yield running


def in_the_role(cloud: EmbeddedCloud, service: str) -> Any:
    return connect(GOVCLOUD, service, cloud.endpoint_url, session_token=session_token(ROLE))


def asked(cloud: EmbeddedCloud, before: int) -> list[Question]:
    assert cloud.calls is not None
    found = cloud.calls.calls[before:]
    assert {call.principal for call in found} <= {ROLE}
    return [call.question for call in found]


@pytest.fixture
def table(cloud: EmbeddedCloud) -> Iterator[str]:
    dynamodb = cloud.client("dynamodb")
    dynamodb.create_table(
        TableName="a-table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield "a-table"
    dynamodb.delete_table(TableName="a-table")


def test_each_protocol_is_read(cloud: EmbeddedCloud) -> None:
    """Query, JSON, REST with and without XML, and CBOR: operation and resource are found in each."""
    assert cloud.calls is not None
    before = len(cloud.calls.calls)
    cloud.client("s3").create_bucket(
        Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": "us-gov-west-1"}
    )
    cloud.client("ssm").put_parameter(Name="/a/name", Value="x", Type="String")
    in_the_role(cloud, "ec2").describe_vpcs()
    in_the_role(cloud, "ssm").get_parameter(Name="/a/name")
    in_the_role(cloud, "s3").put_object(Bucket="a-bucket", Key="a/key", Body=b"secret")
    in_the_role(cloud, "cloudwatch").describe_alarms()
    client = in_the_role(cloud, "lambda")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="nobody")
    assert asked(cloud, before) == [
        Question("ec2:DescribeVpcs", "*"),
        Question("ssm:GetParameter", f"arn:aws-us-gov:ssm:{HERE}:parameter/a/name"),
        Question("s3:PutObject", "arn:aws-us-gov:s3:::a-bucket/a/key"),
        Question("cloudwatch:DescribeAlarms", "*"),
        Question("lambda:InvokeFunction", f"arn:aws-us-gov:lambda:{HERE}:function:nobody"),
    ]


def test_a_transaction_asks_for_each_of_its_writes(cloud: EmbeddedCloud, table: str) -> None:
    """By the action of each, and with the partition keys that a policy may limit it to."""
    assert cloud.calls is not None
    before = len(cloud.calls.calls)
    key = {"pk": {"S": "A"}}
    in_the_role(cloud, "dynamodb").transact_write_items(
        TransactItems=[
            {"Put": {"TableName": table, "Item": {**key, "what": {"S": "secret"}}}},
            {"Delete": {"TableName": table, "Key": {"pk": {"S": "B"}}}},
        ]
    )
    arn = f"arn:aws-us-gov:dynamodb:{HERE}:table/{table}"
    assert asked(cloud, before) == [
        Question("dynamodb:PutItem", arn, {"dynamodb:LeadingKeys": ("A",)}),
        Question("dynamodb:DeleteItem", arn, {"dynamodb:LeadingKeys": ("B",)}),
    ]
    assert "secret" not in repr(cloud.calls.calls)


def test_equal_calls_are_kept_once_and_a_persons_not_at_all(cloud: EmbeddedCloud) -> None:
    """The record grows with what is done; the stand-in keys of a person leave nothing in it."""
    assert cloud.calls is not None
    for client in itertools.repeat(in_the_role(cloud, "ec2"), 3):
        client.describe_subnets()
    before = len(cloud.calls.calls)
    in_the_role(cloud, "ec2").describe_subnets()
    cloud.client("ec2").describe_nat_gateways()
    assert asked(cloud, before) == []


@pytest.mark.parametrize(
    ("service", "target", "body", "said"),
    [
        ("ec2", "/", b"Action=CreateVpc&CidrBlock=10.0.0.0%2F16", "ec2:CreateVpc"),
        ("ec2", "/", b"Action=NoSuchThing", "ec2 POST /"),
        ("s3", "/a-bucket/a-key?acl", b"", "s3 POST /a-bucket/a-key"),
        ("lambda", "/2015-03-31/nowhere", b"", "lambda POST /2015-03-31/nowhere"),
    ],
)
def test_what_is_not_understood_is_told(service: str, target: str, body: bytes, said: str) -> None:
    """A call that the table does not have is neither dropped nor guessed at."""
    record = CallRecord()
    scope = f"Credential=LOCALGOVCLOUD0000000/20260301/us-gov-west-1/{service}/aws4_request"
    headers = {
        "authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
        "x-amz-security-token": session_token(ROLE),
    }
    record.note("POST", target, headers, body)
    assert record.calls == []
    assert record.unread == [f"{ROLE}: {said}"]


def test_an_unsigned_request_is_nobodys() -> None:
    """What carries no credential is not recorded."""
    record = CallRecord()
    record.note("POST", "/", {}, json.dumps({}).encode())
    assert (record.calls, record.unread) == ([], [])


def test_a_bucket_policys_denials_hold_under_their_conditions_only(cloud: EmbeddedCloud) -> None:
    """A bucket that refuses unencrypted connections is written to here, where connections stand for TLS; one that
    refuses recent TLS is not."""
    s3 = cloud.client("s3")
    for bucket, condition in (
        ("for-tls", {"Bool": {"aws:SecureTransport": "false"}}),
        ("for-old-tls", {"NumericLessThan": {"s3:TlsVersion": "1.2"}}),
        ("for-nobody", {"Bool": {"aws:SecureTransport": "true"}}),
    ):
        s3.create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-gov-west-1"}
        )
        resources = [f"arn:aws-us-gov:s3:::{bucket}", f"arn:aws-us-gov:s3:::{bucket}/*"]
        denial = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": resources,
            "Condition": condition,
        }
        policy = {"Version": "2012-10-17", "Statement": [denial]}
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    s3.put_object(Bucket="for-tls", Key="a-key", Body=b"")
    s3.put_object(Bucket="for-old-tls", Key="a-key", Body=b"")
    with pytest.raises(s3.exceptions.ClientError, match="Forbidden|AccessDenied"):
        s3.put_object(Bucket="for-nobody", Key="a-key", Body=b"")
