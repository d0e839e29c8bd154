"""What a rule's target receives, and which targets there are.

Pure: a target as PutTargets takes it, an event, and the text that goes to the target. Source: EventBridge
user guide, "Input transformation". JSON paths are the subset that EventBridge itself allows: names and
array indexes, no filters or wildcards.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PATH_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\['([^']+)'\]")
_PLACEHOLDER = re.compile(r"<([A-Za-z0-9_.-]+)>")
_SUPPORTED_FIELDS = {
    "Id",
    "Arn",
    "RoleArn",
    "Input",
    "InputPath",
    "InputTransformer",
    "DeadLetterConfig",
    "RetryPolicy",
    "SqsParameters",
}
_MISSING = object()


class TargetKind(enum.StrEnum):
    """The services that the embedded cloud delivers events to."""

    STEP_FUNCTIONS = "states"
    LAMBDA = "lambda"
    SNS = "sns"
    SQS = "sqs"
    LOGS = "logs"
    EVENT_BUS = "events"


class UnsupportedTarget(ValueError):
    """A target, or a field of one, that could not be delivered to. The text names it."""


class InvalidTarget(ValueError):
    """A target that EventBridge itself refuses. The text names field and reason."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long and how often a delivery is tried. AWS's defaults: 24 hours, 185 retries."""

    maximum_event_age_seconds: int = 86_400
    maximum_retry_attempts: int = 185


@dataclass(frozen=True, slots=True)
class Source:
    """The rule behind a delivery, for the reserved placeholders of input transformers."""

    rule_arn: str
    rule_name: str
    ingestion_time: str


def target_kind(arn: str) -> TargetKind:
    """The kind of a target. Raises `UnsupportedTarget` for one that is not emulated."""
    parts = arn.split(":", 5)
    if len(parts) != 6:
        raise InvalidTarget(
            f"Parameter {arn} is not valid. Reason: Provided Arn is not in correct format."
        )
    service, resource = parts[2], parts[5]
    supported = {
        "states": resource.startswith("stateMachine:"),
        "lambda": resource.startswith("function:"),
        "sns": True,
        "sqs": True,
        "logs": resource.startswith("log-group:"),
        "events": resource.startswith("event-bus/"),
    }
    if not supported.get(service, False):
        raise UnsupportedTarget(f"delivery of events to {arn}")
    return TargetKind(service)


def validate_target(target: Mapping[str, Any]) -> None:
    """Raise for a target that AWS would refuse or that could not be delivered to."""
    kind = target_kind(target["Arn"])
    name = target["Id"]
    if unknown := set(target) - _SUPPORTED_FIELDS:
        raise UnsupportedTarget(f"{', '.join(sorted(unknown))} of event target {name}")
    if kind in (TargetKind.STEP_FUNCTIONS, TargetKind.EVENT_BUS) and not target.get("RoleArn"):
        raise InvalidTarget(f"RoleArn is required for target {name} ({target['Arn']}).")
    given = [field for field in ("Input", "InputPath", "InputTransformer") if target.get(field)]
    if len(given) > 1:
        raise InvalidTarget(
            f"Only one of Input, InputPath, InputTransformer can be given for {name}."
        )
    if "Input" in target:
        _require_json(target["Input"], f"Input of target {name}")
    if "InputPath" in target:
        _parse_path(target["InputPath"], name)
    if transformer := target.get("InputTransformer"):
        for path in transformer.get("InputPathsMap", {}).values():
            _parse_path(path, name)
        if not transformer.get("InputTemplate"):
            raise InvalidTarget(f"InputTransformer.InputTemplate is required for target {name}.")
    queue = target.get("DeadLetterConfig", {}).get("Arn")
    if queue is not None and queue.split(":")[2:3] != ["sqs"]:
        raise InvalidTarget(f"DeadLetterConfig.Arn of target {name} must be an SQS queue.")
    policy = retry_policy(target)
    if not 60 <= policy.maximum_event_age_seconds <= 86_400:
        raise InvalidTarget(f"RetryPolicy.MaximumEventAgeInSeconds of {name} must be 60 to 86400.")
    if not 0 <= policy.maximum_retry_attempts <= 185:
        raise InvalidTarget(f"RetryPolicy.MaximumRetryAttempts of {name} must be 0 to 185.")


def retry_policy(target: Mapping[str, Any]) -> RetryPolicy:
    """The retry policy of a target, with AWS's defaults."""
    given = target.get("RetryPolicy") or {}
    default = RetryPolicy()
    return RetryPolicy(
        int(given.get("MaximumEventAgeInSeconds", default.maximum_event_age_seconds)),
        int(given.get("MaximumRetryAttempts", default.maximum_retry_attempts)),
    )


def target_input(target: Mapping[str, Any], event: Mapping[str, Any], source: Source) -> str:
    """The text that the target receives for `event`."""
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        value = _resolve(event, target["InputPath"], str(target["Id"]))
        return json.dumps(None if value is _MISSING else value)
    if transformer := target.get("InputTransformer"):
        return _transform(transformer, event, source, str(target["Id"]))
    return json.dumps(event)


def _transform(
    transformer: Mapping[str, Any], event: Mapping[str, Any], source: Source, target_id: str
) -> str:
    values: dict[str, Any] = {
        name: _resolve(event, path, target_id)
        for name, path in transformer.get("InputPathsMap", {}).items()
    }
    values |= {
        "aws.events.rule-arn": source.rule_arn,
        "aws.events.rule-name": source.rule_name,
        "aws.events.event.ingestion-time": source.ingestion_time,
        "aws.events.event": {k: v for k, v in event.items() if k != "detail"},
        "aws.events.event.json": event,
    }
    template: str = transformer["InputTemplate"]
    pieces: list[str] = []
    position = 0
    inside_string = False
    for placeholder in _PLACEHOLDER.finditer(template):
        before = template[position : placeholder.start()]
        pieces.append(before)
        inside_string ^= _toggles_string(before)
        name = placeholder[1]
        if name in values:
            pieces.append(_render(values[name], inside_string))
        else:
            pieces.append(placeholder[0])
        position = placeholder.end()
    pieces.append(template[position:])
    return "".join(pieces)


def _toggles_string(text: str) -> bool:
    return len(re.findall(r'(?<!\\)"', text)) % 2 == 1


def _render(value: Any, inside_string: bool) -> str:
    if value is _MISSING:
        return "" if inside_string else '""'
    if not inside_string:
        return json.dumps(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return json.dumps(text)[1:-1]


def _require_json(text: str, what: str) -> None:
    try:
        json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidTarget(f"{what} is not valid JSON: {error}") from None


def _parse_path(path: str, target_id: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 1
    while path.startswith("$") and position < len(path):
        step = _PATH_STEP.match(path, position)
        if step is None:
            break
        steps.append(int(step[2]) if step[2] is not None else step[1] or step[3])
        position = step.end()
    if not path.startswith("$") or position != len(path):
        raise InvalidTarget(f"Invalid JSON path {path!r} in target {target_id}.")
    return steps


def _resolve(event: Any, path: str, target_id: str) -> Any:
    value = event
    for step in _parse_path(path, target_id):
        if isinstance(step, str):
            if not isinstance(value, Mapping) or step not in value:
                return _MISSING
            value = value[step]
        else:
            if not isinstance(value, list) or step >= len(value):
                return _MISSING
            value = value[step]
    return value
