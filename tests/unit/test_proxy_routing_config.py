from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.routing_config import MAXIMUM_BYTES, InvalidRoutingConfig, RoutingConfig


def document(**changes: Any) -> dict[str, Any]:
    path = {
        "name": "tunnel-1",
        "routing_method": "vpn",
        "endpoint_url": "https://vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "peer_networks": ["172.16.1.0/24"],
        "state": "enabled",
    }
    return {
        "schema_version": 1,
        "link_id": "bedrock",
        "generation": 7,
        "active_path": "tunnel-1",
        "paths": [
            path,
            path | {"name": "tunnel-2", "state": "excluded", "excluded_reason": "quarantined"},
        ],
        "data_classes": {"default": ["vpn"]},
        "published_at": "2026-01-01T00:00:00Z",
        "published_by": "execution-1",
        "reason": "failover: tunnel-2 → tunnel-1",
    } | changes


def with_path(**changes: Any) -> dict[str, Any]:
    found = document()
    found["paths"][0] |= changes
    return found


def test_a_document_survives_writing_and_reading() -> None:
    """What `to_json` writes is compact, and `from_json` reads it back as the same config."""
    config = RoutingConfig.from_json(json.dumps(document()))
    text = config.to_json()
    assert RoutingConfig.from_json(text) == config
    assert ": " not in text.replace("failover: ", "")
    assert RoutingConfig.from_json(text).to_json() == text


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        (document(schema_version=2), "schema_version: "),
        (document(generation=0), "generation: "),
        (document(generation="7"), "generation: "),
        (document(generation=True), "generation: "),
        (document(active_path="tunnel-2"), "active_path: must name an enabled path"),
        (document(active_path="tunnel-9"), "active_path: must name an enabled path"),
        (document(paths=[]), "paths: "),
        (document(paths=document()["paths"] + document()["paths"]), "paths: a name is used twice"),
        (document(data_classes={}), 'data_classes: the class "default" is required'),
        (document(data_classes={"default": ["carrier-pigeon"]}), "data_classes.*.0: "),
        (document(published_at="2026-01-01T00:00:00"), "published_at: "),
        (document(link_id="Bedrock"), "link_id: "),
        (document(surprise=1), "surprise: "),
        (with_path(surprise=1), "paths.0.surprise: "),
        (with_path(routing_method="vpn2"), "paths.0.routing_method: "),
        (with_path(peer_networks=[]), "paths.0.peer_networks: "),
        (with_path(peer_networks=["172.16.1.10/24"]), "paths.0.peer_networks: item 0 "),
        (with_path(peer_networks=["nowhere"]), "paths.0.peer_networks: item 0 "),
        (with_path(endpoint_url="ftp://host"), "paths.0.endpoint_url: must be an http"),
        (with_path(endpoint_url="https://"), "paths.0.endpoint_url: must be an http"),
        (with_path(endpoint_url="https://u:p@host"), "paths.0.endpoint_url: must not carry"),
        (with_path(endpoint_url="https://host/path"), "paths.0.endpoint_url: must have no path"),
        (with_path(endpoint_url="https://host?q=1"), "paths.0.endpoint_url: must have no path"),
        (with_path(endpoint_url="https://host?"), "paths.0.endpoint_url: must have no path"),
        (with_path(endpoint_url="https://host:99999"), "paths.0.endpoint_url: must be a URL"),
        (with_path(endpoint_url="https://host\r\nx: y"), "paths.0.endpoint_url: must be printable"),
        (with_path(endpoint_url="https://[::1"), "paths.0.endpoint_url: must be a URL"),
    ],
)
def test_a_wrong_document_is_refused_by_field_and_reason(changed: Any, field: str) -> None:
    """Each malformed document is refused in one line that begins with the field that is wrong."""
    with pytest.raises(InvalidRoutingConfig) as caught:
        RoutingConfig.from_json(json.dumps(changed))
    message = str(caught.value)
    assert message.startswith(field)
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "null", "{}", '{"a":', "\ud800"])
def test_what_is_no_document_is_refused(text: str) -> None:
    """Text that is not a JSON object of the schema raises the config's own error and no other."""
    with pytest.raises(InvalidRoutingConfig):
        RoutingConfig.from_json(text)


def test_a_document_beyond_ssms_limit_is_refused() -> None:
    """A document larger than SSM's 4,096 bytes is refused, however valid it is."""
    grown = json.dumps(document(reason="x" * MAXIMUM_BYTES))
    with pytest.raises(InvalidRoutingConfig, match="larger than 4096 bytes"):
        RoutingConfig.from_json(grown)


def test_a_secret_in_a_wrong_place_is_not_echoed() -> None:
    """The refusal of an endpoint with credentials in it does not repeat them."""
    wrong = with_path(endpoint_url="https://user:hunter2@host")
    with pytest.raises(InvalidRoutingConfig) as caught:
        RoutingConfig.from_json(json.dumps(wrong))
    assert "hunter2" not in str(caught.value)


def test_a_peer_is_on_a_path_by_its_address() -> None:
    """`matches` is true exactly for the addresses inside the path's networks."""
    path = RoutingConfig.from_json(json.dumps(document())).paths[0]
    assert path.matches("172.16.1.10")
    assert not path.matches("172.16.2.10")
    assert not path.matches("::1")
