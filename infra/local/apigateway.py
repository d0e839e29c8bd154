"""API Gateway's front: REST APIs deployed in moto, answered by their Lambda functions.

moto keeps the definitions of APIs and serves none. Here `http://<address>/<api id>/<stage>/…` goes to the
function behind the matching method, as a REST proxy event, and its answer comes back as AWS sends it: 502 for an
answer of the wrong form, 504 after the integration's timeout, 403 for what is not there or not authorised. Who may
call is asked of the method's Lambda authorizer (`apigateway_authorizers`) or of the request's signature.

Not covered: signatures are not verified (only that a request is signed, for `execute-api` and this region, with a
known key), resource policies and endpoint types (a private API answers here too), counting and throttling by usage
plans, caching of answers, and deployments as pictures of the API (a changed method serves at once). Integrations
other than AWS_PROXY to Lambda, and authorizers other than Lambda functions, are refused when they are put.
"""

from __future__ import annotations

import json
import logging
import queue
import socket
import threading
import uuid
from http.client import responses as status_texts
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.awslambda.exceptions import LambdaClientError

from infra.local.apigateway_authorizers import Authorizers
from infra.local.apigateway_callers import Caller, signed_caller, with_api_key
from infra.local.apigateway_events import MalformedAnswer, proxy_event, proxy_response
from infra.local.apigateway_functions import CannotInvoke, function_behind
from infra.local.apigateway_routes import Refusal, Request, Response, Route, find_route
from infra.local.clock import CloudClock
from infra.local.lambda_runtime import Invocation, LambdaRuntime

logger = logging.getLogger(__name__)

LARGEST_PAYLOAD_BYTES = 10 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 29.0


class ApiGateway:
    """Serves the REST APIs of both accounts on one port."""

    def __init__(
        self, functions: LambdaRuntime, clock: CloudClock, address: str, port: int = 0
    ) -> None:
        self._functions = functions
        self._authorizers = Authorizers(functions, clock)
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
            caller = self._caller(route, request, request_id)
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

    def _caller(self, route: Route, request: Request, request_id: str) -> Caller:
        """Who calls. Raises `Refusal` for one who may not."""
        kind = route.method.authorization_type
        if kind == "CUSTOM":
            caller = self._authorizers.caller(route, request, request_id)
        elif kind == "AWS_IAM":
            caller = signed_caller(route, request)
        else:
            caller = Caller()
        return with_api_key(route, request, caller)

    def _invoke(
        self, route: Route, request: Request, request_id: str, caller: Caller
    ) -> Invocation:
        integration = route.method.method_integration
        uri = integration.uri if integration else None
        try:
            function = function_behind(uri, route.source_arn(request), route.api.account_id)
        except CannotInvoke as error:
            logger.warning("API %s: %s", route.api.id, error)
            raise Refusal(500, "InternalServerErrorException", "Internal server error") from None
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


def _error(refusal: Refusal) -> Response:
    body = json.dumps({refusal.member: refusal.message}).encode()
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
