"""What the proxy calls of AWS, and what its roles permit, are the same."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from infra.permissions import of_role
from infra.rendering import EVERYTHING, render
from proxy.aws import AuditTable, EventBus, Secrets, SsmParameters
from proxy.aws_json import Service

LAMBDAS_OWN = ("ec2:", "logs:", "xray:")
ANSWER: dict[str, Any] = {"Parameter": {"Value": ""}, "SecretString": "", "FailedEntryCount": 0}


def called() -> set[str]:
    """Every action that the proxy needs: its five operations but the look-up of keys, made once each."""
    actions = set()

    def call(service: Service, operation: str, request: object) -> dict[str, Any]:
        actions.add(f"{service.name}:{operation}")
        return ANSWER

    calls = mock.Mock(call=call)
    SsmParameters(calls).get("a parameter")
    Secrets(calls).get("a secret")
    EventBus(calls).send({})  # type: ignore[typeddict-item]
    AuditTable(calls, "a table").write([{}])
    return actions


@pytest.mark.parametrize("role", ["ProxyRole", "EdgeTaskRole"])
def test_the_proxys_roles_permit_what_it_calls_and_nothing_else(role: str) -> None:
    """IAM knows a batch of writes by an action of its own: permission to write single items is none for it."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    permitted = {a for a in of_role(resources, role).actions if not a.startswith(LAMBDAS_OWN)}
    assert permitted == called()
