"""Who calls an API: by signature, by API key, as the event's `requestContext` tells the function.

Signatures are not verified: that a request is signed, for `execute-api` and this region, with a known key, is all
that is asked. An API key must be enabled and in a usage plan of the stage, and comes from where the API takes it
(`apiKeySource`): the `x-api-key` header, or what the authorizer names as `usageIdentifierKey`. Nothing is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moto.apigateway.models import ApiKey, apigateway_backends

from infra.local.apigateway_routes import Refusal, Request, Route
from infra.local.sides import SIDES

_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: `identity` and `authorizer` as in the event; `usage_identifier` as the authorizer named it."""

    identity: Mapping[str, Any] = field(default_factory=dict)
    authorizer: Mapping[str, str] | None = None
    usage_identifier: str | None = None


def with_api_key(route: Route, request: Request, caller: Caller) -> Caller:
    """The caller, with its API key if the method wants one. Raises `Refusal` with AWS's 403."""
    if not route.method.api_key_required:
        return caller
    from_authorizer = route.api.api_key_source == "AUTHORIZER"
    value = caller.usage_identifier if from_authorizer else request.header("x-api-key")
    key = _key_of_a_plan(route, value) if value else None
    if key is None:
        raise Refusal(403, "ForbiddenException", "Forbidden")
    return replace(caller, identity={**caller.identity, "apiKey": value, "apiKeyId": key.id})


def _key_of_a_plan(route: Route, value: str) -> ApiKey | None:
    backend = apigateway_backends[route.api.account_id][route.api.region_name]
    of_the_stage = [
        plan.id
        for plan in backend.usage_plans.values()
        for stage in plan.api_stages
        if (stage["apiId"], stage["stage"]) == (route.api.id, route.stage.name)
    ]
    for key in backend.keys.values():
        planned = any(key.id in backend.usage_plan_keys.get(plan, {}) for plan in of_the_stage)
        if planned and key.enabled and key.value == value:
            return key
    return None


def signed_caller(route: Route, request: Request) -> Caller:
    """Whose signature it is. Raises `Refusal` with AWS's 403."""
    authorization = request.header("authorization") or ""
    if not authorization.startswith("AWS4-HMAC-SHA256 "):
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    credential = _CREDENTIAL.search(authorization)
    if credential is None:
        message = "Authorization header requires 'Credential' parameter."
        raise Refusal(403, "IncompleteSignatureException", message)
    key, _, region, service = credential.groups()
    account = next((side for side in SIDES if side.access_key_id == key), None)
    if account is None or account.account_id != route.api.account_id:
        message = "The security token included in the request is invalid."
        raise Refusal(403, "UnrecognizedClientException", message)
    if service != "execute-api" or region != route.api.region_name:
        wrong = "correct service: 'execute-api'" if service != "execute-api" else "a valid region."
        message = f"Credential should be scoped to {wrong}"
        raise Refusal(403, "InvalidSignatureException", message)
    identity = {
        "accessKey": key,
        "accountId": account.account_id,
        "caller": key,
        "user": key,
        "userArn": f"arn:{account.partition}:iam::{account.account_id}:user/local-operator",
    }
    return Caller(identity)
