"""The binary framing of AWS event streams (`application/vnd.amazon.eventstream`).

A message is: total length and header length (4 bytes each, big-endian), the CRC-32 of these eight,
the headers, the payload, and the CRC-32 of everything before. Only string headers are written.

Source: "Event stream encoding" in the Amazon Transcribe developer guide; botocore's `eventstream` reads it.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

_STRING_HEADER = 7


def event(event_type: str, payload: dict[str, Any]) -> bytes:
    """One event with a JSON payload."""
    return _message(
        {":event-type": event_type, ":content-type": "application/json", ":message-type": "event"},
        json.dumps(payload, separators=(",", ":")).encode(),
    )


def chunk(document: dict[str, Any]) -> bytes:
    """A `chunk` event of `InvokeModelWithResponseStream`: a document in base64."""
    encoded = json.dumps(document, separators=(",", ":")).encode()
    return event("chunk", {"bytes": base64.b64encode(encoded).decode()})


def exception(name: str, message: str) -> bytes:
    """An error in the middle of a stream, named as in the service model, such as
    `modelStreamErrorException`."""
    return _message(
        {
            ":exception-type": name,
            ":content-type": "application/json",
            ":message-type": "exception",
        },
        json.dumps({"message": message}).encode(),
    )


def _message(headers: dict[str, str], payload: bytes) -> bytes:
    encoded_headers = b"".join(_header(name, value) for name, value in headers.items())
    total = 4 + 4 + 4 + len(encoded_headers) + len(payload) + 4
    prelude = struct.pack(">II", total, len(encoded_headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + encoded_headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _header(name: str, value: str) -> bytes:
    encoded_name, encoded_value = name.encode(), value.encode()
    return (
        struct.pack("B", len(encoded_name))
        + encoded_name
        + struct.pack(">BH", _STRING_HEADER, len(encoded_value))
        + encoded_value
    )
