"""The framing of `application/vnd.amazon.eventstream`: kept whole, never interpreted.

A frame is its total length (4 bytes), the headers' length (4), a CRC-32 of these, headers, payload, and a
CRC-32 of all before. The proxy passes frames through as they come and holds back only a frame's unfinished
tail, so that, when the upstream breaks off, an exception frame can follow the last whole one. A frame
longer than the limit passes unheld; a break inside such a one cannot be told in the stream's own framing.
"""

from __future__ import annotations

import json
import struct
import zlib

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
HOLD_LIMIT_BYTES = 256 * 1024
_SMALLEST = 16
_STRING = 7


class FrameKeeper:
    """Lets whole frames through; knows whether the stream stands at a frame's boundary."""

    __slots__ = ("_held", "_passing", "unframed")

    def __init__(self) -> None:
        self._held = b""
        self._passing = 0
        self.unframed = False
        """The bytes are no event stream after all: everything passes."""

    def feed(self, data: bytes) -> bytes:
        """Take what came; give back what may go on."""
        if self.unframed:
            return data
        if self._held:
            data = self._held + data
            self._held = b""
        position, size = 0, len(data)
        if self._passing:
            position = min(self._passing, size)
            self._passing -= position
        while not self._passing and size - position >= 4:
            (length,) = struct.unpack_from(">I", data, position)
            if length < _SMALLEST:
                self.unframed = True
                return data
            if position + length <= size:
                position += length
            elif length > HOLD_LIMIT_BYTES:
                self._passing = position + length - size
                position = size
            else:
                break
        self._held = data[position:]
        return data[:position]

    @property
    def at_boundary(self) -> bool:
        """Whether a frame of our own may follow what was let through."""
        return not self.unframed and not self._passing

    def release(self) -> bytes:
        """The unfinished tail of a stream that ended inside a frame."""
        held, self._held = self._held, b""
        return held


def exception_frame(exception_type: str, message: str) -> bytes:
    """A frame that a Bedrock SDK raises as `exception_type` while it reads the stream."""
    headers = b"".join(
        _header(name, value)
        for name, value in (
            (":message-type", "exception"),
            (":exception-type", exception_type),
            (":content-type", "application/json"),
        )
    )
    payload = json.dumps({"message": message}).encode()
    total = 12 + len(headers) + len(payload) + 4
    prelude = struct.pack(">II", total, len(headers))
    start = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return start + struct.pack(">I", zlib.crc32(start))


def _header(name: str, value: str) -> bytes:
    encoded, text = name.encode(), value.encode()
    return bytes([len(encoded)]) + encoded + bytes([_STRING]) + struct.pack(">H", len(text)) + text
