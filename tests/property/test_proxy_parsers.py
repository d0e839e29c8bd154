"""What the proxy parses of others' writing: it gives the value, or the one error that is documented, and nothing else."""

from __future__ import annotations

import asyncio
import copy
import json
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from proxy import event_stream
from proxy.caller_keys import Grant, InvalidKeyItem, digest_of, grant_from_item
from proxy.config_source import EndpointRules
from proxy.credentials import parse_credential
from proxy.errors import InvalidCredential
from proxy.event_stream import FrameKeeper, exception_frame
from proxy.messages import Refused
from proxy.routes import OPERATIONS
from proxy.routing_config import InvalidRoutingConfig, RoutingConfig
from tests.proxy.worlds import world
from tests.unit.test_proxy_routing_config import document

TEXT = st.text(max_size=30) | st.text(st.characters(), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
HOST_PIECES = st.sampled_from(
    [
        *(
            "https://",
            "http://",
            "//",
            "/",
            "\\",
            "@",
            ":",
            "?",
            "#",
            "%2e",
            "[",
            "]",
            "::1",
            " ",
            "\t",
        ),
        *("vpce-0a.us-east-1.vpce.amazonaws.com", ".evil.example", "127.0.0.1", "443", "0", "-1"),
    ]
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place within a document, the document itself first."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [at] + [place for key, item in inner for place in places(item, (*at, key))]


def put(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """The document with something else in one place."""
    if not place:
        return new
    changed = copy.deepcopy(value)
    owner = changed
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = new
    return changed


# Routing configs


def refusal(parse: Callable[[str], Any], text: str, error: type[Exception]) -> str | None:
    """Why the text is refused; None when it is not. Any other exception is the test's failure."""
    try:
        parse(text)
    except error as refused:
        return str(refused)
    return None


def parsed(text: str) -> RoutingConfig | None:
    said = refusal(RoutingConfig.from_json, text, InvalidRoutingConfig)
    if said is None:
        return RoutingConfig.from_json(text)
    assert "\n" not in said
    assert ": " in said
    return None


@given(st.sampled_from(places(document())), JSON)
def test_a_routing_config_with_anything_anywhere_is_read_or_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    """Whatever stands in whatever field, the document is a config that can be written again, or is refused by field."""
    config = parsed(json.dumps(put(document(), place, value)))
    if config is not None:
        assert RoutingConfig.from_json(config.to_json()) == config


@given(st.text(max_size=200) | st.integers(1, 4000).map(lambda depth: '{"paths":' + "[" * depth))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Text that is no document, however deep, raises the config's own error."""
    parsed(text)


@given(st.lists(HOST_PIECES | st.text(max_size=3), max_size=6).map("".join))
def test_an_endpoint_leads_where_it_says(url: str) -> None:
    """An endpoint that is accepted and allowed has, to whoever reads it, a host of the allow-list."""
    config = parsed(json.dumps(put(document(), ("paths", 0, "endpoint_url"), url)))
    if config is None:
        return
    accepted = config.paths[0].endpoint_url
    if EndpointRules(("*.vpce.amazonaws.com", "127.0.0.1")).refuse(accepted) is None:
        authority = accepted.partition("://")[2]
        host = authority.partition(":")[0]
        assert host.endswith(".vpce.amazonaws.com") or host == "127.0.0.1", accepted
        assert not set(authority) & set("@/\\?#")
        assert accepted.startswith("https://") or host == "127.0.0.1"


# Keys and credentials

ITEM = {
    "keyDigest": {"S": "d"},
    "principal": {"S": "team-a"},
    "expiresAt": {"N": "2000000000"},
    "dataClass": {"S": "default"},
    "usagePlan": {"S": "small"},
    "allowedModels": {"L": [{"S": "anthropic.*"}]},
}


@given(st.sampled_from(places(ITEM)[1:]), JSON)
def test_a_key_with_anything_anywhere_is_read_or_opens_nothing(
    place: tuple[Any, ...], value: Any
) -> None:
    """Whatever stands in a key's item, it grants something of the right form that expires, or is refused."""
    try:
        grant = grant_from_item(put(ITEM, place, value))
    except InvalidKeyItem:
        return
    assert isinstance(grant, Grant)
    assert isinstance(grant.principal, str)
    assert grant.principal
    assert grant.expires_at < float("inf")
    for text in (grant.data_class, grant.usage_plan):
        assert text is None or isinstance(text, str)
    assert all(isinstance(model, str) for model in grant.allowed_models)
    if place[0] != "allowedModels":
        assert grant.allowed_models == ("anthropic.*",)


@given(st.text(max_size=40) | st.text(max_size=600).map(lambda key: f"Bearer {key}"))
def test_any_authorization_is_a_key_or_none(header: str) -> None:
    """Whatever a caller puts into `Authorization`, it has a digest or is no key."""
    digest = digest_of(header)
    assert digest is None or len(digest) == 64


SECRET = {
    "aws_access_key_id": "AKIDEXAMPLE",
    "aws_secret_access_key": "stand-in",
    "region": "us-east-1",
    "session_token": "t",
    "bearer_token": "b",
}


@given(st.sampled_from(places(SECRET)), JSON)
def test_a_secret_with_anything_anywhere_is_read_or_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    """Whatever the secret holds, it is a credential, or is refused by a field's name and without a value."""
    said = refusal(parse_credential, json.dumps(put(SECRET, place, value)), InvalidCredential)
    assert said is None or said.partition(": ")[0] in (*SECRET, "secret")


@given(st.text(max_size=50) | st.integers(1, 100_000).map(lambda depth: "[" * depth))
def test_any_text_is_a_secret_or_refused(text: str) -> None:
    """Text that is no secret, however deep, raises the credential's own error."""
    said = refusal(parse_credential, text, InvalidCredential)
    assert said is None or said.startswith(("secret: ", "aws_access_key_id: "))


# Paths of requests


@pytest.fixture(scope="module")
def resolve() -> Callable[[str], Any]:
    """The API's own resolver; it needs no network."""
    found: list[Any] = []

    async def make() -> None:
        async with world() as w:
            found.append(w.core.api._routes.resolve)

    asyncio.run(make())
    return found[0]


PATH_PIECES = st.sampled_from(
    [
        *("..", ".", "/", "%2f", "%2F", "%2e", "%252e%252e", "%00", "%0d%0a", "%", "%zz", "%ud800"),
        *("a", "model", "/model/", ":", "@", "?", "#", "\\", "%5c", "ü", "\ud800", "\n", " ", "+"),
        *("/invoke", "/converse", "/converse-stream", "/apply", "/guardrail/", "/version/"),
    ]
)


@given(st.lists(PATH_PIECES | st.text(max_size=3), max_size=10).map("".join))
def test_a_path_leads_to_one_model_or_nowhere(resolve: Callable[[str], Any], tail: str) -> None:
    """Whatever follows `/model/`, it is refused, or becomes one encoded segment and an operation, and nothing climbs."""
    for path in (f"/model/{tail}", f"/model/{tail}/invoke", f"/guardrail/{tail}/version/1/apply"):
        said = refusal(resolve, path, Refused)
        if said is not None:
            assert said in ("ValidationException", "UnknownOperationException")
            continue
        route = resolve(path)
        segments = route.target.path.split("/")[1:]
        assert segments[0] in ("model", "guardrail")
        assert segments[-1] in OPERATIONS | {"apply"}
        assert len(segments) == (3 if segments[0] == "model" else 5)
        for segment in segments:
            named = unquote(segment)
            assert quote(named, safe="") == segment
            assert not {"", ".", ".."} & set(named.split("/"))
            assert all("!" <= character <= "~" for character in named)


# Event streams


FRAMES = st.lists(st.integers(16, 200) | st.just(0) | st.integers(1, 15), max_size=8)


@given(FRAMES, st.binary(max_size=40), st.lists(st.integers(0, 1200), max_size=10))
def test_a_stream_is_kept_whole_within_its_limit(
    lengths: list[int], tail: bytes, cuts: list[int]
) -> None:
    """Frames of any length, and garbage, pass unchanged; no more than one frame's limit is held at any time."""
    limit = 64
    before, event_stream.HOLD_LIMIT_BYTES = event_stream.HOLD_LIMIT_BYTES, limit
    try:
        stream = b"".join(struct.pack(">I", n) + bytes(max(0, n - 4)) for n in lengths) + tail
        keeper, passed, begin = FrameKeeper(), b"", 0
        for end in [*sorted(cuts), len(stream)]:
            passed += keeper.feed(stream[begin:end])
            begin = max(begin, end)
            assert len(keeper._held) <= limit
        assert passed + keeper.release() == stream
    finally:
        event_stream.HOLD_LIMIT_BYTES = before


@given(st.lists(st.text(max_size=20), max_size=5), st.integers(0, 2000), st.integers(1, 100))
def test_wherever_a_stream_breaks_it_can_be_read_to_its_error(
    messages: list[str], cut: int, piece: int
) -> None:
    """Cut anywhere, what was let through and an exception after it are frames that an SDK reads, checksums and all."""
    stream = b"".join(exception_frame("throttlingException", message) for message in messages)
    keeper, passed = FrameKeeper(), b""
    for begin in range(0, min(cut, len(stream)), piece):
        passed += keeper.feed(stream[begin : min(begin + piece, cut)])
    assert keeper.at_boundary
    buffer = EventStreamBuffer()
    buffer.add_data(passed + exception_frame("modelStreamErrorException", "broke off"))
    *whole, last = [event.to_response_dict() for event in buffer]
    assert len(whole) <= len(messages)
    assert last["headers"][":exception-type"] == "modelStreamErrorException"
