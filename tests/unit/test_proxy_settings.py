from __future__ import annotations

import hashlib

import pytest

from proxy.errors import InvalidSettings
from proxy.messages import Refused
from proxy.server import Callers
from proxy.settings import Settings

ENVIRONMENT = {
    "TWINSPAN_LINK_ID": "bedrock",
    "TWINSPAN_ALLOWED_HOSTS": "127.0.11.1, *.vpce.amazonaws.com",
    "TWINSPAN_ALLOWED_NETWORKS": "172.16.0.0/16,127.0.0.0/8",
}


def test_the_environment_is_read_with_its_defaults() -> None:
    """Three variables suffice; names of parameter and secret follow from the link."""
    settings = Settings.from_environment(ENVIRONMENT)
    assert settings.allowed_hosts == ("127.0.11.1", "*.vpce.amazonaws.com")
    assert settings.routing_config_parameter == "/twinspan/bedrock/routing-config"
    assert settings.credentials_secret_id == "twinspan/bedrock/commercial"
    assert settings.audit_table == "cross-partition-requests"
    assert settings.config_ttl_seconds == 5.0
    assert not settings.allow_anonymous


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWINSPAN_LINK_ID", None),
        ("TWINSPAN_LINK_ID", "Bedrock!"),
        ("TWINSPAN_ALLOWED_HOSTS", None),
        ("TWINSPAN_ALLOWED_HOSTS", " , "),
        ("TWINSPAN_ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("TWINSPAN_CONFIG_TTL_SECONDS", "soon"),
        ("TWINSPAN_CONFIG_TTL_SECONDS", "0"),
        ("TWINSPAN_CONNECT_TIMEOUT_SECONDS", "3"),
        ("TWINSPAN_BEARER_KEY_SHA256", "abc"),
        ("TWINSPAN_ALLOW_ANONYMOUS", "perhaps"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str | None) -> None:
    """A missing or malformed variable stops the start, by its own name."""
    environment = {key: item for key, item in ENVIRONMENT.items() if key != name}
    if value is not None:
        environment[name] = value
    with pytest.raises(InvalidSettings, match=f"^{name}: "):
        Settings.from_environment(environment)


def test_only_known_keys_come_in() -> None:
    """A known bearer key is recognised by its digest; all else is refused with 401 and a challenge."""
    key = "twinspan-key-one"
    digest = hashlib.sha256(key.encode()).hexdigest()
    callers = Callers(allow_anonymous=False, key_digests=(digest,))
    assert callers.recognise(f"Bearer {key}") == f"key-{digest[:12]}"
    assert callers.recognise(f"bearer {key}") == f"key-{digest[:12]}"
    for wrong in (None, "", "Bearer ", "Bearer other", f"Basic {key}", key, f"Bearer {digest}"):
        with pytest.raises(Refused) as caught:
            callers.recognise(wrong)
        assert caught.value.status == 401
        assert (b"www-authenticate", b"Bearer") in caught.value.headers


def test_anonymous_callers_come_in_only_when_told() -> None:
    """With `allow_anonymous` everybody comes in; a known key is still recognised."""
    digest = hashlib.sha256(b"k").hexdigest()
    callers = Callers(allow_anonymous=True, key_digests=(digest,))
    assert callers.recognise(None) == "anonymous"
    assert callers.recognise("Bearer k") == f"key-{digest[:12]}"
