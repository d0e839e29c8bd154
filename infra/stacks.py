"""One CloudFormation stack: planned as a change set, carried out, followed to its end.

Creating and updating take the same road, so running it again continues or changes nothing. When a stack
fails, the error names the resource and the reason that CloudFormation gave first, not the cancellations
that followed from it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from infra.waiting import REAL, Clock

MAXIMUM_BODY_BYTES = 51_200
CAPABILITIES = ("CAPABILITY_IAM", "CAPABILITY_NAMED_IAM")
_CANCELLED = "cancelled"
_NO_ECHO = "****"
# Failed to be created, or to be deleted: AWS takes no change to such a stack, only its deletion.
_HOLDS_NOTHING = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")
_STACK_TYPE = "AWS::CloudFormation::Stack"


class StackError(Exception):
    """A stack is not in the state that was asked for."""


class StackFailed(StackError):
    """CloudFormation gave up. `resource` and `type_name` are of what failed first, if something did."""

    def __init__(
        self,
        stack: str,
        status: str,
        resource: str | None,
        reason: str,
        type_name: str | None = None,
    ) -> None:
        self.stack, self.status, self.resource, self.reason = stack, status, resource, reason
        self.type_name = type_name
        what = f"resource {resource}" if resource else "the stack"
        super().__init__(f"stack {stack} is {status}: {what}: {reason}")


class StackBusy(StackError):
    """Another operation on the stack is under way, or one ended so that a person has to look."""

    def __init__(self, stack: str, status: str) -> None:
        self.stack, self.status = stack, status
        super().__init__(f"stack {stack} is {status}: cannot be changed now")


class StackNotApproved(StackError):
    """Somebody looked at the change set and said no; it was dropped."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        super().__init__(f"stack {stack}: the change set was not approved, and was dropped")


class StackTimedOut(StackError):
    """The operation goes on at AWS; running the deployment again picks it up."""

    def __init__(self, stack: str, status: str, seconds: float) -> None:
        self.stack, self.status = stack, status
        super().__init__(f"stack {stack} is still {status} after {seconds:.0f} s")


@dataclass(frozen=True, slots=True)
class StackSource:
    """What a stack is to be: either `body` or, for a template beyond 51,200 bytes, `url`.

    A parameter that is None keeps the value that the stack has, which for a `NoEcho` one nobody can read.
    """

    name: str
    parameters: Mapping[str, str | None]
    body: str | None = None
    url: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """One resource of a change set. `replacement` is `True`, `False`, `Conditional` or unknown."""

    action: str
    logical_id: str
    type_name: str
    replacement: str | None
    properties: tuple[str, ...]

    def __str__(self) -> str:
        replaced = " (replaced)" if self.replacement == "True" else ""
        properties = f": {', '.join(self.properties)}" if self.action == "Modify" else ""
        return f"{self.action:<6} {self.logical_id} {self.type_name}{replaced}{properties}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A change set that waits to be carried out; `change_set_id` is None when nothing would change."""

    stack: str
    changes: tuple[PlannedChange, ...]
    change_set_id: str | None
    creates: bool


Approve = Callable[[Plan], bool]


def without_asking(plan: Plan) -> bool:
    """Approve of every plan."""
    return True


class Stacks:
    """The stacks of one account and region.

    `client` is a CloudFormation client, `poll_seconds` the time between two looks at an operation.
    """

    def __init__(
        self,
        client: Any,
        poll_seconds: float = 5.0,
        timeout_seconds: float = 3600.0,
        clock: Clock = REAL,
    ) -> None:
        self._client = client
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._timeout_seconds = timeout_seconds

    def describe(self, name: str) -> dict[str, Any] | None:
        """The stack as AWS describes it, or None if there is none."""
        try:
            stacks: list[dict[str, Any]] = self._client.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return stacks[0]

    def outputs(self, name: str) -> dict[str, str] | None:
        """The stack's outputs, or None if there is no finished stack."""
        stack = self.describe(name)
        if stack is None or stack["StackStatus"] == "REVIEW_IN_PROGRESS":
            return None
        return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}

    def source_of(self, name: str) -> StackSource | None:
        """What a finished stack is now, as the way back to it; None if there is no finished stack."""
        stack = self.describe(name)
        if stack is None or not _is_whole(stack):
            return None
        template = self._client.get_template(StackName=name, TemplateStage="Original")
        body = template["TemplateBody"]
        return StackSource(
            name=name,
            parameters={
                item["ParameterKey"]: None
                if item["ParameterValue"] == _NO_ECHO
                else item["ParameterValue"]
                for item in stack.get("Parameters", [])
            },
            # botocore hands out a JSON template as what it says.
            body=body if isinstance(body, str) else json.dumps(body),
            tags={tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])},
        )

    def deploy(
        self,
        source: StackSource,
        report: Callable[[str], None],
        approve: Approve = without_asking,
    ) -> dict[str, str]:
        """Bring the stack to its source, if `approve` says yes to the change set; returns its outputs.

        Raises:
            StackError: with the stack, and for a failure the resource and the reason.
        """
        plan = self.plan(source)
        if plan.change_set_id is None:
            report(f"stack {source.name}: nothing to change")
        else:
            report(f"stack {source.name}: {_counted(plan)}")
            if not plan.creates:
                for change in plan.changes:
                    report(f"  {change}")
            if not approve(plan):
                self.discard(plan)
                raise StackNotApproved(source.name)
            self.execute(plan)
        outputs = self.outputs(source.name)
        assert outputs is not None, "a stack that was deployed can be described"
        return outputs

    def plan(self, source: StackSource) -> Plan:
        """Work out what would change. Waits for an operation that is under way.

        A stack that failed to be created holds nothing and is deleted first, as AWS demands.
        """
        stack = self.describe(source.name)
        if stack is not None and _is_under_way(stack):
            stack = self._settled(source.name)
        status = stack["StackStatus"] if stack else None
        if status == "UPDATE_ROLLBACK_FAILED":
            status = self.go_on_rolling_back(source.name)
        if status in _HOLDS_NOTHING:
            self.delete(source.name)
            status = None
        creates = status in (None, "REVIEW_IN_PROGRESS")
        if not creates and not str(status).endswith("_COMPLETE"):
            raise StackBusy(source.name, str(status))
        arguments: dict[str, Any] = {
            "StackName": source.name,
            "ChangeSetName": f"twinspan-{uuid.uuid4().hex[:16]}",
            "ChangeSetType": "CREATE" if creates else "UPDATE",
            "Capabilities": list(CAPABILITIES),
            "IncludeNestedStacks": True,
            "Parameters": [
                {"ParameterKey": key, "UsePreviousValue": True}
                if value is None
                else {"ParameterKey": key, "ParameterValue": value}
                for key, value in sorted(source.parameters.items())
            ],
            "Tags": [{"Key": k, "Value": v} for k, v in sorted((source.tags or {}).items())],
        }
        if source.url is not None:
            arguments["TemplateURL"] = source.url
        else:
            arguments["TemplateBody"] = source.body
        change_set_id = self._client.create_change_set(**arguments)["Id"]
        described = self._change_set(source.name, change_set_id)
        if described["Status"] == "FAILED":
            self._client.delete_change_set(ChangeSetName=change_set_id)
            reason = described.get("StatusReason", "")
            if "didn't contain changes" in reason or "No updates" in reason:
                return Plan(source.name, (), None, creates)
            raise StackFailed(source.name, "not changed", None, reason)
        changes = tuple(self._planned(source.name, described["Changes"]))
        return Plan(source.name, changes, change_set_id, creates)

    def _planned(self, stack: str, changes: Sequence[Mapping[str, Any]]) -> Iterator[PlannedChange]:
        """The resources of a change set; of a nested stack, the resources inside."""
        for item in changes:
            change = item["ResourceChange"]
            if nested := change.get("ChangeSetId"):
                yield from self._planned(stack, self._change_set(stack, nested)["Changes"])
            else:
                yield _planned(change)

    def discard(self, plan: Plan) -> None:
        """Drop a plan that is not to be carried out, and the empty stack that it made."""
        if plan.change_set_id is not None:
            self._client.delete_change_set(ChangeSetName=plan.change_set_id)
        if plan.creates:
            self._client.delete_stack(StackName=plan.stack)

    def execute(self, plan: Plan) -> None:
        """Carry out a plan and wait for its end."""
        before = self._last_event_id(plan.stack)
        self._client.execute_change_set(ChangeSetName=plan.change_set_id)
        wanted = "CREATE_COMPLETE" if plan.creates else "UPDATE_COMPLETE"
        stack = self._settled(plan.stack)
        if stack["StackStatus"] != wanted:
            raise self._failure(plan.stack, stack, before)

    def go_on_rolling_back(self, name: str) -> str:
        """Continue a rollback of an update that got stuck; returns the status that it ends with.

        AWS asks for the root stack here, also when what got stuck is nested.
        """
        self._client.continue_update_rollback(StackName=name)
        return str(self._settled(name)["StackStatus"])

    def protect(self, name: str, protected: bool) -> None:
        """Let AWS refuse to delete the stack, or stop refusing."""
        self._client.update_termination_protection(
            StackName=name, EnableTerminationProtection=protected
        )

    def delete(self, name: str) -> None:
        """Delete a stack and wait; no error if there is none."""
        stack = self.describe(name)
        if stack is None:
            return
        stack_id, before = stack["StackId"], self._last_event_id(name)
        self._client.delete_stack(StackName=name)
        stack = self._settled(stack_id)
        if stack["StackStatus"] != "DELETE_COMPLETE":
            raise self._failure(name, stack, before)

    def _change_set(self, stack: str, change_set_id: str) -> dict[str, Any]:
        deadline = self._clock.monotonic() + self._timeout_seconds
        while True:
            pages, arguments = [], {"ChangeSetName": change_set_id}
            while True:
                page = self._client.describe_change_set(**arguments)
                pages += page.get("Changes", [])
                if not page.get("NextToken"):
                    break
                arguments["NextToken"] = page["NextToken"]
            if page["Status"] in ("CREATE_COMPLETE", "FAILED"):
                return {**page, "Changes": pages}
            if self._clock.monotonic() >= deadline:
                raise StackTimedOut(stack, page["Status"], self._timeout_seconds)
            self._clock.sleep(self._poll_seconds)

    def _settled(self, name_or_id: str) -> dict[str, Any]:
        deadline = self._clock.monotonic() + self._timeout_seconds
        while True:
            stack: dict[str, Any] = self._client.describe_stacks(StackName=name_or_id)["Stacks"][0]
            if not _is_under_way(stack):
                return stack
            if self._clock.monotonic() >= deadline:
                raise StackTimedOut(name_or_id, stack["StackStatus"], self._timeout_seconds)
            self._clock.sleep(self._poll_seconds)

    def _last_event_id(self, name: str) -> str | None:
        events = self._client.describe_stack_events(StackName=name)["StackEvents"]
        return events[0]["EventId"] if events else None

    def _failure(self, name: str, stack: Mapping[str, Any], before: str | None) -> StackFailed:
        """The first thing that failed since the event `before`."""
        newer: list[dict[str, Any]] = []
        for page in self._client.get_paginator("describe_stack_events").paginate(
            StackName=stack["StackId"]
        ):
            for event in page["StackEvents"]:
                if event["EventId"] == before:
                    break
                newer.append(event)
            else:
                continue
            break
        for event in reversed(newer):
            reason = event.get("ResourceStatusReason", "")
            if event["ResourceStatus"].endswith("_FAILED") and _CANCELLED not in reason:
                physical_id = event["PhysicalResourceId"]
                is_stack = physical_id == stack["StackId"]
                if event["ResourceType"] == _STACK_TYPE and not is_stack and physical_id:
                    # Of a nested stack, the resource inside that failed is what a person wants to know.
                    return self._failure(name, {**stack, "StackId": physical_id}, None)
                resource = None if is_stack else event["LogicalResourceId"]
                type_name = None if is_stack else event["ResourceType"]
                return StackFailed(name, stack["StackStatus"], resource, reason, type_name)
        for event in reversed(newer):
            if "ROLLBACK_IN_PROGRESS" in event["ResourceStatus"]:
                reason = event.get("ResourceStatusReason", "")
                return StackFailed(name, stack["StackStatus"], None, reason)
        reason = stack.get("StackStatusReason") or "CloudFormation gave no reason"
        return StackFailed(name, stack["StackStatus"], None, reason)


def _is_under_way(stack: Mapping[str, Any]) -> bool:
    # A stack in review waits for a change set to be carried out; nothing is happening to it.
    status = stack["StackStatus"]
    return bool(status.endswith("_IN_PROGRESS")) and status != "REVIEW_IN_PROGRESS"


def _is_whole(stack: Mapping[str, Any]) -> bool:
    status = stack["StackStatus"]
    return bool(status.endswith("_COMPLETE")) and status not in _HOLDS_NOTHING


def _planned(change: Mapping[str, Any]) -> PlannedChange:
    names = (item.get("Target", {}).get("Name") for item in change.get("Details", []))
    return PlannedChange(
        action=change["Action"],
        logical_id=change["LogicalResourceId"],
        type_name=change["ResourceType"],
        replacement=change.get("Replacement"),
        properties=tuple(sorted({name for name in names if name})),
    )


def _counted(plan: Plan) -> str:
    counts: Sequence[tuple[str, int]] = [
        (word, sum(change.action == action for change in plan.changes))
        for action, word in (("Add", "to add"), ("Modify", "to change"), ("Remove", "to remove"))
    ]
    return ", ".join(f"{count} {word}" for word, count in counts if count) or "outputs change"
