"""Lambda authorizers of API Gateway: who may call, asked of a function and remembered for a while.

TOKEN: the header that the identity source names must be there and match the validation expression, or the answer
is 401 and no function is asked. REQUEST: the same of all its identity sources, without an expression. The function
answers with a policy, which is evaluated against the method's ARN (403), and with a context that goes to the
integration, every value as text. `Unauthorized` as its error is 401; any other failure, and an answer of the wrong
form, is 500. A policy is remembered per stage by the identity sources' values for `authorizerResultTtlInSeconds`,
which is AWS's own timer and runs by the cloud's clock; another method is then judged by the same policy.

Sources: API Gateway developer guide, "Use API Gateway Lambda authorizers" (input, output, gateway responses); that
refusals by a policy say `Message`, and failures `{"message": null}`, is what captures of live APIs show.

Stricter than AWS where the guide leaves room: the validation expression must match the whole token; identity
sources must be there even when nothing is remembered; `principalId` is needed.

Not covered: authorizers of user pools, credentials of a role to invoke with, and identity sources from the
request's context, which are refused when they are put; conditions, `NotAction` and `NotResource` in a policy, which
are answered with 501; the limit on a method ARN's length (414).
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from moto.apigateway.exceptions import BadRequestException, ConflictException
from moto.apigateway.models import Authorizer, RestAPI
from moto.awslambda.exceptions import LambdaClientError

from infra.local.apigateway_callers import Caller
from infra.local.apigateway_events import proxy_event
from infra.local.apigateway_functions import CannotInvoke, function_behind, is_function_uri
from infra.local.apigateway_routes import Refusal, Request, Route
from infra.local.clock import CloudClock
from infra.local.errors import NotEmulated
from infra.local.lambda_runtime import LambdaRuntime

logger = logging.getLogger(__name__)

LONGEST_TTL_SECONDS = 3600
_AUTHORIZATIONS = {"NONE", "AWS_IAM", "CUSTOM"}
_SOURCE = re.compile(r"(method\.request\.header|method\.request\.querystring|stageVariables)\.(.+)")


# -- what can be put --------------------------------------------------------------------------------


def validate_method(
    authorization_type: str | None, authorizer_id: str | None, api: RestAPI, where: str
) -> None:
    """Refuse authorisation that the gateway does not carry out, and an authorizer that is not there."""
    if authorization_type not in _AUTHORIZATIONS:
        raise NotEmulated(f"API Gateway authorization {authorization_type} ({where})")
    if authorization_type == "CUSTOM" and authorizer_id not in api.authorizers:
        raise BadRequestException(
            "Invalid authorizer ID specified. Setting the authorization type to CUSTOM or "
            "COGNITO_USER_POOLS requires a valid authorizer."
        )


def validate_authorizer(authorizer: Authorizer) -> None:
    """Refuse an authorizer that AWS would refuse, or that the gateway does not carry out."""
    where = f"API Gateway authorizer {authorizer.name}"
    if authorizer.type not in ("TOKEN", "REQUEST"):
        raise NotEmulated(f"{where} of type {authorizer.type}")
    if authorizer.authorizer_credentials:
        raise NotEmulated(f"{where} with credentials to invoke its function")
    if not is_function_uri(authorizer.authorizer_uri):
        raise BadRequestException(f"Invalid Authorizer URI: {authorizer.authorizer_uri}")
    if not 0 <= _ttl_seconds(authorizer) <= LONGEST_TTL_SECONDS:
        raise BadRequestException("Authorizer result TTL must be between 0 and 3600 seconds")
    sources = _sources(authorizer)
    if not sources and (authorizer.type == "TOKEN" or _ttl_seconds(authorizer) > 0):
        raise BadRequestException("Identity source is required")
    for source in sources:
        if not _SOURCE.fullmatch(source):
            raise NotEmulated(f"{where} with identity source {source}")
    if authorizer.type == "TOKEN":
        if len(sources) != 1 or not sources[0].startswith("method.request.header."):
            raise BadRequestException(f"Invalid identity source: {authorizer.identity_source}")
        try:
            re.compile(authorizer.identity_validation_expression or "")
        except re.error as error:
            raise BadRequestException(f"Invalid identity validation expression: {error}") from None


def validate_deletion(api: RestAPI, authorizer_id: str) -> None:
    """Refuse to take an authorizer away from a method that names it."""
    for resource in api.resources.values():
        for method in resource.resource_methods.values():
            if method.authorizer_id == authorizer_id:
                raise ConflictException(
                    f"Cannot delete authorizer '{authorizer_id}', is referenced in method: "
                    f"{resource.get_path()}"
                )


# -- what is asked ----------------------------------------------------------------------------------


class _Malformed(ValueError):
    """An authorizer's answer of the wrong form. The text says why; the client is not told."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a function answered, and when (monotonic seconds)."""

    caller: Caller
    statements: tuple[Mapping[str, Any], ...]
    at: float


class Authorizers:
    """Asks authorizers and remembers what they said. Safe to share between threads."""

    def __init__(
        self,
        functions: LambdaRuntime,
        clock: CloudClock,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._functions = functions
        self._clock = clock
        self._now = now
        self._answers: dict[tuple[str, ...], _Answer] = {}
        self._lock = threading.Lock()

    def caller(self, route: Route, request: Request, request_id: str) -> Caller:
        """Who calls. Raises `Refusal`: 401, 403, or 500 for an authorizer that does not work."""
        authorizer = route.api.authorizers[route.method.authorizer_id]
        identity = _identity(authorizer, route, request)
        place = (route.api.account_id, route.api.id, route.stage.name, authorizer.id)
        remembered = self._remembered(authorizer, (*place, *identity))
        answer = remembered or self._asked(authorizer, route, request, request_id, identity)
        if remembered is None and _ttl_seconds(authorizer) > 0:
            with self._lock:
                self._answers[*place, *identity] = answer
        _judge(answer.statements, route.method_arn(request))
        return answer.caller

    def _remembered(self, authorizer: Authorizer, key: tuple[str, ...]) -> _Answer | None:
        lasts = self._clock.real_seconds(_ttl_seconds(authorizer))
        with self._lock:
            answer = self._answers.get(key)
            if answer is not None and self._now() - answer.at >= lasts:
                del self._answers[key]
                return None
            return answer

    def _asked(
        self,
        authorizer: Authorizer,
        route: Route,
        request: Request,
        request_id: str,
        identity: tuple[str, ...],
    ) -> _Answer:
        method_arn = route.method_arn(request)
        if authorizer.type == "TOKEN":
            event = {
                "type": "TOKEN",
                "methodArn": method_arn,
                "authorizationToken": identity[0],
            }
        else:
            event = _request_event(route, request, request_id, method_arn)
        source_arn = f"{route.api_arn}/authorizers/{authorizer.id}"
        try:
            function = function_behind(authorizer.authorizer_uri, source_arn, route.api.account_id)
            invocation = self._functions.invoke(function, json.dumps(event))
        except (CannotInvoke, LambdaClientError) as error:
            logger.warning("authorizer %s of API %s: %s", authorizer.name, route.api.id, error)
            raise _configuration_error() from None
        answer = json.loads(invocation.payload)
        if invocation.function_error is not None:
            if answer.get("errorMessage") == "Unauthorized":
                raise _unauthorized()
            logger.warning("authorizer %s failed: %s", authorizer.name, invocation.error_type)
            raise _configuration_error()
        try:
            return _read(answer, self._now())
        except _Malformed as error:
            logger.warning("authorizer %s answered wrongly: %s", authorizer.name, error)
            raise _configuration_error() from None


def _ttl_seconds(authorizer: Authorizer) -> int:
    return int(authorizer.authorizer_result_ttl or 0)


def _sources(authorizer: Authorizer) -> list[str]:
    return [part.strip() for part in (authorizer.identity_source or "").split(",") if part.strip()]


def _identity(authorizer: Authorizer, route: Route, request: Request) -> tuple[str, ...]:
    """The identity sources' values. Raises `Refusal` when one is missing, empty or not as expected."""
    values = []
    for source in _sources(authorizer):
        match = _SOURCE.fullmatch(source)
        assert match is not None, "an authorizer is checked when it is put"
        kind, name = match.groups()
        if kind == "method.request.header":
            value = request.header(name.lower())
        elif kind == "method.request.querystring":
            value = parse_qs(request.query).get(name, [None])[-1]
        else:
            value = (route.stage.variables or {}).get(name)
        if not value:
            raise _unauthorized()
        values.append(value)
    expression = authorizer.identity_validation_expression
    if authorizer.type == "TOKEN" and expression and not re.fullmatch(expression, values[0]):
        raise _unauthorized()
    return tuple(values)


def _request_event(
    route: Route, request: Request, request_id: str, method_arn: str
) -> dict[str, Any]:
    """The integration's event without a body; what is empty is an empty object here."""
    event = proxy_event(route, request, request_id, Caller())
    del event["body"], event["isBase64Encoded"]
    return {
        "type": "REQUEST",
        "methodArn": method_arn,
        **{name: {} if value is None else value for name, value in event.items()},
    }


def _read(answer: Any, now: float) -> _Answer:
    """A function's answer. Raises `_Malformed`."""
    if not isinstance(answer, dict):
        raise _Malformed("an object is needed")
    principal = answer.get("principalId")
    if not isinstance(principal, str) or not principal:
        raise _Malformed("principalId is missing or no text")
    document = answer.get("policyDocument")
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list) or not statements:
        raise _Malformed("policyDocument has no statement")
    for statement in statements:
        if not isinstance(statement, dict) or statement.get("Effect") not in ("Allow", "Deny"):
            raise _Malformed("a statement allows or denies")
        unknown = {"Condition", "NotAction", "NotResource"} & statement.keys()
        if unknown:
            message = f"{', '.join(sorted(unknown))} in an authorizer's policy is not emulated"
            raise Refusal(501, NotEmulated.code, message)
        if not _texts(statement.get("Action")) or not _texts(statement.get("Resource")):
            raise _Malformed("a statement names actions and resources")
    context = answer.get("context") or {}
    if not isinstance(context, dict):
        raise _Malformed("context must be an object")
    told = {name: _context_value(name, value) for name, value in context.items()}
    usage = answer.get("usageIdentifierKey")
    if usage is not None and not isinstance(usage, str):
        raise _Malformed("usageIdentifierKey must be text")
    caller = Caller(authorizer={**told, "principalId": principal}, usage_identifier=usage)
    return _Answer(caller, tuple(statements), now)


def _context_value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise _Malformed(f"context.{name} must be a text, number or boolean")


def _judge(statements: tuple[Mapping[str, Any], ...], method_arn: str) -> None:
    """Raises `Refusal` with AWS's 403 unless a statement allows the method and none denies it."""
    effects = {
        statement["Effect"]
        for statement in statements
        if any(_fits(a.lower(), "execute-api:invoke") for a in _texts(statement["Action"]))
        and any(_fits(r, method_arn) for r in _texts(statement["Resource"]))
    }
    if effects == {"Allow"}:
        return
    message = "User is not authorized to access this resource"
    if "Deny" in effects:
        message += " with an explicit deny"
    raise Refusal(403, "AccessDeniedException", message, member="Message")


def _fits(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` for any text, `?` for one character."""
    parts = (".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def _texts(value: Any) -> list[str]:
    """One text or a list of them, as a list; empty for anything else."""
    listed = value if isinstance(value, list) else [value]
    return listed if all(isinstance(item, str) for item in listed) else []


def _unauthorized() -> Refusal:
    return Refusal(401, "UnauthorizedException", "Unauthorized")


def _configuration_error() -> Refusal:
    return Refusal(500, "AuthorizerConfigurationException", None)
