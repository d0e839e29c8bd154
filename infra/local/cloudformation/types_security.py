"""Resource types that protect and record: keys, the trail, flow logs, network ACLs.

Not guaranteed: nothing is encrypted, recorded or filtered here. Key policies and trails are stored and shown;
the route model reads network ACLs and judges packets by them, the relays do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_specification,
)
from infra.local.cloudformation.shapes import is_true


class _Key(ResourceType):
    name = "AWS::KMS::Key"
    properties = frozenset(
        {"Description", "EnableKeyRotation", "KeyPolicy", "PendingWindowInDays", "Tags"}
    )
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        parameters: dict[str, Any] = {"Description": properties.get("Description", "")}
        if "KeyPolicy" in properties:
            parameters["Policy"] = json.dumps(properties["KeyPolicy"])
        if properties.get("Tags"):
            parameters["Tags"] = [
                {"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties["Tags"]
            ]
        made = aws.call("kms", "create_key", **parameters)["KeyMetadata"]
        self._rotate(aws, made["KeyId"], properties)
        return Existing(made["KeyId"], {"Arn": made["Arn"], "KeyId": made["KeyId"]})

    @staticmethod
    def _rotate(aws: Surroundings, key_id: str, properties: Properties) -> None:
        rotates = is_true(properties.get("EnableKeyRotation", False))
        operation = "enable_key_rotation" if rotates else "disable_key_rotation"
        aws.call("kms", operation, KeyId=key_id)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if old.get("Tags") != new.get("Tags"):
            return None
        key_id = existing.physical_id
        if "KeyPolicy" in new:
            policy = json.dumps(new["KeyPolicy"])
            aws.call("kms", "put_key_policy", KeyId=key_id, PolicyName="default", Policy=policy)
        aws.call(
            "kms",
            "update_key_description",
            KeyId=key_id,
            Description=new.get("Description", ""),
        )
        self._rotate(aws, key_id, new)
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call(
            "kms",
            "schedule_key_deletion",
            KeyId=existing.physical_id,
            PendingWindowInDays=int(properties.get("PendingWindowInDays", 30)),
        )


class _Trail(ApiType):
    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        trail = existing.physical_id
        if "EventSelectors" in properties:
            aws.shaped_call(
                "cloudtrail",
                "put_event_selectors",
                {"TrailName": trail, "EventSelectors": properties["EventSelectors"]},
            )
        if is_true(properties["IsLogging"]):
            aws.call("cloudtrail", "start_logging", Name=trail)


class _FlowLog(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        parameters["ResourceIds"] = [parameters.pop("ResourceId")]
        return parameters

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("ec2", "delete_flow_logs", FlowLogIds=[existing.physical_id])


class _AclEntry(ResourceType):
    name = "AWS::EC2::NetworkAclEntry"
    _PLACE = ("NetworkAclId", "RuleNumber", "Egress")
    properties = frozenset({*_PLACE, "CidrBlock", "PortRange", "Protocol", "RuleAction"})
    required = frozenset({"NetworkAclId", "RuleNumber", "Protocol", "RuleAction"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        aws.shaped_call("ec2", "create_network_acl_entry", {"Egress": False, **properties})
        return Existing("|".join(str(properties.get(name, False)) for name in self._PLACE))

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old.get(name) != new.get(name) for name in self._PLACE):
            return None
        aws.shaped_call("ec2", "replace_network_acl_entry", {"Egress": False, **new})
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        place = {name: properties.get(name, False) for name in self._PLACE}
        aws.shaped_call("ec2", "delete_network_acl_entry", place)


class _AclAssociation(ResourceType):
    """A subnet's ACL. A subnet always has one: when ours goes, it goes back to its VPC's own."""

    name = "AWS::EC2::SubnetNetworkAclAssociation"
    properties = frozenset({"NetworkAclId", "SubnetId"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        return self._associate(aws, str(properties["SubnetId"]), str(properties["NetworkAclId"]))

    @staticmethod
    def _associate(aws: Surroundings, subnet_id: str, acl_id: str) -> Existing:
        current = _acl_association(aws, subnet_id)
        answer = aws.call(
            "ec2", "replace_network_acl_association", AssociationId=current, NetworkAclId=acl_id
        )
        made = answer["NewAssociationId"]
        return Existing(made, {"AssociationId": made})

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        subnets = aws.call("ec2", "describe_subnets", SubnetIds=[properties["SubnetId"]])["Subnets"]
        default = aws.call(
            "ec2",
            "describe_network_acls",
            Filters=[
                {"Name": "vpc-id", "Values": [subnets[0]["VpcId"]]},
                {"Name": "default", "Values": ["true"]},
            ],
        )["NetworkAcls"][0]
        self._associate(aws, str(properties["SubnetId"]), default["NetworkAclId"])


def _acl_association(aws: Surroundings, subnet_id: str) -> str:
    found = aws.call(
        "ec2",
        "describe_network_acls",
        Filters=[{"Name": "association.subnet-id", "Values": [subnet_id]}],
    )["NetworkAcls"]
    return next(
        str(association["NetworkAclAssociationId"])
        for acl in found
        for association in acl["Associations"]
        if association["SubnetId"] == subnet_id
    )


SECURITY_TYPES: tuple[ResourceType, ...] = (
    _Key(),
    ApiType(
        name="AWS::KMS::Alias",
        service="kms",
        create_call="create_alias",
        ref="=AliasName",
        properties=frozenset({"AliasName", "TargetKeyId"}),
        required=frozenset({"AliasName", "TargetKeyId"}),
        delete_call="delete_alias",
        delete_by={"AliasName": "@ref"},
    ),
    _Trail(
        name="AWS::CloudTrail::Trail",
        service="cloudtrail",
        create_call="create_trail",
        ref="Name",
        attributes={"Arn": "TrailARN"},
        properties=frozenset(
            {
                "CloudWatchLogsLogGroupArn",
                "CloudWatchLogsRoleArn",
                "EnableLogFileValidation",
                "EventSelectors",
                "IncludeGlobalServiceEvents",
                "IsLogging",
                "IsMultiRegionTrail",
                "KMSKeyId",
                "S3BucketName",
                "TrailName",
            }
        ),
        required=frozenset({"IsLogging", "S3BucketName"}),
        renames={"TrailName": "Name", "KMSKeyId": "KmsKeyId"},
        afterwards=frozenset({"EventSelectors", "IsLogging"}),
        name_property="TrailName",
        delete_call="delete_trail",
        delete_by={"Name": "@ref"},
    ),
    _FlowLog(
        name="AWS::EC2::FlowLog",
        service="ec2",
        create_call="create_flow_logs",
        ref="FlowLogIds.0",
        properties=frozenset(
            {
                "DeliverLogsPermissionArn",
                "LogDestination",
                "LogDestinationType",
                "LogGroupName",
                "MaxAggregationInterval",
                "ResourceId",
                "ResourceType",
                "Tags",
                "TrafficType",
            }
        ),
        required=frozenset({"ResourceId", "ResourceType"}),
        tags=tag_specification("vpc-flow-log"),
        delete_call="delete_flow_logs",
        delete_by={},
    ),
    ApiType(
        name="AWS::EC2::NetworkAcl",
        service="ec2",
        create_call="create_network_acl",
        result="NetworkAcl",
        ref="NetworkAclId",
        attributes={"Id": "NetworkAclId"},
        properties=frozenset({"Tags", "VpcId"}),
        required=frozenset({"VpcId"}),
        tags=tag_specification("network-acl"),
        delete_call="delete_network_acl",
        delete_by={"NetworkAclId": "@ref"},
    ),
    _AclEntry(),
    _AclAssociation(),
)
