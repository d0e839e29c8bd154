"""What the proxy calls of AWS, and what its roles permit, are the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from infra.permissions import of_documents, of_role
from infra.rendering import EVERYTHING, render
from proxy.authorizer import Unauthorized, authorize
from proxy.aws import AuditTable, EventBus, KeyTable, Secrets, SsmParameters
from proxy.aws_json import Service

LAMBDAS_OWN = ("ec2:", "logs:", "xray:")
ANSWER: dict[str, Any] = {"Parameter": {"Value": ""}, "SecretString": "", "FailedEntryCount": 0}


class Calls:
    """Notes the action of every call."""

    def __init__(self) -> None:
        self.actions: set[str] = set()

    def call(self, service: Service, operation: str, request: object) -> dict[str, Any]:
        self.actions.add(f"{service.name}:{operation}")
        return ANSWER


class _Awaited:
    """The same, for who calls in the event loop."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def call(self, service: Service, operation: str, request: object) -> dict[str, Any]:
        return self._calls.call(service, operation, request)


def carrying(calls: Any) -> None:
    """Make every call that the carrying of a request needs."""
    SsmParameters(calls).get("a parameter")
    Secrets(calls).get("a secret", "AWSCURRENT")
    EventBus(calls).send({})  # type: ignore[typeddict-item]
    asyncio.run(AuditTable(_Awaited(calls), "a table").write([b"{}"]))  # type: ignore[arg-type]


def looking_keys_up(calls: Any) -> None:
    """Make every call that an authorizer needs: the key is unknown."""
    event = {"type": "TOKEN", "methodArn": "a/b/c", "authorizationToken": "Bearer key"}
    with pytest.raises(Unauthorized):
        authorize(event, KeyTable(calls, "a table"), 0.0)


@pytest.mark.parametrize(
    ("role", "works"),
    [
        # At API Gateway it is the authorizer that looks keys up; the server does both.
        ("ProxyRole", (carrying,)),
        ("AuthorizerRole", (looking_keys_up,)),
        ("EdgeTaskRole", (carrying, looking_keys_up)),
    ],
)
def test_the_proxys_roles_permit_what_it_calls_and_nothing_else(
    role: str, works: tuple[Callable[[Any], None], ...]
) -> None:
    """IAM knows a batch of writes by an action of its own: permission to write single items is none for it."""
    calls = Calls()
    for work in works:
        work(calls)
    resources = render("govcloud", EVERYTHING["govcloud"])
    permitted = {a for a in of_role(resources, role).actions if not a.startswith(LAMBDAS_OWN)}
    assert permitted == calls.actions


def test_the_authorizer_reads_single_keys_and_nothing_else() -> None:
    """Of all tables it reaches that of keys alone; the endpoint lets it, and nobody lists or writes keys through it."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    account = "arn:aws-us-gov:dynamodb:us-gov-west-1:111111111111:table"
    keys = f"{account}/twinspan-caller-keys"
    role = of_role(resources, "AuthorizerRole")
    assert role.allow("dynamodb:GetItem", keys)
    assert not role.allow("dynamodb:GetItem", f"{account}/twinspan-state")
    endpoint = of_documents([resources["DynamoDbEndpoint"].properties["PolicyDocument"]])
    assert endpoint.allow("dynamodb:GetItem", keys)
    for action in ("Scan", "Query", "PutItem", "UpdateItem", "DeleteItem"):
        assert not endpoint.allow(f"dynamodb:{action}", keys)
