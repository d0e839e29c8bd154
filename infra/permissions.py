"""What the rendered templates permit, role by role, and whether a call is among it.

An IAM evaluation as far as these templates need one: explicit denials before permissions, wildcards in actions
and resources, and the condition operators that the templates use. Without a context to hold them against, conditions
are not evaluated: a permission under a condition then counts as given, a denial as not.

Source of the evaluation: IAM's user guide, "Policy evaluation logic" and "Condition operators".

    python -m infra.permissions DIRECTORY

writes each policy of both sides as a JSON file, for a linter of IAM policies.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.rendering import EVERYTHING, Rendered, render

Context = Mapping[str, Sequence[str]]


class UnknownOperator(ValueError):
    """A condition operator that is not evaluated here; the text names it."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy, its lists spelled out. `conditions`: values by operator and key."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def conditional(self) -> bool:
        """Whether more than action and resource decides."""
        return bool(self.conditions)

    def names(self, action: str) -> bool:
        """Whether an action such as `ssm:GetParameter` is among the statement's."""
        return any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in self.actions)

    def covers(self, resource: str) -> bool:
        """Whether an ARN is among the statement's."""
        return any(fnmatch.fnmatchcase(resource, one) for one in self.resources)

    def holds(self, context: Context) -> bool:
        """Whether its conditions hold for a request with these values by condition key.

        Raises:
            UnknownOperator: a condition is of a kind that is not evaluated here.
        """
        values = {key.lower(): found for key, found in context.items()}
        return all(
            _operator(operator)(values.get(key.lower(), ()), wanted)
            for operator, keys in self.conditions.items()
            for key, wanted in keys.items()
        )


@dataclass(frozen=True, slots=True)
class Permissions:
    """All that a principal, or an endpoint, has been given."""

    statements: tuple[Statement, ...]

    def allow(
        self, action: str, resource: str | None = None, context: Context | None = None
    ) -> bool:
        """Whether the action is permitted, on a resource if one is named, in a context if one is given.

        Raises:
            UnknownOperator: as `Statement.holds`.
        """

        def applies(statement: Statement) -> bool:
            return statement.names(action) and (resource is None or statement.covers(resource))

        def denies(statement: Statement) -> bool:
            return not statement.conditional if context is None else statement.holds(context)

        relevant = [s for s in self.statements if applies(s)]
        if any(s.effect == "Deny" and denies(s) for s in relevant):
            return False
        return any(s.effect == "Allow" and (context is None or s.holds(context)) for s in relevant)

    @property
    def actions(self) -> frozenset[str]:
        """Every action that some permission names, wildcards as they are."""
        return frozenset(a for s in self.statements if s.effect == "Allow" for a in s.actions)


def of_role(resources: Mapping[str, Rendered], role: str) -> Permissions:
    """What a role has: its own policies and the managed ones attached to it."""
    properties = resources[role].properties
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    attached = set(properties.get("ManagedPolicyArns", []))
    documents += [
        item.properties["PolicyDocument"]
        for item in resources.values()
        if item.type_name == "AWS::IAM::ManagedPolicy"
        and any(arn.endswith(f"policy/{item.logical_id}") for arn in attached)
    ]
    return of_documents(documents)


def of_documents(documents: Sequence[Mapping[str, Any]]) -> Permissions:
    """What policy documents permit together."""
    statements = tuple(
        Statement(
            statement["Effect"],
            _listed(statement["Action"]),
            _listed(statement.get("Resource", "*")),
            {
                operator: {key: _listed(wanted) for key, wanted in keys.items()}
                for operator, keys in statement.get("Condition", {}).items()
            },
        )
        for document in documents
        for statement in document["Statement"]
    )
    return Permissions(statements)


def policies(resources: Mapping[str, Rendered]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every identity policy, by the name of what it belongs to."""
    for item in resources.values():
        if item.type_name == "AWS::IAM::ManagedPolicy":
            yield item.logical_id, item.properties["PolicyDocument"]
        if item.type_name in ("AWS::IAM::Role", "AWS::IAM::User"):
            for policy in item.properties.get("Policies", []):
                yield f"{item.logical_id}-{policy['PolicyName']}", policy["PolicyDocument"]


def _listed(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _operator(name: str) -> Callable[[Sequence[str], Sequence[str]], bool]:
    """What a condition operator makes of the request's values and the policy's.

    A key that the request lacks fails an operator, but passes a negated one and one for all values.
    """
    try:
        return _OPERATORS[name]
    except KeyError:
        raise UnknownOperator(name) from None


def _equal(value: str, wanted: Sequence[str]) -> bool:
    return value in wanted


def _alike(value: str, wanted: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(value, pattern) for pattern in wanted)


_OPERATORS: Mapping[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "ArnEquals": lambda values, wanted: any(_alike(v, wanted) for v in values),
    "ArnLike": lambda values, wanted: any(_alike(v, wanted) for v in values),
    "Bool": lambda values, wanted: any(_equal(v, wanted) for v in values),
    "ForAllValues:StringLike": lambda values, wanted: all(_alike(v, wanted) for v in values),
    "NumericLessThan": lambda values, wanted: any(
        float(v) < float(bound) for v in values for bound in wanted
    ),
    "StringEquals": lambda values, wanted: any(_equal(v, wanted) for v in values),
    "StringLike": lambda values, wanted: any(_alike(v, wanted) for v in values),
    "StringNotEquals": lambda values, wanted: not any(_equal(v, wanted) for v in values),
}


def main(directory: Path) -> None:
    """Write each policy of both sides as a JSON file."""
    directory.mkdir(parents=True, exist_ok=True)
    for side, parameters in EVERYTHING.items():
        for name, document in policies(render(side, parameters)):
            (directory / f"{side}-{name}.json").write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
