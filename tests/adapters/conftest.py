"""AWS as moto has it, in this process, with Twinspan's table."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from control_plane.adapters.aws import AwsSession

TABLE = "twinspan-state"


@pytest.fixture
def session() -> Iterator[AwsSession]:
    """A session of an account that holds an empty state table and an evidence bucket."""
    with mock_aws():
        boto3.client("dynamodb").create_table(
            TableName=TABLE,
            KeySchema=[
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        boto3.client("s3").create_bucket(
            Bucket="evidence",
            CreateBucketConfiguration={"LocationConstraint": "us-gov-west-1"},
        )
        yield AwsSession()
