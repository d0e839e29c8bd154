"""Topology, policy and routing config: what is refused, and in which words."""

import json
from copy import deepcopy

import pytest

from control_plane.domain.policy import Policy
from control_plane.domain.topology import Topology
from control_plane.errors import InvalidPolicy, InvalidTopology
from tests.builders import topology, topology_document


def broken(change) -> str:
    document = deepcopy(topology_document())
    change(document)
    with pytest.raises(InvalidTopology) as caught:
        Topology.from_json(json.dumps(document))
    return str(caught.value)


def test_the_topology_of_the_design_is_accepted_and_fits_a_parameter():
    """A link with two paths fits the 4 KB of a standard parameter."""
    text = json.dumps(topology_document())
    assert Topology.from_json(text).path_names == ("tunnel-1", "tunnel-2")
    assert len(text) < 4096


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("paths"), "topology: paths: Field required"),
        (
            lambda d: d["paths"][0].update(endpoint_url="ftp://x"),
            "paths.0.endpoint_url: must be an http",
        ),
        (lambda d: d["paths"][0].update(peer_networks=["172.16.1.5/24"]), "has host bits set"),
        (lambda d: d["paths"][1].update(name="tunnel-1"), "named twice: tunnel-1"),
        (
            lambda d: d["paths"][0].update(vpn_connection_id=None),
            "a vpn path needs vpn_connection_id",
        ),
        (lambda d: d["sides"].pop("commercial"), "sides: missing commercial"),
        (lambda d: d.update(managed_route_tables=[]), "not among managed_route_tables"),
        (lambda d: d.update(colour="red"), "topology: colour: Extra inputs"),
    ],
)
def test_a_malformed_topology_names_the_field_and_the_reason(change, message):
    """One line says where and why."""
    assert message in broken(change)


def test_broken_json_names_line_and_column():
    """A truncated document is located."""
    with pytest.raises(InvalidTopology, match="line 2 column"):
        Topology.from_json('{"schema_version": 1,\n')


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"hold_down_secs": 3}, "policy: hold_down_secs: Extra inputs are not permitted"),
        ({"hold_down_seconds": -1}, "policy: hold_down_seconds: Input should be greater"),
        (
            {"mode": "auto"},
            "policy: mode: Input should be 'automatic', 'approve', 'observe' or 'paused'",
        ),
        ({"flap_damping": {"reuse_limit": 5000}}, "reuse_limit must be below suppress_limit"),
        ({"probe": {"required": 5}}, "required must not exceed attempts"),
        ({"data_classes": {}}, 'the class "default" is required'),
    ],
)
def test_a_malformed_policy_names_the_field_and_the_reason(document, message):
    """A misspelt limit is not silently no limit."""
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(json.dumps(document))
    assert message in str(caught.value)


def test_a_policy_for_a_path_that_does_not_exist_is_refused():
    """A path order with a stranger in it would never be followed."""
    with pytest.raises(InvalidPolicy, match=r"path_order.0: no path 'tunnel-9'"):
        Policy(path_order=("tunnel-9",)).check_against(topology())


def test_an_error_never_repeats_the_value():
    """A secret pasted into the wrong field does not reach a log."""
    with pytest.raises(InvalidPolicy) as caught:
        Policy.from_json(json.dumps({"mode": "hunter2"}))
    assert "hunter2" not in str(caught.value)
