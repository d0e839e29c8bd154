"""Resource types that keep data or messages: DynamoDB, S3, SNS, SQS and CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_list,
    tag_map,
)
from infra.local.cloudformation.shapes import is_true


class _Table(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        encryption = parameters.get("SSESpecification")
        if encryption is not None:
            encryption = dict(encryption)
            encryption["Enabled"] = encryption.pop("SSEEnabled")
            parameters["SSESpecification"] = encryption
        return parameters

    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        table = {"TableName": existing.physical_id}
        if "PointInTimeRecoverySpecification" in properties:
            aws.shaped_call(
                "dynamodb",
                "update_continuous_backups",
                {
                    **table,
                    "PointInTimeRecoverySpecification": properties[
                        "PointInTimeRecoverySpecification"
                    ],
                },
            )
        if "TimeToLiveSpecification" in properties:
            aws.shaped_call(
                "dynamodb",
                "update_time_to_live",
                {**table, "TimeToLiveSpecification": properties["TimeToLiveSpecification"]},
            )

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed - {"DeletionProtectionEnabled", *self.afterwards}:
            return None
        if "DeletionProtectionEnabled" in changed:
            aws.call(
                "dynamodb",
                "update_table",
                TableName=existing.physical_id,
                DeletionProtectionEnabled=is_true(new.get("DeletionProtectionEnabled", False)),
            )
        self.after_create(
            aws, existing, {k: v for k, v in new.items() if k in changed & self.afterwards}
        )
        return existing


class _Bucket(ResourceType):
    name = "AWS::S3::Bucket"
    # Property: the call that sets it, and the members of the call that take it.
    _CONFIGURED_BY: Mapping[str, tuple[str, str]] = {
        "VersioningConfiguration": ("put_bucket_versioning", "VersioningConfiguration"),
        "PublicAccessBlockConfiguration": (
            "put_public_access_block",
            "PublicAccessBlockConfiguration",
        ),
    }
    properties = frozenset(
        {
            "BucketEncryption",
            "BucketName",
            "LifecycleConfiguration",
            "OwnershipControls",
            "Tags",
            *_CONFIGURED_BY,
        }
    )
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        bucket = str(properties.get("BucketName") or aws.generated_name(63).lower())
        where = (
            {}
            if aws.region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
        )
        aws.call("s3", "create_bucket", Bucket=bucket, **where)
        self._configure(aws, bucket, properties)
        domain = "amazonaws.com"
        return Existing(
            bucket,
            {
                "Arn": f"arn:{aws.partition}:s3:::{bucket}",
                "DomainName": f"{bucket}.s3.{domain}",
                "RegionalDomainName": f"{bucket}.s3.{aws.region}.{domain}",
            },
        )

    def _configure(self, aws: Surroundings, bucket: str, properties: Properties) -> None:
        for name, (operation, member) in self._CONFIGURED_BY.items():
            if name in properties:
                aws.shaped_call("s3", operation, {"Bucket": bucket, member: properties[name]})
        if "BucketEncryption" in properties:
            rules = [
                {
                    ("ApplyServerSideEncryptionByDefault" if k.startswith("ServerSide") else k): v
                    for k, v in rule.items()
                }
                for rule in properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
            ]
            aws.shaped_call(
                "s3",
                "put_bucket_encryption",
                {"Bucket": bucket, "ServerSideEncryptionConfiguration": {"Rules": rules}},
            )
        if "OwnershipControls" in properties:
            aws.shaped_call(
                "s3",
                "put_bucket_ownership_controls",
                {"Bucket": bucket, "OwnershipControls": properties["OwnershipControls"]},
            )
        if "LifecycleConfiguration" in properties:
            rules = [
                _lifecycle_rule(rule) for rule in properties["LifecycleConfiguration"]["Rules"]
            ]
            aws.shaped_call(
                "s3",
                "put_bucket_lifecycle_configuration",
                {"Bucket": bucket, "LifecycleConfiguration": {"Rules": rules}},
            )
        if properties.get("Tags"):
            tagging = {"TagSet": [dict(tag) for tag in properties["Tags"]]}
            aws.call("s3", "put_bucket_tagging", Bucket=bucket, Tagging=tagging)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if old.get("BucketName") != new.get("BucketName") or set(old) - set(new):
            return None
        self._configure(aws, existing.physical_id, new)
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("s3", "delete_bucket", Bucket=existing.physical_id)


def _lifecycle_rule(rule: Properties) -> dict[str, Any]:
    """CloudFormation spells a few members of a rule otherwise than S3's API."""
    api = dict(rule)
    if "Id" in api:
        api["ID"] = api.pop("Id")
    if "ExpirationInDays" in api:
        api["Expiration"] = {"Days": api.pop("ExpirationInDays")}
    api["Filter"] = {"Prefix": api.pop("Prefix", "")}
    return api


class _BucketPolicy(ResourceType):
    name = "AWS::S3::BucketPolicy"
    properties = frozenset({"Bucket", "PolicyDocument"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        bucket = properties["Bucket"]
        aws.shaped_call(
            "s3", "put_bucket_policy", {"Bucket": bucket, "Policy": properties["PolicyDocument"]}
        )
        return Existing(bucket)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        return None if old["Bucket"] != new["Bucket"] else self.create(aws, new)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("s3", "delete_bucket_policy", Bucket=properties["Bucket"])


class _Queue(ResourceType):
    name = "AWS::SQS::Queue"
    _ATTRIBUTES = (
        "DelaySeconds",
        "KmsDataKeyReusePeriodSeconds",
        "KmsMasterKeyId",
        "MaximumMessageSize",
        "MessageRetentionPeriod",
        "ReceiveMessageWaitTimeSeconds",
        "RedrivePolicy",
        "SqsManagedSseEnabled",
        "VisibilityTimeout",
    )
    properties = frozenset({"QueueName", "Tags", *_ATTRIBUTES})
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        name = properties.get("QueueName") or aws.generated_name(80)
        parameters: dict[str, Any] = {"QueueName": name, "Attributes": self._given(properties)}
        if properties.get("Tags"):
            parameters |= tag_map("tags")(properties["Tags"])
        url = aws.shaped_call("sqs", "create_queue", parameters)["QueueUrl"]
        answer = aws.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["QueueArn"])
        arn = answer["Attributes"]["QueueArn"]
        return Existing(url, {"Arn": arn, "QueueName": name, "QueueUrl": url})

    def _given(self, properties: Properties) -> dict[str, Any]:
        return {name: properties[name] for name in self._ATTRIBUTES if name in properties}

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old.get(name) != new.get(name) for name in ("QueueName", "Tags")):
            return None
        aws.shaped_call(
            "sqs",
            "set_queue_attributes",
            {"QueueUrl": existing.physical_id, "Attributes": self._given(new)},
        )
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("sqs", "delete_queue", QueueUrl=existing.physical_id)


class _QueuePolicy(ResourceType):
    name = "AWS::SQS::QueuePolicy"
    properties = frozenset({"PolicyDocument", "Queues"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        self._set(aws, properties, properties["PolicyDocument"])
        return Existing(aws.generated_name())

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        for url in set(old["Queues"]) - set(new["Queues"]):
            self._set(aws, {"Queues": [url]}, "")
        self._set(aws, new, new["PolicyDocument"])
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        self._set(aws, properties, "")

    @staticmethod
    def _set(aws: Surroundings, properties: Properties, policy: Any) -> None:
        for url in properties["Queues"]:
            aws.shaped_call(
                "sqs", "set_queue_attributes", {"QueueUrl": url, "Attributes": {"Policy": policy}}
            )


class _Topic(ApiType):
    _ATTRIBUTES = ("DisplayName", "KmsMasterKeyId")

    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        attributes = {n: parameters.pop(n) for n in self._ATTRIBUTES if n in parameters}
        return {**parameters, "Attributes": attributes} if attributes else parameters


class _TopicPolicy(ResourceType):
    name = "AWS::SNS::TopicPolicy"
    properties = frozenset({"PolicyDocument", "Topics"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        for arn in properties["Topics"]:
            aws.shaped_call(
                "sns",
                "set_topic_attributes",
                {
                    "TopicArn": arn,
                    "AttributeName": "Policy",
                    "AttributeValue": properties["PolicyDocument"],
                },
            )
        return Existing(aws.generated_name())

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        """AWS puts its default policy back; without the topic there is nothing to put back."""


class _LogGroup(ResourceType):
    name = "AWS::Logs::LogGroup"
    properties = frozenset({"KmsKeyId", "LogGroupName", "RetentionInDays", "Tags"})
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        name = properties.get("LogGroupName") or aws.generated_name()
        parameters: dict[str, Any] = {"logGroupName": name}
        if "KmsKeyId" in properties:
            parameters["kmsKeyId"] = properties["KmsKeyId"]
        if properties.get("Tags"):
            parameters |= tag_map("tags")(properties["Tags"])
        aws.shaped_call("logs", "create_log_group", parameters)
        existing = Existing(
            name,
            {"Arn": f"arn:{aws.partition}:logs:{aws.region}:{aws.account_id}:log-group:{name}:*"},
        )
        self._retain(aws, existing, properties)
        return existing

    @staticmethod
    def _retain(aws: Surroundings, existing: Existing, properties: Properties) -> None:
        if "RetentionInDays" in properties:
            aws.call(
                "logs",
                "put_retention_policy",
                logGroupName=existing.physical_id,
                retentionInDays=int(properties["RetentionInDays"]),
            )

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old.get(name) != new.get(name) for name in ("KmsKeyId", "LogGroupName", "Tags")):
            return None
        self._retain(aws, existing, new)
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("logs", "delete_log_group", logGroupName=existing.physical_id)


DATA_TYPES: tuple[ResourceType, ...] = (
    _Table(
        name="AWS::DynamoDB::Table",
        service="dynamodb",
        create_call="create_table",
        result="TableDescription",
        ref="TableName",
        attributes={"Arn": "TableArn"},
        properties=frozenset(
            {
                "AttributeDefinitions",
                "BillingMode",
                "DeletionProtectionEnabled",
                "KeySchema",
                "PointInTimeRecoverySpecification",
                "SSESpecification",
                "TableName",
                "Tags",
                "TimeToLiveSpecification",
            }
        ),
        required=frozenset({"KeySchema"}),
        afterwards=frozenset({"PointInTimeRecoverySpecification", "TimeToLiveSpecification"}),
        tags=tag_list(),
        name_property="TableName",
        longest_name=255,
        delete_call="delete_table",
        delete_by={"TableName": "@ref"},
    ),
    _Bucket(),
    _BucketPolicy(),
    _Queue(),
    _QueuePolicy(),
    _Topic(
        name="AWS::SNS::Topic",
        service="sns",
        create_call="create_topic",
        ref="TopicArn",
        attributes={"TopicArn": "TopicArn", "TopicName": "=TopicName"},
        properties=frozenset({"DisplayName", "KmsMasterKeyId", "Tags", "TopicName"}),
        renames={"TopicName": "Name"},
        tags=tag_list(),
        name_property="TopicName",
        longest_name=256,
        delete_call="delete_topic",
        delete_by={"TopicArn": "@ref"},
    ),
    _TopicPolicy(),
    _LogGroup(),
    ApiType(
        name="AWS::Logs::SubscriptionFilter",
        service="logs",
        create_call="put_subscription_filter",
        ref="=FilterName",
        properties=frozenset({"DestinationArn", "FilterName", "FilterPattern", "LogGroupName"}),
        required=frozenset({"DestinationArn", "FilterPattern", "LogGroupName"}),
        name_property="FilterName",
        longest_name=512,
        upsert=True,
        delete_call="delete_subscription_filter",
        delete_by={"logGroupName": "=LogGroupName", "filterName": "@ref"},
    ),
    # Stored and shown; lines are not counted, so an alarm on such a metric has no data.
    ApiType(
        name="AWS::Logs::MetricFilter",
        service="logs",
        create_call="put_metric_filter",
        ref="=FilterName",
        properties=frozenset(
            {"FilterName", "FilterPattern", "LogGroupName", "MetricTransformations"}
        ),
        required=frozenset({"FilterPattern", "LogGroupName", "MetricTransformations"}),
        name_property="FilterName",
        longest_name=512,
        upsert=True,
        delete_call="delete_metric_filter",
        delete_by={"logGroupName": "=LogGroupName", "filterName": "@ref"},
    ),
    ApiType(
        name="AWS::SSM::Parameter",
        service="ssm",
        create_call="put_parameter",
        ref="=Name",
        attributes={"Type": "=Type", "Value": "=Value"},
        properties=frozenset({"Description", "Name", "Tags", "Tier", "Type", "Value"}),
        required=frozenset({"Type", "Value"}),
        tags=tag_list(),
        name_property="Name",
        longest_name=1011,
        constants={"Overwrite": True},
        upsert=True,
        delete_call="delete_parameter",
        delete_by={"Name": "@ref"},
    ),
)
