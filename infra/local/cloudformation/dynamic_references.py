"""Dynamic references: values that CloudFormation reads from Secrets Manager while it makes a resource.

The text `{{resolve:secretsmanager:…}}` stays in a stack's own records; the value goes to the service that
the resource is made by and nowhere else, as in AWS. References to SSM parameters are refused: no template
here has one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud
from infra.local.cloudformation.resource_type import Surroundings

_REFERENCE = re.compile(r"\{\{resolve:([^}]*)\}\}")
_SECRET = re.compile(r"secretsmanager:(?P<id>.+):SecretString(?::(?P<key>[^:]*))?(?::[^:]*){0,2}")


def reveal(aws: Surroundings, value: Any) -> Any:
    """`value` with the references in it replaced by what they refer to.

    Raises:
        UnsupportedByEmbeddedCloud: a reference to something other than a secret's text.
        TemplateProblem: a secret that has no such key.
    """
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _secret(aws, match.group(1)), value)
    if isinstance(value, Mapping):
        return {key: reveal(aws, item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(aws, item) for item in value]
    return value


def _secret(aws: Surroundings, reference: str) -> str:
    found = _SECRET.fullmatch(reference)
    if found is None:
        raise UnsupportedByEmbeddedCloud(reference, "this dynamic reference")
    answer = aws.call("secretsmanager", "get_secret_value", SecretId=found["id"])
    text: str = answer["SecretString"]
    if not found["key"]:
        return text
    try:
        return str(json.loads(text)[found["key"]])
    except (KeyError, TypeError, ValueError):
        raise TemplateProblem(reference, f"the secret has no key {found['key']}") from None
