"""Who may use the console: the person who started it, from pages that the console itself served.

Binding to loopback keeps other machines out, not other users of this one, nor a web page that the operator
has open. So:

- a key in the address that is printed at the start, exchanged for a cookie: other users have neither;
- the `Host` header must name loopback and the port: a name that was rebound to 127.0.0.1 is refused;
- a POST needs the console's own `Origin` and a token from its page: a foreign page has neither;
- a content security policy without inline code: text from the journal cannot become a script.

Not guaranteed: whoever can read this process's memory or terminal has its key.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`, under which a browser sends `Origin: null` with the page's own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """Made anew for each start: `access` opens the console, `form` is in each of its forms."""

    port: int
    access: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    form: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def hosts(self) -> frozenset[str]:
        """Values of `Host` that mean this console."""
        return frozenset(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost"))

    @property
    def cookie(self) -> str:
        """Cookies do not tell ports apart, so the name does."""
        return f"twinspan-console-{self.port}"


class Guard:
    """ASGI middleware that lets through what may pass, and gives every answer its headers."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by itself, or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._keys.hosts:
            return PlainTextResponse("This is not the name of the console.\n", 421)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
            return PlainTextResponse("Not sent from the console's own page.\n", 403)
        if self._known(headers):
            return None
        key = QueryParams(scope["query_string"]).get("key", "")
        if scope["path"] == "/" and _equal(key, self._keys.access):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(
                self._keys.cookie, self._keys.access, httponly=True, samesite="strict"
            )
            return answer
        text = "Open the console by the address that it printed when it started.\n"
        return PlainTextResponse(text, 403)

    def _known(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._keys.cookie)
        except CookieError:
            return False
        return cookie is not None and _equal(cookie.value, self._keys.access)


def form_is_ours(keys: Keys, token: str) -> bool:
    """Whether a form carries the token that this console's pages carry."""
    return _equal(token, keys.form)


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
