"""The Lambda authorizer that lets bearer keys into API Gateway, of TOKEN or of REQUEST type.

It answers for the whole stage rather than for the one method asked about: API Gateway caches the answer by the key
(`AuthorizerResultTtlInSeconds`), and an answer for one method would refuse the same caller's next. While it is
cached, a revoked key goes on working: revocation takes effect after that time, at most. The cache should be keyed by
the `Authorization` header alone. While the table cannot be read, keys that are not cached are answered 500 by API Gateway.

What the key grants goes to the function as the authorizer's context, which callers cannot write.
"""

from __future__ import annotations

import os
import time
from typing import Any

from proxy.aws import KeyTable
from proxy.aws_json import AwsCalls
from proxy.caller_keys import Grant, InvalidKeyItem, KeyGetter, digest_of, grant_from_item
from proxy.errors import InvalidSettings

TABLE_VARIABLE = "TWINSPAN_KEYS_TABLE"


class Unauthorized(Exception):
    """API Gateway answers 401 when an authorizer fails with exactly this text."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


def authorize(event: dict[str, Any], keys: KeyGetter, now: float) -> dict[str, Any]:
    """The policy for one authorizer event; `now` in seconds since the epoch.

    Raises:
        Unauthorized: no key, or one that is unknown, expired, revoked or unusable.
    """
    digest = digest_of(_authorization(event))
    item = keys.get(digest) if digest else None
    try:
        grant = grant_from_item(item) if item is not None else None
    except InvalidKeyItem:
        grant = None
    if grant is None or grant.expires_at <= now:
        raise Unauthorized
    return _policy(grant, str(event["methodArn"]))


def _authorization(event: dict[str, Any]) -> str | None:
    if event.get("type") == "TOKEN":
        return event.get("authorizationToken")
    headers = event.get("headers") or {}
    return next((v for name, v in headers.items() if name.lower() == "authorization"), None)


def _policy(grant: Grant, method_arn: str) -> dict[str, Any]:
    api, stage, *_ = method_arn.split("/")
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow",
        "Resource": f"{api}/{stage}/*",
    }
    context = {"dataClass": grant.data_class, "allowedModels": ",".join(grant.allowed_models)}
    answer: dict[str, Any] = {
        "principalId": grant.principal,
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {name: value for name, value in context.items() if value},
    }
    if grant.usage_plan:
        # Counts against a usage plan where the API's key source is AUTHORIZER; elsewhere it is ignored.
        answer["usageIdentifierKey"] = grant.usage_plan
    return answer


_keys: KeyTable | None = None


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Lambda's entry point."""
    global _keys
    if _keys is None:
        table = os.environ.get(TABLE_VARIABLE, "")
        if not table:
            raise InvalidSettings(f"{TABLE_VARIABLE}: is missing")
        _keys = KeyTable(AwsCalls(), table)
    return authorize(event, _keys, time.time())
