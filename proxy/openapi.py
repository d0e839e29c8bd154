"""The proxy's HTTP interfaces as an OpenAPI document, which both edges publish at `/openapi.json`.

Imported when somebody asks for it, and not before: a cold start pays nothing for it. What the upstream answers is
passed on as it is, so the document is exact about the proxy's own answers and says of Bedrock's only where their
shapes are defined. Tests hold it to the code, and fuzz the code by it.
"""

from __future__ import annotations

import json
from typing import Any

Document = dict[str, Any]

MODEL_OPERATIONS = {
    "invoke": ("Invoke a model", "application/json"),
    "invoke-with-response-stream": (
        "Invoke a model, streaming",
        "application/vnd.amazon.eventstream",
    ),
    "converse": ("Converse with a model", "application/json"),
    "converse-stream": ("Converse with a model, streaming", "application/vnd.amazon.eventstream"),
    "count-tokens": ("Count the tokens of a request", "application/json"),
}

_LABELS: dict[str, tuple[str, Document]] = {
    "X-Routing-Method": ("How the answer travelled.", {"enum": ["vpn", "internet", "none"]}),
    "X-Tunnel-Used": (
        "The path whose socket brought the answer; `none` for the proxy's own words.",
        {"pattern": "^[a-z][a-z0-9-]{0,39}$"},
    ),
    "X-Routing-Generation": (
        "The generation of the routing config in use; 0 before the first.",
        {"pattern": "^[0-9]+$"},
    ),
    "X-Request-ID": (
        "The caller's, if it was well formed, or one of the proxy's.",
        {"pattern": "^[A-Za-z0-9._-]{1,128}$"},
    ),
    "X-Source-Partition": ("Where callers are.", {"const": "govcloud"}),
    "X-Destination-Partition": ("Where models are.", {"const": "commercial"}),
}

_ERRORS = {
    400: "The request is malformed; the message begins with the field or header that is wrong.",
    401: "No key that this proxy knows was shown.",
    403: "The caller's key or this proxy's allow-list does not permit the model or the data class.",
    404: "There is no such operation.",
    405: "The operation has other methods.",
    408: "The body did not come in time.",
    413: "The body is larger than the limit.",
    415: "The body is said to be something other than JSON.",
    500: "The proxy failed on this request.",
    502: "An upstream's answer began and broke off, or the request may not be sent again.",
    503: (
        "No path that the data class may use brought an answer, or what is needed to ask (routing config, credential, "
        "keys, memory for large bodies) is not to be had at this moment."
    ),
    504: "No answer came within the time for this request.",
}
# The server reads keys and bodies before it looks at routes, so that any guarded operation may answer these.
_OF_THE_EDGE = (401, 408, 413, 503)
_OF_INFERENCE = (400, 401, 403, 404, 405, 408, 413, 500, 502, 503, 504)
_OWN_HEADERS = {401: "WWW-Authenticate", 405: "Allow"}


def encoded(body_limit_bytes: int) -> bytes:
    """The document as UTF-8 JSON, for a proxy with this limit of a body."""
    return json.dumps(document(body_limit_bytes), separators=(",", ":")).encode()


def document(body_limit_bytes: int) -> Document:
    """The document (OpenAPI 3.1), for a proxy with this limit of a body."""
    paths: Document = {
        f"/model/{{modelId}}/{operation}": _passed_on(
            operation, summary, answer, body_limit_bytes, [_ref("parameters", "modelId")]
        )
        for operation, (summary, answer) in MODEL_OPERATIONS.items()
    }
    paths["/guardrail/{guardrailIdentifier}/version/{guardrailVersion}/apply"] = _passed_on(
        "apply-guardrail",
        "Apply a guardrail",
        "application/json",
        body_limit_bytes,
        [_ref("parameters", "guardrailIdentifier"), _ref("parameters", "guardrailVersion")],
    )
    invoke_model = _mvp_invoke("mvp-invoke", body_limit_bytes)
    routing = _own(
        "routing-information",
        "Which paths there are, and which one is active",
        "application/json",
        _ref("schemas", "RoutingInformation"),
        guarded=True,
    )
    paths["/v1/bedrock/invoke-model"] = invoke_model | routing
    paths["/bedrock"] = _mvp_invoke("bedrock", body_limit_bytes)
    paths["/v1/bedrock/models"] = _own(
        "models",
        "The models that this proxy lets through",
        "application/json",
        _ref("schemas", "Models"),
        guarded=True,
    )
    paths["/healthz"] = _own(
        "health", "Whether the process is alive", "application/json", _ref("schemas", "Health")
    )
    ready = _own(
        "readiness",
        "Whether a routing config is loaded and some allowed path is not ejected",
        "application/json",
        _ref("schemas", "Readiness"),
    )
    for operation in ready.values():
        operation["responses"]["503"] = operation["responses"]["200"] | {
            "description": "Not ready."
        }
    paths["/readyz"] = ready
    paths["/metrics"] = _own(
        "metrics", "Prometheus text", "text/plain; version=0.0.4; charset=utf-8", {"type": "string"}
    )
    paths["/openapi.json"] = _own(
        "openapi", "This document", "application/json", {"type": "object"}
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Twinspan's inference proxy",
            "version": "1",
            "description": (
                "Bedrock runtime's own API, the existing MVP's, and the process's own. An answer with `X-Tunnel-Used: none` "
                "is the proxy's; every other is the upstream's, passed on with its status, body and `x-amzn-*` headers, and "
                "may have any status. Requests that are no HTTP/1.1 are told 400, 408 or 431 and the connection is closed. "
                "Every GET may be a HEAD."
            ),
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearerKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A caller's key, as stock Bedrock clients send it (AWS_BEARER_TOKEN_BEDROCK).",
                }
            },
            "parameters": _parameters(),
            "headers": {
                name: {
                    "description": description,
                    "required": True,
                    "schema": schema | {"type": "string"},
                }
                for name, (description, schema) in _LABELS.items()
            },
            "schemas": _schemas(),
            "responses": {str(status): _error(status, why) for status, why in _ERRORS.items()},
        },
    }


def _ref(kind: str, name: str) -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}


def _labels() -> Document:
    return {name: _ref("headers", name) for name in _LABELS}


def _error(status: int, description: str) -> Document:
    headers = _labels() | {
        "x-amzn-errortype": {
            "description": "The code that an AWS SDK makes its exception of.",
            "schema": {"type": "string"},
        }
    }
    if (own := _OWN_HEADERS.get(status)) is not None:
        headers[own] = {"required": True, "schema": {"type": "string"}}
    if status == 503:
        headers["Retry-After"] = {"description": "Seconds.", "schema": {"type": "string"}}
    content = {"application/json": {"schema": _ref("schemas", "Error")}}
    return {"description": description, "headers": headers, "content": content}


def _answered(description: str, media_type: str, schema: Document) -> Document:
    content = {media_type: {"schema": schema}}
    return {"description": description, "headers": _labels(), "content": content}


def _errors(*statuses: int) -> Document:
    return {str(status): _ref("responses", str(status)) for status in statuses}


def _own(
    operation_id: str, summary: str, media_type: str, schema: Document, *, guarded: bool = False
) -> Document:
    """GET of something that the proxy itself answers."""
    responses = {"200": _answered("As asked.", media_type, schema)} | _errors(405, 408, 413, 503)
    if guarded:
        responses |= _errors(*_OF_THE_EDGE)
    operation: Document = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["own"],
        "security": [{"bearerKey": []}] if guarded else [],
        "responses": responses,
    }
    return {"get": operation}


def _inference(
    operation_id: str, summary: str, parameters: list[Document], body: Document, answer: Document
) -> Document:
    names = ("dataClass", "minimumGeneration", "resend", "timeout", "requestId")
    return {
        "operationId": operation_id,
        "summary": summary,
        "security": [{"bearerKey": []}],
        "parameters": [*parameters, *(_ref("parameters", name) for name in names)],
        "requestBody": body,
        "responses": {"200": answer} | _errors(*_OF_INFERENCE),
    }


def _passed_on(
    operation: str, summary: str, media_type: str, limit: int, parameters: list[Document]
) -> Document:
    """POST of an operation of Bedrock's runtime."""
    body = {
        "required": True,
        "description": f"As Bedrock's runtime takes it, unread; at most {limit} bytes.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    answer = _answered("As Bedrock's runtime answers.", media_type, {})
    found = _inference(operation, summary, parameters, body, answer)
    return {"post": found | {"tags": ["Bedrock runtime"]}}


def _mvp_invoke(operation_id: str, limit: int) -> Document:
    body = {
        "required": True,
        "description": f"At most {limit} bytes.",
        "content": {"application/json": {"schema": _ref("schemas", "MvpRequest")}},
    }
    answer = _answered("The model's answer.", "application/json", _ref("schemas", "MvpAnswer"))
    found = _inference(operation_id, "Invoke a model", [], body, answer)
    found["responses"] |= _errors(415)
    return {"post": found | {"tags": ["MVP"]}}


def _parameters() -> Document:
    def header(name: str, description: str, schema: Document) -> Document:
        return {"name": name, "in": "header", "description": description, "schema": schema}

    def segment(name: str, description: str) -> Document:
        found: Document = {"name": name, "in": "path", "required": True, "schema": _identifier()}
        return found | {"description": description}

    return {
        "modelId": segment(
            "modelId", "A model's id, or an ARN, percent-encoded as one segment of the path."
        ),
        "guardrailIdentifier": segment("guardrailIdentifier", "A guardrail's id or ARN."),
        "guardrailVersion": segment("guardrailVersion", "Its version, or `DRAFT`."),
        "dataClass": header(
            "X-Twinspan-Data-Class",
            "One of the routing config's data classes, which says what paths may be used; the key's own, or `default`.",
            {"type": "string", "maxLength": 40},
        ),
        "minimumGeneration": header(
            "X-Twinspan-Min-Generation",
            "Read the routing config anew if the one in use is older.",
            {"type": "string", "pattern": "^[0-9]{1,15}$"},
        ),
        "resend": header(
            "X-Twinspan-Resend",
            "Whether a request that was written and never answered may be sent again.",
            {"type": "string", "enum": ["allow", "never"]},
        ),
        "timeout": header(
            "X-Twinspan-Timeout-Seconds",
            "The longest time for the whole request.",
            {"type": "string", "pattern": "^[0-9]{1,5}(\\.[0-9]{1,3})?$"},
        ),
        "requestId": header(
            "X-Request-ID",
            "The caller's name for this request; one of another form is replaced.",
            {"type": "string"},
        ),
    }


def _identifier() -> Document:
    return {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._:/@+=-]*$",
        "minLength": 1,
        "maxLength": 2048,
    }


def _object(required: Document, optional: Document | None = None) -> Document:
    return {
        "type": "object",
        "required": list(required),
        "properties": required | (optional or {}),
    }


def _schemas() -> Document:
    text: Document = {"type": "string"}
    whole: Document = {"type": "integer", "minimum": 0}
    texts: Document = {"type": "array", "items": text}
    method: Document = {"enum": ["vpn", "internet"]}
    path = _object(
        {
            "name": text,
            "routing_method": method,
            "state": {"enum": ["enabled", "excluded"]},
            "breaker": {"enum": ["closed", "open", "half_open", None]},
        }
    )
    metadata = _object(
        {
            "routing_method": method,
            "tunnel_used": text,
            "routing_generation": whole,
            "request_id": text,
            "model_id": text,
            "latency_ms": {"type": "number", "minimum": 0},
            "source_partition": {"const": "govcloud"},
            "destination_partition": {"const": "commercial"},
        }
    )
    return {
        "Error": _object(
            {"message": text},
            {
                "__type": {
                    "type": "string",
                    "description": "The proxy's own, finer name of the error; on all of its own errors.",
                },
                "paths": {
                    "type": "array",
                    "description": "Each path, and why it brought no answer.",
                    "items": _object({"name": text, "reason": text}),
                },
                "path": text,
                "reason": text,
            },
        ),
        "MvpRequest": _object(
            {"modelId": _identifier(), "body": {"type": ["string", "object"]}},
            {
                "contentType": text | {"minLength": 1, "default": "application/json"},
                "accept": text | {"minLength": 1, "default": "application/json"},
            },
        ),
        "MvpAnswer": _object(
            {
                "body": text | {"description": "Bedrock's answer, as it came."},
                "contentType": text,
                "metadata": metadata,
            }
        ),
        "RoutingInformation": _object(
            {
                "link_id": text,
                "generation": whole,
                "active_path": text,
                "routing_method": method,
                "paths": {"type": "array", "items": path},
                "data_classes": {
                    "type": "object",
                    "additionalProperties": {"type": "array", "items": method},
                },
                "allowed_models": texts
                | {
                    "description": "Those of the link's policy; none for all that the proxy allows."
                },
                "resend": {"enum": ["allow", "never"]},
                "source_partition": {"const": "govcloud"},
                "destination_partition": {"const": "commercial"},
            }
        ),
        "Models": _object(
            {
                "modelSummaries": {
                    "type": "array",
                    "items": _object({"modelId": text | {"description": "An id, or `prefix*`."}}),
                },
                "allowListed": {
                    "type": "boolean",
                    "description": "False: every model passes, and the list is empty.",
                },
            }
        ),
        "Health": _object({"status": {"const": "alive"}}),
        "Readiness": _object(
            {"ready": {"type": "boolean"}, "generation": whole, "usable_paths": texts}
        ),
    }
