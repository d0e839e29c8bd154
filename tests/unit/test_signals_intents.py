"""Reading an operator's intent."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.signals import Intent, IntentKind, is_intent
from control_plane.errors import InvalidIntent
from tests.builders import topology
from tests.events.reading import GOLDEN, event

KINDS = sorted(kind.value for kind in IntentKind)


def test_there_is_a_golden_intent_of_each_kind() -> None:
    """Each kind that the design names has an example."""
    assert [name.removeprefix("intent-") for name in GOLDEN if name.startswith("intent-")] == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_intent_can_be_asked_of_a_link_with_its_paths(kind: str) -> None:
    """Each example is read without loss, and accepted."""
    document = event(f"intent-{kind}")
    assert is_intent(document)
    intent = Intent.from_dict(document)
    assert intent.model_dump(mode="json").items() >= document.items()
    intent.check_against(topology())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"intent": "explode"}, "intent: intent: Input should be"),
        ({"intent": None}, "intent: intent: Input should be"),
        ({"intent": ["failover"]}, "intent: intent: Input should be"),
        ({"link_id": "No Such"}, "intent: link_id: String should match"),
        ({"to_generation": 0}, "intent: to_generation: Input should be greater"),
        ({"intent": "rollback"}, "to_generation: a rollback says to which generation"),
        ({"override": True}, "reason: an override must give one"),
        ({"tpo": "tunnel-2"}, "intent: tpo: Extra inputs are not permitted"),
        ({"reason": "\ud800"}, "intent: reason: Input should be a valid string"),
    ],
)
def test_a_malformed_intent_names_the_field(fields: dict[str, Any], message: str) -> None:
    """Each wrong field of an intent is named with the reason."""
    with pytest.raises(InvalidIntent) as caught:
        Intent.from_dict({"intent": "failover", "link_id": "bedrock", **fields})
    assert message in str(caught.value)


def test_an_intent_for_an_unknown_path_lists_the_known_ones() -> None:
    """A mistyped path is answered with the choice."""
    mistyped = Intent.from_dict({"intent": "failover", "link_id": "bedrock", "to": "tunel-2"})
    with pytest.raises(
        InvalidIntent, match=r"no path 'tunel-2' on bedrock \(has tunnel-1, tunnel-2\)"
    ):
        mistyped.check_against(topology())
