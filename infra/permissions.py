"""What the rendered templates permit, role by role, and whether a call is among it.

An IAM evaluation as far as these templates need one: explicit denials before permissions, wildcards in actions
and resources. Conditions are not evaluated: a permission under a condition counts as given, a denial as not.

    python -m infra.permissions DIRECTORY

writes each policy of both sides as a JSON file, for a linter of IAM policies.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.rendering import EVERYTHING, Rendered, render


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a policy, its lists spelled out."""

    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditional: bool

    def names(self, action: str) -> bool:
        """Whether an action such as `ssm:GetParameter` is among the statement's."""
        return any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in self.actions)

    def covers(self, resource: str) -> bool:
        """Whether an ARN is among the statement's."""
        return any(fnmatch.fnmatchcase(resource, one) for one in self.resources)


@dataclass(frozen=True, slots=True)
class Permissions:
    """All that a principal, or an endpoint, has been given."""

    statements: tuple[Statement, ...]

    def allow(self, action: str, resource: str | None = None) -> bool:
        """Whether the action is permitted, on a resource if one is named."""

        def applies(statement: Statement) -> bool:
            return statement.names(action) and (resource is None or statement.covers(resource))

        if any(s.effect == "Deny" and not s.conditional and applies(s) for s in self.statements):
            return False
        return any(s.effect == "Allow" and applies(s) for s in self.statements)

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
            "Condition" in statement,
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


def main(directory: Path) -> None:
    """Write each policy of both sides as a JSON file."""
    directory.mkdir(parents=True, exist_ok=True)
    for side, parameters in EVERYTHING.items():
        for name, document in policies(render(side, parameters)):
            (directory / f"{side}-{name}.json").write_text(json.dumps(document, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
