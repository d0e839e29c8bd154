"""Stacks inside a stack: `AWS::CloudFormation::Stack`, made by CloudFormation's own API as in AWS.

A nested stack runs to its end inside the call that starts it, as every stack does here. Its outputs are what
`GetAtt Name.Outputs.Key` gives. As in AWS, a nested stack that fails is told of by the resources that
failed; their reasons are in its own events.

Not guaranteed: notification topics and time-outs, which are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from infra.local.cloudformation.errors import NestedStackFailed
from infra.local.cloudformation.resource_type import (
    Existing,
    Properties,
    ResourceType,
    Surroundings,
)

_CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"]
_LONGEST_NAME = 128
_NOTHING_TO_DO = "No updates are to be performed"


class _NestedStack(ResourceType):
    name = "AWS::CloudFormation::Stack"
    properties = frozenset({"Parameters", "Tags", "TemplateURL"})
    required = frozenset({"TemplateURL"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        name = aws.generated_name(_LONGEST_NAME)
        stack_id = aws.call(
            "cloudformation", "create_stack", StackName=name, **_arguments(properties)
        )["StackId"]
        try:
            return _existing(aws, stack_id, "CREATE_COMPLETE", "created")
        except NestedStackFailed:
            aws.call("cloudformation", "delete_stack", StackName=stack_id)
            raise

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        stack_id = existing.physical_id
        try:
            aws.call("cloudformation", "update_stack", StackName=stack_id, **_arguments(new))
        except ClientError as error:
            if _NOTHING_TO_DO not in str(error):
                raise
            return existing
        return _existing(aws, stack_id, "UPDATE_COMPLETE", "updated")

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        stack_id = existing.physical_id
        aws.call("cloudformation", "delete_stack", StackName=stack_id)
        _existing(aws, stack_id, "DELETE_COMPLETE", "deleted")


def _arguments(properties: Properties) -> dict[str, Any]:
    return {
        "TemplateURL": properties["TemplateURL"],
        "Capabilities": _CAPABILITIES,
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": text(value)}
            for key, value in properties.get("Parameters", {}).items()
        ],
        "Tags": [dict(tag) for tag in properties.get("Tags", [])],
    }


def text(value: Any) -> str:
    """A parameter's value as nested stacks get it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _existing(aws: Surroundings, stack_id: str, wanted: str, done: str) -> Existing:
    stack = aws.call("cloudformation", "describe_stacks", StackName=stack_id)["Stacks"][0]
    if stack["StackStatus"] != wanted:
        events = aws.call("cloudformation", "describe_stack_events", StackName=stack_id)
        failed = sorted(
            {
                event["LogicalResourceId"]
                for event in events["StackEvents"]
                if event["ResourceStatus"].endswith("_FAILED")
                and event["PhysicalResourceId"] != stack_id
            }
        )
        verb = {"created": "create", "updated": "update", "deleted": "delete"}[done]
        raise NestedStackFailed(
            stack_id,
            f"Embedded stack {stack_id} was not successfully {done}: "
            f"The following resource(s) failed to {verb}: [{', '.join(failed)}].",
        )
    outputs = {
        f"Outputs.{item['OutputKey']}": item["OutputValue"] for item in stack.get("Outputs", [])
    }
    return Existing(stack_id, outputs)


STACK_TYPES: tuple[ResourceType, ...] = (_NestedStack(),)
