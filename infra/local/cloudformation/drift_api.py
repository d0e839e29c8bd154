"""CloudFormation's calls about drift. A detection runs to its end inside of the call that starts it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.cloudformation.exceptions import ValidationError
from moto.core.responses import ActionResult

from infra.local.cloudformation.drift import Difference, Drift
from infra.local.cloudformation.stack import Stack, StackResource
from infra.local.errors import NotEmulated

Found = dict[str, tuple[StackResource, Drift]]
Detect = Callable[[Any], tuple[Stack, Found]]
_DRIFTED = ("MODIFIED", "DELETED")


def answers(
    stack_of: Callable[[Any, str], Stack], detect: Callable[[Any, Stack], Found]
) -> Mapping[str, Any]:
    """The members that answer. `stack_of` gives a stack by name or id, `detect` looks at its resources."""
    detections: dict[str, tuple[Stack, datetime]] = {}
    found: dict[str, Found] = {}

    def detect_stack_drift(response: Any) -> ActionResult:
        if response._get_param("LogicalResourceIds"):
            raise NotEmulated("drift of chosen resources")
        stack = stack_of(response, response._get_param("StackName"))
        if stack.is_busy or not stack.status.endswith("_COMPLETE"):
            raise ValidationError(
                message=f"Drift detection cannot be performed on stack [{stack.name}] in {stack.status} state"
            )
        found[stack.stack_id] = detect(response, stack)
        detection = str(uuid.uuid4())
        detections[detection] = (stack, datetime.now(UTC))
        return ActionResult({"StackDriftDetectionId": detection})

    def describe_stack_drift_detection_status(response: Any) -> ActionResult:
        detection = response._get_param("StackDriftDetectionId")
        if detection not in detections:
            raise ValidationError(message=f"Drift detection {detection} does not exist")
        stack, at = detections[detection]
        drifted = sum(d.status in _DRIFTED for _, d in found[stack.stack_id].values())
        return ActionResult(
            {
                "StackId": stack.stack_id,
                "StackDriftDetectionId": detection,
                "StackDriftStatus": "DRIFTED" if drifted else "IN_SYNC",
                "DetectionStatus": "DETECTION_COMPLETE",
                "DriftedStackResourceCount": drifted,
                "Timestamp": at,
            }
        )

    def describe_stack_resource_drifts(response: Any) -> ActionResult:
        stack = stack_of(response, response._get_param("StackName"))
        wanted = response._get_param("StackResourceDriftStatusFilters") or ()
        return ActionResult(
            {"StackResourceDrifts": list(_described(stack, found.get(stack.stack_id, {}), wanted))}
        )

    return {
        "detect_stack_drift": detect_stack_drift,
        "describe_stack_drift_detection_status": describe_stack_drift_detection_status,
        "describe_stack_resource_drifts": describe_stack_resource_drifts,
    }


def _described(stack: Stack, found: Found, wanted: Any) -> Iterator[dict[str, Any]]:
    """What was not checked is not told of, as in AWS."""
    for name, (item, drift) in found.items():
        if drift.status == "NOT_CHECKED" or (wanted and drift.status not in wanted):
            continue
        yield {
            "StackId": stack.stack_id,
            "LogicalResourceId": name,
            "PhysicalResourceId": item.existing.physical_id,
            "ResourceType": item.type.name,
            "StackResourceDriftStatus": drift.status,
            "PropertyDifferences": [_difference(one) for one in drift.differences],
            "Timestamp": datetime.now(UTC),
        }


def _difference(one: Difference) -> dict[str, str]:
    if one.actual in (None, "", [], {}):
        kind = "REMOVE"
    else:
        kind = "NOT_EQUAL"
    return {
        "PropertyPath": f"/{one.name}",
        "ExpectedValue": json.dumps(one.expected, default=str),
        "ActualValue": json.dumps(one.actual, default=str),
        "DifferenceType": kind,
    }
