from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from proxy.credentials import CredentialSource, parse_credential
from proxy.errors import InvalidCredential
from proxy.signing import Bearer, Signer
from tests.proxy.worlds import SECRET, Secrets
from tests.unit.test_proxy_config_source import Clock

ACCESS_KEY = json.loads(SECRET)


def test_an_api_key_goes_over_tls_only() -> None:
    """With both kinds in the secret, the bearer token is for https and the access key for the rest."""
    both = parse_credential(json.dumps(ACCESS_KEY | {"bearer_token": "bedrock-api-key"}))
    assert isinstance(both.for_scheme("https"), Bearer)
    assert isinstance(both.for_scheme("http"), Signer)
    only_bearer = parse_credential(json.dumps({"bearer_token": "bedrock-api-key"}))
    assert only_bearer.for_scheme("http") is None


@pytest.mark.parametrize(
    ("secret", "field"),
    [
        ("not json", "secret"),
        ("[]", "secret"),
        ("{}", "aws_access_key_id"),
        (json.dumps({"aws_access_key_id": "A", "region": "us-east-1"}), "aws_secret_access_key"),
        (json.dumps(ACCESS_KEY | {"region": 5}), "region"),
        (json.dumps(ACCESS_KEY | {"aws_secret_access_key": "hunter2\r\nx: y"}), "aws_secret"),
        (json.dumps({"bearer_token": "hunter2\n"}), "bearer_token"),
    ],
)
def test_a_wrong_secret_is_refused_without_showing_it(secret: str, field: str) -> None:
    """The refusal names the field and never repeats a value."""
    with pytest.raises(InvalidCredential) as caught:
        parse_credential(secret)
    assert str(caught.value).startswith(field)
    assert "hunter2" not in str(caught.value)


def source(secrets: Secrets, clock: Clock) -> CredentialSource:
    return CredentialSource(secrets, "id", ThreadPoolExecutor(1), ttl_seconds=300.0, clock=clock)


async def settled(found: CredentialSource) -> None:
    while found._refresh is not None:
        await asyncio.sleep(0)


def test_an_outage_or_a_spoilt_secret_leaves_the_credential_in_hand() -> None:
    """When Secrets Manager is out, or holds something unusable, the last good credential is used."""

    async def test() -> None:
        secrets, clock = Secrets(), Clock()
        found = source(secrets, clock)
        first = await found.ready()
        assert first is not None
        secrets.out = True
        clock.now += 301
        assert await found.ready() is first
        await settled(found)
        secrets.out, secrets.text = False, "spoilt"
        clock.now += 301
        assert await found.ready() is first
        await settled(found)
        assert await found.ready() is first
        assert found.failures == 2

    asyncio.run(test())


def test_a_refusal_refetches_once() -> None:
    """A refused credential is refetched; only a different one is worth another try."""

    async def test() -> None:
        secrets, clock = Secrets(), Clock()
        found = source(secrets, clock)
        first = await found.ready()
        assert first is not None
        clock.now += 10
        assert await found.after_refusal(first) is None, "the secret has not changed"
        reads = secrets.reads
        assert await found.after_refusal(first) is None
        assert secrets.reads == reads, "not again within two seconds"
        clock.now += 10
        secrets.text = json.dumps(ACCESS_KEY | {"aws_access_key_id": "AKIDROTATED"})
        second = await found.after_refusal(first)
        assert second is not None
        assert second is not first
        assert await found.after_refusal(first) is second, (
            "another call learns of it without a read"
        )

    asyncio.run(test())
