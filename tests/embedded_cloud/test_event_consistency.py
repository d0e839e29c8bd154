"""What many callers at once, and readers of metrics, may rely on in the embedded cloud."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.embedded_cloud.conftest import Workbench


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads that take turns every few instructions, so that a race shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_conditional_writes_let_exactly_one_through(bench: Workbench) -> None:
    """Of many conditional puts of one item at the same time, exactly one succeeds."""
    client = bench.cloud.client("dynamodb")
    table = bench.name("leases")
    client.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    start = threading.Barrier(8)

    def compete(item: str) -> list[str]:
        results: list[str] = []

        def acquire(owner: int) -> None:
            start.wait()
            try:
                client.put_item(
                    TableName=table,
                    Item={"pk": {"S": item}, "owner": {"N": str(owner)}},
                    ConditionExpression="attribute_not_exists(pk)",
                )
                results.append("taken")
            except ClientError as error:
                results.append(error.response["Error"]["Code"])

        threads = [threading.Thread(target=acquire, args=(owner,)) for owner in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    for round_number in range(10):
        outcomes = compete(f"lease-{round_number}")
        assert outcomes.count("taken") == 1
        assert outcomes.count("ConditionalCheckFailedException") == 7


def put(bench: Workbench, namespace: str, value: float, **dimensions: str) -> None:
    bench.cloud.client("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": "TunnelState",
                "Dimensions": [{"Name": k, "Value": v} for k, v in dimensions.items()],
                "Value": value,
            }
        ],
    )


def test_a_metric_is_exactly_its_dimensions(bench: Workbench) -> None:
    """Reading a metric gives no datapoint of other dimensions or of another namespace."""
    vpn = bench.name("vpn")
    put(bench, "AWS/VPN", 1.0, VpnId=vpn)
    put(bench, "AWS/VPN", 0.0, VpnId=vpn, TunnelIpAddress="198.51.100.1")
    put(bench, "Other", 7.0, VpnId=vpn)
    cloudwatch = bench.cloud.client("cloudwatch")
    now = datetime.now(UTC)
    window: dict[str, Any] = {
        "StartTime": now - timedelta(minutes=5),
        "EndTime": now + timedelta(minutes=5),
    }
    metric = {
        "Namespace": "AWS/VPN",
        "MetricName": "TunnelState",
        "Dimensions": [{"Name": "VpnId", "Value": vpn}],
    }
    statistics = cloudwatch.get_metric_statistics(
        **metric, **window, Period=60, Statistics=["SampleCount", "Maximum"]
    )["Datapoints"]
    assert [(d["SampleCount"], d["Maximum"]) for d in statistics] == [(1.0, 1.0)]
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 600, "Stat": "Sum"}}
    results = cloudwatch.get_metric_data(MetricDataQueries=[query], **window)["MetricDataResults"]
    assert results[0]["Values"] == [1.0]


def test_metric_expressions_are_refused(bench: Workbench) -> None:
    """A metric expression is an error instead of a made-up result."""
    now = datetime.now(UTC)
    with pytest.raises(ClientError, match="metric expressions"):
        bench.cloud.client("cloudwatch").get_metric_data(
            MetricDataQueries=[{"Id": "e", "Expression": "m1 / m2"}],
            StartTime=now - timedelta(minutes=5),
            EndTime=now,
        )
