"""Deploying both sides: what is there afterwards, when it is repeated, when it fails, when it is taken down."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from control_plane.domain.topology import Topology
from infra.deploy import DeploymentError, Progress, deploy, destroy, plan, would_destroy
from infra.local.server import EmbeddedCloud
from infra.stacks import Stacks
from proxy.routing_config import RoutingConfig
from tests.infrastructure.conftest import IMAGE_ID, settings

pytestmark = pytest.mark.slow


def stored(cloud: EmbeddedCloud, document: str) -> dict[str, Any]:
    answer = cloud.client("ssm").get_parameter(Name=f"/twinspan/bedrock/{document}")
    value: dict[str, Any] = json.loads(answer["Parameter"]["Value"])
    return value


def credential(cloud: EmbeddedCloud) -> dict[str, str]:
    answer = cloud.client("secretsmanager").get_secret_value(SecretId="twinspan/bedrock/commercial")
    value: dict[str, str] = json.loads(answer["SecretString"])
    return value


def inventory(cloud: EmbeddedCloud) -> dict[str, list[str]]:
    """What exists on both sides of the kinds that a link is made of."""
    found: dict[str, list[str]] = {}
    for side in ("govcloud", "commercial"):
        ec2 = cloud.client("ec2", side)
        for call, key, identifier in (
            ("describe_vpcs", "Vpcs", "VpcId"),
            ("describe_subnets", "Subnets", "SubnetId"),
            ("describe_route_tables", "RouteTables", "RouteTableId"),
            ("describe_security_groups", "SecurityGroups", "GroupId"),
            ("describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
            ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
            ("describe_addresses", "Addresses", "AllocationId"),
        ):
            found[f"{side} {key}"] = sorted(item[identifier] for item in getattr(ec2, call)()[key])
        for call, key, identifier in (
            ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
            ("describe_transit_gateways", "TransitGateways", "TransitGatewayId"),
            ("describe_vpn_connections", "VpnConnections", "VpnConnectionId"),
            ("describe_customer_gateways", "CustomerGateways", "CustomerGatewayId"),
        ):
            found[f"{side} {key}"] = sorted(
                item[identifier]
                for item in getattr(ec2, call)()[key]
                if item["State"].lower() not in ("deleted", "deleting")
            )
        instances = ec2.describe_instances()["Reservations"]
        found[f"{side} instances"] = [
            instance["InstanceId"]
            for reservation in instances
            for instance in reservation["Instances"]
            if instance["State"]["Name"] != "terminated"
        ]
        iam = cloud.client("iam", side)
        # The role with which API Gateway writes logs has become a setting of the account, and stays.
        setting = cloud.client("apigateway", side).get_account().get("cloudwatchRoleArn")
        roles = [item for item in iam.list_roles()["Roles"] if item["Arn"] != setting]
        found[f"{side} roles"] = [item["RoleName"] for item in roles]
        found[f"{side} users"] = [item["UserName"] for item in iam.list_users()["Users"]]
        policies = iam.list_policies(Scope="Local")["Policies"]
        found[f"{side} policies"] = [item["PolicyName"] for item in policies]
        secrets = cloud.client("secretsmanager", side).list_secrets()["SecretList"]
        found[f"{side} secrets"] = [item["Name"] for item in secrets]
    found["functions"] = [
        f["FunctionName"] for f in cloud.client("lambda").list_functions()["Functions"]
    ]
    found["tables"] = cloud.client("dynamodb").list_tables()["TableNames"]
    found["machines"] = [
        m["name"] for m in cloud.client("stepfunctions").list_state_machines()["stateMachines"]
    ]
    found["rules"] = [r["Name"] for r in cloud.client("events").list_rules()["Rules"]]
    found["queues"] = cloud.client("sqs").list_queues().get("QueueUrls", [])
    found["topics"] = [t["TopicArn"] for t in cloud.client("sns").list_topics()["Topics"]]
    found["alarms"] = [
        a["AlarmName"] for a in cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    ]
    found["apis"] = [a["id"] for a in cloud.client("apigateway").get_rest_apis()["items"]]
    found["log groups"] = [
        g["logGroupName"] for g in cloud.client("logs").describe_log_groups()["logGroups"]
    ]
    found["parameters"] = [
        p["Name"] for p in cloud.client("ssm").describe_parameters()["Parameters"]
    ]
    return found


@pytest.mark.slow
def test_a_link_comes_stays_and_goes(cloud: EmbeddedCloud) -> None:
    """After a failed attempt a link is deployed whole; again, nothing changes; destroyed, nothing is left."""
    before = inventory(cloud)
    messages: list[Progress] = []
    mistaken = {"FunctionSubnetBCidr": "192.168.1.0/24"}
    with pytest.raises(
        DeploymentError, match="govcloud: .* resource FunctionSubnetB: CreateSubnet"
    ):
        deploy(cloud, settings(govcloud_parameters=mistaken), messages.append)
    first = deploy(cloud, settings(), messages.append)

    # Whole: each document parses, and the credential opens the commercial account.
    topology = Topology.from_json(json.dumps(stored(cloud, "topology")))
    config = RoutingConfig.from_json(json.dumps(stored(cloud, "routing-config")))
    assert [path.name for path in topology.paths] == ["tunnel-1", "tunnel-2"]
    assert (config.generation, config.active_path) == (1, "tunnel-1")
    for path, zone in zip(topology.paths, "AB", strict=True):
        subnet = first.commercial[f"PrivateSubnet{zone}Cidr"]
        assert path.peer_networks == (subnet,)
        assert path.endpoint_url.endswith(".bedrock-runtime.us-east-1.vpce.amazonaws.com")
    key = credential(cloud)
    assert key["region"] == "us-east-1"
    user = cloud.client("iam", "commercial").get_access_key_last_used(
        AccessKeyId=key["aws_access_key_id"]
    )["UserName"]
    assert user == first.commercial["CrossPartitionUserName"]

    # Each router got a configuration of its own, for its own connection.
    texts = [
        cloud.client("secretsmanager", "commercial").get_secret_value(SecretId=first.commercial[n])[
            "SecretString"
        ]
        for n in ("RouterConfigurationAArn", "RouterConfigurationBArn")
    ]
    for text, zone in zip(texts, "AB", strict=True):
        assert first.commercial[f"RouterAddress{zone}"] in text
        assert first.commercial[f"PrivateSubnet{zone}Cidr"] in text
    assert first.commercial["PrivateSubnetBCidr"] not in texts[0]

    # Neither the key nor a pre-shared key was shown on the way.
    shown = "\n".join(item.message for item in messages) + repr(first)
    swanctl = [json.loads(text)["files"]["/etc/swanctl/conf.d/twinspan.conf"] for text in texts]
    shared = re.findall(r'secret = "(.+)"', "".join(swanctl))
    assert len(set(shared)) == 4
    assert not any(secret in shown for secret in (*shared, key["aws_secret_access_key"]))

    # Again: the same resources, documents, key; only the operator's own change survives as it is.
    deployed = inventory(cloud)
    policy = {**stored(cloud, "policy"), "mode": "observe", "version": 2}
    cloud.client("ssm").put_parameter(
        Name="/twinspan/bedrock/policy", Value=json.dumps(policy), Overwrite=True
    )
    repeated: list[Progress] = []
    second = deploy(cloud, settings(), repeated.append)
    assert inventory(cloud) == deployed
    assert second.commercial == first.commercial
    assert second.govcloud == first.govcloud
    assert credential(cloud) == key
    assert stored(cloud, "policy") == policy
    assert stored(cloud, "routing-config") == json.loads(json.dumps(first.routing_config))
    assert sum("nothing to change" in item.message for item in repeated) == 2
    for planned in plan(cloud, settings()):
        assert planned.changes == ()

    # A changed parameter changes what depends on it, and nothing else.
    changed = settings(govcloud_parameters={"ProxyConfigTtlSeconds": "7"})
    planned = {item.stack: item.changes for item in plan(cloud, changed)}
    assert planned["twinspan-bedrock-commercial"] == ()
    assert [c.logical_id for c in planned["twinspan-bedrock-govcloud"]] == ["ProxyFunction"]
    deploy(cloud, changed)
    proxy = cloud.client("lambda").get_function_configuration(FunctionName="twinspan-bedrock-proxy")
    assert proxy["Environment"]["Variables"]["TWINSPAN_CONFIG_TTL_SECONDS"] == "7"
    assert inventory(cloud) == deployed

    # Down: it says what would go, needs consent, and then goes wholly.
    told = "\n".join(would_destroy(cloud, settings()))
    for name in ("stack twinspan-bedrock-govcloud", "stack twinspan-bedrock-commercial"):
        assert name in told
    assert "table twinspan-state, with what it holds" in told
    assert "parameter /twinspan/bedrock/topology" in told
    with pytest.raises(DeploymentError, match="delete_data"):
        destroy(cloud, settings(), delete_data=False)
    assert inventory(cloud) == deployed
    assert destroy(cloud, settings(), delete_data=True) == []
    assert inventory(cloud) == before
    assert destroy(cloud, settings(), delete_data=True) == []
    assert would_destroy(cloud, settings()) == []


def test_a_failing_stack_names_resource_and_reason(cloud: EmbeddedCloud) -> None:
    """The error tells stack, resource and CloudFormation's reason; the stack has rolled itself back."""
    wrong = settings(
        commercial_parameters={"RouterImageId": IMAGE_ID, "PrivateSubnetBCidr": "192.168.1.0/24"}
    )
    before = inventory(cloud)
    with pytest.raises(
        DeploymentError, match="commercial: stack .* resource PrivateSubnetB: CreateSubnet"
    ) as raised:
        deploy(cloud, wrong)
    assert raised.value.phase == "commercial"
    assert inventory(cloud) == before


def test_networks_that_overlap_are_refused_first(cloud: EmbeddedCloud) -> None:
    """Two sides with the same addresses cannot be joined; nothing is made."""
    before = inventory(cloud)
    with pytest.raises(DeploymentError, match="VpcCidr: 10.0.0.0/16 and 10.0.128.0/17 overlap"):
        deploy(
            cloud,
            settings(commercial_parameters={"RouterImageId": IMAGE_ID, "VpcCidr": "10.0.128.0/17"}),
        )
    assert inventory(cloud) == before


def test_data_classes_of_keys_that_nobody_is_asked_for_are_refused_first(
    cloud: EmbeddedCloud,
) -> None:
    """A map of API keys binds nobody where no route asks for a key: it is refused, and nothing is made."""
    before = inventory(cloud)
    given = {"ApiKeyDataClasses": "a1b2c3=default"}
    with pytest.raises(DeploymentError, match="ApiKeyDataClasses: .* set ApiKeyFrom"):
        deploy(cloud, settings(govcloud_parameters=given))
    assert inventory(cloud) == before


def test_one_partition_twice_is_refused_first(cloud: EmbeddedCloud) -> None:
    """Two profiles of the same partition are a mistake that would deploy both stacks to one side."""

    class Confused:
        def client(self, service: str, side: str) -> Any:
            return cloud.client(service, "commercial")

    before = inventory(cloud)
    with pytest.raises(DeploymentError, match="both sides are in the partition aws"):
        deploy(Confused(), settings())
    assert inventory(cloud) == before


def test_plan_of_a_new_link_changes_nothing(cloud: EmbeddedCloud) -> None:
    """Before the first deployment a plan lists what would be made, and makes no stack."""
    before = inventory(cloud)
    commercial, govcloud = plan(cloud, settings())
    assert {change.action for change in (*commercial.changes, *govcloud.changes)} == {"Add"}
    assert "Vpc" in {change.logical_id for change in govcloud.changes}
    assert inventory(cloud) == before
    for side, name in (("commercial", commercial.stack), ("govcloud", govcloud.stack)):
        assert Stacks(cloud.client("cloudformation", side)).describe(name) is None
