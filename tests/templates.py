"""The project's templates as the tests read them: each side's root together with the parts nested in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from infra.deploy import TEMPLATES
from infra.local.cloudformation.template import ResourceDeclaration, Template

REGION = {"commercial": "us-east-1", "govcloud": "us-gov-west-1"}


def files(side: str) -> list[Path]:
    """The root and its parts."""
    return [TEMPLATES / f"{side}.yaml", *sorted((TEMPLATES / side).glob("*.yaml"))]


@cache
def parse(path: Path) -> Template:
    return Template.parse(path.read_text())


def root(side: str) -> Template:
    return parse(files(side)[0])


def resources(side: str) -> dict[str, ResourceDeclaration]:
    """All resources of a side by logical id, which no two of its parts share."""
    merged: dict[str, ResourceDeclaration] = {}
    for path in files(side):
        parts = parse(path).resources
        assert not set(parts) & set(merged), "a logical id is used in two parts"
        merged |= parts
    return merged


def of_type(side: str, type_name: str) -> dict[str, dict[str, Any]]:
    """Properties of all resources of a type, by logical id."""
    return {
        name: dict(resource.properties)
        for name, resource in resources(side).items()
        if resource.type_name == type_name
    }
