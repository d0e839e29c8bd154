"""The event that a REST proxy integration's function gets, and the HTTP response that its answer becomes.

Source: API Gateway developer guide, "Lambda proxy integrations"; that `path` stays percent-encoded while path and
query parameters come decoded is what live captures of REST APIs show.
"""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from infra.local.apigateway_callers import Caller
from infra.local.apigateway_routes import Request, Response, Route

_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"}


class MalformedAnswer(ValueError):
    """A function's answer that is no proxy response. The text says why; the client is not told."""


def proxy_event(route: Route, request: Request, request_id: str, caller: Caller) -> dict[str, Any]:
    """The event of a REST proxy integration (payload format 1.0)."""
    now = datetime.now(UTC)
    headers: dict[str, list[str]] = {}
    for name, value in request.headers:
        headers.setdefault(name, []).append(value)
    query: dict[str, list[str]] = {}
    for name, value in parse_qsl(request.query, keep_blank_values=True):
        query.setdefault(name, []).append(value)
    binary = _is_binary(route.api.binaryMediaTypes, request.header("content-type"))
    if not request.body:
        body = None
    elif binary:
        body = base64.b64encode(request.body).decode()
    else:
        body = request.body.decode("utf-8", errors="replace")
    domain = f"{route.api.id}.execute-api.{route.api.region_name}.amazonaws.com"
    identity = dict.fromkeys(
        (
            "accessKey",
            "accountId",
            "caller",
            "cognitoAuthenticationProvider",
            "cognitoAuthenticationType",
            "cognitoIdentityId",
            "cognitoIdentityPoolId",
            "principalOrgId",
            "user",
            "userArn",
        )
    )
    authorizer = {} if caller.authorizer is None else {"authorizer": dict(caller.authorizer)}
    return {
        "resource": route.resource_path,
        "path": request.path,
        "httpMethod": request.method,
        "headers": {name: values[-1] for name, values in headers.items()} or None,
        "multiValueHeaders": headers or None,
        "queryStringParameters": {name: values[-1] for name, values in query.items()} or None,
        "multiValueQueryStringParameters": query or None,
        "pathParameters": dict(route.path_parameters) or None,
        "stageVariables": dict(route.stage.variables or {}) or None,
        "requestContext": {
            "accountId": route.api.account_id,
            "apiId": route.api.id,
            **authorizer,
            "deploymentId": route.stage.deployment_id,
            "domainName": domain,
            "domainPrefix": route.api.id,
            "extendedRequestId": request_id.replace("-", "")[:16],
            "httpMethod": request.method,
            "identity": {
                **identity,
                **caller.identity,
                "sourceIp": request.source_ip,
                "userAgent": request.header("user-agent"),
            },
            "path": f"/{route.stage.name}{request.path}",
            "protocol": "HTTP/1.1",
            "requestId": request_id,
            "requestTime": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "requestTimeEpoch": int(now.timestamp() * 1000),
            "resourceId": route.resource.id,
            "resourcePath": route.resource_path,
            "stage": route.stage.name,
        },
        "body": body,
        "isBase64Encoded": binary and body is not None,
    }


def proxy_response(payload: bytes, binary_types: Sequence[str], request: Request) -> Response:
    """The HTTP response in a function's answer. Raises `MalformedAnswer`."""
    answer = json.loads(payload)
    if not isinstance(answer, dict):
        raise MalformedAnswer(f"an object is needed, not {type(answer).__name__}")
    try:
        status = int(answer["statusCode"])
    except (KeyError, TypeError, ValueError):
        raise MalformedAnswer("statusCode is missing or no number") from None
    if not 100 <= status <= 599:
        raise MalformedAnswer(f"statusCode {status} is outside 100 to 599")
    body = answer.get("body")
    if body is not None and not isinstance(body, str):
        raise MalformedAnswer(f"body must be text, not {type(body).__name__}")
    content = (body or "").encode()
    if answer.get("isBase64Encoded") and _is_binary(binary_types, request.header("accept")):
        try:
            content = base64.b64decode(content, validate=True)
        except ValueError:
            raise MalformedAnswer("body is not base64 as isBase64Encoded says") from None
    headers = _answer_headers(answer)
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/json"))
    return Response(status, tuple(headers), content)


def _answer_headers(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    single, multiple = answer.get("headers") or {}, answer.get("multiValueHeaders") or {}
    if not isinstance(single, dict) or not isinstance(multiple, dict):
        raise MalformedAnswer("headers and multiValueHeaders must be objects")
    headers: list[tuple[str, str]] = []
    for name, values in multiple.items():
        if not isinstance(values, list):
            raise MalformedAnswer(f"multiValueHeaders.{name} must be an array")
        headers += [(name, _header_value(name, value)) for value in values]
    given = {name.lower() for name in multiple}
    headers += [
        (name, _header_value(name, value))
        for name, value in single.items()
        if name.lower() not in given
    ]
    return [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


def _header_value(name: str, value: Any) -> str:
    if isinstance(value, dict | list) or value is None:
        raise MalformedAnswer(f"header {name} must be a text, number or boolean")
    text = json.dumps(value) if isinstance(value, bool) else str(value)
    if "\r" in text or "\n" in text:
        raise MalformedAnswer(f"header {name} contains a line break")
    return text


def _is_binary(binary_types: Sequence[str], header: str | None) -> bool:
    media_type = (header or "").split(",")[0].split(";")[0].strip().lower()
    return any(
        pattern == "*/*" or (media_type and fnmatch.fnmatchcase(media_type, pattern.lower()))
        for pattern in binary_types
    )
