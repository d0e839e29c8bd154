"""API Gateway's front: REST APIs deployed in moto, answered by their Lambda functions.

moto keeps the definitions of APIs and serves none. Here `http://<address>/<api id>/<stage>/…` goes to the
function behind the matching method, as a REST proxy event, and its answer comes back as AWS sends it: 502 for an
answer of the wrong form, 504 after the integration's timeout, 403 for what is not there or not authorised.

Sources: API Gateway developer guide, "Lambda proxy integrations"; that `path` stays percent-encoded while path and
query parameters come decoded is what live captures of REST APIs show.

Not covered: signatures are not verified (only that a request is signed, for `execute-api` and this region, with a
known key), resource policies and endpoint types (a private API answers here too), usage plans, caching, throttling,
and integrations other than AWS_PROXY to Lambda, which are refused when they are put.
"""

from __future__ import annotations

import base64
import fnmatch
import json
import logging
import queue
import re
import socket
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import responses as status_texts
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote

from moto.apigateway.models import apigateway_backends
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda_simple.models import lambda_simple_backends

from infra.local import resource_policies
from infra.local.errors import NotEmulated
from infra.local.lambda_runtime import Invocation, LambdaRuntime
from infra.local.moto_state import every_backend
from infra.local.sides import SIDES

logger = logging.getLogger(__name__)

LARGEST_PAYLOAD_BYTES = 10 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 29.0
_AUTHORIZATIONS = {"NONE", "AWS_IAM"}
_FUNCTION_URI = re.compile(
    r"arn:[^:]+:apigateway:[^:]+:lambda:path/[^/]+/functions/(.+)/invocations"
)
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"}


class Refusal(Exception):
    """A request that the gateway answers itself, with AWS's status, error type and message."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        self.status = status
        self.error_type = error_type
        self.message = message
        super().__init__(f"{status} {error_type}: {message}")


class MalformedAnswer(ValueError):
    """A function's answer that is no proxy response. The text says why; the client is not told."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to a stage. `path` is as sent, without API and stage; headers in their order."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str

    def header(self, name: str) -> str | None:
        """The last value of a header, names compared without case."""
        values = [value for key, value in self.headers if key.lower() == name]
        return values[-1] if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """The method of an API that a request leads to. `path_parameters` are decoded."""

    api: Any
    stage: Any
    resource: Any
    resource_path: str
    method: Any
    path_parameters: Mapping[str, str]

    def source_arn(self, request: Request) -> str:
        """The ARN by which the function's policy knows this method."""
        partition = "aws-us-gov" if self.api.region_name.startswith("us-gov-") else "aws"
        return (
            f"arn:{partition}:execute-api:{self.api.region_name}:{self.api.account_id}:{self.api.id}"
            f"/{self.stage.name}/{request.method}{self.resource_path}"
        )


def validate_method(authorization_type: str | None, where: str) -> None:
    """Refuse authorisation that the gateway does not carry out."""
    if authorization_type not in _AUTHORIZATIONS:
        raise NotEmulated(f"API Gateway authorization {authorization_type} ({where})")


def validate_integration(integration_type: str, uri: str | None, where: str) -> None:
    """Refuse an integration that the gateway does not carry out."""
    if integration_type != "AWS_PROXY" or not _FUNCTION_URI.fullmatch(uri or ""):
        raise NotEmulated(f"API Gateway integration {integration_type} {uri or ''} ({where})")


class ApiGateway:
    """Serves the REST APIs of both accounts on one port."""

    def __init__(self, functions: LambdaRuntime, address: str, port: int = 0) -> None:
        self._functions = functions
        self._server = _HttpServer((address, port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="twinspan-apigateway", daemon=True
        )

    @property
    def endpoint_url(self) -> str:
        """Base address; an API is at `<endpoint_url>/<api id>/<stage>`."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(self, api_id: str, stage_name: str, request: Request) -> Response:
        """Answer one request as API Gateway does. Never raises for what a client or a function does."""
        request_id = str(uuid.uuid4())
        try:
            route = find_route(api_id, stage_name, request)
            caller = authorize(route, request)
            invocation = self._invoke(route, request, request_id, caller)
            if invocation.function_error is not None:
                logger.warning(
                    "function %s failed: %s", invocation.function_name, invocation.error_type
                )
                raise MalformedAnswer("the function failed")
            response = proxy_response(invocation.payload, route.api.binaryMediaTypes, request)
        except MalformedAnswer as error:
            logger.warning("malformed Lambda proxy response of API %s: %s", api_id, error)
            response = _error(Refusal(502, "InternalServerErrorException", "Internal server error"))
        except Refusal as refusal:
            response = _error(refusal)
        extra = (
            ("x-amzn-RequestId", request_id),
            ("x-amz-apigw-id", request_id.replace("-", "")[:16]),
        )
        return Response(response.status, (*response.headers, *extra), response.body)

    def _invoke(
        self, route: Route, request: Request, request_id: str, caller: Mapping[str, Any]
    ) -> Invocation:
        integration = route.method.method_integration
        match = _FUNCTION_URI.fullmatch(integration.uri) if integration else None
        if match is None:
            raise Refusal(500, "InternalServerErrorException", "Internal server error")
        arn = match[1]
        region, account_id = arn.split(":")[3:5]
        try:
            function = lambda_simple_backends[account_id][region].get_function(arn)
        except LambdaClientError as error:
            logger.warning("API %s: %s", route.api.id, error)
            raise Refusal(500, "InternalServerErrorException", "Internal server error") from None
        if not resource_policies.allows(
            function.policy.statements,
            service="apigateway.amazonaws.com",
            action="lambda:InvokeFunction",
            source_arn=route.source_arn(request),
            source_account=route.api.account_id,
        ):
            logger.warning("the policy of %s does not allow API %s to invoke it", arn, route.api.id)
            raise Refusal(500, "InternalServerErrorException", "Internal server error")
        event = json.dumps(proxy_event(route, request, request_id, caller))
        outcomes: queue.SimpleQueue[Invocation | Exception] = queue.SimpleQueue()

        def invoke() -> None:
            try:
                outcomes.put(self._functions.invoke(function, event))
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
                outcomes.put(error)

        # The function goes on after the gateway has given up on it, so it has a thread of its own.
        threading.Thread(target=invoke, name=f"integration-{request_id}", daemon=True).start()
        milliseconds = getattr(integration, "timeout_in_millis", None)
        timeout = float(milliseconds) / 1000 if milliseconds else DEFAULT_TIMEOUT_SECONDS
        try:
            outcome = outcomes.get(timeout=timeout)
        except queue.Empty:
            message = "Endpoint request timed out"
            raise Refusal(504, "InternalServerErrorException", message) from None
        if isinstance(outcome, LambdaClientError):  # throttled
            raise Refusal(500, "InternalServerErrorException", "Internal server error")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def find_route(api_id: str, stage_name: str, request: Request) -> Route:
    """The method that serves a request. Raises `Refusal` with AWS's 403 where there is none."""
    api = next(
        (b.apis[api_id] for b in every_backend(apigateway_backends) if api_id in b.apis), None
    )
    stage = api.stages.get(stage_name) if api is not None else None
    if api is None or stage is None:
        raise Refusal(403, "ForbiddenException", "Forbidden")
    segments = [segment for segment in request.path.split("/") if segment]
    best: tuple[tuple[int, ...], Route] | None = None
    for resource in api.resources.values():
        path = resource.get_path()
        fit = _fit(path, segments)
        methods = resource.resource_methods
        method = methods.get(request.method) or methods.get("ANY")
        if fit is None or method is None:
            continue
        rank, parameters = fit
        if best is None or rank < best[0]:
            best = (rank, Route(api, stage, resource, path, method, parameters))
    if best is None:
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    return best[1]


def _fit(path: str, segments: Sequence[str]) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """How well a resource path fits: smaller is better, literal before parameter before greedy."""
    parts = [part for part in path.split("/") if part]
    rank: list[int] = []
    parameters: dict[str, str] = {}
    for index, part in enumerate(parts):
        if part.startswith("{") and part.endswith("+}"):
            if index >= len(segments):
                return None
            parameters[part[1:-2]] = unquote("/".join(segments[index:]))
            return (*rank, 2), parameters
        if index >= len(segments):
            return None
        if part.startswith("{"):
            parameters[part[1:-1]] = unquote(segments[index])
            rank.append(1)
        elif part == unquote(segments[index]):
            rank.append(0)
        else:
            return None
    return (tuple(rank), parameters) if len(parts) == len(segments) else None


def authorize(route: Route, request: Request) -> dict[str, Any]:
    """Who calls, for the event's `identity`. Raises `Refusal` with AWS's 403."""
    if route.method.api_key_required and not request.header("x-api-key"):
        raise Refusal(403, "ForbiddenException", "Forbidden")
    if route.method.authorization_type != "AWS_IAM":
        return {}
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
    return {
        "accessKey": key,
        "accountId": account.account_id,
        "caller": key,
        "user": key,
        "userArn": f"arn:{account.partition}:iam::{account.account_id}:user/local-operator",
    }


def proxy_event(
    route: Route, request: Request, request_id: str, caller: Mapping[str, Any]
) -> dict[str, Any]:
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
            "deploymentId": route.stage.deployment_id,
            "domainName": domain,
            "domainPrefix": route.api.id,
            "extendedRequestId": request_id.replace("-", "")[:16],
            "httpMethod": request.method,
            "identity": {
                **identity,
                **caller,
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


def _error(refusal: Refusal) -> Response:
    body = json.dumps({"message": refusal.message}).encode()
    headers = (("Content-Type", "application/json"), ("x-amzn-ErrorType", refusal.error_type))
    return Response(refusal.status, headers, body)


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], gateway: ApiGateway) -> None:
        self.gateway = gateway
        self._connections: set[socket.socket] = set()
        super().__init__(address, _HttpHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._connections):  # kept alive by clients
            self.shutdown_request(connection)


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def _answer(self) -> None:
        target, _, query = self.path.partition("?")
        parts = target.split("/", 3)
        try:
            request = Request(
                method=self.command,
                path="/" + (parts[3] if len(parts) > 3 else ""),
                query=query,
                headers=tuple(self.headers.items()),
                body=self._body(),
                source_ip=str(self.client_address[0]),
            )
            api_id, stage = [*parts[1:3], "", ""][:2]
            response = self.server.gateway.handle(api_id, stage, request)
        except Refusal as refusal:
            self.close_connection = True  # the body was not read
            response = _error(refusal)
        self.send_response_only(response.status, status_texts.get(response.status, ""))
        self.send_header("Date", self.date_time_string())
        for name, value in response.headers:
            self.send_header(name, value)
        bodiless = response.status in (204, 304) or response.status < 200
        if not bodiless:
            self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if not bodiless and self.command != "HEAD":
            self.wfile.write(response.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise Refusal(501, "BadRequestException", "chunked requests are not emulated")
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST_PAYLOAD_BYTES:
            message = "HTTP content length exceeded 10485760 bytes."
            raise Refusal(413, "RequestTooLargeException", message)
        return self.rfile.read(length)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug(format, *args)
