from __future__ import annotations

from datetime import UTC, datetime
from unittest import mock
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from proxy.signing import Bearer, Signer, canonical_path

AT = datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC)
KEY, SECRET, REGION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "us-east-1"

header_text = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20
)


def botocore_headers(
    host: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    at: datetime,
    token: str | None = None,
) -> dict[str, str]:
    request = AWSRequest("POST", f"https://{host}{path}", data=body, headers=dict(headers))
    # AWS's signer takes the time from this function in current versions of botocore.
    with mock.patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        SigV4Auth(Credentials(KEY, SECRET, token), "bedrock", REGION).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


def ours(
    host: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
    at: datetime,
    token: str | None = None,
) -> dict[str, str]:
    signer = Signer(KEY, SECRET, REGION, token)
    return dict(headers) | dict(signer.headers(host, canonical_path(path), headers, body, at))


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(
    "host", ["vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com", "127.0.11.1:8080"]
)
@pytest.mark.parametrize(
    "model",
    [
        "anthropic.claude-3-haiku-20240307-v1:0",
        "arn:aws:bedrock:us-east-1:222222222222:inference-profile/us.anthropic.claude-v2:1",
    ],
)
def test_the_signature_is_botocores(model: str, host: str, token: str | None) -> None:
    """For a Bedrock call, every header that botocore's signer adds is added with the same value."""
    path = f"/model/{quote(model, safe='')}/converse"
    headers = [("content-type", "application/json"), ("accept", "*/*")]
    body = '{"messages": "ünïcode"}'.encode()
    assert ours(host, path, headers, body, AT, token) == botocore_headers(
        host, path, headers, body, AT, token
    )


@given(
    # A path segment of dots is refused before anything is signed: it would be traversal.
    model=st.text(st.sampled_from("abcXYZ019-._:/+=@"), min_size=1, max_size=60).filter(
        lambda model: model not in (".", "..")
    ),
    values=st.dictionaries(
        st.sampled_from(
            ["content-type", "accept", "x-amzn-bedrock-trace", "x-amzn-bedrock-accept"]
        ),
        header_text,
    ),
    body=st.binary(max_size=200),
)
def test_the_signature_is_botocores_for_any_request(
    model: str, values: dict[str, str], body: bytes
) -> None:
    """The same holds for any model id, forwarded headers and body."""
    path = f"/model/{quote(model, safe='')}/invoke"
    headers = list(values.items())
    assert ours("h.example", path, headers, body, AT) == botocore_headers(
        "h.example", path, headers, body, AT
    )


def test_the_days_key_changes_at_midnight() -> None:
    """One signer used over midnight signs each call with its own day's key."""
    signer = Signer(KEY, SECRET, REGION)
    for at in (AT, AT.replace(day=2), AT):
        headers = [("content-type", "application/json")]
        added = dict(signer.headers("h.example", "/model/x/invoke", headers, b"{}", at))
        expected = botocore_headers("h.example", "/model/x/invoke", headers, b"{}", at)
        assert added["authorization"] == expected["authorization"]


def test_no_repr_shows_a_secret() -> None:
    """Neither kind of credential can be printed by accident."""
    for holder in (Signer(KEY, SECRET, REGION), Bearer("bedrock-api-key-abc")):
        shown = repr(holder) + str(holder)
        assert SECRET not in shown
        assert "bedrock-api-key-abc" not in shown
