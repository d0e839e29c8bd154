"""The existing MVP's interface: a model id and a body in one document, and Bedrock's answer inside another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

from proxy.audit_rows import RequestRecord
from proxy.carrier import Carried
from proxy.messages import Refused, Request, Response, is_header_value, json_response
from proxy.refusals import answer_too_large, invalid
from proxy.routes import Route, Routes
from proxy.tokens import count_tokens

MVP_INVOKE = frozenset({"/v1/bedrock/invoke-model", "/bedrock"})
ROUTING_INFORMATION = "/v1/bedrock/invoke-model"
WRAPPED_LIMIT_BYTES = 32 * 1024 * 1024
"""The MVP's answers are kept whole, to be put into a document; nothing of Bedrock's is as long as this."""

# Besides JSON's own types what curl says of any body when it is told nothing: the MVP's clients may rely on it.
_JSON_TYPE = re.compile(
    r"application/(?:json|[a-z0-9.!#$&^_-]+\+json|x-www-form-urlencoded)[ \t]*(?:;.*)?",
    re.IGNORECASE,
)


def read_call(request: Request, routes: Routes) -> tuple[Route, list[tuple[str, str]], bytes]:
    """Its document as a call of Bedrock's: route, headers, body.

    Raises:
        Refused: naming the field and the reason.
    """
    said = request.headers.get("content-type")
    if said and not _JSON_TYPE.fullmatch(said.strip()):
        raise Refused(415, "ValidationException", "content-type: must be application/json")
    document = _json_object(request.body)
    model_id = document.get("modelId")
    if not isinstance(model_id, str):
        raise invalid("modelId", "must be a string")
    inner = document.get("body")
    if not isinstance(inner, str | dict):
        raise invalid("body", "must be a string or an object")
    try:
        text = (
            inner
            if isinstance(inner, str)
            else json.dumps(inner, ensure_ascii=False, allow_nan=False)
        )
        body = text.encode()
    except (ValueError, RecursionError):
        raise invalid("body", "cannot be written as JSON in UTF-8") from None
    headers: list[tuple[str, str]] = []
    for name, header in (("contentType", "content-type"), ("accept", "accept")):
        value = document.get(name, "application/json")
        if not isinstance(value, str) or not value or not is_header_value(value):
            raise invalid(name, "must be a media type")
        headers.append((header, value))
    return routes.invoking(model_id), headers, body


async def wrapped(record: RequestRecord, carried: Carried, clock: Callable[[], float]) -> Response:
    """Bedrock's answer as the document that the MVP's clients expect, its tokens counted.

    Raises:
        Refused: it is longer than can be kept.
        BrokenAnswer: it broke off.
    """
    exchange = carried.exchange
    gathered = bytearray()
    while data := await exchange.chunk():
        gathered += data
        if len(gathered) > WRAPPED_LIMIT_BYTES:
            raise answer_too_large()
    body = bytes(gathered)
    count_tokens(record, exchange.headers, body)
    content_type = next(
        (value.decode("latin-1") for name, value in exchange.headers if name == b"content-type"),
        "application/json",
    )
    document = {
        "body": body.decode(errors="replace"),
        "contentType": content_type,
        "metadata": {
            "routing_method": carried.path.routing_method,
            "tunnel_used": carried.path.name,
            "routing_generation": carried.generation,
            "request_id": record.request_id,
            "model_id": record.model_id,
            "latency_ms": round((clock() - record.began) * 1000, 3),
            "source_partition": "govcloud",
            "destination_partition": "commercial",
        },
    }
    passed = [(n, v) for n, v in exchange.headers if n.startswith(b"x-amzn-")]
    response = json_response(200, document, passed)
    record.response_bytes = len(body)
    return response


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise invalid("body", "is not JSON") from None
    if not isinstance(document, dict):
        raise invalid("body", "must be a JSON object")
    return document


def _no_number(constant: str) -> NoReturn:
    raise ValueError(constant)
