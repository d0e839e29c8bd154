"""API Gateway's requests and answers as values, and the method of an API that a request leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from moto.apigateway.models import apigateway_backends

from infra.local.moto_state import every_backend


class Refusal(Exception):
    """A request that the gateway answers itself, with AWS's status, error type and message.

    `member`: what the message is called in the body.
    """

    def __init__(
        self, status: int, error_type: str, message: str | None, member: str = "message"
    ) -> None:
        self.status = status
        self.error_type = error_type
        self.message = message
        self.member = member
        super().__init__(f"{status} {error_type}: {message}")


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request to a stage. `path` is as sent, without API and stage; headers in their order."""

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    source_ip: str

    def header(self, name: str) -> str | None:
        """The last value of a header, names compared without case."""
        values = [value for key, value in self.headers if key.lower() == name]
        return values[-1] if values else None


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back to the client."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Route:
    """The method of an API that a request leads to. `path_parameters` are decoded."""

    api: Any
    stage: Any
    resource: Any
    resource_path: str
    method: Any
    path_parameters: Mapping[str, str]

    @property
    def api_arn(self) -> str:
        """The API's ARN as far as stages and authorizers follow."""
        partition = "aws-us-gov" if self.api.region_name.startswith("us-gov-") else "aws"
        where = f"{self.api.region_name}:{self.api.account_id}:{self.api.id}"
        return f"arn:{partition}:execute-api:{where}"

    def source_arn(self, request: Request) -> str:
        """The ARN by which the function's policy knows this method."""
        return f"{self.api_arn}/{self.stage.name}/{request.method}{self.resource_path}"

    def method_arn(self, request: Request) -> str:
        """The ARN of the method as it was called, which an authorizer is asked about."""
        return f"{self.api_arn}/{self.stage.name}/{request.method}{request.path}"


def find_route(api_id: str, stage_name: str, request: Request) -> Route:
    """The method that serves a request. Raises `Refusal` with AWS's 403 where there is none."""
    api = next(
        (b.apis[api_id] for b in every_backend(apigateway_backends) if api_id in b.apis), None
    )
    stage = api.stages.get(stage_name) if api is not None else None
    if api is None or stage is None:
        raise Refusal(403, "ForbiddenException", "Forbidden")
    segments = [segment for segment in request.path.split("/") if segment]
    best: tuple[tuple[int, ...], Route] | None = None
    for resource in api.resources.values():
        path = resource.get_path()
        fit = _fit(path, segments)
        methods = resource.resource_methods
        method = methods.get(request.method) or methods.get("ANY")
        if fit is None or method is None:
            continue
        rank, parameters = fit
        if best is None or rank < best[0]:
            best = (rank, Route(api, stage, resource, path, method, parameters))
    if best is None:
        raise Refusal(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    return best[1]


def _fit(path: str, segments: Sequence[str]) -> tuple[tuple[int, ...], dict[str, str]] | None:
    """How well a resource path fits: smaller is better, literal before parameter before greedy."""
    parts = [part for part in path.split("/") if part]
    rank: list[int] = []
    parameters: dict[str, str] = {}
    for index, part in enumerate(parts):
        if part.startswith("{") and part.endswith("+}"):
            if index >= len(segments):
                return None
            parameters[part[1:-2]] = unquote("/".join(segments[index:]))
            return (*rank, 2), parameters
        if index >= len(segments):
            return None
        if part.startswith("{"):
            parameters[part[1:-1]] = unquote(segments[index])
            rank.append(1)
        elif part == unquote(segments[index]):
            rank.append(0)
        else:
            return None
    return (tuple(rank), parameters) if len(parts) == len(segments) else None
