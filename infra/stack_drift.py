"""What somebody changed by hand: a deployed stack's resources, held by AWS against the template that made them.

CloudFormation looks at the stack that it is asked about and not at those nested in it, so each is asked about.

Not guaranteed: completeness. CloudFormation compares the properties that a template sets, of the types that it can read,
so a security group without rules in the template may have got some and still be in sync.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.waiting import REAL, Clock, until

_STACK_TYPE = "AWS::CloudFormation::Stack"
_DRIFTED = ("MODIFIED", "DELETED")


@dataclass(frozen=True, slots=True)
class Drifted:
    """A resource that is not as its stack made it. `properties`: those that differ; none if it is gone."""

    stack: str
    logical_id: str
    type_name: str
    physical_id: str
    gone: bool
    properties: tuple[str, ...]

    def __str__(self) -> str:
        what = "is gone" if self.gone else f"was changed: {', '.join(self.properties)}"
        return f"{self.logical_id} ({self.type_name} {self.physical_id}) {what}"


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look at a stack and those nested in it found. `unread`: why some could not be looked at, by stack."""

    stacks: int
    drifted: tuple[Drifted, ...]
    unread: tuple[tuple[str, str], ...]


def look(
    client: Any,
    stack: str,
    poll_seconds: float = 5.0,
    timeout_seconds: float = 600.0,
    clock: Clock = REAL,
) -> Looked:
    """Ask CloudFormation about a stack and all that are nested in it. `client`: boto3's.

    Raises:
        TimedOut: a detection did not come to its end.
        botocore.exceptions.ClientError: there is no such stack, or the call is not permitted.
    """
    stacks = list(_with_nested(client, stack))
    # All begin before the first is waited for: each takes AWS a while.
    detections = {one: client.detect_stack_drift(StackName=one) for one in stacks}
    drifted: list[Drifted] = []
    unread: list[tuple[str, str]] = []
    for one, started in detections.items():
        status = _settled(
            client, started["StackDriftDetectionId"], poll_seconds, timeout_seconds, clock
        )
        if status["DetectionStatus"] == "DETECTION_FAILED":
            unread.append((_name(one), status.get("DetectionStatusReason", "no reason was given")))
        drifted += _drifted(client, one)
    return Looked(len(stacks), tuple(drifted), tuple(unread))


def _with_nested(client: Any, stack: str) -> Iterator[str]:
    yield stack
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack)
    for page in pages:
        for resource in page["StackResourceSummaries"]:
            if resource["ResourceType"] == _STACK_TYPE:
                yield from _with_nested(client, resource["PhysicalResourceId"])


def _settled(
    client: Any, detection: str, poll_seconds: float, timeout_seconds: float, clock: Clock
) -> dict[str, Any]:
    status: dict[str, Any] = {}

    def under_way() -> str | None:
        status.update(client.describe_stack_drift_detection_status(StackDriftDetectionId=detection))
        running = status["DetectionStatus"] == "DETECTION_IN_PROGRESS"
        return f"drift detection {detection} is under way" if running else None

    until(under_way, timeout_seconds, poll_seconds, clock)
    return status


def _drifted(client: Any, stack: str) -> Iterator[Drifted]:
    arguments: dict[str, Any] = {
        "StackName": stack,
        "StackResourceDriftStatusFilters": list(_DRIFTED),
    }
    while True:
        page = client.describe_stack_resource_drifts(**arguments)
        for item in page["StackResourceDrifts"]:
            paths = {one["PropertyPath"] for one in item.get("PropertyDifferences", [])}
            yield Drifted(
                stack=_name(stack),
                logical_id=item["LogicalResourceId"],
                type_name=item["ResourceType"],
                physical_id=item.get("PhysicalResourceId", ""),
                gone=item["StackResourceDriftStatus"] == "DELETED",
                properties=tuple(sorted(path.lstrip("/") for path in paths)),
            )
        if not page.get("NextToken"):
            return
        arguments["NextToken"] = page["NextToken"]


def _name(stack: str) -> str:
    """A stack's name, of its name or its ARN."""
    return stack.split("/")[1] if stack.startswith("arn:") else stack
