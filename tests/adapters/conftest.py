"""AWS as moto has it, in this process, with Twinspan's table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from control_plane.adapters.aws import AwsSession
from control_plane.settings import Settings
from control_plane.wiring import Control
from proxy.routing_config import RoutingConfig
from tests.events.reading import LINKS

TABLE = "twinspan-state"


@pytest.fixture
def session() -> Iterator[AwsSession]:
    """A session of an account that holds an empty state table and an evidence bucket."""
    with mock_aws():
        create_state_table(boto3.client("dynamodb"))
        boto3.client("s3").create_bucket(
            Bucket="evidence",
            CreateBucketConfiguration={"LocationConstraint": "us-gov-west-1"},
        )
        yield AwsSession()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Control]:
    """One set of adapters for all tests of a file: making their clients is what takes time."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        environment.setenv("AWS_DEFAULT_REGION", "us-gov-west-1")
        settings = Settings(
            link_id="bedrock",
            state_table=TABLE,
            evidence_bucket="evidence",
            notify_topic_arn="arn:aws-us-gov:sns:us-gov-west-1:111111111111:topic",
            proxy_function="twinspan-bedrock-proxy",
        )
        yield Control.from_settings(settings)


@pytest.fixture
def control(cloud: Control) -> Iterator[Control]:
    """The link's topology and policy are stored, and nothing else is."""
    table = cloud.session.client("dynamodb")
    create_state_table(table)
    store(cloud, "topology", LINKS["bedrock"].model_dump_json())
    store(cloud, "policy", "{}")
    yield cloud
    table.delete_table(TableName=TABLE)
    names = [f"/twinspan/bedrock/{name}" for name in ("topology", "policy", "routing-config")]
    cloud.session.client("ssm").delete_parameters(Names=names)


def store(control: Control, document: str, value: str) -> None:
    """Store one of the link's documents."""
    control.session.client("ssm").put_parameter(
        Name=f"/twinspan/bedrock/{document}", Value=value, Type="String", Overwrite=True
    )


def routing_config(**fields: Any) -> RoutingConfig:
    """A routing config as a run publishes it."""
    path = {"routing_method": "vpn", "endpoint_url": "https://a.example", "state": "enabled"}
    document = {
        "schema_version": 1,
        "link_id": "bedrock",
        "generation": 1,
        "active_path": "tunnel-1",
        "paths": [
            {"name": f"tunnel-{n}", "peer_networks": [f"172.16.{n}.0/24"], **path} for n in (1, 2)
        ],
        "data_classes": {"default": ["vpn"]},
        "published_at": "2026-03-01T12:00:00Z",
        "published_by": "run-0",
        "reason": "failover: tunnel-2 → tunnel-1",
    }
    return RoutingConfig.from_json(json.dumps(document | fields))


def create_state_table(dynamodb: Any) -> None:
    """The state table, empty."""
    dynamodb.create_table(
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
