"""CloudFormation's API, answered by the embedded cloud's own stacks instead of moto's.

moto's CloudFormation skips what it does not know and still reports success. Here the stack engine of
this package answers; moto keeps the protocol: parsing of requests and forming of answers.

Not guaranteed: operations beyond stacks, change sets and drift (stack sets, type registry) are refused.
Shapes: botocore's service model `cloudformation` 2010-05-15.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import botocore.session
from botocore import xform_name
from moto.cloudformation.exceptions import AlreadyExistsException, ValidationError
from moto.cloudformation.models import CloudFormationBackend, cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult, EmptyResult

from infra.local.cloudformation import drift_api
from infra.local.cloudformation.errors import CloudFormationProblem
from infra.local.cloudformation.resource_type import Registry
from infra.local.cloudformation.stack import (
    STACK_TYPE,
    Change,
    ChangeAction,
    ClientFactory,
    Stack,
    StackEngine,
)
from infra.local.cloudformation.template import Template
from infra.local.cloudformation.types_stack import text
from infra.local.errors import NotEmulated, PatchPointMissing

_SHELF = "_twinspan_stacks"
# If moto no longer has these under these names, it no longer calls ours either.
_REPLACED = ("create_stack", "describe_stacks", "RESPONSE_KEY_PATH_TO_TRANSFORMER")
_NOTHING_TO_DO = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)


@dataclass(slots=True)
class ChangeSet:
    """A change that has been worked out and not carried out."""

    name: str
    change_set_id: str
    stack: Stack
    template: Template
    parameters: Mapping[str, str]
    changes: list[Change]
    status: str
    execution_status: str
    reason: str | None = None
    description: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True)
class _Shelf:
    """The stacks of one account and region. Kept on moto's backend, so a reset of moto clears it."""

    engine: StackEngine
    stacks: list[Stack] = field(default_factory=list)
    change_sets: list[ChangeSet] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def live(self, name_or_id: str) -> Stack | None:
        return next(
            (
                stack
                for stack in self.stacks
                if name_or_id in (stack.name, stack.stack_id) and stack.status != "DELETE_COMPLETE"
            ),
            None,
        )

    def find(self, name_or_id: str) -> Stack:
        """A stack by name, or also a deleted one by id."""
        deleted = (stack for stack in self.stacks if stack.stack_id == name_or_id)
        stack = self.live(name_or_id) or next(deleted, None)
        if stack is None:
            raise ValidationError(message=f"Stack with id {name_or_id} does not exist")
        return stack

    def change_set(self, name_or_id: str, stack_name: str | None) -> ChangeSet:
        for change_set in self.change_sets:
            if name_or_id == change_set.change_set_id:
                return change_set
            of_stack = stack_name in (change_set.stack.name, change_set.stack.stack_id)
            if name_or_id == change_set.name and of_stack:
                return change_set
        raise ValidationError(message=f"ChangeSet [{name_or_id}] does not exist")


@dataclass(slots=True)
class _Setup:
    types: Registry
    clients: ClientFactory


_setup: _Setup | None = None
_undo: Callable[[], None] | None = None


def install(types: Registry, clients: ClientFactory) -> Callable[[], None]:
    """Let this package answer CloudFormation's API in this process; the result undoes that.

    A further call takes the place of the one before.

    Raises:
        PatchPointMissing: if moto has no such answers to replace.
    """
    # moto is global to the process, so what is put into it is too.
    global _setup, _undo
    if _undo is not None:
        _undo()
    members = {name: item for name, item in vars(_Answers).items() if not name.startswith("__")}
    members |= drift_api.answers(
        lambda response, name: _shelf(response).find(name),
        lambda response, stack: _shelf(response).engine.drift(stack),
    )
    model = botocore.session.get_session().get_service_model("cloudformation")
    for operation in model.operation_names:
        members.setdefault(xform_name(operation), _refuse(operation))
    before = {
        name: vars(CloudFormationResponse)[name]
        for name in members
        if name in vars(CloudFormationResponse)
    }
    if missing := {*vars(_Answers)} & {*_REPLACED} - {*before}:
        raise PatchPointMissing(f"CloudFormationResponse.{sorted(missing)[0]}")
    _setup = _Setup(types, clients)
    for name, member in members.items():
        setattr(CloudFormationResponse, name, member)

    def undo() -> None:
        global _setup, _undo
        if _undo is not undo:
            return
        _setup = _undo = None
        for name in members:
            if name in before:
                setattr(CloudFormationResponse, name, before[name])
            else:
                delattr(CloudFormationResponse, name)

    _undo = undo
    return undo


def _refuse(operation: str) -> Callable[[Any], ActionResult]:
    def refuse(response: Any) -> ActionResult:
        raise NotEmulated(f"CloudFormation's {operation}")

    return refuse


def _shelf(response: CloudFormationResponse) -> _Shelf:
    backend: CloudFormationBackend = cloudformation_backends[response.current_account][
        response.region
    ]
    shelf = vars(backend).get(_SHELF)
    if shelf is None:
        if _setup is None:
            raise RuntimeError("install() comes before the first request")
        shelf = _Shelf(
            StackEngine(
                response.current_account,
                response.region,
                response.partition,
                _setup.types,
                _setup.clients,
            )
        )
        setattr(backend, _SHELF, shelf)
    return shelf


def _given(response: Any, stack: Stack | None) -> dict[str, str]:
    """Parameter values of a request; `UsePreviousValue` takes them from the stack."""
    given = {}
    for item in response._get_param("Parameters", []):
        key = item["ParameterKey"]
        if "ParameterValue" in item:
            given[key] = item["ParameterValue"]
        elif str(item.get("UsePreviousValue")).lower() == "true" and stack is not None:
            if key in stack.given_parameters:
                given[key] = stack.given_parameters[key]
        else:
            raise ValidationError(message=f"Parameter {key} has no value")
    return given


def _template(response: Any, stack: Stack | None) -> Template:
    body, url = response._get_param("TemplateBody"), response._get_param("TemplateURL")
    if url:
        body = response._get_stack_from_s3_url(url)
    if body:
        return Template.parse(body)
    if stack is not None and str(response._get_param("UsePreviousTemplate")).lower() == "true":
        return stack.template
    raise ValidationError(message="Either Template URL or Template Body must be specified.")


def _tags(response: Any) -> dict[str, str]:
    return {item["Key"]: item["Value"] for item in response._get_param("Tags", [])}


def _problem(problem: CloudFormationProblem) -> ValidationError:
    return ValidationError(message=f"Template validation error: {problem}")


def _idle(stack: Stack) -> None:
    if stack.is_busy:
        raise ValidationError(
            message=f"Stack:{stack.stack_id} is in {stack.status} state and can not be updated."
        )


class _Answers:
    """Members copied onto moto's `CloudFormationResponse`; `self` is one of those."""

    # moto turns its own objects into answers by these; here answers have AWS's shape already.
    RESPONSE_KEY_PATH_TO_TRANSFORMER: ClassVar[dict[str, Any]] = {}

    def create_stack(self: Any) -> ActionResult:
        shelf, name = _shelf(self), self._get_param("StackName")
        with shelf.lock:
            if shelf.live(name) is not None:
                raise AlreadyExistsException(f"Stack [{name}] already exists")
            try:
                template, given = _template(self, None), _given(self, None)
                template.resolve_parameters(given)
            except CloudFormationProblem as problem:
                raise _problem(problem) from None
            stack = shelf.engine.new_stack(name, template, given)
            stack.tags = _tags(self)
            stack.capabilities = tuple(self._get_param("Capabilities", []))
            shelf.stacks.append(stack)
        shelf.engine.create(stack)
        return ActionResult({"StackId": stack.stack_id})

    def update_stack(self: Any) -> ActionResult:
        shelf = _shelf(self)
        with shelf.lock:
            stack = shelf.find(self._get_param("StackName"))
            _idle(stack)
            if stack.status == "ROLLBACK_COMPLETE":
                raise ValidationError(
                    message=f"Stack:{stack.stack_id} is in ROLLBACK_COMPLETE state "
                    "and can not be updated."
                )
            try:
                template, given = _template(self, stack), _given(self, stack)
                changes = shelf.engine.changes(stack, template, given)
            except CloudFormationProblem as problem:
                raise _problem(problem) from None
            if not changes and template.outputs == stack.template.outputs:
                raise ValidationError(message="No updates are to be performed.")
        shelf.engine.update(stack, template, given)
        return ActionResult({"StackId": stack.stack_id})

    def delete_stack(self: Any) -> ActionResult:
        shelf = _shelf(self)
        with shelf.lock:
            stack = shelf.live(self._get_param("StackName"))
            if stack is None:
                return EmptyResult()
            if stack.termination_protection:
                raise ValidationError(
                    message=f"Stack [{stack.name}] cannot be deleted while TerminationProtection "
                    "is enabled"
                )
            _idle(stack)
        shelf.engine.delete(stack)
        return EmptyResult()

    def update_termination_protection(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        wanted = str(self._get_param("EnableTerminationProtection")).lower() == "true"
        stack.termination_protection = wanted
        return ActionResult({"StackId": stack.stack_id})

    def continue_update_rollback(self: Any) -> ActionResult:
        shelf = _shelf(self)
        if self._get_param("ResourcesToSkip"):
            raise NotEmulated("continuing a rollback past resources")
        with shelf.lock:
            stack = shelf.find(self._get_param("StackName"))
            if stack.status != "UPDATE_ROLLBACK_FAILED":
                raise ValidationError(
                    message=f"Stack:{stack.stack_id} is in {stack.status} state and can not "
                    "continue rollback."
                )
        shelf.engine.continue_rollback(stack)
        return EmptyResult()

    def describe_stacks(self: Any) -> ActionResult:
        shelf, name = _shelf(self), self._get_param("StackName")
        stacks = [shelf.find(name)] if name else [s for s in shelf.stacks if not s.deleted_at]
        return ActionResult({"Stacks": [_described_stack(stack) for stack in stacks]})

    def list_stacks(self: Any) -> ActionResult:
        wanted = self._get_param("StackStatusFilter", [])
        summaries = [
            {
                "StackId": stack.stack_id,
                "StackName": stack.name,
                "CreationTime": stack.created_at,
                "DeletionTime": stack.deleted_at,
                "LastUpdatedTime": stack.updated_at,
                "StackStatus": stack.status,
                "StackStatusReason": stack.status_reason,
                "TemplateDescription": stack.template.description,
            }
            for stack in _shelf(self).stacks
            if not wanted or stack.status in wanted
        ]
        return ActionResult({"StackSummaries": summaries})

    def describe_stack_events(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        events = [
            {
                "StackId": stack.stack_id,
                "EventId": event.event_id,
                "StackName": stack.name,
                "LogicalResourceId": event.logical_id,
                "PhysicalResourceId": event.physical_id,
                "ResourceType": event.type_name,
                "Timestamp": event.at,
                "ResourceStatus": event.status,
                "ResourceStatusReason": event.reason,
            }
            for event in reversed(stack.events)
        ]
        return ActionResult({"StackEvents": events})

    def describe_stack_resource(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        name = self._get_param("LogicalResourceId")
        for resource in _described_resources(stack):
            if resource["LogicalResourceId"] == name:
                return ActionResult({"StackResourceDetail": resource})
        raise ValidationError(message=f"Resource {name} does not exist for stack {stack.name}")

    def describe_stack_resources(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        name = self._get_param("LogicalResourceId")
        resources = [
            resource
            for resource in _described_resources(stack)
            if name is None or resource["LogicalResourceId"] == name
        ]
        return ActionResult({"StackResources": resources})

    def list_stack_resources(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        return ActionResult({"StackResourceSummaries": _described_resources(stack)})

    def get_template(self: Any) -> ActionResult:
        stack = _shelf(self).find(self._get_param("StackName"))
        return ActionResult({"TemplateBody": stack.template.text})

    def validate_template(self: Any) -> ActionResult:
        try:
            template = _template(self, None)
        except CloudFormationProblem as problem:
            raise _problem(problem) from None
        parameters = [
            {
                "ParameterKey": name,
                "DefaultValue": None if slot.get("Default") is None else str(slot["Default"]),
                "NoEcho": bool(slot.get("NoEcho", False)),
                "Description": slot.get("Description"),
            }
            for name, slot in template.parameters.items()
        ]
        return ActionResult({"Parameters": parameters, "Description": template.description})

    def create_change_set(self: Any) -> ActionResult:
        shelf, name = _shelf(self), self._get_param("StackName")
        kind = self._get_param("ChangeSetType") or "UPDATE"
        if kind not in ("CREATE", "UPDATE"):
            raise NotEmulated(f"a change set of the type {kind}")
        with shelf.lock:
            stack = shelf.live(name)
            if kind == "UPDATE" and stack is None:
                raise ValidationError(message=f"Stack [{name}] does not exist")
            if kind == "CREATE" and stack is not None and stack.status != "REVIEW_IN_PROGRESS":
                raise ValidationError(message=f"Stack [{name}] already exists")
            try:
                template, given = _template(self, stack), _given(self, stack)
                template.resolve_parameters(given)
                if stack is None:
                    stack = shelf.engine.new_stack(name, template, given)
                    stack.enter("REVIEW_IN_PROGRESS", "User Initiated")
                    shelf.stacks.append(stack)
                _idle(stack)
                changes = shelf.engine.changes(stack, template, given)
            except CloudFormationProblem as problem:
                raise _problem(problem) from None
            if _tags(self):
                stack.tags = _tags(self)
            stack.capabilities = tuple(self._get_param("Capabilities", []))
            if str(self._get_param("IncludeNestedStacks")).lower() == "true":
                changes = _with_nested(self, stack, template, given, changes)
            empty = not changes and template.outputs == stack.template.outputs
            where = stack.stack_id.rpartition(":stack/")[0]
            change_set = ChangeSet(
                name=self._get_param("ChangeSetName"),
                change_set_id=f"{where}:changeSet/{self._get_param('ChangeSetName')}/{uuid.uuid4()}",
                stack=stack,
                template=template,
                parameters=given,
                changes=changes,
                status="FAILED" if empty else "CREATE_COMPLETE",
                execution_status="UNAVAILABLE" if empty else "AVAILABLE",
                reason=_NOTHING_TO_DO if empty else None,
                description=self._get_param("Description"),
            )
            shelf.change_sets.append(change_set)
        return ActionResult({"Id": change_set.change_set_id, "StackId": stack.stack_id})

    def describe_change_set(self: Any) -> ActionResult:
        change_set = _shelf(self).change_set(
            self._get_param("ChangeSetName"), self._get_param("StackName")
        )
        changes = [
            {
                "Type": "Resource",
                "ResourceChange": {
                    "Action": change.action.value,
                    "LogicalResourceId": change.logical_id,
                    "PhysicalResourceId": change.physical_id,
                    "ResourceType": change.type_name,
                    "ChangeSetId": change.change_set_id,
                    "Scope": ["Properties"] if change.properties else [],
                    "Details": [
                        {"Target": {"Attribute": "Properties", "Name": name}}
                        for name in change.properties
                    ],
                },
            }
            for change in change_set.changes
        ]
        return ActionResult({**_summary(change_set), "Changes": changes})

    def list_change_sets(self: Any) -> ActionResult:
        shelf = _shelf(self)
        stack = shelf.find(self._get_param("StackName"))
        ours = [_summary(item) for item in shelf.change_sets if item.stack is stack]
        return ActionResult({"Summaries": ours})

    def execute_change_set(self: Any) -> ActionResult:
        shelf = _shelf(self)
        with shelf.lock:
            change_set = shelf.change_set(
                self._get_param("ChangeSetName"), self._get_param("StackName")
            )
            if change_set.execution_status != "AVAILABLE":
                raise ValidationError(
                    message=f"ChangeSet [{change_set.change_set_id}] cannot be executed in its "
                    f"current execution status of [{change_set.execution_status}]"
                )
            stack = change_set.stack
            _idle(stack)
            change_set.execution_status = "EXECUTE_COMPLETE"
            # Worked out against a state that is about to go.
            nested = _nested_in(shelf, change_set)
            shelf.change_sets = [
                item
                for item in shelf.change_sets
                if item is change_set or (item.stack is not stack and item not in nested)
            ]
        if stack.status == "REVIEW_IN_PROGRESS":
            stack.template, stack.given_parameters = change_set.template, change_set.parameters
            shelf.engine.create(stack)
        else:
            shelf.engine.update(stack, change_set.template, change_set.parameters)
        return EmptyResult()

    def delete_change_set(self: Any) -> ActionResult:
        shelf = _shelf(self)
        with shelf.lock:
            change_set = shelf.change_set(
                self._get_param("ChangeSetName"), self._get_param("StackName")
            )
            for item in (change_set, *_nested_in(shelf, change_set)):
                shelf.change_sets.remove(item)
        return EmptyResult()


def _with_nested(
    response: Any,
    stack: Stack,
    template: Template,
    given: Mapping[str, str],
    changes: list[Change],
) -> list[Change]:
    """The changes, those of nested stacks with a change set of their own.

    A nested stack that would not change is left out, as AWS leaves it out.
    """
    shelf = _shelf(response)
    nested = shelf.engine.nested(stack, template, given)
    detailed: list[Change] = []
    for change in changes:
        if change.type_name != STACK_TYPE or change.logical_id not in nested:
            detailed.append(change)
            continue
        properties = nested[change.logical_id]
        inner_template = Template.parse(response._get_stack_from_s3_url(properties["TemplateURL"]))
        inner_given = {key: text(item) for key, item in properties.get("Parameters", {}).items()}
        inner = shelf.live(change.physical_id or "") or shelf.engine.new_stack(
            f"{stack.name}-{change.logical_id}", inner_template, inner_given
        )
        inner_changes = _with_nested(
            response,
            inner,
            inner_template,
            inner_given,
            shelf.engine.changes(inner, inner_template, inner_given),
        )
        if not inner_changes and change.action is ChangeAction.MODIFY:
            continue
        where = inner.stack_id.rpartition(":stack/")[0]
        name = f"{stack.name}-{change.logical_id}-{uuid.uuid4().hex[:8]}"
        change_set = ChangeSet(
            name=name,
            change_set_id=f"{where}:changeSet/{name}/{uuid.uuid4()}",
            stack=inner,
            template=inner_template,
            parameters=inner_given,
            changes=inner_changes,
            status="CREATE_COMPLETE",
            execution_status="UNAVAILABLE",  # the root's is the one to carry out
        )
        shelf.change_sets.append(change_set)
        detailed.append(replace(change, change_set_id=change_set.change_set_id))
    return detailed


def _nested_in(shelf: _Shelf, change_set: ChangeSet) -> list[ChangeSet]:
    """The change sets of stacks nested in this one's, at any depth."""
    wanted = {change.change_set_id for change in change_set.changes if change.change_set_id}
    direct = [item for item in shelf.change_sets if item.change_set_id in wanted]
    return [*direct, *(deeper for item in direct for deeper in _nested_in(shelf, item))]


def _summary(change_set: ChangeSet) -> dict[str, Any]:
    return {
        "ChangeSetName": change_set.name,
        "ChangeSetId": change_set.change_set_id,
        "StackId": change_set.stack.stack_id,
        "StackName": change_set.stack.name,
        "Description": change_set.description,
        "CreationTime": change_set.created_at,
        "ExecutionStatus": change_set.execution_status,
        "Status": change_set.status,
        "StatusReason": change_set.reason,
    }


def _described_stack(stack: Stack) -> dict[str, Any]:
    values = stack.template.resolve_parameters(stack.given_parameters)
    return {
        "StackId": stack.stack_id,
        "StackName": stack.name,
        "Description": stack.template.description,
        "Parameters": [
            {
                "ParameterKey": name,
                "ParameterValue": "****"
                if stack.template.parameters[name].get("NoEcho")
                else (",".join(value) if isinstance(value, list) else value),
            }
            for name, value in values.items()
        ],
        "CreationTime": stack.created_at,
        "DeletionTime": stack.deleted_at,
        "LastUpdatedTime": stack.updated_at,
        "StackStatus": stack.status,
        "StackStatusReason": stack.status_reason,
        "Capabilities": list(stack.capabilities),
        "EnableTerminationProtection": stack.termination_protection,
        "Outputs": [
            {"OutputKey": name, "OutputValue": value, "Description": description}
            for name, (value, description) in stack.outputs.items()
        ],
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
    }


def _described_resources(stack: Stack) -> list[dict[str, Any]]:
    return [
        {
            "StackName": stack.name,
            "StackId": stack.stack_id,
            "LogicalResourceId": name,
            "PhysicalResourceId": item.existing.physical_id,
            "ResourceType": item.type.name,
            "Timestamp": item.changed_at,
            "LastUpdatedTimestamp": item.changed_at,
            "ResourceStatus": item.status,
        }
        for name, item in stack.resources.items()
    ]
