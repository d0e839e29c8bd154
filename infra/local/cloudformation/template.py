"""A CloudFormation template as data: parsed, with the short forms spelled out, its sections checked.

Parsing is strict where AWS is strict and where the embedded cloud could otherwise lose something: an
unknown section, attribute or condition is an error. Not checked here: whether a type has a property
(`resource_type` does) and whether AWS would accept a value (the service's own API does).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud

_SECTIONS = frozenset(
    {
        "AWSTemplateFormatVersion",
        "Description",
        "Metadata",
        "Parameters",
        "Mappings",
        "Conditions",
        "Resources",
        "Outputs",
    }
)
# Rules (assertions on parameters), Transform (macros) and Hooks would change what is deployed.
_SECTIONS_ONLY_AWS_HAS = frozenset({"Rules", "Transform", "Hooks", "Globals"})
_RESOURCE_ATTRIBUTES = frozenset(
    {
        "Type",
        "Properties",
        "DependsOn",
        "Condition",
        "DeletionPolicy",
        "UpdateReplacePolicy",
        "Metadata",
    }
)
_PARAMETER_TYPES = frozenset(
    {
        "String",
        "Number",
        "CommaDelimitedList",
        "List<Number>",
        "AWS::EC2::Image::Id",
        "AWS::EC2::AvailabilityZone::Name",
        "AWS::EC2::VPC::Id",
        "AWS::EC2::Subnet::Id",
    }
)
_LIST_PARAMETERS = frozenset({"CommaDelimitedList", "List<Number>"})


# libyaml reads a template of this size in a tenth of the time; the wheels of PyYAML have it built in.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc]
    """YAML with CloudFormation's tags, and with dates and duplicate keys as AWS takes them."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> Any:
    name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = node.value
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = _mapping(loader, node)
    else:
        raise TemplateProblem(f"line {node.start_mark.line + 1}", f"!{suffix} of nothing")
    return {name: value}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise TemplateProblem(f"line {key_node.start_mark.line + 1}", f"{key} is given twice")
        seen.add(key)
    mapping: dict[Any, Any] = _SafeLoader.construct_mapping(loader, node, deep=True)
    return mapping


_Loader.add_multi_constructor("!", _short_form)
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
# A date stays text (policy versions such as 2012-10-17), as AWS reads it.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True, slots=True)
class ResourceDeclaration:
    """One entry of `Resources`, not yet resolved."""

    logical_id: str
    type_name: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()
    condition: str | None = None
    retain_on_delete: bool = False
    retain_on_replace: bool = False

    @property
    def where(self) -> str:
        return f"Resources.{self.logical_id}"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. `text` is what the caller sent."""

    text: str
    description: str
    parameters: Mapping[str, Mapping[str, Any]]
    mappings: Mapping[str, Any]
    conditions: Mapping[str, Any]
    resources: Mapping[str, ResourceDeclaration]
    outputs: Mapping[str, Mapping[str, Any]]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parse YAML or JSON.

        Raises:
            TemplateProblem: what AWS would refuse, naming the place.
            UnsupportedByEmbeddedCloud: a section that only AWS has.
        """
        try:
            document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of SafeLoader)
        except yaml.YAMLError as error:
            raise TemplateProblem("template", f"is not YAML: {error}") from None
        if not isinstance(document, dict):
            raise TemplateProblem("template", "is not a mapping")
        for section in document:
            if section in _SECTIONS_ONLY_AWS_HAS:
                raise UnsupportedByEmbeddedCloud(str(section), "this section of a template")
            if section not in _SECTIONS:
                raise TemplateProblem(str(section), "is no section of a template")
        conditions = document.get("Conditions") or {}
        resources = {
            name: _resource(name, body, conditions)
            for name, body in (document.get("Resources") or {}).items()
        }
        if not resources:
            raise TemplateProblem("Resources", "at least one resource is required")
        parameters = document.get("Parameters") or {}
        for name, slot in parameters.items():
            _check_parameter_slot(name, slot)
        for resource in resources.values():
            for other in resource.depends_on:
                if other not in resources:
                    raise TemplateProblem(f"{resource.where}.DependsOn", f"no resource {other}")
        return cls(
            text=text,
            description=str(document.get("Description") or ""),
            parameters=parameters,
            mappings=document.get("Mappings") or {},
            conditions=conditions,
            resources=resources,
            outputs=document.get("Outputs") or {},
        )

    def resolve_parameters(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Parameter values from what the caller gave and the defaults.

        Raises:
            TemplateProblem: an unknown, missing or disallowed value, naming the parameter.
        """
        for name in given:
            if name not in self.parameters:
                raise TemplateProblem(f"Parameters.{name}", "is not declared by the template")
        return {
            name: _parameter_value(name, slot, given.get(name))
            for name, slot in self.parameters.items()
        }


def _resource(name: str, body: Any, conditions: Mapping[str, Any]) -> ResourceDeclaration:
    where = f"Resources.{name}"
    if not re.fullmatch(r"[A-Za-z0-9]+", str(name)):
        raise TemplateProblem(where, "a logical id is letters and digits only")
    if not isinstance(body, dict) or not isinstance(body.get("Type"), str):
        raise TemplateProblem(where, "Type is required")
    for attribute in body:
        if attribute not in _RESOURCE_ATTRIBUTES:
            raise UnsupportedByEmbeddedCloud(where, f"the resource attribute {attribute}")
    depends_on = body.get("DependsOn") or ()
    condition = body.get("Condition")
    if condition is not None and condition not in conditions:
        raise TemplateProblem(f"{where}.Condition", f"no condition {condition}")
    policies = {}
    for attribute in ("DeletionPolicy", "UpdateReplacePolicy"):
        policies[attribute] = body.get(attribute, "Delete")
        if policies[attribute] not in ("Delete", "Retain"):
            raise UnsupportedByEmbeddedCloud(
                f"{where}.{attribute}", f"the policy {policies[attribute]}"
            )
    return ResourceDeclaration(
        logical_id=name,
        type_name=body["Type"],
        properties=body.get("Properties") or {},
        depends_on=(depends_on,) if isinstance(depends_on, str) else tuple(depends_on),
        condition=condition,
        retain_on_delete=policies["DeletionPolicy"] == "Retain",
        retain_on_replace=policies["UpdateReplacePolicy"] == "Retain",
    )


def _check_parameter_slot(name: str, slot: Any) -> None:
    where = f"Parameters.{name}"
    if not isinstance(slot, dict) or "Type" not in slot:
        raise TemplateProblem(where, "Type is required")
    if slot["Type"] not in _PARAMETER_TYPES:
        raise UnsupportedByEmbeddedCloud(where, f"the parameter type {slot['Type']}")


def _parameter_value(name: str, slot: Mapping[str, Any], given: str | None) -> Any:
    where = f"Parameters.{name}"
    if given is None and "Default" not in slot:
        raise TemplateProblem(where, "has no default and no value was given")
    default = slot.get("Default")
    text = given if given is not None else _as_text(default)
    items = [item.strip() for item in text.split(",")] if slot["Type"] in _LIST_PARAMETERS else None
    for item in items if items is not None else [text]:
        _check_parameter_item(where, slot, item)
    return items if items is not None else text


def _check_parameter_item(where: str, slot: Mapping[str, Any], item: str) -> None:
    why = slot.get("ConstraintDescription")
    allowed = slot.get("AllowedValues")
    if allowed is not None and item not in [_as_text(value) for value in allowed]:
        raise TemplateProblem(
            where, why or f"{item!r} is not one of {', '.join(map(str, allowed))}"
        )
    pattern = slot.get("AllowedPattern")
    if pattern is not None and not re.fullmatch(pattern, item):
        raise TemplateProblem(where, why or f"{item!r} does not match {pattern}")
    if slot["Type"] in ("Number", "List<Number>"):
        try:
            number = float(item)
        except ValueError:
            raise TemplateProblem(where, f"{item!r} is not a number") from None
        if "MinValue" in slot and number < float(slot["MinValue"]):
            raise TemplateProblem(where, why or f"must be at least {slot['MinValue']}")
        if "MaxValue" in slot and number > float(slot["MaxValue"]):
            raise TemplateProblem(where, why or f"must be at most {slot['MaxValue']}")
    if "MinLength" in slot and len(item) < int(slot["MinLength"]):
        raise TemplateProblem(where, why or f"must have at least {slot['MinLength']} characters")
    if "MaxLength" in slot and len(item) > int(slot["MaxLength"]):
        raise TemplateProblem(where, why or f"must have at most {slot['MaxLength']} characters")


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
