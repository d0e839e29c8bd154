"""Reading what starts a run."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.domain.signals import Ignored, Intent, Signal, parse_event
from control_plane.errors import InvalidIntent
from tests.builders import topology

EVENTS = Path(__file__).parent.parent / "events"
LINKS = {"bedrock": topology()}


def event(name: str) -> dict:
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("alarm-single-metric", "alarm", "tunnel-1"),
        ("alarm-composite", "alarm", "tunnel-2"),
        ("network-manager-bgp-down", "tunnel-event", "tunnel-1"),
        ("network-manager-kebab-case", "tunnel-event", "tunnel-1"),
        ("path-report-open", "path-report", "tunnel-1"),
        ("sweep", "sweep", None),
    ],
)
def test_each_golden_event_names_its_link_and_path(name, kind, path):
    """Every source we subscribe to is understood."""
    signal = parse_event(event(name), LINKS)
    assert isinstance(signal, Signal)
    assert (signal.link_id, signal.kind, signal.path) == ("bedrock", kind, path)


def test_an_event_about_an_unknown_connection_is_ignored_with_its_reason():
    """A stranger's tunnel is no concern of this link."""
    strange = event("network-manager-bgp-down")
    strange["resources"] = []
    strange["detail"]["vpnConnectionArn"] = "arn:aws-us-gov:ec2:r:1:vpn-connection/vpn-9"
    read = parse_event(strange, LINKS)
    assert read == Ignored("VPN-CONNECTION-BGP-DOWN: not a VPN connection of a known link")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "source"),
        ({"source": "aws.ec2"}, "detail"),
        ({"source": "aws.ec2", "detail": {}, "detail-type": "?"}, "detail-type"),
        (
            {"source": "twinspan.sweep", "detail-type": "Twinspan Sweep", "detail": {}},
            "detail.link_id",
        ),
    ],
)
def test_an_unknown_shape_names_the_field(document, field):
    """What is wrong with an event is said by field."""
    read = parse_event(document, LINKS)
    assert isinstance(read, Ignored)
    assert read.malformed == field


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab{}.-", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab{}.-", max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(
        ["alarm-single-metric", "network-manager-bgp-down", "path-report-open", "sweep"]
    ),
    st.data(),
)
def test_no_json_object_makes_the_parser_raise(name, data):
    """However an event is mangled, the answer is a signal or a reason."""
    mangled = event(name)
    for holder in (mangled, mangled["detail"]):
        for key in list(holder):
            if data.draw(st.booleans()):
                holder[key] = data.draw(json_values)
        if not isinstance(mangled.get("detail"), dict):
            break
    assert isinstance(parse_event(mangled, LINKS), Signal | Ignored)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"intent": "explode"}, "intent: intent: Input should be"),
        ({"link_id": "No Such"}, "intent: link_id: String should match"),
        ({"to_generation": 0}, "intent: to_generation: Input should be greater"),
        ({"intent": "rollback"}, "to_generation: a rollback says to which generation"),
        ({"override": True}, "reason: an override must give one"),
        ({"tpo": "tunnel-2"}, "intent: tpo: Extra inputs are not permitted"),
    ],
)
def test_a_malformed_intent_names_the_field(fields, message):
    """Each wrong field of an intent is named with the reason."""
    with pytest.raises(InvalidIntent) as caught:
        Intent.from_dict({"intent": "failover", "link_id": "bedrock", **fields})
    assert message in str(caught.value)


def test_an_intent_for_an_unknown_path_lists_the_known_ones():
    """A mistyped path is answered with the choice."""
    mistyped = Intent.from_dict({"intent": "failover", "link_id": "bedrock", "to": "tunel-2"})
    with pytest.raises(
        InvalidIntent, match=r"no path 'tunel-2' on bedrock \(has tunnel-1, tunnel-2\)"
    ):
        mistyped.check_against(topology())
