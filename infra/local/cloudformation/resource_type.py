"""What the embedded cloud knows of a CloudFormation resource type, and how it makes one.

As in AWS, CloudFormation here is a client of the other services: a resource is made, changed and deleted
by calls to the service's own API. Most types are one row of a table (`ApiType`); the irregular ones are
subclasses. Each type lists every property it accepts; the rest is refused. A property that is accepted
but changes nothing here is listed with the reason, and `no_effect` shows them all.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud
from infra.local.cloudformation.shapes import to_shape

Properties = Mapping[str, Any]

_SUFFIX_ALPHABET = string.ascii_uppercase + string.digits
_SUFFIX_LENGTH = 12
_GONE = ("NotFound", "NoSuch", "NonExistent", "DoesNotExist", "ResourceNotFoundException")


@dataclass(frozen=True, slots=True)
class Existing:
    """A resource that exists. `physical_id` is what Ref gives, `attributes` what GetAtt gives."""

    physical_id: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a resource is made. `clients` gives the client of a service in this account and region."""

    clients: Callable[[str], Any]
    account_id: str
    region: str
    partition: str
    stack_name: str
    stack_id: str
    logical_id: str

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One API call; `operation` is spelled as boto3 does."""
        answer: dict[str, Any] = getattr(self.clients(service), operation)(**parameters)
        return answer

    def shaped_call(
        self, service: str, operation: str, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        """One API call with a template's values, turned into what the API wants."""
        client = self.clients(service)
        api_name = client.meta.method_to_api_mapping[operation]
        shape = client.meta.service_model.operation_model(api_name).input_shape
        where = f"Resources.{self.logical_id}.Properties"
        shaped = to_shape(dict(parameters), shape, where) if shape else {}
        answer: dict[str, Any] = getattr(client, operation)(**shaped)
        return answer

    def generated_name(self, longest: int = 64) -> str:
        """A unique name as CloudFormation makes them."""
        suffix = "".join(secrets.choice(_SUFFIX_ALPHABET) for _ in range(_SUFFIX_LENGTH))
        room = longest - len(suffix) - 1
        return f"{self.stack_name}-{self.logical_id}"[:room].rstrip("-") + f"-{suffix}"


def is_gone(error: ClientError) -> bool:
    """Whether an API refused because the thing does not exist."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return any(part in code for part in _GONE)


class ResourceType:
    """One type. Subclasses implement `create`, `delete` and, unless replacing is right, `update`."""

    name: str
    properties: frozenset[str]
    no_effect: Mapping[str, str]
    required: frozenset[str]

    def check(self, properties: Properties, where: str) -> None:
        """Refuse a property that this type does not emulate, and a missing required one."""
        for name in properties:
            if name not in self.properties and name not in self.no_effect:
                raise UnsupportedByEmbeddedCloud(
                    f"{where}.Properties.{name}", f"this property of {self.name}"
                )
        for name in sorted(self.required):
            if name not in properties:
                raise TemplateProblem(f"{where}.Properties", f"{name} is required by {self.name}")

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        raise NotImplementedError

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        """Change in place; None means that the resource has to be replaced."""
        return None

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        raise NotImplementedError

    def attribute(self, existing: Existing, name: str, where: str) -> Any:
        """What GetAtt gives.

        Raises:
            UnsupportedByEmbeddedCloud: for an attribute that this type does not offer here.
        """
        if name not in existing.attributes:
            raise UnsupportedByEmbeddedCloud(where, f"the attribute {name} of {self.name}")
        return existing.attributes[name]


def dig(answer: Any, path: str) -> Any:
    """A value inside an API's answer, by a path such as `Vpc.VpcId`."""
    for part in path.split("."):
        answer = answer[int(part)] if part.isdigit() else answer[part]
    return answer


TagWriter = Callable[[list[Mapping[str, Any]]], dict[str, Any]]


def tag_specification(kind: str) -> TagWriter:
    """EC2's way: `TagSpecifications` at creation."""
    return lambda tags: {"TagSpecifications": [{"ResourceType": kind, "Tags": list(tags)}]}


def tag_list(member: str = "Tags") -> TagWriter:
    """A list of Key and Value (the shape takes care of capitals)."""
    return lambda tags: {member: list(tags)}


def tag_map(member: str = "Tags") -> TagWriter:
    """A mapping from key to value."""
    return lambda tags: {member: {tag["Key"]: tag["Value"] for tag in tags}}


@dataclass(frozen=True, kw_only=True)
class ApiType(ResourceType):
    """A type that one create call makes and one delete call deletes.

    `result`: where the created thing is in the answer. `ref`: what Ref gives, `attributes`: what GetAtt
    gives; both as paths inside the result, or `=Property` for the value of a property. `renames`: API
    members that are called otherwise than the property. `delete_by`: parameters of the delete call;
    `@ref`, `=Property`, or an attribute's name. `name_property`: a name is generated if it is absent.
    `afterwards`: properties that calls after the create call bring about. `upsert`: the create call, made
    again, changes what is there.
    """

    name: str
    service: str
    create_call: str
    delete_call: str
    delete_by: Mapping[str, str]
    properties: frozenset[str]
    ref: str
    result: str | None = None
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    tags: TagWriter | None = None
    name_property: str | None = None
    longest_name: int = 64
    afterwards: frozenset[str] = frozenset()
    upsert: bool = False

    def complete(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        """The properties with a generated name, if the type has one and none was given."""
        complete = dict(properties)
        if self.name_property is not None and self.name_property not in complete:
            complete[self.name_property] = aws.generated_name(self.longest_name)
        return complete

    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        """The parameters of the create call."""
        parameters = {
            self.renames.get(name, name): value
            for name, value in properties.items()
            if name in self.properties - self.afterwards and name != "Tags"
        }
        if self.tags is not None and properties.get("Tags"):
            parameters |= self.tags(properties["Tags"])
        return parameters | dict(self.constants)

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        complete = self.complete(aws, properties)
        answer = aws.shaped_call(self.service, self.create_call, self.parameters(aws, complete))
        existing = self.existing(answer, complete)
        self.after_create(aws, existing, complete)
        return existing

    def existing(self, answer: Mapping[str, Any], properties: Properties) -> Existing:
        """What the create call's answer says of the resource."""
        result = dig(answer, self.result) if self.result else answer

        def value(path: str) -> Any:
            return properties[path[1:]] if path.startswith("=") else dig(result, path)

        return Existing(
            physical_id=str(value(self.ref)),
            attributes={name: value(path) for name, path in self.attributes.items()},
        )

    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        """Calls for what the create call has no parameter for."""

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if not self.upsert:
            return None
        if self.name_property is not None:
            was = old.get(self.name_property)
            if was != new.get(self.name_property):
                return None
            new = {**new, self.name_property: was or existing.physical_id}
        answer = aws.shaped_call(self.service, self.create_call, self.parameters(aws, new))
        updated = self.existing(answer, new)
        self.after_create(aws, updated, new)
        return updated

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        parameters = {}
        for member, source in self.delete_by.items():
            if source == "@ref":
                parameters[member] = existing.physical_id
            elif source.startswith("="):
                parameters[member] = properties[source[1:]]
            else:
                parameters[member] = existing.attributes[source]
        aws.call(self.service, self.delete_call, **parameters)


class Registry:
    """The types by name."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self._types: dict[str, ResourceType] = {}
        for resource_type in types:
            if resource_type.name in self._types:
                raise ValueError(f"{resource_type.name} is in the table twice")
            self._types[resource_type.name] = resource_type

    def __iter__(self) -> Iterator[ResourceType]:
        return iter(self._types.values())

    def named(self, name: str, where: str) -> ResourceType:
        """The type of this name.

        Raises:
            UnsupportedByEmbeddedCloud: if there is none.
        """
        if name not in self._types:
            raise UnsupportedByEmbeddedCloud(where, f"the resource type {name}")
        return self._types[name]
