"""CloudFormation's intrinsic functions: a template's values with everything filled in.

Strict: a reference to something that is not there, an attribute that a type does not offer and a
function that is not known raise, because a value that silently becomes empty deploys something else.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud
from infra.local.cloudformation.template import Template

_IN_SUB = re.compile(r"\$\{([^}]*)\}")


class _NoValue:
    """What `AWS::NoValue` leaves behind until the property around it is dropped."""


NO_VALUE = _NoValue()


def references(value: Any) -> Iterator[str]:
    """Names that a value refers to, by Ref, GetAtt or Sub: logical ids, parameters, pseudo parameters."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                yield argument
                return
            if name == "Fn::GetAtt":
                yield _attribute_reference(argument)[0]
                return
            if name == "Fn::Sub":
                text, own = (argument, {}) if isinstance(argument, str) else argument
                for inner in _IN_SUB.findall(text):
                    if not inner.startswith("!") and inner.strip() not in own:
                        yield inner.strip().split(".", 1)[0]
                yield from references(list(own.values()))
                return
        for item in value.values():
            yield from references(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from references(item)


def _attribute_reference(argument: Any) -> tuple[str, str]:
    parts = argument.split(".", 1) if isinstance(argument, str) else argument
    if not (isinstance(parts, Sequence) and len(parts) == 2 and isinstance(parts[0], str)):
        raise TemplateProblem("Fn::GetAtt", f"wants a resource and an attribute, not {argument!r}")
    return parts[0], parts[1]


class Resolver:
    """Fills in values of one template.

    `known`: parameters and pseudo parameters by name. `reference` and `attribute` answer for
    resources; they raise `TemplateProblem` or `UnsupportedByEmbeddedCloud` when they cannot.
    `zones`: names of a region's availability zones.
    """

    def __init__(
        self,
        template: Template,
        known: Mapping[str, Any],
        reference: Callable[[str], str],
        attribute: Callable[[str, str], Any],
        zones: Callable[[str], list[str]],
    ) -> None:
        self._template = template
        self._known = known
        self._reference = reference
        self._attribute = attribute
        self._zones = zones
        self._conditions: dict[str, bool] = {}

    def condition(self, name: str) -> bool:
        """Whether a named condition holds."""
        if name not in self._conditions:
            if name not in self._template.conditions:
                raise TemplateProblem("Conditions", f"no condition {name}")
            self._conditions[name] = self._truth(self._template.conditions[name])
        return self._conditions[name]

    def _truth(self, expression: Any) -> bool:
        if isinstance(expression, Mapping) and len(expression) == 1:
            ((name, argument),) = expression.items()
            if name == "Condition":
                return self.condition(argument)
            if name == "Fn::Equals":
                left, right = (self.resolve(item) for item in argument)
                return _scalar(left) == _scalar(right)
            if name == "Fn::Not":
                return not self._truth(argument[0])
            if name == "Fn::And":
                return all(self._truth(item) for item in argument)
            if name == "Fn::Or":
                return any(self._truth(item) for item in argument)
        raise TemplateProblem("Conditions", f"{expression!r} is no condition")

    def resolve(self, value: Any) -> Any:
        """`value` with all functions applied; properties that become `AWS::NoValue` are dropped."""
        if isinstance(value, Mapping):
            if len(value) == 1:
                ((name, argument),) = value.items()
                if name == "Ref":
                    return self._ref(argument)
                if name == "Condition" and isinstance(argument, str):
                    return self.condition(argument)
                if isinstance(name, str) and name.startswith("Fn::"):
                    return self._function(name, argument)
            filled = {key: self.resolve(item) for key, item in value.items()}
            return {key: item for key, item in filled.items() if item is not NO_VALUE}
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        return value

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._known:
            return self._known[name]
        if name in self._template.resources:
            return self._reference(name)
        raise TemplateProblem("Ref", f"no parameter or resource {name}")

    def _function(self, name: str, argument: Any) -> Any:
        match name:
            case "Fn::GetAtt":
                logical_id, attribute = _attribute_reference(argument)
                if logical_id not in self._template.resources:
                    raise TemplateProblem(name, f"no resource {logical_id}")
                return self._attribute(logical_id, str(self.resolve(attribute)))
            case "Fn::If":
                condition, if_true, if_false = argument
                return self.resolve(if_true if self.condition(condition) else if_false)
            case "Fn::Sub":
                return self._sub(argument)
            case "Fn::Join":
                separator, items = argument
                return separator.join(_scalar(item) for item in self.resolve(items))
            case "Fn::Split":
                separator, text = argument
                return self.resolve(text).split(separator)
            case "Fn::Select":
                index, items = int(self.resolve(argument[0])), self.resolve(argument[1])
                if not 0 <= index < len(items):
                    raise TemplateProblem(name, f"index {index} of a list of {len(items)}")
                return items[index]
            case "Fn::FindInMap":
                return self._find_in_map([self.resolve(item) for item in argument])
            case "Fn::GetAZs":
                return self._zones(self.resolve(argument) or self._known["AWS::Region"])
            case "Fn::Cidr":
                return _cidr(*(self.resolve(item) for item in argument))
            case "Fn::Base64":
                return base64.b64encode(self.resolve(argument).encode()).decode()
            case "Fn::Equals" | "Fn::Not" | "Fn::And" | "Fn::Or":
                return self._truth({name: argument})
        raise UnsupportedByEmbeddedCloud(name, "this function")

    def _sub(self, argument: Any) -> str:
        text, own = (argument, {}) if isinstance(argument, str) else argument
        values = {key: _scalar(self.resolve(item)) for key, item in own.items()}

        def fill(match: re.Match[str]) -> str:
            inner = match.group(1)
            if inner.startswith("!"):
                return "${" + inner[1:] + "}"
            name = inner.strip()
            if name in values:
                return values[name]
            if "." in name:
                return _scalar(self._function("Fn::GetAtt", name))
            return _scalar(self._ref(name))

        return _IN_SUB.sub(fill, text)

    def _find_in_map(self, keys: list[Any]) -> Any:
        level: Any = self._template.mappings
        for key in keys:
            if not isinstance(level, Mapping) or key not in level:
                raise TemplateProblem("Fn::FindInMap", f"no {'.'.join(map(str, keys))}")
            level = level[key]
        return self.resolve(level)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (Mapping, list)):
        raise TemplateProblem("value", f"text is wanted, not {json.dumps(value, default=str)}")
    if value is NO_VALUE:
        raise TemplateProblem("AWS::NoValue", "cannot be part of a text")
    return str(value)


def _cidr(block: str, count: Any, bits: Any = 8) -> list[str]:
    network = ipaddress.ip_network(block)
    subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits))
    cut = [str(subnet) for subnet, _ in zip(subnets, range(int(count)), strict=False)]
    if len(cut) < int(count):
        raise TemplateProblem("Fn::Cidr", f"{block} holds no {count} blocks of {bits} bits")
    return cut
