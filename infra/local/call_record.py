"""Who calls what of AWS in the embedded cloud: what roles and endpoint policies are held against.

A principal is known by its credentials, as in AWS: a function's or a state machine's session token names the role
whose session it is, and an access key the IAM user whose key it is. Calls with the stand-in keys, a person's, are not
recorded. The operation is read from the request itself, in each of the protocols that the services here speak.

What is kept of a call is what IAM would be asked (`infra.iam_actions`), once for equal ones: a record grows with what
is done and not with how often, and holds nothing that was written, inferred or secret.

Not guaranteed: a request that names no operation of its service, or one that `iam_actions` does not know, is kept in
`unread` rather than guessed at.
"""

from __future__ import annotations

import functools
import io
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import botocore.session
from botocore.model import ServiceModel
from moto.dynamodb.models import dynamodb_backends
from moto.iam.models import iam_backends
from moto.secretsmanager.models import secretsmanager_backends

from infra.iam_actions import Place, Question, UnknownOperation, questions
from infra.local.sides import SIDES, SideAccount, account_of_region

_SESSION = "stand-in-session-of:"
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_RPC_PATH = re.compile(r"/service/[^/]+/operation/(\w+)$")
_FIELD = re.compile(r"\{(\w+)\}")
# The name that a service signs with, where its model has another.
_MODELS = {"states": "stepfunctions", "monitoring": "cloudwatch", "bedrock": "bedrock-runtime"}
_STAND_INS = frozenset(account.access_key_id for account in SIDES)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """What IAM would be asked for a call. `principal`: the ARN of a role or a user; `service`: the name that the
    request was signed for."""

    principal: str
    service: str
    question: Question

    def __hash__(self) -> int:
        return hash((self.principal, self.question.action, self.question.resource))


def session_token(role_arn: str) -> str:
    """The session token of whoever acts in a role here."""
    return f"{_SESSION}{role_arn}"


class CallRecord:
    """The calls of roles and users, each once. Safe to add to from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[RecordedCall, None] = {}
        self._unread: dict[str, None] = {}

    @property
    def calls(self) -> list[RecordedCall]:
        """All calls so far, in the order in which they were first made."""
        with self._lock:
            return list(self._calls)

    @property
    def unread(self) -> list[str]:
        """Requests of which it is not known what IAM would be asked."""
        with self._lock:
            return list(self._unread)

    def note(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> None:
        """Add a request. `headers` by lower-case name; `target` with its query."""
        scope = _CREDENTIAL.search(headers.get("authorization", ""))
        if scope is None:
            return
        key, region, service = scope.groups()
        account = account_of_region(region)
        principal = _principal(account, key, headers.get("x-amz-security-token", ""))
        if principal is None:
            return
        read = _read(service, method, target, headers, body)
        if read is None:
            self._not_read(f"{principal}: {service} {method} {urlsplit(target).path}")
            return
        self.add(principal, account, service, *read)

    def add(
        self,
        principal: str,
        account: SideAccount,
        service: str,
        operation: str,
        parameters: Mapping[str, Any],
    ) -> None:
        """Add a call whose operation is known."""
        place = Place(account.partition, account.region, account.account_id)
        try:
            asked = questions(service, operation, parameters, place, _Names(account))
        except UnknownOperation as unknown:
            self._not_read(f"{principal}: {unknown}")
            return
        with self._lock:
            for question in asked:
                self._calls[RecordedCall(principal, service, question)] = None

    def in_front_of(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Any]:
        """A WSGI application that notes each request before `application` answers it."""

        def noting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            length = environ.get("CONTENT_LENGTH")
            body = environ["wsgi.input"].read(int(length)) if length else b""
            if length:
                environ["wsgi.input"] = io.BytesIO(body)
            headers = {
                name.removeprefix("HTTP_").lower().replace("_", "-"): value
                for name, value in environ.items()
                if name.startswith("HTTP_")
            }
            target = environ.get("RAW_URI") or environ["PATH_INFO"]
            self.note(environ["REQUEST_METHOD"], target, headers, body)
            return application(environ, start_response)

        return noting

    def _not_read(self, request: str) -> None:
        with self._lock:
            self._unread[request] = None


class _Names:
    """What requests leave to AWS to know, asked of moto's own tables and secrets."""

    def __init__(self, account: SideAccount) -> None:
        self._dynamodb = dynamodb_backends[account.account_id][account.region]
        self._secrets = secretsmanager_backends[account.account_id][account.region]

    def partition_key(self, table: str) -> str:
        return str(self._dynamodb.get_table(table).hash_key_attr)

    def secret_arn(self, secret_id: str) -> str:
        return str(self._secrets.secrets[secret_id].arn)


def _principal(account: SideAccount, key: str, token: str) -> str | None:
    if token.startswith(_SESSION):
        return token.removeprefix(_SESSION)
    if key in _STAND_INS:
        return None
    keys = iam_backends[account.account_id][account.partition].access_keys
    name = keys[key].user_name if key in keys else key
    return f"arn:{account.partition}:iam::{account.account_id}:user/{name}"


def _read(
    service: str, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> tuple[str, dict[str, Any]] | None:
    """The operation that a request asks for, and its parameters as far as they are told without a parser."""
    path = urlsplit(target).path
    if rpc := _RPC_PATH.search(path):
        return rpc[1], {}
    if named := headers.get("x-amz-target"):
        return named.rpartition(".")[2], dict(json.loads(body or b"{}"))
    if service == "s3":
        return _object_call(method, target, headers)
    model = _model(_MODELS.get(service, service))
    if model.metadata["protocol"] in ("query", "ec2"):
        form = dict(parse_qsl(body.decode() or urlsplit(target).query, keep_blank_values=True))
        return (form["Action"], form) if form.get("Action") in model.operation_names else None
    for name, verb, pattern in _by_path(model.service_name):
        if verb == method and (found := pattern.fullmatch(path)):
            return name, {key: unquote(value) for key, value in found.groupdict().items()}
    return None


def _object_call(
    method: str, target: str, headers: Mapping[str, str]
) -> tuple[str, dict[str, Any]] | None:
    """Of S3's operations, which differ by query and headers too, the three that read and write an object."""
    split = urlsplit(target)
    bucket, _, key = unquote(split.path).lstrip("/").partition("/")
    operation = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject"}.get(method)
    others = {name for name, _ in parse_qsl(split.query, keep_blank_values=True)} - {"x-id"}
    if operation is None or not key or others or "x-amz-copy-source" in headers:
        return None
    return operation, {"Bucket": bucket, "Key": key}


@functools.cache
def _model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


@functools.cache
def _by_path(service: str) -> list[tuple[str, str, re.Pattern[str]]]:
    """The operations of a service that are told apart by method and path alone."""
    model = _model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        parts = _FIELD.split(http["requestUri"].partition("?")[0].rstrip("/"))
        # Every other part is a field's name.
        pattern = "".join(
            f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
        found.append((name, http["method"], re.compile(pattern + "/?")))
    return found
