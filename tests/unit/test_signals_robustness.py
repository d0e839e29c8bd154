"""The parser's promise: for any JSON object a signal or a reason, and what it says can be stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control_plane.domain.documents import canonical_json
from control_plane.domain.signals import READERS, Ignored, Signal, claimed_link, parse_event
from tests.events.reading import GOLDEN, LINKS, event, pack, unpack

EVENTS = [name for name in GOLDEN if not name.startswith("intent-")]
LOGS = [name for name in EVENTS if "awslogs" in event(name)]

# Everything JSON can hold: lone surrogates, numbers beyond any clock, NaN (which Python's reader lets in).
_words = st.sampled_from(
    ["", "bedrock", "tunnel-1", "vpn-1", "rtb-gov", "arn:", "/", "\ud800", "ALARM", "DATA_MESSAGE"]
)
_texts = _words | st.text(max_size=12)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_kinds = st.sampled_from(sorted(READERS))


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value inside, the document itself left out."""
    found = [way] if way else []
    items = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        found += _places(inner, (*way, key))
    return found


def _damage(document: Any, data: st.DataObject) -> Any:
    """The document with up to three of its places lost or filled with something else."""
    for _ in range(data.draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            break
        *way, last = data.draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        if data.draw(st.booleans()):
            holder[last] = data.draw(_json)
        else:
            del holder[last]
    return document


def _check(document: dict[str, Any]) -> None:
    read = parse_event(document, LINKS)
    if isinstance(read, Signal):
        assert read.link_id in LINKS
        assert read.path is None or LINKS[read.link_id].path(read.path) is not None
        assert Signal.model_validate_json(read.model_dump_json()) == read
        canonical_json(read.model_dump(mode="json")).encode()
    else:
        assert isinstance(read, Ignored)
        assert read.reason
        kept = [read.reason, read.malformed, read.unmatched, read.audit]
        canonical_json(kept).encode()
    claimed = claimed_link(document)
    assert claimed is None or claimed.encode()


@given(st.dictionaries(_texts, _json, max_size=5))
def test_no_json_object_makes_the_parser_raise(document: dict[str, Any]) -> None:
    """Whatever object an execution is started with, the answer is a signal or a reason."""
    _check(document)


@given(_kinds, _json, _json)
@settings(max_examples=300)
def test_no_detail_makes_a_reader_raise(kind: tuple[str, str], detail: Any, other: Any) -> None:
    """Each reader takes any detail, and any resources, id and time beside it."""
    source, detail_type = kind
    beside = {"resources": other, "id": other, "time": other}
    _check({"source": source, "detail-type": detail_type, "detail": detail, **beside})


@given(st.sampled_from(EVENTS), st.data())
@settings(max_examples=500)
def test_a_damaged_golden_event_is_a_signal_or_a_reason(name: str, data: st.DataObject) -> None:
    """Fields that are lost, or hold something else, never make a reader raise."""
    damaged = _damage(event(name), data)
    _check(damaged if isinstance(damaged, dict) else {})


@given(st.sampled_from(LOGS), st.data())
@settings(max_examples=200)
def test_a_damaged_log_payload_is_a_signal_or_a_reason(name: str, data: st.DataObject) -> None:
    """The same holds inside the packing, lines included."""
    payload = unpack(event(name))
    for item in payload["logEvents"]:
        try:
            item["message"] = json.loads(item["message"])
        except ValueError:
            continue
    damaged = _damage(payload, data)
    lines = damaged.get("logEvents") if isinstance(damaged, dict) else None
    for item in lines if isinstance(lines, list) else []:
        if isinstance(item, dict) and not isinstance(item.get("message"), str):
            item["message"] = json.dumps(item.get("message"))
    _check(pack(damaged))


@given(_json)
@example({"messageType": "DATA_MESSAGE", "logEvents": [{"message": "[" * 100_000}]})
def test_any_payload_in_the_packing_is_a_signal_or_a_reason(payload: Any) -> None:
    """What is packed may be anything, a line nested without end included."""
    _check(pack(payload))


@pytest.mark.parametrize("name", EVENTS)
def test_a_deeply_nested_detail_is_read_without_recursion(name: str) -> None:
    """A document as deep as a reader of JSON lets through does not exhaust the stack."""
    deep: Any = "vpn-9"
    for level in range(5000):
        deep = [deep] if level % 2 else {"deeper": deep}
    document = event(name)
    for holder in ("detail", "resources", "awslogs"):
        if holder in document:
            parse_event({**document, holder: deep}, LINKS)
    if "detail" in document:
        for key in document["detail"]:
            read = parse_event({**document, "detail": {**document["detail"], key: deep}}, LINKS)
            assert isinstance(read, Signal | Ignored)
