"""What the Bedrock stand-in answers: pure functions from a request body to a response body.

The text is canned and says nothing about the prompt. Token counts are made up but consistent: about four
characters of input to a token, one word of output to a token, never more than the caller's limit.

Not guaranteed: only Anthropic's Messages API is understood by `InvokeModel`; tools, images, guardrails
and thinking are accepted in a request and ignored.

Source: "Amazon Bedrock API reference" and botocore's service model `bedrock-runtime`.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CANNED = tuple(
    re.findall(
        r"\S+",
        "This answer comes from a stand-in for Amazon Bedrock. It was reached over the network path "
        "that the proxy reports, and says nothing about the prompt.",
    )
)
_CHARACTERS_PER_TOKEN = 4
_ANTHROPIC_VERSION = "bedrock-2023-05-31"
_GEOGRAPHIES = "us|us-gov|eu|apac|jp|au|ca|global"
_MODEL = re.compile(
    rf"(?:(?:{_GEOGRAPHIES})\.)?"
    r"(?P<model>(?P<vendor>anthropic|amazon|meta|mistral)\.[a-z0-9][a-z0-9.-]*(?::\d+)?)"
)
_ARN = re.compile(
    r"arn:aws(?:-[a-z-]+)?:bedrock:[a-z0-9-]+:\d*:"
    r"(?:foundation-model|inference-profile|application-inference-profile)/(?P<id>.+)"
)
_VERSION = re.compile(r"-v\d+(?::\d+)?$")
_RETIRED = re.compile(r"anthropic\.claude-(?:v1|v2|instant)")


class ModelError(Exception):
    """A refusal as AWS words it: `status` is the HTTP status, `code` the error's name."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


def invalid(message: str) -> ModelError:
    """The refusal of a malformed request."""
    return ModelError(400, "ValidationException", message)


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer, before it is put into an API's shape."""

    words: tuple[str, ...]
    input_tokens: int
    is_cut_short: bool

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def output_tokens(self) -> int:
        return len(self.words)

    @property
    def stop_reason(self) -> str:
        return "max_tokens" if self.is_cut_short else "end_turn"


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a request names it; `identifier` has no geography prefix."""

    identifier: str
    vendor: str


def find_model(path_segment: str) -> Model:
    """The model that a request's path names, percent-encoded or as an ARN."""
    identifier = urllib.parse.unquote(path_segment)
    if arn := _ARN.fullmatch(identifier):
        identifier = arn["id"]
    found = _MODEL.fullmatch(identifier)
    if found is None:
        raise invalid("The provided model identifier is invalid.")
    if _RETIRED.match(found["model"]):
        raise ModelError(
            404,
            "ResourceNotFoundException",
            "This model version has reached the end of its life. Please refer to the AWS "
            "documentation for more details.",
        )
    return Model(found["model"], found["vendor"])


def parse_object(body: bytes) -> dict[str, Any]:
    """A request body that must be a JSON object."""
    try:
        parsed = json.loads(body)
    except ValueError:
        raise invalid("The request body is not valid JSON.") from None
    if not isinstance(parsed, dict):
        raise invalid("The request body must be a JSON object.")
    return parsed


def complete_messages(model: Model, request: dict[str, Any]) -> Completion:
    """`InvokeModel` with Anthropic's Messages API."""
    if model.vendor != "anthropic":
        raise invalid(f"The stand-in invokes Anthropic models only, not {model.identifier}.")
    if request.get("anthropic_version") != _ANTHROPIC_VERSION:
        raise invalid("anthropic_version: Field required")
    limit = request.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid("max_tokens: Field required")
    _check_messages(request.get("messages"))
    return _complete(request.get("system"), request["messages"], limit)


def complete_converse(request: dict[str, Any]) -> Completion:
    """`Converse`, for any model."""
    _check_messages(request.get("messages"))
    limit = (request.get("inferenceConfig") or {}).get("maxTokens", len(_CANNED))
    if not isinstance(limit, int) or isinstance(limit, bool):
        raise invalid("inferenceConfig.maxTokens must be an integer")
    return _complete(request.get("system"), request["messages"], limit)


def messages_answer(model: Model, completion: Completion, message_id: str) -> dict[str, Any]:
    """The answer of `InvokeModel`, shaped as Anthropic's Messages API does."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": _VERSION.sub("", model.identifier.partition(".")[2]),
        "content": [{"type": "text", "text": completion.text}],
        "stop_reason": completion.stop_reason,
        "stop_sequence": None,
        "usage": {
            "input_tokens": completion.input_tokens,
            "output_tokens": completion.output_tokens,
        },
    }


def converse_answer(completion: Completion, latency_milliseconds: int) -> dict[str, Any]:
    """The answer of `Converse`."""
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": completion.text}]}},
        "stopReason": completion.stop_reason,
        "usage": _converse_usage(completion),
        "metrics": {"latencyMs": latency_milliseconds},
    }


def messages_events(
    model: Model, completion: Completion, message_id: str, latency_milliseconds: int
) -> Iterator[dict[str, Any]]:
    """Anthropic's streaming events; each becomes a `chunk` event of the response stream."""
    opening = messages_answer(model, completion, message_id)
    opening.update(content=[], stop_reason=None)
    opening["usage"] = {"input_tokens": completion.input_tokens, "output_tokens": 1}
    yield {"type": "message_start", "message": opening}
    yield {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    for piece in _pieces(completion):
        yield {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": piece},
        }
    yield {"type": "content_block_stop", "index": 0}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": completion.stop_reason, "stop_sequence": None},
        "usage": {"output_tokens": completion.output_tokens},
    }
    yield {
        "type": "message_stop",
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": completion.input_tokens,
            "outputTokenCount": completion.output_tokens,
            "invocationLatency": latency_milliseconds,
            "firstByteLatency": latency_milliseconds,
        },
    }


def converse_events(
    completion: Completion, latency_milliseconds: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """`ConverseStream`'s events as (event type, payload)."""
    yield "messageStart", {"role": "assistant"}
    for piece in _pieces(completion):
        yield "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": piece}}
    yield "contentBlockStop", {"contentBlockIndex": 0}
    yield "messageStop", {"stopReason": completion.stop_reason}
    yield (
        "metadata",
        {"usage": _converse_usage(completion), "metrics": {"latencyMs": latency_milliseconds}},
    )


def count_tokens(model: Model, request: dict[str, Any]) -> dict[str, Any]:
    """`CountTokens`: exactly what the same input is charged for by an inference."""
    given = request.get("input")
    if not isinstance(given, dict) or len(given) != 1:
        raise invalid("input must hold exactly one of invokeModel and converse")
    if "converse" in given:
        return {"inputTokens": complete_converse(given["converse"]).input_tokens}
    if "invokeModel" in given:
        body = parse_object(_decoded(given["invokeModel"].get("body", "")))
        return {"inputTokens": complete_messages(model, body).input_tokens}
    raise invalid("input must hold exactly one of invokeModel and converse")


def _decoded(blob: str) -> bytes:
    try:
        return base64.b64decode(blob, validate=True)
    except ValueError:
        raise invalid("input.invokeModel.body is not valid base64") from None


def _converse_usage(completion: Completion) -> dict[str, int]:
    return {
        "inputTokens": completion.input_tokens,
        "outputTokens": completion.output_tokens,
        "totalTokens": completion.input_tokens + completion.output_tokens,
    }


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise invalid("messages: at least one message is required")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise invalid('messages: roles must be "user" or "assistant"')
        if not isinstance(message.get("content"), str | list):
            raise invalid("messages: content is required")
    if messages[0]["role"] != "user":
        raise invalid("messages: first message must use the user role")


def _complete(system: object, messages: list[Any], limit: int) -> Completion:
    if limit < 1:
        raise invalid("max_tokens: must be greater than or equal to 1")
    characters = _characters(system) + sum(_characters(message["content"]) for message in messages)
    return Completion(
        words=_CANNED[:limit],
        input_tokens=max(1, -(-characters // _CHARACTERS_PER_TOKEN)),
        is_cut_short=limit < len(_CANNED),
    )


def _characters(content: object) -> int:
    if isinstance(content, str):
        return len(content)
    if isinstance(content, list):
        return sum(_characters(block) for block in content)
    if isinstance(content, dict):
        return _characters(content.get("text"))
    return 0


def _pieces(completion: Completion) -> Iterator[str]:
    for index, word in enumerate(completion.words):
        yield word if index == 0 else f" {word}"
