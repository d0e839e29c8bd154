"""What is recorded of a request, and the row that is made of it: DynamoDB's attribute values, in JSON.

The row is written straight into its JSON, whose words are quoted once and remembered: as a document of dictionaries it
cost a request more than signing it. No row holds anything of a prompt or a completion.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

RETENTION_SECONDS = 30 * 86_400
WORDS_REMEMBERED = 1024

Row = dict[str, Any]
"""A DynamoDB item, in low-level attribute values."""
Key = tuple[str, bytes]
"""A row's partition key and sort key."""


class RequestRecord(msgspec.Struct):
    """What is known of one request when it is over. Sizes in bytes."""

    request_id: str
    operation: str
    source_ip: str
    caller: str
    began_at: float
    """When it came in, in seconds since 1970."""
    began: float
    """The same by the event loop's clock."""
    model_id: str = ""
    data_class: str = "default"
    request_bytes: int = 0
    response_bytes: int = 0
    status: int = 0
    success: bool = False
    error: str = ""
    path: str = "none"
    routing_method: str = "none"
    generation: int = 0
    attempts: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """(path, how it ended) of each attempt, in order."""
    resent: bool = False
    hedged: bool = False
    connect_seconds: float = 0.0
    first_byte_seconds: float = 0.0
    """From the request's arrival to the upstream's first byte."""
    total_seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None


_quoted = msgspec.json.Encoder().encode
# Of words that come again with each request; of what a caller chooses no more than fits is kept.
_remembered = lru_cache(maxsize=WORDS_REMEMBERED)(_quoted)
_TRUTH = (b"false", b"true")


def encoded(record: RequestRecord) -> tuple[Key, bytes]:
    """The row's key, and the row in JSON."""
    second = int(record.began_at)
    microseconds = int((record.began_at - second) * 1e6)
    timestamp = b"%b.%06dZ" % (_instant(second), microseconds)
    optional = b""
    if record.model_id:
        optional += b',"modelId":{"S":%b}' % _remembered(record.model_id)
    if record.error:
        optional += b',"error":{"S":%b}' % _remembered(record.error)
    if record.hedged:
        optional += b',"hedged":{"BOOL":true}'
    if record.input_tokens is not None:
        optional += b',"inputTokens":{"N":"%d"}' % record.input_tokens
    if record.output_tokens is not None:
        optional += b',"outputTokens":{"N":"%d"}' % record.output_tokens
    row = (
        b'{"requestId":{"S":%b},"timestamp":{"S":"%b"},"expiresAt":{"N":"%d"},'
        b'"sourcePartition":{"S":"govcloud"},"destinationPartition":{"S":"commercial"},'
        b'"operation":{"S":%b},"caller":{"S":%b},"sourceIp":{"S":%b},"dataClass":{"S":%b},'
        b'"statusCode":{"N":"%d"},"success":{"BOOL":%b},'
        b'"tunnelUsed":{"S":%b},"routingMethod":{"S":%b},"generation":{"N":"%d"},'
        b'"attempts":{"L":[%b]},"resent":{"BOOL":%b},'
        b'"requestBytes":{"N":"%d"},"responseBytes":{"N":"%d"},'
        b'"connectMs":{"N":"%.2f"},"firstByteMs":{"N":"%.2f"},"totalMs":{"N":"%.2f"}%b}'
    ) % (
        _quoted(record.request_id),
        timestamp,
        second + RETENTION_SECONDS,
        _remembered(record.operation),
        _remembered(record.caller),
        _remembered(record.source_ip),
        _remembered(record.data_class),
        record.status,
        _TRUTH[record.success],
        _remembered(record.path),
        _remembered(record.routing_method),
        record.generation,
        b",".join([_attempt(attempt) for attempt in record.attempts]),
        _TRUTH[record.resent],
        record.request_bytes,
        record.response_bytes,
        record.connect_seconds * 1000,
        record.first_byte_seconds * 1000,
        record.total_seconds * 1000,
        optional,
    )
    return (record.request_id, timestamp), row


def encoded_again(row: Row) -> tuple[Key, bytes]:
    """As `encoded`, of a row that the table gave back."""
    return (row["requestId"]["S"], row["timestamp"]["S"].encode()), _quoted(row)


@lru_cache(maxsize=8)
def _instant(second: int) -> bytes:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


@lru_cache(maxsize=WORDS_REMEMBERED)
def _attempt(attempt: tuple[str, str]) -> bytes:
    path, end = attempt
    return b'{"S":%b}' % _quoted(f"{path}: {end}")
