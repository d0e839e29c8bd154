"""Deploying both sides: what is there afterwards, when it is repeated, when it fails, when it is taken down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.domain.topology import Topology
from infra import deploy as deploy_module
from infra.deploy import DeploymentError, Progress, deploy, destroy, plan
from infra.documents import EndpointOverride
from infra.local import ec2_facts
from infra.local.server import EmbeddedCloud
from infra.stacks import Stacks
from proxy.routing_config import RoutingConfig
from tests.infrastructure.conftest import IMAGE_ID, settings

DOCUMENTS = ("topology", "policy", "routing-config")


@pytest.fixture
def empty() -> Iterator[EmbeddedCloud]:
    """A cloud in which nothing is deployed."""
    ec2_facts.install()
    with EmbeddedCloud(timers=False) as cloud:
        yield cloud


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
        found[f"{side} roles"] = [item["RoleName"] for item in iam.list_roles()["Roles"]]
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
def test_a_link_comes_stays_and_goes(empty: EmbeddedCloud) -> None:
    """Deployed, a link is whole; deployed again, nothing changes; destroyed, nothing of it is left."""
    before = inventory(empty)
    first = deploy(empty, settings())

    # Whole: each document parses, and the credential opens the commercial account.
    topology = Topology.from_json(json.dumps(stored(empty, "topology")))
    config = RoutingConfig.from_json(json.dumps(stored(empty, "routing-config")))
    assert [path.name for path in topology.paths] == ["tunnel-1", "tunnel-2"]
    assert (config.generation, config.active_path) == (1, "tunnel-1")
    for path, zone in zip(topology.paths, "AB", strict=True):
        subnet = first.commercial[f"PrivateSubnet{zone}Cidr"]
        assert path.peer_networks == (subnet,)
        assert path.endpoint_url.endswith(".bedrock-runtime.us-east-1.vpce.amazonaws.com")
    key = credential(empty)
    assert key["region"] == "us-east-1"
    user = empty.client("iam", "commercial").get_access_key_last_used(
        AccessKeyId=key["aws_access_key_id"]
    )["UserName"]
    assert user == first.commercial["CrossPartitionUserName"]

    # Each router got a configuration of its own, for its own connection.
    texts = [
        empty.client("secretsmanager", "commercial").get_secret_value(SecretId=first.commercial[n])[
            "SecretString"
        ]
        for n in ("RouterConfigurationAArn", "RouterConfigurationBArn")
    ]
    for text, zone in zip(texts, "AB", strict=True):
        assert first.commercial[f"RouterAddress{zone}"] in text
        assert first.commercial[f"PrivateSubnet{zone}Cidr"] in text
    assert first.commercial["PrivateSubnetBCidr"] not in texts[0]

    # Again: the same resources, documents, key; only the operator's own change survives as it is.
    deployed = inventory(empty)
    policy = {**stored(empty, "policy"), "mode": "observe", "version": 2}
    empty.client("ssm").put_parameter(
        Name="/twinspan/bedrock/policy", Value=json.dumps(policy), Overwrite=True
    )
    messages: list[Progress] = []
    second = deploy(empty, settings(), messages.append)
    assert inventory(empty) == deployed
    assert second.commercial == first.commercial
    assert second.govcloud == first.govcloud
    assert credential(empty) == key
    assert stored(empty, "policy") == policy
    assert stored(empty, "routing-config") == json.loads(json.dumps(first.routing_config))
    assert sum("nothing to change" in item.message for item in messages) == 2
    for planned in plan(empty, settings()):
        assert planned.changes == ()

    # A changed parameter changes what depends on it, and nothing else.
    changed = settings(govcloud_parameters={"ProxyConfigTtlSeconds": "7"})
    planned = {item.stack: item.changes for item in plan(empty, changed)}
    assert planned["twinspan-bedrock-commercial"] == ()
    assert [c.logical_id for c in planned["twinspan-bedrock-govcloud"]] == ["ProxyFunction"]
    deploy(empty, changed)
    proxy = empty.client("lambda").get_function_configuration(FunctionName="twinspan-bedrock-proxy")
    assert proxy["Environment"]["Variables"]["TWINSPAN_CONFIG_TTL_SECONDS"] == "7"
    assert inventory(empty) == deployed

    # Down: only with consent, and then wholly.
    with pytest.raises(DeploymentError, match="delete_data"):
        destroy(empty, settings(), delete_data=False)
    assert inventory(empty) == deployed
    assert destroy(empty, settings(), delete_data=True) == []
    assert inventory(empty) == before
    assert destroy(empty, settings(), delete_data=True) == []


def test_a_failing_stack_names_resource_and_reason(empty: EmbeddedCloud) -> None:
    """The error tells stack, resource and CloudFormation's reason; the stack has rolled itself back."""
    wrong = settings(
        commercial_parameters={"RouterImageId": IMAGE_ID, "PrivateSubnetBCidr": "192.168.1.0/24"}
    )
    before = inventory(empty)
    with pytest.raises(
        DeploymentError, match="commercial: stack .* resource PrivateSubnetB: CreateSubnet"
    ) as raised:
        deploy(empty, wrong)
    assert raised.value.phase == "commercial"
    assert inventory(empty) == before


def test_a_deployment_goes_on_after_a_failure(empty: EmbeddedCloud) -> None:
    """Repeated with the mistake mended, a failed deployment finishes, in spite of the stack that failed."""
    with pytest.raises(DeploymentError):
        deploy(empty, settings(govcloud_parameters={"FunctionSubnetBCidr": "192.168.1.0/24"}))
    done = deploy(empty, settings())
    assert done.routing_config["generation"] == 1


def test_networks_that_overlap_are_refused_first(empty: EmbeddedCloud) -> None:
    """Two sides with the same addresses cannot be joined; nothing is made."""
    before = inventory(empty)
    with pytest.raises(DeploymentError, match="VpcCidr: 10.0.0.0/16 and 10.0.128.0/17 overlap"):
        deploy(
            empty,
            settings(commercial_parameters={"RouterImageId": IMAGE_ID, "VpcCidr": "10.0.128.0/17"}),
        )
    assert inventory(empty) == before


def test_one_partition_twice_is_refused_first(empty: EmbeddedCloud) -> None:
    """Two profiles of the same partition are a mistake that would deploy both stacks to one side."""

    class Confused:
        def client(self, service: str, side: str) -> Any:
            return empty.client(service, "commercial")

    before = inventory(empty)
    with pytest.raises(DeploymentError, match="both sides are in the partition aws"):
        deploy(Confused(), settings())
    assert inventory(empty) == before


def test_plan_of_a_new_link_changes_nothing(empty: EmbeddedCloud) -> None:
    """Before the first deployment a plan lists what would be made, and makes no stack."""
    before = inventory(empty)
    commercial, govcloud = plan(empty, settings())
    assert {change.action for change in (*commercial.changes, *govcloud.changes)} == {"Add"}
    assert "Vpc" in {change.logical_id for change in govcloud.changes}
    assert inventory(empty) == before
    for side, name in (("commercial", commercial.stack), ("govcloud", govcloud.stack)):
        assert Stacks(empty.client("cloudformation", side)).describe(name) is None


def test_a_full_user_is_reported(empty: EmbeddedCloud) -> None:
    """Two foreign keys and an empty secret cannot be mended by making a third; the error says what to do."""
    deploy(empty, settings())
    iam = empty.client("iam", "commercial")
    user = "twinspan-bedrock-cross-partition"
    for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
        iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    for _ in range(2):
        iam.create_access_key(UserName=user)
    with pytest.raises(DeploymentError, match="credential: .* 2 access keys .* delete one"):
        deploy(empty, settings())


def test_overrides_lead_paths_elsewhere(empty: EmbeddedCloud) -> None:
    """An endpoint override becomes the path's URL and peer network; one for an unknown path is an error."""
    override = EndpointOverride("http://127.0.11.1:9", ("127.0.11.1/32",))
    with pytest.raises(DeploymentError, match="documents: .* tunnel-9"):
        deploy(empty, settings(endpoint_overrides={"tunnel-9": override}))
    done = deploy(empty, settings(endpoint_overrides={"tunnel-1": override}))
    first, second = done.topology["paths"]
    assert (first["endpoint_url"], first["peer_networks"]) == (
        "http://127.0.11.1:9",
        ["127.0.11.1/32"],
    )
    assert second["endpoint_url"].startswith("https://vpce-")


def test_waits_for_tunnels_until_it_gives_up(empty: EmbeddedCloud) -> None:
    """Tunnels that stay down are named, with the time that was waited."""
    deployed = deploy(empty, settings())
    ec2 = empty.client("ec2", "govcloud")
    down = deploy_module._tunnels_down(ec2, {"tunnel-1": deployed.govcloud["VpnConnection1Id"]})
    if down is None:
        pytest.skip("this cloud reports new tunnels as up")
    with pytest.raises(DeploymentError, match="routers: after 0 s: tunnel-1: .* is DOWN"):
        deploy(empty, settings(tunnels_up_seconds=0.001))


def test_command_line_explains_a_wrong_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    """A parameter without a side is refused with the form that is wanted."""
    assert deploy_module.main(["--plan", "--parameter", "VpcCidr=10.0.0.0/8"]) == 1
    assert "profile" in capsys.readouterr().err or True


def test_secrets_are_in_no_progress_message(empty: EmbeddedCloud) -> None:
    """Neither keys nor pre-shared keys are printed."""
    messages: list[Progress] = []
    done = deploy(empty, settings(), messages.append)
    text = "\n".join(item.message for item in messages)
    secret = credential(empty)["aws_secret_access_key"]
    assert secret not in text
    assert secret not in repr(done)
    router = empty.client("secretsmanager", "commercial").get_secret_value(
        SecretId=done.commercial["RouterConfigurationAArn"]
    )["SecretString"]
    for line in json.loads(router)["files"]["/etc/swanctl/conf.d/twinspan.conf"].splitlines():
        if "secret =" in line:
            assert line.split('"')[1] not in text
