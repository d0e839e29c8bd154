"""Stacks: a template brought into being, changed, and taken down again, in order and with a way back.

A stack operation runs to its end inside the call that starts it, so a waiter returns at once. As in AWS,
a failed creation deletes what it made (`ROLLBACK_COMPLETE`), a failed update returns to the template
before (`UPDATE_ROLLBACK_COMPLETE`), and the events say which resource failed and why. A resource whose
properties did not change is not touched.

Not guaranteed: stack policies, imports, exports and stack sets are refused. Resources are made one after another, where AWS makes independent ones at the same time.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError

from infra.local.cloudformation.drift import Drift, drift_of
from infra.local.cloudformation.dynamic_references import reveal
from infra.local.cloudformation.errors import (
    CloudFormationProblem,
    NestedStackFailed,
    TemplateProblem,
    UnsupportedByEmbeddedCloud,
)
from infra.local.cloudformation.intrinsics import Resolver, references
from infra.local.cloudformation.resource_type import (
    Existing,
    Registry,
    ResourceType,
    Surroundings,
    is_gone,
)
from infra.local.cloudformation.template import ResourceDeclaration, Template

# (service, account id, region) → boto3 client
ClientFactory = Callable[[str, str, str], Any]
STACK_TYPE = "AWS::CloudFormation::Stack"
_REFUSALS = (CloudFormationProblem, ClientError, BotoCoreError)


class ChangeAction(enum.StrEnum):
    """What a change set does to a resource."""

    ADD = "Add"
    MODIFY = "Modify"
    REMOVE = "Remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a change set."""

    action: ChangeAction
    logical_id: str
    type_name: str
    physical_id: str | None = None
    properties: tuple[str, ...] = ()
    change_set_id: str | None = None  # of a nested stack, when asked for


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One line of a stack's history."""

    logical_id: str
    physical_id: str
    type_name: str
    status: str
    reason: str | None = None
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True)
class StackResource:
    """A resource that a stack has made. `properties` are the resolved ones that made it."""

    declaration: ResourceDeclaration
    type: ResourceType
    properties: dict[str, Any]
    existing: Existing
    status: str
    changed_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class ResourceFailed(Exception):
    """A resource could not be made, changed or deleted; the event log holds it already."""

    def __init__(self, logical_id: str, reason: str) -> None:
        self.logical_id = logical_id
        self.reason = reason
        super().__init__(f"{logical_id}: {reason}")


@dataclass(slots=True)
class Stack:
    """One stack and its history."""

    name: str
    stack_id: str
    template: Template
    given_parameters: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ()
    termination_protection: bool = False
    status: str = "REVIEW_IN_PROGRESS"
    status_reason: str | None = None
    events: list[StackEvent] = field(default_factory=list)
    resources: dict[str, StackResource] = field(default_factory=dict)
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    updated_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def is_busy(self) -> bool:
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"

    def enter(self, status: str, reason: str | None = None) -> None:
        """Change the stack's status and record it."""
        self.status, self.status_reason = status, reason
        self.events.append(StackEvent(self.name, self.stack_id, STACK_TYPE, status, reason))

    def record(
        self,
        declaration: ResourceDeclaration,
        physical_id: str,
        status: str,
        reason: str | None = None,
    ) -> None:
        """Record what became of a resource."""
        self.events.append(
            StackEvent(declaration.logical_id, physical_id, declaration.type_name, status, reason)
        )


class StackEngine:
    """Makes stacks in one account and region."""

    def __init__(
        self, account_id: str, region: str, partition: str, types: Registry, clients: ClientFactory
    ) -> None:
        self._account_id, self._region, self._partition = account_id, region, partition
        self._types, self._clients = types, clients
        self._zone_names: dict[str, list[str]] = {}

    def new_stack(self, name: str, template: Template, parameters: Mapping[str, str]) -> Stack:
        """A stack that has nothing yet."""
        where = f"{self._region}:{self._account_id}"
        stack_id = f"arn:{self._partition}:cloudformation:{where}:stack/{name}/{uuid.uuid4()}"
        return Stack(name, stack_id, template, parameters)

    def create(self, stack: Stack) -> None:
        """Make all resources; on failure delete them again."""
        stack.enter("CREATE_IN_PROGRESS", "User Initiated")
        try:
            self._apply(stack, stack.template, stack.given_parameters)
        except (ResourceFailed, CloudFormationProblem) as failure:
            stack.enter("ROLLBACK_IN_PROGRESS", str(failure))
            left = self._remove(stack, _backwards(stack.resources.values()), keep_retained=False)
            stack.enter("ROLLBACK_FAILED" if left else "ROLLBACK_COMPLETE", _left_behind(left))
            return
        stack.enter("CREATE_COMPLETE")

    def update(self, stack: Stack, template: Template, parameters: Mapping[str, str]) -> None:
        """Go over to another template or other parameters; on failure go back."""
        before = (stack.template, stack.given_parameters)
        stack.enter("UPDATE_IN_PROGRESS", "User Initiated")
        stack.updated_at = datetime.now(UTC)
        try:
            self._apply(stack, template, parameters)
        except (ResourceFailed, CloudFormationProblem) as failure:
            stack.enter("UPDATE_ROLLBACK_IN_PROGRESS", str(failure))
            stack.template, stack.given_parameters = before
            self._go_back(stack)
            return
        stack.template, stack.given_parameters = template, parameters
        stack.enter("UPDATE_COMPLETE")

    def continue_rollback(self, stack: Stack) -> None:
        """Go on with a rollback that failed."""
        stack.enter("UPDATE_ROLLBACK_IN_PROGRESS", "User Initiated")
        self._go_back(stack)

    def _go_back(self, stack: Stack) -> None:
        try:
            self._apply(stack, stack.template, stack.given_parameters)
        except (ResourceFailed, CloudFormationProblem) as failure:
            stack.enter("UPDATE_ROLLBACK_FAILED", str(failure))
            return
        stack.enter("UPDATE_ROLLBACK_COMPLETE")

    def delete(self, stack: Stack) -> None:
        """Delete all resources except those to retain."""
        stack.enter("DELETE_IN_PROGRESS", "User Initiated")
        left = self._remove(stack, _backwards(stack.resources.values()), keep_retained=True)
        if left:
            stack.enter("DELETE_FAILED", _left_behind(left))
            return
        stack.deleted_at = datetime.now(UTC)
        stack.enter("DELETE_COMPLETE")

    def drift(self, stack: Stack) -> dict[str, tuple[StackResource, Drift]]:
        """Each resource with its drift, by logical id."""
        return {
            name: (
                item,
                drift_of(
                    item.type, self._surroundings(stack, name), item.existing, item.properties
                ),
            )
            for name, item in stack.resources.items()
        }

    def changes(
        self, stack: Stack, template: Template, parameters: Mapping[str, str]
    ) -> list[Change]:
        """What going over to a template would do to the stack's resources.

        Raises:
            CloudFormationProblem: if the template cannot be deployed.
        """
        resolver = self._resolver(stack, template, parameters, planning=True)
        changes = []
        for declaration in _in_order(template, resolver):
            self._check(declaration)
            properties = _resolved(resolver, declaration)
            current = stack.resources.get(declaration.logical_id)
            if current is None or current.type.name != declaration.type_name:
                action, physical_id, changed = ChangeAction.ADD, None, tuple(sorted(properties))
            else:
                changed = _changed(current.properties, properties)
                action, physical_id = ChangeAction.MODIFY, current.existing.physical_id
                if not changed:
                    continue
            changes.append(
                Change(action, declaration.logical_id, declaration.type_name, physical_id, changed)
            )
        wanted = {declaration.logical_id for declaration in _in_order(template, resolver)}
        changes += [
            Change(ChangeAction.REMOVE, name, item.type.name, item.existing.physical_id)
            for name, item in stack.resources.items()
            if name not in wanted
        ]
        return changes

    def nested(
        self, stack: Stack, template: Template, parameters: Mapping[str, str]
    ) -> dict[str, dict[str, Any]]:
        """Properties, as far as they are known, of the stacks nested in a template, by logical id."""
        resolver = self._resolver(stack, template, parameters, planning=True)
        return {
            declaration.logical_id: _resolved(resolver, declaration)
            for declaration in _in_order(template, resolver)
            if declaration.type_name == STACK_TYPE
        }

    def _apply(self, stack: Stack, template: Template, parameters: Mapping[str, str]) -> None:
        resolver = self._resolver(stack, template, parameters)
        ordered = _in_order(template, resolver)
        for declaration in ordered:
            try:
                self._check(declaration)
            except CloudFormationProblem as problem:
                self._fail(stack, declaration, "", "CREATE_FAILED", problem)
        outdated: list[StackResource] = []
        for declaration in ordered:
            replaced = self._bring_about(stack, declaration, resolver)
            if replaced is not None:
                outdated.append(replaced)
        wanted = {declaration.logical_id for declaration in ordered}
        outdated += [item for name, item in stack.resources.items() if name not in wanted]
        outputs = _outputs(template, resolver)
        left = self._remove(stack, _backwards(outdated), keep_retained=True)
        stack.outputs = outputs
        if left:
            stack.status_reason = _left_behind(left)

    def _check(self, declaration: ResourceDeclaration) -> None:
        resource_type = self._types.named(declaration.type_name, declaration.where)
        resource_type.check(declaration.properties, declaration.where)

    def _bring_about(
        self, stack: Stack, declaration: ResourceDeclaration, resolver: Resolver
    ) -> StackResource | None:
        """Create, change or replace one resource. Returns the one that it replaces, still existing."""
        name = declaration.logical_id
        resource_type = self._types.named(declaration.type_name, declaration.where)
        current = stack.resources.get(name)
        same_type = current is not None and current.type.name == declaration.type_name
        status = "UPDATE" if current is not None else "CREATE"
        physical_id = current.existing.physical_id if current is not None else ""
        try:
            properties = _resolved(resolver, declaration)
            resource_type.check(properties, declaration.where)
            if current is not None and same_type and not _changed(current.properties, properties):
                current.declaration = declaration
                return None
            stack.record(declaration, physical_id, f"{status}_IN_PROGRESS")
            surroundings = self._surroundings(stack, name)
            existing = None
            if current is not None and same_type:
                existing = resource_type.update(
                    surroundings,
                    current.existing,
                    reveal(surroundings, current.properties),
                    reveal(surroundings, properties),
                )
            replaced = None
            if existing is None:
                replaced = current
                existing = resource_type.create(surroundings, reveal(surroundings, properties))
        except _REFUSALS as error:
            self._fail(stack, declaration, physical_id, f"{status}_FAILED", error)
        stack.resources[name] = StackResource(
            declaration, resource_type, properties, existing, f"{status}_COMPLETE"
        )
        stack.record(declaration, existing.physical_id, f"{status}_COMPLETE")
        return replaced

    def _remove(
        self, stack: Stack, resources: Iterable[StackResource], keep_retained: bool
    ) -> list[str]:
        """Delete resources; returns the logical ids of those that could not be deleted."""
        left = []
        for item in resources:
            name = item.declaration.logical_id
            if keep_retained and item.declaration.retain_on_delete:
                stack.record(item.declaration, item.existing.physical_id, "DELETE_SKIPPED")
            else:
                stack.record(item.declaration, item.existing.physical_id, "DELETE_IN_PROGRESS")
                try:
                    self._delete_one(stack, item)
                except _REFUSALS as error:
                    stack.record(
                        item.declaration,
                        item.existing.physical_id,
                        "DELETE_FAILED",
                        reason_of(error),
                    )
                    left.append(name)
                    continue
                stack.record(item.declaration, item.existing.physical_id, "DELETE_COMPLETE")
            if stack.resources.get(name) is item:
                del stack.resources[name]
        return left

    def _delete_one(self, stack: Stack, item: StackResource) -> None:
        try:
            item.type.delete(
                self._surroundings(stack, item.declaration.logical_id),
                item.existing,
                item.properties,
            )
        except ClientError as error:
            if not is_gone(error):
                raise

    def _fail(
        self,
        stack: Stack,
        declaration: ResourceDeclaration,
        physical_id: str,
        status: str,
        error: Exception,
    ) -> NoReturn:
        reason = reason_of(error)
        if isinstance(error, NestedStackFailed):
            physical_id = error.stack_id
        stack.record(declaration, physical_id, status, reason)
        raise ResourceFailed(declaration.logical_id, reason) from error

    def _surroundings(self, stack: Stack, logical_id: str) -> Surroundings:
        return Surroundings(
            clients=self._client,
            account_id=self._account_id,
            region=self._region,
            partition=self._partition,
            stack_name=stack.name,
            stack_id=stack.stack_id,
            logical_id=logical_id,
        )

    def _client(self, service: str) -> Any:
        return self._clients(service, self._account_id, self._region)

    def _zones(self, region: str) -> list[str]:
        if region not in self._zone_names:
            answer = self._clients("ec2", self._account_id, region).describe_availability_zones()
            self._zone_names[region] = sorted(
                zone["ZoneName"] for zone in answer["AvailabilityZones"]
            )
        return self._zone_names[region]

    def _resolver(
        self,
        stack: Stack,
        template: Template,
        parameters: Mapping[str, str],
        planning: bool = False,
    ) -> Resolver:
        """`planning`: what does not exist yet is shown as `(known after Name is made)`."""
        known = {
            **template.resolve_parameters(parameters),
            "AWS::AccountId": self._account_id,
            "AWS::Partition": self._partition,
            "AWS::Region": self._region,
            "AWS::StackId": stack.stack_id,
            "AWS::StackName": stack.name,
            "AWS::URLSuffix": "amazonaws.com",
        }

        def made(logical_id: str) -> StackResource | None:
            item = stack.resources.get(logical_id)
            if item is None and not planning:
                raise TemplateProblem(logical_id, "is referred to, but its condition does not hold")
            return item

        def reference(logical_id: str) -> str:
            item = made(logical_id)
            return item.existing.physical_id if item else f"(known after {logical_id} is made)"

        def attribute(logical_id: str, name: str) -> Any:
            item = made(logical_id)
            if item is None:
                return f"(known after {logical_id} is made)"
            return item.type.attribute(item.existing, name, f"Fn::GetAtt {logical_id}.{name}")

        return Resolver(template, known, reference, attribute, self._zones)


def reason_of(error: Exception) -> str:
    """One line for an event; an API's refusal keeps its code."""
    if isinstance(error, ClientError):
        inner = error.response.get("Error", {})
        return f"{error.operation_name}: {inner.get('Message', '')} ({inner.get('Code', '')})"
    return str(error)


def _resolved(resolver: Resolver, declaration: ResourceDeclaration) -> dict[str, Any]:
    try:
        properties: dict[str, Any] = resolver.resolve(declaration.properties)
    except UnsupportedByEmbeddedCloud as problem:
        where = f"{declaration.where}: {problem.where}"
        raise UnsupportedByEmbeddedCloud(where, problem.what) from None
    except TemplateProblem as problem:
        where = f"{declaration.where}: {problem.where}"
        raise TemplateProblem(where, problem.reason) from None
    return properties


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name in {*old, *new} if old.get(name) != new.get(name)))


def _in_order(template: Template, resolver: Resolver) -> list[ResourceDeclaration]:
    """Resources whose condition holds, each after everything that it needs."""
    wanted = {
        name: declaration
        for name, declaration in template.resources.items()
        if declaration.condition is None or resolver.condition(declaration.condition)
    }
    ordered: list[ResourceDeclaration] = []
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise TemplateProblem("Resources", f"circular: {' → '.join((*trail, name))}")
        if name in done or name not in wanted:
            return
        declaration = wanted[name]
        needs = {*references(declaration.properties), *declaration.depends_on}
        for other in sorted(needs & set(template.resources)):
            visit(other, (*trail, name))
        done.add(name)
        ordered.append(declaration)

    for name in wanted:
        visit(name, ())
    return ordered


def _outputs(template: Template, resolver: Resolver) -> dict[str, tuple[str, str]]:
    outputs = {}
    for name, body in template.outputs.items():
        if "Export" in body:
            raise UnsupportedByEmbeddedCloud(f"Outputs.{name}.Export", "exports")
        if "Condition" in body and not resolver.condition(body["Condition"]):
            continue
        value = resolver.resolve(body["Value"])
        if not isinstance(value, str):
            raise TemplateProblem(f"Outputs.{name}", f"text is wanted, not {value!r}")
        outputs[name] = (value, str(body.get("Description", "")))
    return outputs


def _backwards(resources: Iterable[StackResource]) -> list[StackResource]:
    """The order of deletion: `Stack.resources` is in the order of creation."""
    return list(resources)[::-1]


def _left_behind(left: list[str]) -> str | None:
    return f"The following resource(s) failed to delete: [{', '.join(left)}]." if left else None
