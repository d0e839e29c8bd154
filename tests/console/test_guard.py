"""Who may open the console, and who may make it act."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from control_plane.console.guard import Guard, Keys, form_is_ours

KEYS = Keys(8737)
HOST = "127.0.0.1:8737"
COOKIE = f"{KEYS.cookie}={KEYS.access}"


async def _hello(request: Request) -> Response:
    return PlainTextResponse("inside")


APP = Starlette(
    routes=[Route("/", _hello, methods=["GET", "POST"])], middleware=[Middleware(Guard, keys=KEYS)]
)


def ask(method: str = "GET", query: str = "", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of an answer."""
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in ({"host": HOST} | headers).items()],
    }
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        said.append(message)

    asyncio.run(APP(scope, receive, send))
    found = {k.decode(): v.decode() for k, v in said[0]["headers"]}
    return said[0]["status"], found, b"".join(m.get("body", b"") for m in said[1:]).decode()


def test_the_printed_address_lets_in() -> None:
    """The key is exchanged for a cookie that no script and no other site gets, and leaves the address."""
    status, headers, _ = ask(query=f"key={KEYS.access}")
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"]
    assert ask(cookie=COOKIE)[2] == "inside"


@pytest.mark.parametrize("query", ["", "key=", "key=guess"])
def test_another_user_of_this_machine_is_kept_out(query: str) -> None:
    """Without key or cookie nothing is shown."""
    status, _, body = ask(query=query)
    assert status == 403
    assert "inside" not in body


@pytest.mark.parametrize(
    "host", ["attacker.example:8737", "127.0.0.1", "127.0.0.1:80", "localhost.evil:8737", ""]
)
def test_a_rebound_name_is_refused(host: str) -> None:
    """A name that was made to point here is not this console's, whatever cookie comes with it."""
    assert ask(host=host, cookie=COOKIE)[0] == 421


@pytest.mark.parametrize("origin", ["null", "http://attacker.example", "http://localhost:8737"])
def test_a_foreign_page_cannot_post(origin: str) -> None:
    """A form that another origin sends is refused."""
    assert ask("POST", cookie=COOKIE, origin=origin)[0] == 403


def test_a_post_without_an_origin_is_refused() -> None:
    """Browsers always say where a form comes from; what does not is no browser with our page."""
    assert ask("POST", cookie=COOKIE)[0] == 403
    assert ask("POST", cookie=COOKIE, origin=f"http://{HOST}")[2] == "inside"


def test_only_our_own_forms_count() -> None:
    """The token of another start of the console does nothing."""
    assert form_is_ours(KEYS, KEYS.form)
    assert not form_is_ours(KEYS, Keys(8737).form)
    assert not form_is_ours(KEYS, "")


def test_every_answer_forbids_inline_code_and_frames() -> None:
    """Refusals included."""
    for headers in (ask()[1], ask(cookie=COOKIE)[1]):
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"


def test_keys_are_not_printed_by_accident() -> None:
    """A traceback or a log that holds the object does not hold its keys."""
    assert KEYS.access not in repr(KEYS)
    assert KEYS.form not in repr(KEYS)
