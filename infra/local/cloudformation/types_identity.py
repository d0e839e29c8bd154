"""IAM's resource types and Secrets Manager's.

Not guaranteed: policies are stored and shown, and never evaluated; every call is allowed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, iam_backends

from infra.local.cloudformation.errors import UnsupportedByEmbeddedCloud
from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_list,
)


@lru_cache(maxsize=1)
def _aws_policies() -> dict[str, Any]:
    policies: dict[str, Any] = json.loads(aws_managed_policies_data)
    return policies


def _provide_aws_policy(aws: Surroundings, arn: str) -> None:
    """AWS's own policies are in every account; moto, unless told to load them all, has none."""
    backend = iam_backends[aws.account_id][aws.partition]
    _, _, path = arn.partition(":iam::aws:policy/")
    name = path.rpartition("/")[2]
    if path and arn not in backend.managed_policies and name in _aws_policies():
        policy = AWSManagedPolicy.from_data(name, aws.account_id, aws.region, _aws_policies()[name])
        backend.managed_policies[policy.arn] = policy


class _Principal(ApiType):
    """A role or user: made by one call, then given policies, inline and managed, by others.

    `kind` is `role` or `user`, as it is spelled in IAM's operation names.
    """

    @property
    def kind(self) -> str:
        return self.delete_call.removeprefix("delete_")

    def _who(self, existing: Existing) -> dict[str, str]:
        return {f"{self.kind.capitalize()}Name": existing.physical_id}

    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        who = self._who(existing)
        for policy in properties.get("Policies", []):
            aws.call(
                "iam",
                f"put_{self.kind}_policy",
                PolicyName=policy["PolicyName"],
                PolicyDocument=json.dumps(policy["PolicyDocument"]),
                **who,
            )
        for arn in properties.get("ManagedPolicyArns", []):
            _provide_aws_policy(aws, arn)
            aws.call("iam", f"attach_{self.kind}_policy", PolicyArn=arn, **who)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed - {"Policies", "ManagedPolicyArns", "AssumeRolePolicyDocument"}:
            return None
        if "AssumeRolePolicyDocument" in changed:
            aws.call(
                "iam",
                "update_assume_role_policy",
                PolicyDocument=json.dumps(new["AssumeRolePolicyDocument"]),
                **self._who(existing),
            )
        self._take_policies(aws, existing, old)
        self.after_create(aws, existing, new)
        return existing

    def _take_policies(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        who = self._who(existing)
        for arn in properties.get("ManagedPolicyArns", []):
            aws.call("iam", f"detach_{self.kind}_policy", PolicyArn=arn, **who)
        for policy in properties.get("Policies", []):
            aws.call("iam", f"delete_{self.kind}_policy", PolicyName=policy["PolicyName"], **who)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        self._take_policies(aws, existing, properties)
        super().delete(aws, existing, properties)


class _ManagedPolicy(ApiType):
    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed != {"PolicyDocument"}:
            return None
        before = aws.call("iam", "get_policy", PolicyArn=existing.physical_id)["Policy"]
        aws.call(
            "iam",
            "create_policy_version",
            PolicyArn=existing.physical_id,
            PolicyDocument=json.dumps(new["PolicyDocument"]),
            SetAsDefault=True,
        )
        # A policy holds five versions; the one that was in force is not needed again.
        aws.call(
            "iam",
            "delete_policy_version",
            PolicyArn=existing.physical_id,
            VersionId=before["DefaultVersionId"],
        )
        return existing


class _InstanceProfile(ResourceType):
    name = "AWS::IAM::InstanceProfile"
    properties = frozenset({"InstanceProfileName", "Roles"})
    required = frozenset({"Roles"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        name = properties.get("InstanceProfileName") or aws.generated_name()
        answer = aws.call("iam", "create_instance_profile", InstanceProfileName=name)
        for role in properties["Roles"]:
            aws.call("iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=role)
        return Existing(name, {"Arn": answer["InstanceProfile"]["Arn"]})

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        name = existing.physical_id
        for role in properties["Roles"]:
            aws.call(
                "iam", "remove_role_from_instance_profile", InstanceProfileName=name, RoleName=role
            )
        aws.call("iam", "delete_instance_profile", InstanceProfileName=name)


class _Secret(ApiType):
    def check(self, properties: Properties, where: str) -> None:
        super().check(properties, where)
        if "GenerateSecretString" in properties and "SecretString" in properties:
            raise UnsupportedByEmbeddedCloud(where, "SecretString beside GenerateSecretString")

    def complete(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        complete = super().complete(aws, properties)
        generate = complete.pop("GenerateSecretString", None)
        if generate is not None:
            wanted = {
                name: value
                for name, value in generate.items()
                if name not in ("SecretStringTemplate", "GenerateStringKey")
            }
            made = aws.shaped_call("secretsmanager", "get_random_password", wanted)
            text = made["RandomPassword"]
            if "GenerateStringKey" in generate:
                document = json.loads(generate.get("SecretStringTemplate", "{}"))
                text = json.dumps({**document, generate["GenerateStringKey"]: text})
            complete["SecretString"] = text
        return complete

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        # CloudFormation deletes without the recovery window, so that the name is free again.
        aws.call(
            "secretsmanager",
            "delete_secret",
            SecretId=existing.physical_id,
            ForceDeleteWithoutRecovery=True,
        )


IDENTITY_TYPES: tuple[ResourceType, ...] = (
    _Principal(
        name="AWS::IAM::Role",
        service="iam",
        create_call="create_role",
        result="Role",
        ref="RoleName",
        attributes={"Arn": "Arn", "RoleId": "RoleId"},
        properties=frozenset(
            {
                "AssumeRolePolicyDocument",
                "Description",
                "ManagedPolicyArns",
                "MaxSessionDuration",
                "Path",
                "PermissionsBoundary",
                "Policies",
                "RoleName",
                "Tags",
            }
        ),
        required=frozenset({"AssumeRolePolicyDocument"}),
        tags=tag_list(),
        afterwards=frozenset({"ManagedPolicyArns", "Policies"}),
        name_property="RoleName",
        delete_call="delete_role",
        delete_by={"RoleName": "@ref"},
    ),
    _Principal(
        name="AWS::IAM::User",
        service="iam",
        create_call="create_user",
        result="User",
        ref="UserName",
        attributes={"Arn": "Arn"},
        properties=frozenset(
            {"ManagedPolicyArns", "Path", "PermissionsBoundary", "Policies", "Tags", "UserName"}
        ),
        tags=tag_list(),
        afterwards=frozenset({"ManagedPolicyArns", "Policies"}),
        name_property="UserName",
        delete_call="delete_user",
        delete_by={"UserName": "@ref"},
    ),
    _ManagedPolicy(
        name="AWS::IAM::ManagedPolicy",
        service="iam",
        create_call="create_policy",
        result="Policy",
        ref="Arn",
        attributes={"PolicyArn": "Arn", "PolicyId": "PolicyId"},
        properties=frozenset({"Description", "ManagedPolicyName", "Path", "PolicyDocument"}),
        required=frozenset({"PolicyDocument"}),
        renames={"ManagedPolicyName": "PolicyName"},
        name_property="ManagedPolicyName",
        longest_name=128,
        delete_call="delete_policy",
        delete_by={"PolicyArn": "@ref"},
    ),
    _InstanceProfile(),
    _Secret(
        name="AWS::SecretsManager::Secret",
        service="secretsmanager",
        create_call="create_secret",
        ref="ARN",
        attributes={"Id": "ARN"},
        properties=frozenset(
            {"Description", "GenerateSecretString", "KmsKeyId", "Name", "SecretString", "Tags"}
        ),
        tags=tag_list(),
        name_property="Name",
        delete_call="delete_secret",
        delete_by={},
    ),
)
