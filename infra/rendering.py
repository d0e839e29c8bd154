"""The templates with everything filled in, without a cloud: what a deployment with given parameters asks for.

Parameters take their defaults unless given; identifiers that only AWS can give out are stand-ins made of the
logical id, in AWS's form (`arn:…:role/ApplyRole`). Nested stacks are rendered with what their parents hand them.
Linters of policies, the compliance table and the tests of promises read templates this way.

Not guaranteed: that AWS would accept it. Stand-ins are as good as real ones only where no rule depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.deploy import TEMPLATES
from infra.local.cloudformation.intrinsics import Resolver
from infra.local.cloudformation.template import Template
from infra.local.sides import account_of

_STACK = "AWS::CloudFormation::Stack"
# What a deployment gives and no default stands for.
GIVEN: Mapping[str, Mapping[str, str]] = {
    "commercial": {"RouterImageId": "ami-0123456789abcdef0"},
    "govcloud": {
        "ArtifactBucket": "artifacts",
        "ControlPlaneKey": "control-plane.zip",
        "ProxyKey": "proxy.zip",
        "StateMachineKey": "remediation.asl.json",
        "SweepKey": "sweep.asl.json",
        "RouterAddressA": "192.0.2.1",
        "RouterAddressB": "192.0.2.2",
        "DynamoDbPrefixListId": "pl-00000001",
        "S3PrefixListId": "pl-00000002",
    },
}
# With the container edge too, so that nothing is left out of what is looked at.
EVERYTHING: Mapping[str, Mapping[str, str]] = {
    "commercial": GIVEN["commercial"],
    "govcloud": {
        **GIVEN["govcloud"],
        "Edge": "container",
        "EdgeImage": f"111111111111.dkr.ecr.us-gov-west-1.amazonaws.com/proxy@sha256:{'0' * 64}",
        "EdgeCertificateArn": "arn:aws-us-gov:acm:us-gov-west-1:111111111111:certificate/0",
        "ProvisionedConcurrency": "2",
    },
}
# The property that names a thing, and the part of its ARN between account and name.
_NAMES: Mapping[str, tuple[str | None, str, str]] = {
    "AWS::ApiGateway::RestApi": (None, "apigateway", "/restapis/"),
    "AWS::CloudTrail::Trail": ("TrailName", "cloudtrail", "trail/"),
    "AWS::CloudWatch::Alarm": ("AlarmName", "cloudwatch", "alarm:"),
    "AWS::CloudWatch::CompositeAlarm": ("AlarmName", "cloudwatch", "alarm:"),
    "AWS::DynamoDB::Table": ("TableName", "dynamodb", "table/"),
    "AWS::Events::Rule": ("Name", "events", "rule/"),
    "AWS::IAM::ManagedPolicy": (None, "iam", "policy/"),
    "AWS::IAM::Role": (None, "iam", "role/"),
    "AWS::IAM::User": ("UserName", "iam", "user/"),
    "AWS::KMS::Key": (None, "kms", "key/"),
    "AWS::Lambda::Function": ("FunctionName", "lambda", "function:"),
    "AWS::Logs::LogGroup": ("LogGroupName", "logs", "log-group:"),
    "AWS::S3::Bucket": ("BucketName", "s3", ""),
    "AWS::SNS::Topic": ("TopicName", "sns", ""),
    "AWS::SQS::Queue": ("QueueName", "sqs", ""),
    "AWS::SecretsManager::Secret": ("Name", "secretsmanager", "secret:"),
    "AWS::StepFunctions::StateMachine": ("StateMachineName", "states", "stateMachine:"),
}
_REF_IS_ARN = frozenset(
    {
        "AWS::IAM::ManagedPolicy",
        "AWS::SNS::Topic",
        "AWS::SecretsManager::Secret",
        "AWS::StepFunctions::StateMachine",
    }
)
_WITHOUT_PLACE = {"iam": ("", True), "s3": ("", False)}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One resource. `part` is its template's path below the templates' folder."""

    logical_id: str
    type_name: str
    properties: Mapping[str, Any]
    part: str


def render(side: str, parameters: Mapping[str, str] | None = None) -> dict[str, Rendered]:
    """All resources of a side by logical id, those of nested stacks included.

    Raises:
        TemplateProblem, UnsupportedByEmbeddedCloud: as the embedded cloud's CloudFormation does.
    """
    given = {**GIVEN[side], **(parameters or {})}
    resources, _ = _Renderer(side).render(TEMPLATES / f"{side}.yaml", given)
    return resources


class _Renderer:
    def __init__(self, side: str) -> None:
        account = account_of(side)
        self._region, self._account_id = account.region, account.account_id
        self._partition = account.partition

    def render(
        self, path: Path, given: Mapping[str, str]
    ) -> tuple[dict[str, Rendered], dict[str, str]]:
        """Resources and outputs of a template and of those nested in it."""
        template = Template.parse(path.read_text())
        outputs_of: dict[str, dict[str, str]] = {}
        known = {
            **template.resolve_parameters(given),
            "AWS::AccountId": self._account_id,
            "AWS::Partition": self._partition,
            "AWS::Region": self._region,
            "AWS::StackId": "stack",
            "AWS::StackName": path.stem,
            "AWS::URLSuffix": "amazonaws.com",
        }

        def reference(name: str) -> str:
            return self._reference(template, resolver, name)

        def attribute(name: str, wanted: str) -> Any:
            if template.resources[name].type_name == _STACK:
                nested(name)
                return outputs_of[name][wanted.removeprefix("Outputs.")]
            if wanted.endswith("Arn"):
                arn = self._arn(template, resolver, name)
                is_group = template.resources[name].type_name == "AWS::Logs::LogGroup"
                return f"{arn}:*" if is_group else arn
            named = self._name(template, resolver, name)
            return named if wanted.endswith("Name") else f"{name}.{wanted}"

        def nested(name: str) -> None:
            if name in outputs_of:
                return
            properties = resolver.resolve(template.resources[name].properties)
            inner = path.parent / properties["TemplateURL"]
            made, outputs = self.render(inner, properties.get("Parameters", {}))
            found.update(made)
            outputs_of[name] = outputs

        found: dict[str, Rendered] = {}
        zones = [f"{self._region}{letter}" for letter in "abc"]
        resolver = Resolver(template, known, reference, attribute, lambda _region: zones)
        part = path.relative_to(TEMPLATES).as_posix()
        for name, resource in template.resources.items():
            if resource.condition is not None and not resolver.condition(resource.condition):
                continue
            if resource.type_name == _STACK:
                nested(name)
                continue
            properties = resolver.resolve(resource.properties)
            found[name] = Rendered(name, resource.type_name, properties, part)
        outputs = {
            name: resolver.resolve(body["Value"])
            for name, body in template.outputs.items()
            if "Condition" not in body or resolver.condition(body["Condition"])
        }
        return found, outputs

    def _name(self, template: Template, resolver: Resolver, name: str) -> str:
        resource = template.resources[name]
        key = _NAMES.get(resource.type_name, (None, "", ""))[0]
        return str(resolver.resolve(resource.properties.get(key, name))) if key else name

    def _arn(self, template: Template, resolver: Resolver, name: str) -> str:
        _, service, kind = _NAMES.get(template.resources[name].type_name, (None, "none", "x/"))
        region, has_account = _WITHOUT_PLACE.get(service, (self._region, True))
        account = self._account_id if has_account else ""
        suffix = "-AbCdEf" if service == "secretsmanager" else ""
        last = f"{kind}{self._name(template, resolver, name)}{suffix}"
        return f"arn:{self._partition}:{service}:{region}:{account}:{last}"

    def _reference(self, template: Template, resolver: Resolver, name: str) -> str:
        if template.resources[name].type_name in _REF_IS_ARN:
            return self._arn(template, resolver, name)
        return self._name(template, resolver, name)
