"""Bedrock runtime's own routes, and what of a caller's headers goes along them.

Everything here is an allow-list: operations, the characters of an id, headers. What a path names is decoded, judged and
encoded anew, so that it cannot climb out of its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from proxy.carrier import Target
from proxy.messages import Refused, is_header_value
from proxy.model_lists import permits
from proxy.refusals import invalid, unknown_route
from proxy.signing import canonical_path

OPERATIONS = frozenset(
    {"invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens"}
)

_MODEL_ROUTE = re.compile(r"/model/(?P<model>.+)/(?P<operation>[a-z-]+)")
_GUARDRAIL_ROUTE = re.compile(r"/guardrail/(?P<guardrail>[^/]+)/version/(?P<version>[^/]+)/apply")
# botocore's pattern for modelId allows these characters; the length limit is its own as well.
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=-]{0,2047}")
# RFC 9110's token; the characters of a header's name.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_FORWARDED = frozenset({"content-type", "accept"})
_FORWARDED_PREFIX = "x-amzn-bedrock-"
TARGETS_CACHED = 1024


@dataclass(frozen=True, slots=True)
class Route:
    """An inference route, resolved."""

    operation: str
    model_id: str
    target: Target


class Routes:
    """Bedrock's own routes as callers ask for them, resolved once and then remembered."""

    def __init__(self, allowed_models: tuple[str, ...]) -> None:
        self._allowed_models = allowed_models
        self._known: dict[str, Route] = {}

    def known(self, path: str) -> Route | None:
        """The route of a path that was asked for before."""
        return self._known.get(path)

    def resolve(self, path: str) -> Route:
        """The route of a path as it was sent.

        Raises:
            Refused: it leads nowhere, or to a model that is not allowed here.
        """
        if match := _MODEL_ROUTE.fullmatch(path):
            operation = match["operation"]
            if operation not in OPERATIONS:
                raise unknown_route()
            model_id = self._model_id(_decoded(match["model"], "modelId"))
            target = f"/model/{quote(model_id, safe='')}/{operation}"
            asked = Target(target, canonical_path(target), model_id)
            route = Route(operation, model_id, asked)
        elif match := _GUARDRAIL_ROUTE.fullmatch(path):
            guardrail = _identifier(_decoded(match["guardrail"], "guardrailIdentifier"))
            version = _identifier(_decoded(match["version"], "guardrailVersion"))
            target = (
                f"/guardrail/{quote(guardrail, safe='')}/version/{quote(version, safe='')}/apply"
            )
            route = Route("apply-guardrail", "", Target(target, canonical_path(target)))
        else:
            raise unknown_route()
        if len(self._known) >= TARGETS_CACHED:
            self._known.clear()
        self._known[path] = route
        return route

    def invoking(self, model_id: str) -> Route:
        """The route of invoking a model, named as it is.

        Raises:
            Refused: as `resolve`.
        """
        return self.resolve(f"/model/{quote(self._model_id(model_id), safe='')}/invoke")

    def _model_id(self, model_id: str) -> str:
        _identifier(model_id, "modelId")
        if not permits(self._allowed_models, model_id):
            raise Refused(
                403, "AccessDeniedException", "modelId: is not on this proxy's allow-list"
            )
        return model_id


def forwarded(headers: dict[str, str]) -> list[tuple[str, str]]:
    """An allow-list, so that neither credentials nor hop-by-hop nor smuggled headers can pass."""
    found = []
    for name, value in headers.items():
        if name in _FORWARDED or name.startswith(_FORWARDED_PREFIX):
            if name not in _FORWARDED and not _HEADER_NAME.fullmatch(name):
                raise invalid("header", "has a name that no header can have")
            if not is_header_value(value):
                raise invalid(name, "has characters that a header cannot carry")
            if name == "content-type" and "," in value:
                raise invalid(name, "must be given once")
            found.append((name, value))
    return found


def _decoded(text: str, field: str) -> str:
    try:
        return unquote_to_bytes(text).decode("ascii")
    except UnicodeError:
        raise invalid(field, "must be ASCII") from None


def _identifier(value: str, field: str = "guardrailIdentifier") -> str:
    """The value, if it is one segment's worth of identifier and cannot climb out of its place."""
    if not _MODEL_ID.fullmatch(value):
        raise invalid(field, "has a form that no model or guardrail id has")
    if any(part in ("", ".", "..") for part in value.split("/")):
        raise invalid(field, "has an empty or relative segment")
    return value
