"""Who signed a request to the Bedrock stand-in, checked as AWS checks it.

Signature Version 4 is verified in full (canonical request, credential scope, body hash), because a proxy
that signs wrongly must fail here and not first in AWS. A Bedrock API key is compared as a bearer token.

Not guaranteed: the age of a signature is not checked, presigned query strings are not accepted, and no
policy is evaluated.

Source: "Create a signed AWS API request" in the IAM user guide; error names and messages as AWS sends
them.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "bedrock"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)"
    r"/(?P<service>[^/,\s]+)/aws4_request\s*,\s*SignedHeaders=(?P<headers>[^,\s]+)\s*,"
    r"\s*Signature=(?P<signature>[0-9a-f]{64})"
)
_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_SIGNATURE_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. "
    "Consult the service documentation for details."
)


@dataclass(frozen=True)
class Callers:
    """Who may call. `secret_key_of` gives the secret of an access key id, None for an unknown one; it is
    asked at each call, so that keys may come and go."""

    region: str
    secret_key_of: Callable[[str], str | None] = field(repr=False)
    bearer_tokens: frozenset[str] = field(default=frozenset(), repr=False)


class Refused(Exception):
    """The request is not authentic; `code` is AWS's error name. Always HTTP 403."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def authenticate(
    callers: Callers, method: str, target: str, headers: Mapping[str, str], body: bytes
) -> None:
    """Raise `Refused` unless a known caller signed this request. Header names are lower-case; `target`
    is the request target as it came over the wire."""
    authorization = headers.get("authorization")
    if not authorization:
        raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
    scheme, _, credential = authorization.partition(" ")
    if scheme == "Bearer":
        if not any(hmac.compare_digest(credential, token) for token in callers.bearer_tokens):
            raise Refused(
                "AccessDeniedException",
                "Authentication failed: Please make sure your API Key is valid.",
            )
        return
    parsed = _AUTHORIZATION.fullmatch(authorization)
    if parsed is None:
        raise Refused(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.",
        )
    if parsed["service"] != _SERVICE:
        raise Refused(
            "InvalidSignatureException",
            f"Credential should be scoped to correct service: '{_SERVICE}'.",
        )
    if parsed["region"] != callers.region:
        raise Refused("InvalidSignatureException", "Credential should be scoped to a valid region.")
    secret_key = callers.secret_key_of(parsed["key"])
    if secret_key is None:
        raise Refused(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    expected = _signature(parsed, secret_key, method, target, headers, body)
    if not hmac.compare_digest(expected, parsed["signature"]):
        raise Refused("InvalidSignatureException", _SIGNATURE_MISMATCH)


def _signature(
    parsed: re.Match[str],
    secret_key: str,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
) -> str:
    path, _, query = target.partition("?")
    signed_headers = parsed["headers"].split(";")
    canonical = "\n".join(
        (
            method,
            # Every service but S3 signs the path encoded once more than it is sent.
            urllib.parse.quote(path, safe="/-_.~"),
            "&".join(sorted(query.split("&"))) if query else "",
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed_headers),
            "",
            parsed["headers"],
            _payload_hash(headers, body),
        )
    )
    scope = f"{parsed['date']}/{parsed['region']}/{parsed['service']}/aws4_request"
    to_sign = "\n".join(
        (
            _ALGORITHM,
            headers.get("x-amz-date", ""),
            scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        )
    )
    key = _signing_key(secret_key, parsed["date"], parsed["region"], parsed["service"])
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def _payload_hash(headers: Mapping[str, str], body: bytes) -> str:
    if headers.get("x-amz-content-sha256") == _UNSIGNED_PAYLOAD:
        return _UNSIGNED_PAYLOAD
    return hashlib.sha256(body).hexdigest()


@functools.lru_cache(maxsize=16)
def _signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret_key}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
