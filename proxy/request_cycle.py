"""One request's answer, as it is written to the caller's connection: a head and a known body in one write.

uvicorn writes them one after the other (two system calls, two packets, a client that is woken twice) and looks at each
header with two regular expressions, which together cost a small call more than signing it. Here a head whose body's
length is known waits for the body's first part, and is looked at once. All else is uvicorn's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

COPY_LIMIT_BYTES = 64 * 1024
"""A larger body is not copied for the sake of its head."""
TARGETS_REMEMBERED = 1024
TARGET_REMEMBERED_BYTES = 512
CLOSE = (b"connection", b"close")


class JoiningCycle(RequestResponseCycle):
    """A request and its answer. A head is sent at the latest with the first part of the body, be it an empty one."""

    _head = b""

    async def send(self, message: Any) -> None:
        """See ASGI.

        Raises:
            RuntimeError: a header holds a line break, or the application does not keep to ASGI.
        """
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self._head:
            head, self._head = self._head, b""
            body: bytes = message.get("body", b"")
            if not message.get("more_body") and len(body) == self.expected_content_length:
                self._end(head, body)
                return
            if not self.disconnected:
                self.transport.write(head)
        elif not self.response_started and self._hold(message):
            return
        await super().send(message)

    def _hold(self, message: Any) -> bool:
        """Keep the head back, if it is one whose body is to come in a known length."""
        if message["type"] != "http.response.start" or self.scope["method"] == "HEAD":
            return False
        headers: list[tuple[bytes, bytes]] = message["headers"]
        named = dict(headers)
        length = named.get(b"content-length")
        if length is None or b"transfer-encoding" in named:
            return False
        if (connection := named.get(b"connection")) is not None:
            if connection != b"close":
                return False
            self.keep_alive = False
        elif not self.keep_alive:
            headers = [*headers, CLOSE]
        headers = self.default_headers + headers
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if not lines.count(b"\n") == lines.count(b"\r") == len(headers):
            raise RuntimeError("A header holds a line break.")
        self._head = b"%b%b\r\n" % (STATUS_LINE[message["status"]], lines)
        self.expected_content_length = int(length)
        self.chunked_encoding = False
        self.response_started = True
        self.waiting_for_100_continue = False
        return True

    def _end(self, head: bytes, body: bytes) -> None:
        if self.disconnected:
            return
        if len(body) <= COPY_LIMIT_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self.expected_content_length = 0
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def parsed_target(target: bytes) -> tuple[bytes, str, bytes]:
    """A request target's path as it was sent, its path decoded, and its query.

    Raises:
        httptools.HttpParserInvalidURLError: it is no target.
    """
    return _remembered(target) if len(target) <= TARGET_REMEMBERED_BYTES else _parsed(target)


def _parsed(target: bytes) -> tuple[bytes, str, bytes]:
    parsed = httptools.parse_url(target)
    path: bytes = parsed.path
    return path, unquote(path.decode("ascii")), parsed.query or b""


_remembered = lru_cache(maxsize=TARGETS_REMEMBERED)(_parsed)
