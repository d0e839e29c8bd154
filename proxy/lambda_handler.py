"""The proxy behind API Gateway: REST proxy events in, buffered answers out.

The core lives on one event loop that persists between invocations, so that connections, config and credential
do. It is made at the first invocation, from the environment as it is then. Answers are buffered whole: an event
stream arrives at once, at its end. Authentication is API Gateway's; the handler takes its word for who the caller is.
An event that is none of API Gateway's is answered like one that asks for nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

from proxy.api_key_classes import bound_of
from proxy.caller_keys import Grant
from proxy.core import Core, Outside
from proxy.logs import log_to_stderr
from proxy.messages import Refused, Request, Response, StreamBroke
from proxy.refusals import answer_too_large, too_large
from proxy.settings import Settings

GATEWAY_SECONDS = 29.0
"""API Gateway's default integration timeout."""
MARGIN_SECONDS = 1.0
FLUSH_SECONDS = 2.0
ANSWER_LIMIT_BYTES = 6 * 1024 * 1024 - 64 * 1024
"""Lambda's limit for an answer, less the envelope."""
MILLISECONDS_LIMIT = 10.0**15
TEXT = (b"application/json", b"text/")


class Context(Protocol):
    """Of Lambda's context, what is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the invocation is ended by force."""


class Edge:
    """A core and its event loop, driven one invocation at a time."""

    def __init__(self, settings: Settings, outside: Outside | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._core = self._loop.run_until_complete(self._start(settings, outside))

    def invoke(self, event: dict[str, Any], context: Context | None) -> dict[str, Any]:
        """Answer one API Gateway event."""
        remaining = context.get_remaining_time_in_millis() / 1000 if context else GATEWAY_SECONDS
        return self._loop.run_until_complete(self._invoke(event, remaining))

    def close(self) -> None:
        """End in order; for tests and for Lambda's shutdown."""
        self._loop.run_until_complete(self._core.stop())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _start(self, settings: Settings, outside: Outside | None) -> Core:
        core = Core(settings, outside or Outside.aws(settings))
        await core.start()
        return core

    async def _invoke(self, event: dict[str, Any], remaining: float) -> dict[str, Any]:
        core = self._core
        ends_at = self._loop.time() + remaining
        # Let the sockets tell what happened to them while the process was frozen.
        await asyncio.sleep(0)
        headers = _headers(event)
        try:
            request = _request(event, headers, core.api.body_limit_bytes, remaining)
        except Refused as refused:
            context = _mapping(event, "requestContext")
            identity = _mapping(context, "identity")
            source_ip = str(identity.get("sourceIp") or "")
            # API Gateway knew the caller, or there would be no event.
            caller = _caller(context, identity)
            response = core.api.turned_away(refused, headers, source_ip, caller)
        else:
            response = await core.handle(request)
        answer = await _buffered(core, response, headers)
        left = ends_at - self._loop.time() - MARGIN_SECONDS
        await core.after_invocation(max(0.05, min(FLUSH_SECONDS, left)))
        for line in core.embedded_metrics():
            print(line)  # noqa: T201 -- the embedded format is read from stdout
        return answer


def _mapping(owner: dict[str, Any], name: str) -> dict[str, Any]:
    """An object of an event's, which may be null, missing, or in a strange event something else."""
    found = owner.get(name)
    return found if isinstance(found, dict) else {}


def _headers(event: dict[str, Any]) -> dict[str, str]:
    many = _mapping(event, "multiValueHeaders") or {
        name: [value] for name, value in _mapping(event, "headers").items()
    }
    found: dict[str, str] = {}
    for name, values in many.items():
        key = name.lower()
        texts = values if isinstance(values, list) else []
        joined = ", ".join(text for text in texts if isinstance(text, str))
        found[key] = f"{found[key]}, {joined}" if key in found else joined
    return found


def _request(
    event: dict[str, Any], headers: dict[str, str], limit: int, remaining: float
) -> Request:
    text = event.get("body") or ""
    if not isinstance(text, str):
        raise Refused(400, "ValidationException", "body: is not text in the event")
    if len(text) > limit * 4 // 3 + 4:
        raise too_large(limit)
    if event.get("isBase64Encoded"):
        try:
            body = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            message = "body: is not the base64 that the event says it is"
            raise Refused(400, "ValidationException", message) from None
    else:
        body = text.encode(errors="replace")
    context = _mapping(event, "requestContext")
    identity = _mapping(context, "identity")
    return Request(
        method=str(event.get("httpMethod", "")),
        path=str(event.get("path", "")),
        headers=headers,
        body=body,
        source_ip=str(identity.get("sourceIp") or ""),
        caller=_caller(context, identity),
        grant=_grant(event, context, identity),
        time_left_seconds=min(remaining, _gateway_time_left(context)) - MARGIN_SECONDS,
    )


def _caller(context: dict[str, Any], identity: dict[str, Any]) -> str:
    authorizer = _mapping(context, "authorizer")
    return str(authorizer.get("principalId") or identity.get("userArn") or "anonymous")


def _grant(
    event: dict[str, Any], context: dict[str, Any], identity: dict[str, Any]
) -> Grant | None:
    """What the authorizer read of a bearer key, and what the stage says of an API key; None for a caller without."""
    authorizer = _mapping(context, "authorizer")
    principal = authorizer.get("principalId")
    within = bound_of(_mapping(event, "stageVariables"), identity)
    if not principal and within is None:
        return None
    models = str(authorizer.get("allowedModels") or "")
    return Grant(
        principal=_caller(context, identity),
        data_class=str(authorizer.get("dataClass") or "") or None,
        allowed_models=tuple(models.split(",")) if models else (),
        within=within,
    )


def _gateway_time_left(context: dict[str, Any]) -> float:
    """API Gateway's clock runs since the request reached it, cold start included."""
    arrived_ms = context.get("requestTimeEpoch")
    if not isinstance(arrived_ms, int | float) or not 0 <= arrived_ms < MILLISECONDS_LIMIT:
        return GATEWAY_SECONDS
    elapsed = time.time() - arrived_ms / 1000
    return GATEWAY_SECONDS - min(max(elapsed, 0.0), GATEWAY_SECONDS - 2 * MARGIN_SECONDS)


async def _buffered(core: Core, response: Response, headers: dict[str, str]) -> dict[str, Any]:
    body = response.body
    if not isinstance(body, bytes):
        response = await _gathered(core, response, body, headers)
        assert isinstance(response.body, bytes)
        body = response.body
    content_type = next((v for n, v in response.headers if n == b"content-type"), b"")
    encoded = any(n == b"content-encoding" for n, _ in response.headers)
    is_text = content_type.startswith(TEXT) and not encoded
    if is_text:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            is_text = False
    if not is_text:
        text = base64.b64encode(body).decode()
    if len(text) > ANSWER_LIMIT_BYTES:
        response = core.api.refusal(answer_too_large(), headers)
        assert isinstance(response.body, bytes)
        text, is_text = response.body.decode(), True
    many: dict[str, list[str]] = {}
    for name, value in response.headers:
        if name != b"content-length":
            many.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return {
        "statusCode": response.status,
        "headers": {name: values[-1] for name, values in many.items()},
        "multiValueHeaders": many,
        "body": text,
        "isBase64Encoded": not is_text,
    }


async def _gathered(
    core: Core, response: Response, stream: AsyncIterator[bytes], headers: dict[str, str]
) -> Response:
    """The response with its stream read to the end, or the refusal in its place."""
    body = bytearray()
    try:
        async for part in stream:
            body += part
            if len(body) > ANSWER_LIMIT_BYTES:
                if close := getattr(stream, "aclose", None):
                    await close()
                return core.api.refusal(answer_too_large(), headers)
    except StreamBroke:
        message = "The upstream's answer broke off; the request was not sent again."
        refused = Refused(502, "InternalServerException", message, kind="AnswerBroke")
        return core.api.refusal(refused, headers)
    return Response(response.status, response.headers, bytes(body))


_edge: Edge | None = None


def handler(event: dict[str, Any], context: Context | None) -> dict[str, Any]:
    """Lambda's entry point: an API Gateway REST proxy event, answered in kind."""
    global _edge
    if _edge is None:
        log_to_stderr()
        _edge = Edge(Settings.from_environment())
    return _edge.invoke(event, context)
