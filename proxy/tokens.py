"""Token counts, picked out of answers as numbers. Nothing else of an answer's body is looked at."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re

from proxy.audit_rows import RequestRecord
from proxy.messages import Headers

# More digits are no count, and the audit's table would not take them.
_TOKENS = re.compile(rb"[0-9]{1,9}")
# Each with how it begins: looking for that first costs a long answer a fraction of what the expression would.
_INPUT_TOKENS = (
    re.compile(rb'"(?:inputTokens|input_tokens|inputTokenCount)"\s*:\s*(\d{1,9})\b'),
    (b'"inputTok', b'"input_tok'),
)
_OUTPUT_TOKENS = (
    re.compile(rb'"(?:outputTokens|output_tokens|outputTokenCount)"\s*:\s*(\d{1,9})\b'),
    (b'"outputTok', b'"output_tok'),
)
# An event of `invoke-with-response-stream` holds the model's own JSON in base64; Bedrock adds its counts to the last.
_PART = re.compile(rb'"bytes"\s*:\s*"([A-Za-z0-9+/]+={0,2})"')
_INVOCATION_METRICS = b'"amazon-bedrock-invocationMetrics"'
TAIL_BYTES = 4096
"""Of a stream, what is looked at: counts come last."""


def count_tokens(record: RequestRecord, headers: Headers, tail: bytes) -> None:
    """Note the tokens that an answer tells of, in its headers or in what it says last."""
    for name, value in headers:
        if name == b"x-amzn-bedrock-input-token-count" and _TOKENS.fullmatch(value):
            record.input_tokens = int(value)
        elif name == b"x-amzn-bedrock-output-token-count" and _TOKENS.fullmatch(value):
            record.output_tokens = int(value)
    if record.operation == "count-tokens":
        return  # what it counts nobody used
    if record.input_tokens is None:
        record.input_tokens = _count_in(tail, *_INPUT_TOKENS)
    if record.output_tokens is None:
        record.output_tokens = _count_in(tail, *_OUTPUT_TOKENS)


def _count_in(tail: bytes, count: re.Pattern[bytes], beginnings: tuple[bytes, ...]) -> int | None:
    """The first such count, of the first such beginning that has one."""
    for beginning in beginnings:
        if (at := tail.find(beginning)) >= 0 and (match := count.search(tail, at)):
            return int(match[1])
    return None


def last_said(tail: bytes) -> bytes:
    """What Bedrock itself says in the last of an invocation's parts; the tail as it is where there is no such."""
    for part in reversed(_PART.findall(tail)):
        with contextlib.suppress(binascii.Error):
            _, found, metrics = base64.b64decode(part).rpartition(_INVOCATION_METRICS)
            if found:
                return metrics
    return tail
