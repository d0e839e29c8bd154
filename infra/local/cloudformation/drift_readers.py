"""How the live state of each checked type is read, in the template's words. See `drift`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from infra.local.cloudformation.resource_type import Existing, Surroundings

Properties = Mapping[str, Any]
# Gives the properties as they are now, as far as it reads them, or None if the resource is gone.
Read = Callable[[Surroundings, Existing, Properties], Mapping[str, Any] | None]
_TARGETS = (
    "GatewayId",
    "InstanceId",
    "NatGatewayId",
    "NetworkInterfaceId",
    "TransitGatewayId",
    "VpcEndpointId",
    "VpcPeeringConnectionId",
)


def _first(items: list[dict[str, Any]]) -> dict[str, Any] | None:
    return items[0] if items else None


def _tags(described: Mapping[str, Any]) -> list[dict[str, str]]:
    """A resource's tags without those of AWS's own making."""
    return [tag for tag in described.get("Tags", []) if not tag["Key"].startswith("aws:")]


# --- The network ----------------------------------------------------------------------------------------


def _vpc(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    (vpc,) = aws.call("ec2", "describe_vpcs", VpcIds=[existing.physical_id])["Vpcs"]
    read = {"CidrBlock": vpc["CidrBlock"]}
    for name, attribute in (
        ("EnableDnsSupport", "enableDnsSupport"),
        ("EnableDnsHostnames", "enableDnsHostnames"),
    ):
        answer = aws.call(
            "ec2", "describe_vpc_attribute", VpcId=existing.physical_id, Attribute=attribute
        )
        read[name] = answer[name]["Value"]
    return read


def _subnet(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    (subnet,) = aws.call("ec2", "describe_subnets", SubnetIds=[existing.physical_id])["Subnets"]
    names = ("AvailabilityZone", "CidrBlock", "MapPublicIpOnLaunch", "VpcId")
    return {name: subnet[name] for name in names}


def _table(aws: Surroundings, table_id: str) -> dict[str, Any]:
    found = aws.call("ec2", "describe_route_tables", RouteTableIds=[table_id])["RouteTables"]
    return dict(found[0])


def _route_table(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    table = _table(aws, existing.physical_id)
    return {"VpcId": table["VpcId"], "Tags": _tags(table)}


def _route(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any] | None:
    for route in _table(aws, properties["RouteTableId"])["Routes"]:
        if route.get("DestinationCidrBlock") == properties["DestinationCidrBlock"]:
            return {name: route.get(name) for name in _TARGETS}
    return None


def _association(
    aws: Surroundings, _: Existing, properties: Properties
) -> Mapping[str, Any] | None:
    by_subnet = [{"Name": "association.subnet-id", "Values": [properties["SubnetId"]]}]
    table = _first(aws.call("ec2", "describe_route_tables", Filters=by_subnet)["RouteTables"])
    return {"RouteTableId": table["RouteTableId"]} if table else None


def _rules(permissions: list[dict[str, Any]], group: str, prefix_list: str) -> list[dict[str, Any]]:
    """EC2's permissions as a template's rules, one for each peer."""
    found = []
    for permission in permissions:
        names = ("IpProtocol", "FromPort", "ToPort")
        ports: dict[str, Any] = {name: permission[name] for name in names if name in permission}
        peers = [
            *(("CidrIp", "CidrIp", one) for one in permission.get("IpRanges", [])),
            *((group, "GroupId", one) for one in permission.get("UserIdGroupPairs", [])),
            *((prefix_list, "PrefixListId", one) for one in permission.get("PrefixListIds", [])),
        ]
        for name, key, peer in peers:
            described = {"Description": peer["Description"]} if peer.get("Description") else {}
            found.append({**ports, name: peer[key], **described})
    return found


def _security_group(
    aws: Surroundings, existing: Existing, properties: Properties
) -> Mapping[str, Any]:
    answer = aws.call("ec2", "describe_security_groups", GroupIds=[existing.physical_id])
    (group,) = answer["SecurityGroups"]
    egress = _rules(
        group["IpPermissionsEgress"], "DestinationSecurityGroupId", "DestinationPrefixListId"
    )
    # moto forgets how the way to a prefix list was described.
    described = {
        rule["DestinationPrefixListId"]: rule.get("Description")
        for rule in properties.get("SecurityGroupEgress", [])
        if "DestinationPrefixListId" in rule
    }
    return {
        "GroupDescription": group["Description"],
        "SecurityGroupIngress": _rules(
            group["IpPermissions"], "SourceSecurityGroupId", "SourcePrefixListId"
        ),
        "SecurityGroupEgress": [
            {**rule, "Description": described[rule["DestinationPrefixListId"]]}
            if rule.get("DestinationPrefixListId") in described
            else rule
            for rule in egress
        ],
    }


def _acl_entry(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any] | None:
    acl = _first(
        aws.call("ec2", "describe_network_acls", NetworkAclIds=[properties["NetworkAclId"]])[
            "NetworkAcls"
        ]
    )
    egress = str(properties.get("Egress", False)).lower() == "true"
    for entry in acl["Entries"] if acl else ():
        if (entry["RuleNumber"], entry["Egress"]) == (int(properties["RuleNumber"]), egress):
            names = ("CidrBlock", "PortRange", "Protocol", "RuleAction")
            return {name: entry.get(name) for name in names}
    return None


def _acl_association(
    aws: Surroundings, _: Existing, properties: Properties
) -> Mapping[str, Any] | None:
    by_subnet = [{"Name": "association.subnet-id", "Values": [properties["SubnetId"]]}]
    acl = _first(aws.call("ec2", "describe_network_acls", Filters=by_subnet)["NetworkAcls"])
    return {"NetworkAclId": acl["NetworkAclId"]} if acl else None


def _vpc_endpoint(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any] | None:
    answer = aws.call("ec2", "describe_vpc_endpoints", VpcEndpointIds=[existing.physical_id])
    endpoint = _first(answer["VpcEndpoints"])
    if endpoint is None or str(endpoint["State"]).lower() in ("deleting", "deleted"):
        return None
    return {
        "PolicyDocument": json.loads(endpoint["PolicyDocument"]),
        "PrivateDnsEnabled": endpoint["PrivateDnsEnabled"],
        "RouteTableIds": endpoint["RouteTableIds"],
        "SecurityGroupIds": [group["GroupId"] for group in endpoint["Groups"]],
        "SubnetIds": endpoint["SubnetIds"],
    }


def _network_interface(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    (interface,) = aws.call(
        "ec2", "describe_network_interfaces", NetworkInterfaceIds=[existing.physical_id]
    )["NetworkInterfaces"]
    return {
        "GroupSet": [group["GroupId"] for group in interface["Groups"]],
        "SourceDestCheck": interface["SourceDestCheck"],
        "SubnetId": interface["SubnetId"],
    }


def _instance(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any] | None:
    answer = aws.call("ec2", "describe_instances", InstanceIds=[existing.physical_id])
    (instance,) = answer["Reservations"][0]["Instances"]
    if instance["State"]["Name"] in ("shutting-down", "terminated"):
        return None
    return {"Tags": _tags(instance)}


def _vpn_connection(
    aws: Surroundings, existing: Existing, _: Properties
) -> Mapping[str, Any] | None:
    answer = aws.call("ec2", "describe_vpn_connections", VpnConnectionIds=[existing.physical_id])
    connection = _first(answer["VpnConnections"])
    if connection is None or connection["State"] in ("deleting", "deleted"):
        return None
    return {
        "CustomerGatewayId": connection["CustomerGatewayId"],
        "StaticRoutesOnly": connection["Options"]["StaticRoutesOnly"],
        "TransitGatewayId": connection.get("TransitGatewayId"),
    }


def _transit_table(call: str, key: str) -> Read:
    def read(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any] | None:
        table = properties["TransitGatewayRouteTableId"]
        for one in aws.call("ec2", call, TransitGatewayRouteTableId=table)[key]:
            if one["TransitGatewayAttachmentId"] == properties["TransitGatewayAttachmentId"]:
                return {"TransitGatewayRouteTableId": table}
        return None

    return read


# --- Alarms, rules, functions -----------------------------------------------------------------------------


def _alarm(kind: str) -> Read:
    def read(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any] | None:
        answer = aws.call(
            "cloudwatch",
            "describe_alarms",
            AlarmNames=[properties["AlarmName"]],
            AlarmTypes=[kind],
        )
        alarm = _first(answer[f"{kind}s"])
        if alarm is None:
            return None
        read = {name: alarm[name] for name in properties if name in alarm and name != "Metrics"}
        actions = ("AlarmActions", "InsufficientDataActions", "OKActions")
        return {**{name: alarm.get(name, []) for name in actions}, **read}

    return read


def _rule(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any]:
    rule = aws.call("events", "describe_rule", Name=properties["Name"])
    targets = aws.call("events", "list_targets_by_rule", Rule=properties["Name"])["Targets"]
    pattern = rule.get("EventPattern")
    return {
        "Description": rule.get("Description"),
        "EventPattern": json.loads(pattern) if pattern else None,
        "ScheduleExpression": rule.get("ScheduleExpression"),
        "State": rule["State"],
        "Targets": targets,
    }


def _function(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    found = aws.call("lambda", "get_function_configuration", FunctionName=existing.physical_id)
    network = found.get("VpcConfig", {})
    names = ("Description", "Handler", "MemorySize", "Role", "Runtime", "Timeout")
    return {
        **{name: found.get(name) for name in names},
        "Architectures": found.get("Architectures"),
        "Environment": {"Variables": found.get("Environment", {}).get("Variables", {})},
        "VpcConfig": {name: network.get(name) for name in ("SecurityGroupIds", "SubnetIds")},
    }


def _log_group(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any] | None:
    name = properties["LogGroupName"]
    groups = aws.call("logs", "describe_log_groups", logGroupNamePrefix=name)["logGroups"]
    group = _first([one for one in groups if one["logGroupName"] == name])
    if group is None:
        return None
    return {"KmsKeyId": group.get("kmsKeyId"), "RetentionInDays": group.get("retentionInDays")}


# --- Who may what -----------------------------------------------------------------------------------------


def _role(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    name = {"RoleName": existing.physical_id}
    role = aws.call("iam", "get_role", **name)["Role"]
    attached = aws.call("iam", "list_attached_role_policies", **name)["AttachedPolicies"]
    inline = aws.call("iam", "list_role_policies", **name)["PolicyNames"]
    return {
        "AssumeRolePolicyDocument": role["AssumeRolePolicyDocument"],
        "ManagedPolicyArns": [policy["PolicyArn"] for policy in attached],
        "Policies": [
            {
                "PolicyName": policy,
                "PolicyDocument": aws.call("iam", "get_role_policy", **name, PolicyName=policy)[
                    "PolicyDocument"
                ],
            }
            for policy in inline
        ],
    }


def _user(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    name = {"UserName": existing.physical_id}
    attached = aws.call("iam", "list_attached_user_policies", **name)["AttachedPolicies"]
    return {
        "ManagedPolicyArns": [policy["PolicyArn"] for policy in attached],
        "Policies": [
            {
                "PolicyName": policy,
                "PolicyDocument": aws.call("iam", "get_user_policy", **name, PolicyName=policy)[
                    "PolicyDocument"
                ],
            }
            for policy in aws.call("iam", "list_user_policies", **name)["PolicyNames"]
        ],
    }


def _managed_policy(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    arn = existing.physical_id
    version = aws.call("iam", "get_policy", PolicyArn=arn)["Policy"]["DefaultVersionId"]
    found = aws.call("iam", "get_policy_version", PolicyArn=arn, VersionId=version)
    return {"PolicyDocument": found["PolicyVersion"]["Document"]}


def _key(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any] | None:
    key = {"KeyId": existing.physical_id}
    if aws.call("kms", "describe_key", **key)["KeyMetadata"]["KeyState"] == "PendingDeletion":
        return None
    policy = aws.call("kms", "get_key_policy", **key, PolicyName="default")["Policy"]
    rotation = aws.call("kms", "get_key_rotation_status", **key)["KeyRotationEnabled"]
    return {"EnableKeyRotation": rotation, "KeyPolicy": json.loads(policy)}


def _bucket_policy(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any]:
    found = aws.call("s3", "get_bucket_policy", Bucket=properties["Bucket"])
    return {"PolicyDocument": json.loads(found["Policy"])}


def _topic_policy(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any]:
    (topic,) = properties["Topics"]
    found = aws.call("sns", "get_topic_attributes", TopicArn=topic)["Attributes"]
    return {"PolicyDocument": json.loads(found["Policy"])}


def _queue_policy(aws: Surroundings, _: Existing, properties: Properties) -> Mapping[str, Any]:
    (queue,) = properties["Queues"]
    found = aws.call("sqs", "get_queue_attributes", QueueUrl=queue, AttributeNames=["Policy"])
    return {"PolicyDocument": json.loads(found.get("Attributes", {}).get("Policy", "{}"))}


# --- What is kept -----------------------------------------------------------------------------------------


def _parameter(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    found = aws.call("ssm", "get_parameter", Name=existing.physical_id)["Parameter"]
    return {"Type": found["Type"], "Value": found["Value"]}


def _dynamodb_table(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    name = {"TableName": existing.physical_id}
    table = aws.call("dynamodb", "describe_table", **name)["Table"]
    backups = aws.call("dynamodb", "describe_continuous_backups", **name)
    recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    return {
        "DeletionProtectionEnabled": table.get("DeletionProtectionEnabled", False),
        "KeySchema": table["KeySchema"],
        "PointInTimeRecoverySpecification": {
            "PointInTimeRecoveryEnabled": recovery["PointInTimeRecoveryStatus"] == "ENABLED"
        },
    }


def _state_machine(aws: Surroundings, existing: Existing, _: Properties) -> Mapping[str, Any]:
    machine = aws.call(
        "stepfunctions", "describe_state_machine", stateMachineArn=existing.physical_id
    )
    return {"RoleArn": machine["roleArn"], "StateMachineName": machine["name"]}


READERS: Mapping[str, Read] = {
    "AWS::CloudWatch::Alarm": _alarm("MetricAlarm"),
    "AWS::CloudWatch::CompositeAlarm": _alarm("CompositeAlarm"),
    "AWS::DynamoDB::Table": _dynamodb_table,
    "AWS::EC2::Instance": _instance,
    "AWS::EC2::NetworkAclEntry": _acl_entry,
    "AWS::EC2::NetworkInterface": _network_interface,
    "AWS::EC2::Route": _route,
    "AWS::EC2::RouteTable": _route_table,
    "AWS::EC2::SecurityGroup": _security_group,
    "AWS::EC2::Subnet": _subnet,
    "AWS::EC2::SubnetNetworkAclAssociation": _acl_association,
    "AWS::EC2::SubnetRouteTableAssociation": _association,
    "AWS::EC2::TransitGatewayRouteTableAssociation": _transit_table(
        "get_transit_gateway_route_table_associations", "Associations"
    ),
    "AWS::EC2::TransitGatewayRouteTablePropagation": _transit_table(
        "get_transit_gateway_route_table_propagations", "TransitGatewayRouteTablePropagations"
    ),
    "AWS::EC2::VPC": _vpc,
    "AWS::EC2::VPCEndpoint": _vpc_endpoint,
    "AWS::EC2::VPNConnection": _vpn_connection,
    "AWS::Events::Rule": _rule,
    "AWS::IAM::ManagedPolicy": _managed_policy,
    "AWS::IAM::Role": _role,
    "AWS::IAM::User": _user,
    "AWS::KMS::Key": _key,
    "AWS::Lambda::Function": _function,
    "AWS::Logs::LogGroup": _log_group,
    "AWS::S3::BucketPolicy": _bucket_policy,
    "AWS::SNS::TopicPolicy": _topic_policy,
    "AWS::SQS::QueuePolicy": _queue_policy,
    "AWS::SSM::Parameter": _parameter,
    "AWS::StepFunctions::StateMachine": _state_machine,
}
