"""What goes in and out of the core, whichever edge it came through, and the shape of errors.

Errors look as Bedrock's do, so that a stock SDK raises its own exception: the code in `x-amzn-errortype`,
`message` in the body. `__type` in the body is this proxy's own finer name, for machines.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proxy.caller_keys import Grant

Headers = list[tuple[bytes, bytes]]
_HEADER_VALUE = re.compile(r"[\t -~\xa0-\xff]*")


@dataclass(slots=True)
class Request:
    """A caller's request. `path` is as it was sent, percent-encoded, without the query."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case; a repeated header's values are joined with commas."""
    body: bytes
    source_ip: str
    caller: str
    """Who was authenticated, in words that may be logged; `anonymous` for nobody."""
    grant: Grant | None = None
    """What the caller's key lets them do; None for callers that were let in without one."""
    time_left_seconds: float | None = None
    """What the edge itself allows, from now."""


@dataclass(slots=True)
class Response:
    """An answer; a streamed body must be iterated to its end or closed."""

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]


class StreamBroke(Exception):
    """A streamed answer cannot be completed; the edge must not end it as if it could."""


class Refused(Exception):
    """The request is answered here, with an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str | None = None,
        headers: Headers | None = None,
        **details: Any,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.headers = headers or []
        self.body = {"__type": kind or code, "message": message, **details}


def json_response(status: int, document: Any, headers: Headers | None = None) -> Response:
    """An answer of our own."""
    body = json.dumps(document, separators=(",", ":")).encode()
    own = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return Response(status, own + (headers or []), body)


def error_response(refused: Refused) -> Response:
    """The refusal as Bedrock would put it."""
    code = (b"x-amzn-errortype", refused.code.encode())
    return json_response(refused.status, refused.body, [code, *refused.headers])


def is_header_value(value: str) -> bool:
    """Whether this can be sent as a header's value: visible Latin-1, tabs and spaces."""
    return _HEADER_VALUE.fullmatch(value) is not None
