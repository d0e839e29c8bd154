"""AWS's JSON protocol, as far as the proxy speaks it: one signed POST to a service's root.

botocore speaks it for every service, and importing it costs a cold start more than all the rest of the proxy.
Five operations need none of its models, so they are called without it: its HTTP library (urllib3) and a
signer that gives its signatures (tested against it) are enough. Endpoints come from the standard
`AWS_ENDPOINT_URL…` environment and credentials from the environment too, as Lambda sets them; where the
environment has none, or wants FIPS endpoints, botocore is imported after all and asked.

Not covered: HTTP proxies, endpoints from AWS's config file, clocks that are wrong, checksums of answers.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3

from proxy.errors import InvalidSettings
from proxy.signing import Signer

CONNECT_SECONDS, READ_SECONDS = 2.0, 5.0
ATTEMPTS = 2
BACK_OFF_SECONDS = 0.5
"""Before the second attempt: a random part of this."""
THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Codes that botocore's standard mode tries again."""


@dataclass(frozen=True, slots=True)
class Service:
    """A service: its name in endpoints and signatures, its name in targets, its version of the protocol."""

    name: str
    target: str
    version: str = "1.1"

    @property
    def endpoint_variable(self) -> str:
        """What the environment calls its endpoint: AWS's identifier of the service, in capitals."""
        identifiers = {"events": "EVENTBRIDGE", "secretsmanager": "SECRETS_MANAGER"}
        return f"AWS_ENDPOINT_URL_{identifiers.get(self.name, self.name.upper())}"


SSM = Service("ssm", "AmazonSSM")
SECRETS_MANAGER = Service("secretsmanager", "secretsmanager")
EVENTS = Service("events", "AWSEvents")
DYNAMODB = Service("dynamodb", "DynamoDB_20120810", "1.0")


class AwsCallFailed(Exception):
    """AWS refused a call, or could not be reached. `code` is AWS's, or the class of what went wrong."""

    def __init__(self, operation: str, code: str, detail: str = "") -> None:
        super().__init__(f"{operation}: {code}{': ' if detail else ''}{detail}")
        self.code = code


class AwsRequests:
    """Where calls of this process's account and region go, and who signs them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._region = os.environ.get("AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or ""
        self._endpoints: dict[str, str] = {}
        self._signers: dict[str, tuple[tuple[str | None, ...], Signer]] = {}

    @property
    def is_quick(self) -> bool:
        """Whether `signed` asks nobody: the environment has the credential, and the region is known."""
        return bool(self._region) and None not in _credential_of_environment()[:2]

    def signed(
        self, service: Service, operation: str, body: bytes
    ) -> tuple[str, list[tuple[str, str]]]:
        """The endpoint's URL, and the headers of one POST to its root.

        Raises:
            InvalidSettings: there is no region or no credential.
        """
        sent = [
            ("content-type", f"application/x-amz-json-{service.version}"),
            ("x-amz-target", f"{service.target}.{operation}"),
        ]
        with self._lock:  # a signer keeps its day's key, and is not made for several threads
            url = self._endpoint(service)
            signature = self._signer(service).headers(urlsplit(url).netloc, "/", sent, body)
        return url, [*sent, *signature, ("accept-encoding", "identity")]

    def _endpoint(self, service: Service) -> str:
        found = self._endpoints.get(service.name)
        if found is None:
            variables = (service.endpoint_variable, "AWS_ENDPOINT_URL")
            given = next((os.environ[name] for name in variables if os.environ.get(name)), None)
            if given is not None:
                found = given.rstrip("/")
            elif os.environ.get("AWS_USE_FIPS_ENDPOINT", "").lower() == "true":
                client = self._botocore().create_client(service.name, self._in_region())
                found = str(client.meta.endpoint_url).rstrip("/")
            else:
                region = self._in_region()
                suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
                found = f"https://{service.name}.{region}.{suffix}"
            self._endpoints[service.name] = found
        return found

    def _in_region(self) -> str:
        if not self._region:
            self._region = self._botocore().get_config_variable("region") or ""
        if not self._region:
            raise InvalidSettings("AWS_REGION: is missing")
        return self._region

    def _signer(self, service: Service) -> Signer:
        """The signer for the credential as it is now: what botocore finds may be renewed at any time."""
        credential = _credential_of_environment()
        if None in credential[:2]:
            found = self._botocore().get_credentials()
            if found is None:
                raise InvalidSettings("AWS credentials: there are none")
            credential = tuple(found.get_frozen_credentials())[:3]
        known = self._signers.get(service.name)
        if known is None or known[0] != credential:
            key, secret, token = credential
            signer = Signer(str(key), str(secret), self._in_region(), token, service=service.name)
            known = self._signers[service.name] = (credential, signer)
        return known[1]

    def _botocore(self) -> Any:
        if self._session is None:
            from botocore.session import Session

            self._session = Session()
        return self._session


class AwsCalls:
    """Calls from threads. Connections are shared and kept."""

    def __init__(self, requests: AwsRequests | None = None) -> None:
        self._requests = requests or AwsRequests()
        self._pool = urllib3.PoolManager(
            maxsize=4,
            ssl_context=trusting(),
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
        )

    def call(self, service: Service, operation: str, request: Any) -> dict[str, Any]:
        """One call's answer. `request`: the operation's input as JSON values.

        Raises:
            AwsCallFailed: it was refused, or nobody answered, twice where that may pass.
            InvalidSettings: there is no region or no credential.
        """
        body = msgspec.json.encode(request)
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._attempt(service, operation, body)
            except MayPass as passing:
                if attempt == ATTEMPTS:
                    raise passing.failure from None
                time.sleep(back_off_seconds())

    def _attempt(self, service: Service, operation: str, body: bytes) -> dict[str, Any]:
        url, headers = self._requests.signed(service, operation, body)
        name = f"{service.name}:{operation}"
        try:
            answer = self._pool.request("POST", f"{url}/", body=body, headers=dict(headers))
        except urllib3.exceptions.HTTPError as error:
            raise MayPass(AwsCallFailed(name, type(error).__name__)) from None
        return content(name, answer.status, answer.data)


def trusting() -> ssl.SSLContext:
    """What AWS's endpoints are verified against."""
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)


def back_off_seconds() -> float:
    """How long to wait before the second attempt."""
    return random.uniform(0, BACK_OFF_SECONDS)  # noqa: S311 -- not for secrets


def _credential_of_environment() -> tuple[str | None, ...]:
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    return tuple(os.environ.get(name) or None for name in variables)


class MayPass(Exception):
    """The failure may be gone at the next attempt."""

    def __init__(self, failure: AwsCallFailed) -> None:
        super().__init__()
        self.failure = failure


def content(operation: str, status: int, body: bytes) -> dict[str, Any]:
    """An answer's document.

    Raises:
        AwsCallFailed, MayPass: the answer is no success.
    """
    try:
        content = json.loads(body or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        failure = AwsCallFailed(operation, f"status {status}", "the answer is not a JSON object")
        raise MayPass(failure)
    if status == 200:
        return content
    code = str(content.get("__type") or content.get("code") or f"status {status}")
    code = code.rpartition("#")[2].partition(":")[0]
    detail = str(content.get("message") or content.get("Message") or "")
    failure = AwsCallFailed(operation, code, detail)
    raise MayPass(failure) if status >= 500 or code in THROTTLED else failure
