"""What the templates promise, asserted on the deployed resources and on the templates themselves."""

from __future__ import annotations

import hashlib
import importlib
import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from infra.deploy import TEMPLATES, Deployment
from infra.local.cloudformation import RESOURCE_TYPES
from infra.local.cloudformation.intrinsics import references
from infra.local.event_patterns import matches
from infra.local.server import EmbeddedCloud
from infra.stacks import MAXIMUM_BODY_BYTES
from tests.templates import REGION, files, of_type, parse, resources, root

EACH_FILE = [pytest.param(s, p, id=f"{s}-{p.stem}") for s in REGION for p in files(s)]
DEFINITIONS = Path(__file__).parents[2] / "state_machine"
STEPS = DEFINITIONS / "steps"
INTERNET = "0.0.0.0/0"
# Which abilities each function has, beside writing its log. Widening one is a decision;
# `tests/workflows/test_permissions.py` holds each against what is called.
ABILITIES: dict[str, set[str]] = {
    "AcquireLease": {"ReadLinkDocuments", "KeepState", "UseLease", "SearchJournal"},
    "Observe": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "StoreLargeEvidence",
        "ReadGovCloudNetwork",
        "ReadCommercialCredential",
        "Notify",
    },
    "Decide": {
        "ReadLinkDocuments",
        "KeepState",
        "SearchJournal",
        "CloseQuestions",
        "ReadLargeEvidence",
        "ReadAlarms",
    },
    "Plan": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "StoreLargeEvidence",
        "ReadLargeEvidence",
    },
    "ProbeTarget": {"ReadLinkDocuments", "KeepState", "ReadCommercialCredential"},
    "Apply": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "ReadCommercialCredential",
        "ChangeManagedRoutes",
    },
    "Publish": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "SearchJournal",
        "PublishRoutingConfig",
    },
    "Verify": {"ReadLinkDocuments", "KeepState", "ReadCommercialCredential", "AskProxy"},
    "Record": {"ReadLinkDocuments", "KeepState", "UseLease", "SearchJournal", "Notify"},
    "Recover": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "SearchJournal",
        "ReadCommercialCredential",
        "ChangeManagedRoutes",
    },
    "ReleaseLease": {"ReadLinkDocuments", "UseLease"},
    "RollBack": {
        "ReadLinkDocuments",
        "KeepState",
        "UseLease",
        "SearchJournal",
        "ReadCommercialCredential",
        "ChangeManagedRoutes",
        "PublishRoutingConfig",
    },
    "RequestApproval": {"ReadLinkDocuments", "KeepState", "Notify"},
    "NeedsOperator": {"KeepState", "UseLease", "SearchJournal", "Notify"},
    "Reject": {"KeepState", "UseLease"},
}


@pytest.mark.parametrize(("side", "path"), EACH_FILE)
def test_no_yaml_alias(side: str, path: Path) -> None:
    """CloudFormation refuses YAML aliases, which every YAML library resolves without a word."""
    for line in path.read_text().splitlines():
        assert not re.search(r"(^|[\s\[{,])[&*][A-Za-z][\w-]*\s*($|[,\]}])", line), line


@pytest.mark.parametrize(("side", "path"), EACH_FILE)
def test_no_partition_is_written_out(side: str, path: Path) -> None:
    """ARNs take the partition from where they are deployed, so that no side names the other's."""
    assert not re.search(r"arn:aws", path.read_text())


@pytest.mark.parametrize(("side", "path"), EACH_FILE)
def test_every_part_stays_within_cloudformations_quotas(side: str, path: Path) -> None:
    """A template holds 500 resources and 200 parameters and outputs at most, and 1 MB in a bucket."""
    part = parse(path)
    assert len(part.resources) <= 500
    assert len(part.parameters) <= 200
    assert len(part.outputs) <= 200
    assert len(path.read_bytes()) <= 1_000_000


def test_commercial_template_fits_a_request() -> None:
    """The commercial side is deployed first, when there is no bucket for a larger template."""
    assert len((TEMPLATES / "commercial.yaml").read_bytes()) <= MAXIMUM_BODY_BYTES


@pytest.mark.parametrize("kind", [item.name for item in RESOURCE_TYPES])
def test_accepted_properties_exist_in_aws(kind: str) -> None:
    """Every property that the embedded cloud accepts is one that CloudFormation knows."""
    resource_type = RESOURCE_TYPES.named(kind, "test")
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-gov-west-1", kind).schema
    accepted = {*resource_type.properties, *resource_type.no_effect}
    assert accepted <= set(schema["properties"])
    assert resource_type.required <= accepted


@pytest.mark.parametrize("side", REGION)
def test_only_the_routers_subnets_have_a_way_to_the_internet(
    side: str, cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """No private subnet's route table leads to an internet or NAT gateway, nor anywhere for all addresses."""
    outputs = getattr(deployment, side)
    tables = cloud.client("ec2", side).describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [outputs["VpcId"]]}]
    )["RouteTables"]
    outward = [
        table
        for table in tables
        for route in table["Routes"]
        if route.get("GatewayId", "").startswith("igw-")
        or "NatGatewayId" in route
        or route.get("DestinationCidrBlock") == INTERNET
    ]
    subnets = {a["SubnetId"] for t in outward for a in t["Associations"] if "SubnetId" in a}
    allowed = {v for k, v in outputs.items() if k in ("EdgeSubnetAId", "EdgeSubnetBId")}
    assert subnets == allowed


def test_every_subnet_has_a_route_table_of_our_making(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """No subnet falls back to its VPC's main route table, which nobody looks after."""
    for side in REGION:
        ec2 = cloud.client("ec2", side)
        vpc = [{"Name": "vpc-id", "Values": [getattr(deployment, side)["VpcId"]]}]
        subnets = {item["SubnetId"] for item in ec2.describe_subnets(Filters=vpc)["Subnets"]}
        associated = {
            association["SubnetId"]
            for table in ec2.describe_route_tables(Filters=vpc)["RouteTables"]
            for association in table["Associations"]
            if not association["Main"]
        }
        assert subnets == associated


def test_govcloud_has_no_internet_gateway(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Nothing in the GovCloud VPC could be routed to the internet by a mistaken route."""
    ec2 = cloud.client("ec2", "govcloud")
    gateways = ec2.describe_internet_gateways(
        Filters=[{"Name": "attachment.vpc-id", "Values": [deployment.govcloud["VpcId"]]}]
    )["InternetGateways"]
    assert gateways == []


def test_each_zone_returns_through_its_own_router(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """Private zones a and b send GovCloud's network to the interface of the router beside them."""
    ec2 = cloud.client("ec2", "commercial")
    for zone in "AB":
        table = ec2.describe_route_tables(
            RouteTableIds=[deployment.commercial[f"PrivateRouteTable{zone}Id"]]
        )["RouteTables"][0]
        targets = {
            route["DestinationCidrBlock"]: route.get("NetworkInterfaceId")
            for route in table["Routes"]
        }
        router = deployment.commercial[f"RouterInterface{zone}Id"]
        assert targets[deployment.govcloud["VpcCidr"]] == router
        interface = ec2.describe_network_interfaces(NetworkInterfaceIds=[router])
        assert interface["NetworkInterfaces"][0]["SourceDestCheck"] is False


def test_transit_gateway_knows_both_sides(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """The link's own route table is associated with, and learns from, the VPC and both VPN connections."""
    ec2 = cloud.client("ec2", "govcloud")
    table = {"TransitGatewayRouteTableId": deployment.govcloud["TransitGatewayRouteTableId"]}
    associations = ec2.get_transit_gateway_route_table_associations(**table)["Associations"]
    propagations = ec2.get_transit_gateway_route_table_propagations(**table)[
        "TransitGatewayRouteTablePropagations"
    ]
    wanted = {
        deployment.govcloud["VpcId"],
        deployment.govcloud["VpnConnection1Id"],
        deployment.govcloud["VpnConnection2Id"],
    }
    assert {item["ResourceId"] for item in associations} == wanted
    assert {item["ResourceId"] for item in propagations} == wanted


def test_all_tunnels_are_ikev2_with_aes_gcm() -> None:
    """Every tunnel demands IKEv2, AES-256-GCM, SHA2-384 or better and Diffie-Hellman group 19 or higher."""
    for connection in of_type("govcloud", "AWS::EC2::VPNConnection").values():
        tunnels = connection["VpnTunnelOptionsSpecifications"]
        assert len(tunnels) == 2
        for options in tunnels:
            assert _values(options["IKEVersions"]) == {"ikev2"}
            for phase in ("Phase1", "Phase2"):
                assert _values(options[f"{phase}EncryptionAlgorithms"]) == {"AES256-GCM-16"}
                assert _values(options[f"{phase}IntegrityAlgorithms"]) <= {"SHA2-384", "SHA2-512"}
                assert min(_values(options[f"{phase}DHGroupNumbers"])) >= 19
            assert options["EnableTunnelLifecycleControl"] is True
            assert options["LogOptions"]["CloudwatchLogOptions"]["LogEnabled"] is True


def _values(items: list[dict[str, Any]]) -> set[Any]:
    return {item["Value"] for item in items}


def test_routers_take_session_tokens_only_and_have_no_ssh() -> None:
    """IMDSv2 is required, no key pair is installed and no security group lets port 22 in."""
    (launch,) = of_type("commercial", "AWS::EC2::LaunchTemplate").values()
    data = launch["LaunchTemplateData"]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in data
    for side in REGION:
        for group in of_type(side, "AWS::EC2::SecurityGroup").values():
            for rule in group.get("SecurityGroupIngress", []):
                assert not (rule["FromPort"] <= 22 <= rule["ToPort"])
                if rule.get("CidrIp") == INTERNET:
                    assert (rule["IpProtocol"], rule["FromPort"]) in {("udp", 500), ("udp", 4500)}


def test_functions_reach_only_what_they_call() -> None:
    """The functions' security group lets HTTPS out to endpoints, the peer and two services, and nothing in."""
    group = of_type("govcloud", "AWS::EC2::SecurityGroup")["FunctionSecurityGroup"]
    assert "SecurityGroupIngress" not in group
    for rule in group["SecurityGroupEgress"]:
        assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 443, 443)
        assert rule.get("CidrIp") != INTERNET


def test_endpoints_are_reached_by_functions_and_three_by_clients_too() -> None:
    """AWS's services are for the functions' group alone; the API, the workflow and STS for whoever is in the VPC."""
    groups = of_type("govcloud", "AWS::EC2::SecurityGroup")
    (rule,) = groups["EndpointSecurityGroup"]["SecurityGroupIngress"]
    assert rule["SourceSecurityGroupId"] == {"Ref": "FunctionSecurityGroup"}
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 443, 443)
    endpoints = of_type("govcloud", "AWS::EC2::VPCEndpoint")
    open_to_clients = {
        name
        for name, endpoint in endpoints.items()
        if {"Ref": "ClientSecurityGroupId"} in endpoint.get("SecurityGroupIds", [])
    }
    assert open_to_clients == {"ExecuteApiEndpoint", "StatesEndpoint", "StsEndpoint"}


def test_the_stage_waits_for_the_role_that_writes_its_log() -> None:
    """API Gateway refuses a stage with an access log in an account that has no role for it."""
    (stage,) = of_type("govcloud", "AWS::ApiGateway::Stage").values()
    assert "AccessLogSetting" in stage
    assert "ApiAccount" in references(stage)


def test_each_function_has_a_role_of_its_own() -> None:
    """No two functions share a role."""
    roles = [
        p["Role"]["Fn::GetAtt"][0] for p in of_type("govcloud", "AWS::Lambda::Function").values()
    ]
    assert len(set(roles)) == len(roles)


@pytest.mark.parametrize("name", ABILITIES)
def test_each_step_has_only_its_own_abilities(name: str) -> None:
    """A step's role names the policies it needs, and has no inline policy beside them."""
    role = of_type("govcloud", "AWS::IAM::Role")[f"{name}Role"]
    assert {item["Ref"] for item in role["ManagedPolicyArns"]} == {"StepBasics"} | ABILITIES[name]
    assert "Policies" not in role


def test_only_tagged_route_tables_of_the_link_can_be_changed() -> None:
    """Every permission to write a route, on both sides, demands the managed tag and the link's tag."""
    writes = 0
    for side in REGION:
        for statement in _statements(side):
            actions = statement["Action"]
            actions = [actions] if isinstance(actions, str) else actions
            changing = [a for a in actions if re.search(r"(Create|Replace|Delete)\w*Route\b", a)]
            if changing and "transit-gateway-attachment/*" in str(statement["Resource"]):
                # What a route leads to is asked for besides its table, which is the one that has the tags.
                assert str(statement["Resource"]).count(":ec2:") == 1
                continue
            if changing and "Principal" not in statement:
                writes += 1
                condition = statement["Condition"]["StringEquals"]
                assert condition["aws:ResourceTag/twinspan:managed"] == "true"
                assert condition["aws:ResourceTag/twinspan:link"] == {"Ref": "LinkId"}
    assert writes == 3


def _statements(side: str) -> list[dict[str, Any]]:
    documents = [p["PolicyDocument"] for p in of_type(side, "AWS::IAM::ManagedPolicy").values()]
    for kind in ("AWS::IAM::Role", "AWS::IAM::User"):
        for properties in of_type(side, kind).values():
            documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    statements = [s for document in documents for s in document["Statement"]]
    return [s.get("Fn::If", [None, s])[1] for s in statements]


def test_no_role_may_do_everything() -> None:
    """No permission is a wildcard action; only a denial is."""
    for side in REGION:
        for statement in _statements(side):
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                assert statement["Effect"] == "Deny" or "*" not in action


@pytest.mark.parametrize("rule", sorted(of_type("govcloud", "AWS::Events::Rule")))
def test_every_rule_drops_old_events_and_keeps_what_it_could_not_deliver(rule: str) -> None:
    """Each target gives up after two minutes, and the event then lies in the dead-letter queue, which lets it in."""
    properties = of_type("govcloud", "AWS::Events::Rule")[rule]
    for target in properties["Targets"]:
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 120
        assert target["DeadLetterConfig"]["Arn"] == {"Fn::GetAtt": ["UndeliveredQueue", "Arn"]}
    (policy,) = of_type("govcloud", "AWS::SQS::QueuePolicy").values()
    (statement,) = (s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow")
    sources = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
    assert {"Fn::GetAtt": [rule, "Arn"]} in [_if_present(source) for source in sources]


def _if_present(source: Any) -> Any:
    """What a conditional list item is where its condition holds."""
    return source["Fn::If"][1] if "Fn::If" in source else source


@pytest.mark.parametrize("name", sorted(of_type("govcloud", "AWS::Lambda::Function")))
def test_handlers_exist(name: str) -> None:
    """Each function's handler string names a function of this repository."""
    handler = of_type("govcloud", "AWS::Lambda::Function")[name]["Handler"]
    module, _, attribute = handler.rpartition(".")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_every_step_module_is_a_function() -> None:
    """No step was written and forgotten in the template, or the other way round."""
    modules = {path.stem for path in STEPS.glob("*.py") if path.stem != "__init__"}
    handlers = {
        properties["Handler"].split(".")[2]
        for properties in of_type("govcloud", "AWS::Lambda::Function").values()
        if properties["Handler"].startswith("state_machine.steps.")
    }
    assert handlers == modules


MACHINES = {
    "remediation": ("RemediationStateMachine", "WorkflowRole"),
    "sweep": ("SweepStateMachine", "SweepMachineRole"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_substitutions_and_placeholders_agree(machine: str) -> None:
    """Each definition names exactly what the template fills in."""
    placeholders = set(
        re.findall(r"\$\{(\w+)\}", (DEFINITIONS / f"{machine}.asl.json").read_text())
    )
    resource, _ = MACHINES[machine]
    properties = of_type("govcloud", "AWS::StepFunctions::StateMachine")[resource]
    assert placeholders == set(properties["DefinitionSubstitutions"])


@pytest.mark.parametrize("machine", MACHINES)
def test_each_machine_may_call_exactly_its_steps(machine: str) -> None:
    """A machine's role invokes the functions that its definition names, and no others."""
    resource, role = MACHINES[machine]
    properties = of_type("govcloud", "AWS::StepFunctions::StateMachine")[resource]
    named = {
        value["Fn::GetAtt"][0]
        for name, value in properties["DefinitionSubstitutions"].items()
        if name != "Partition"
    }
    policy = of_type("govcloud", "AWS::IAM::Role")[role]["Policies"][0]
    invoke = policy["PolicyDocument"]["Statement"][0]
    assert invoke["Action"] == "lambda:InvokeFunction"
    assert {item["Fn::GetAtt"][0] for item in invoke["Resource"]} == named


def test_alarms_wake_the_workflow_by_name(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Every alarm's event matches the alarm rule; another link's alarm does not."""
    pattern = json.loads(
        cloud.client("events").describe_rule(Name="twinspan-bedrock-alarms")["EventPattern"]
    )
    alarms = cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    told = [alarm for alarm in alarms if alarm["AlarmName"].startswith("twinspan.bedrock.")]
    alarms = [alarm for alarm in alarms if alarm not in told]
    assert {alarm["AlarmName"] for alarm in alarms} == {
        f"twinspan-bedrock-{path}-{kind}"
        for path in ("tunnel-1", "tunnel-2")
        for kind in ("down", "redundancy", "probe")
    }
    event = {
        "source": "aws.cloudwatch",
        "detail-type": "CloudWatch Alarm State Change",
        "detail": {"state": {"value": "ALARM"}},
    }
    for alarm in alarms:
        event["detail"] = {"alarmName": alarm["AlarmName"], "state": {"value": "ALARM"}}
        assert matches(pattern, event)
    for alarm in told:
        event["detail"] = {"alarmName": alarm["AlarmName"], "state": {"value": "ALARM"}}
        assert not matches(pattern, event), "an alarm for people starts no workflow"
    event["detail"] = {"alarmName": "twinspan-other-tunnel-1-down", "state": {"value": "ALARM"}}
    assert not matches(pattern, event)
    event["detail"] = {"alarmName": alarms[0]["AlarmName"], "state": {"value": "INSUFFICIENT_DATA"}}
    assert not matches(pattern, event)


def test_tunnel_events_of_other_connections_do_not_wake_the_workflow(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """A Network Manager event matches by its resources, so that old and new shapes of detail both do."""
    pattern = json.loads(
        cloud.client("events").describe_rule(Name="twinspan-bedrock-vpn-status")["EventPattern"]
    )
    arn = "arn:aws-us-gov:ec2:us-gov-west-1:111111111111:vpn-connection/{}"
    for vpn, expected in ((deployment.govcloud["VpnConnection1Id"], True), ("vpn-0other", False)):
        event = {
            "source": "aws.networkmanager",
            "detail-type": "Network Manager Status Update",
            "resources": ["arn:aws-us-gov:networkmanager::1:global-network/g", arn.format(vpn)],
            "detail": {"changeType": "VPN-CONNECTION-IPSEC-DOWN"},
        }
        assert matches(pattern, event) is expected


def test_the_schedule_starts_the_sweep_and_the_sweep_finds_the_link(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """The link's stack registers where its control plane is; the schedule names no link."""
    (target,) = cloud.client("events").list_targets_by_rule(Rule="twinspan-bedrock-sweep")[
        "Targets"
    ]
    assert target["Arn"] == deployment.govcloud["SweepStateMachineArn"]
    assert "Input" not in target
    registered = cloud.client("ssm").get_parameter(Name="/twinspan-links/bedrock")
    assert json.loads(registered["Parameter"]["Value"]) == {
        "link_id": "bedrock",
        "state_machine_arn": deployment.govcloud["RemediationStateMachineArn"],
        "state_table": deployment.govcloud["StateTableName"],
    }


def test_data_is_kept_safe(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Tables can be restored and refuse deletion; the evidence is versioned and private; audit rows expire."""
    dynamodb, s3 = cloud.client("dynamodb"), cloud.client("s3")
    for name in (deployment.govcloud[f"{table}TableName"] for table in ("State", "Audit", "Keys")):
        backups = dynamodb.describe_continuous_backups(TableName=name)
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        assert recovery["PointInTimeRecoveryStatus"] == "ENABLED"
        table = dynamodb.describe_table(TableName=name)["Table"]
        assert table["DeletionProtectionEnabled"] is True
        assert table["SSEDescription"]["Status"] == "ENABLED"
    expiry = dynamodb.describe_time_to_live(TableName=deployment.govcloud["AuditTableName"])
    assert expiry["TimeToLiveDescription"] == {
        "TimeToLiveStatus": "ENABLED",
        "AttributeName": "expiresAt",
    }
    bucket = {"Bucket": deployment.govcloud["EvidenceBucketName"]}
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    block = s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}


def test_api_is_private_and_lets_no_stranger_in(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """The API is reached through its endpoint only; Bedrock's own routes take bearer keys, the others signatures."""
    api = cloud.client("apigateway")
    rest = api.get_rest_api(restApiId=deployment.govcloud["ApiId"])
    assert rest["endpointConfiguration"]["types"] == ["PRIVATE"]
    assert "aws:SourceVpce" in rest["policy"]
    authorizers = api.get_authorizers(restApiId=rest["id"])["items"]
    (authorizer,) = authorizers
    found = {
        (resource["path"], method): api.get_method(
            restApiId=rest["id"], resourceId=resource["id"], httpMethod=method
        )
        for resource in api.get_resources(restApiId=rest["id"])["items"]
        for method in resource.get("resourceMethods", {})
    }
    by_key = {place for place, m in found.items() if m["authorizationType"] == "CUSTOM"}
    assert by_key == {("/model/{call+}", "POST"), ("/guardrail/{call+}", "POST")}
    assert {found[place]["authorizerId"] for place in by_key} == {authorizer["id"]}
    assert {m["authorizationType"] for p, m in found.items() if p not in by_key} == {"AWS_IAM"}
    assert authorizer["authorizerUri"].endswith("function:twinspan-bedrock-authorizer/invocations")


def test_a_changed_route_is_a_new_deployment() -> None:
    """A deployment is a picture of the API when it was made: its logical id follows what it pictures."""
    pictured = {
        name: resource.properties
        for name, resource in sorted(resources("govcloud").items())
        if resource.type_name
        in {
            f"AWS::ApiGateway::{kind}"
            for kind in ("Authorizer", "Method", "Model", "Resource", "RestApi")
        }
    }
    digest = hashlib.sha256(json.dumps(pictured, sort_keys=True).encode()).hexdigest()[:8]
    (name,) = of_type("govcloud", "AWS::ApiGateway::Deployment")
    assert name == f"ApiDeployment{digest}", f"call the deployment ApiDeployment{digest}"


def test_networks_of_the_two_sides_do_not_overlap() -> None:
    """With the defaults, every subnet lies in its VPC and the VPCs are disjoint."""
    networks = {}
    for side in REGION:
        defaults = root(side).parameters
        vpc = ipaddress.ip_network(defaults["VpcCidr"]["Default"])
        subnets = [
            ipaddress.ip_network(slot["Default"])
            for name, slot in defaults.items()
            if name.endswith("Cidr") and "Subnet" in name
        ]
        assert all(subnet.subnet_of(vpc) for subnet in subnets)
        assert not any(a.overlaps(b) for i, a in enumerate(subnets) for b in subnets[:i])
        networks[side] = vpc
    assert not networks["govcloud"].overlaps(networks["commercial"])
    for side, other in (("govcloud", "commercial"), ("commercial", "govcloud")):
        peer = root(side).parameters["PeerCidr"]["Default"]
        assert ipaddress.ip_network(peer) == networks[other]
