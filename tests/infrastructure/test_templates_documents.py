"""The documents of a new link, composed from outputs and descriptions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from control_plane.domain.topology import MAXIMUM_BYTES, Topology
from control_plane.errors import InvalidPolicy, InvalidTopology
from infra.documents import (
    EndpointFacts,
    EndpointOverride,
    IncompleteNetwork,
    SideFacts,
    compose_topology,
    first_policy,
    first_routing_config,
    to_json,
)

SIDES = {
    "govcloud": SideFacts("aws-us-gov", "us-gov-west-1", "111111111111"),
    "commercial": SideFacts("aws", "us-east-1", "222222222222"),
}
COMMERCIAL = {
    "VpcId": "vpc-c",
    "VpcCidr": "172.16.0.0/16",
    "PrivateSubnetAId": "subnet-a",
    "PrivateSubnetBId": "subnet-b",
    "PrivateSubnetACidr": "172.16.1.0/24",
    "PrivateSubnetBCidr": "172.16.3.0/24",
    "PrivateRouteTableAId": "rtb-a",
    "PrivateRouteTableBId": "rtb-b",
    "RouterInterfaceAId": "eni-a",
    "RouterInterfaceBId": "eni-b",
}
GOVCLOUD = {
    "VpcId": "vpc-g",
    "VpcCidr": "10.0.0.0/16",
    "FunctionSubnetAId": "subnet-fa",
    "FunctionSubnetBId": "subnet-fb",
    "FunctionRouteTableId": "rtb-f",
    "TransitGatewayId": "tgw-1",
    "TransitGatewayRouteTableId": "tgw-rtb-1",
    "VpnConnection1Id": "vpn-1",
    "VpnConnection2Id": "vpn-2",
    "CommercialCredentialId": "twinspan/bedrock/commercial",
}
ENDPOINT = EndpointFacts(
    endpoint_id="vpce-1",
    dns_names=(
        "vpce-1-x.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "vpce-1-x-us-east-1b.bedrock-runtime.us-east-1.vpce.amazonaws.com",
        "vpce-1-x-us-east-1a.bedrock-runtime.us-east-1.vpce.amazonaws.com",
    ),
    address_of_subnet={"subnet-a": "172.16.1.10", "subnet-b": "172.16.3.10"},
    zone_of_subnet={"subnet-a": "us-east-1a", "subnet-b": "us-east-1b"},
)


def compose(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "link_id": "bedrock",
        "sides": SIDES,
        "commercial": COMMERCIAL,
        "govcloud": GOVCLOUD,
        "endpoint": ENDPOINT,
        **changes,
    }
    return compose_topology(**arguments)


def test_each_path_has_its_zones_endpoint_and_routes() -> None:
    """Path 1 is connection 1 and zone a, path 2 is connection 2 and zone b, there and back."""
    topology = Topology.from_json(to_json(compose()))
    for path, number, zone in zip(topology.paths, "12", "ab", strict=True):
        assert path.name == f"tunnel-{number}"
        assert path.vpn_connection_id == f"vpn-{number}"
        assert path.endpoint_url == (
            f"https://vpce-1-x-us-east-1{zone}.bedrock-runtime.us-east-1.vpce.amazonaws.com"
        )
        out, back = path.required_routes
        assert (out.table_id, out.destination, out.target) == ("rtb-f", "172.16.0.0/16", "tgw-1")
        assert (back.table_id, back.destination, back.target) == (
            f"rtb-{zone}",
            "10.0.0.0/16",
            f"eni-{zone}",
        )
    assert topology.managed_route_tables == {"rtb-f", "rtb-a", "rtb-b", "tgw-rtb-1"}


def test_an_endpoint_without_a_name_for_a_zone_is_an_error() -> None:
    """A path is never given the regional name, which would lead to either zone."""
    regional = EndpointFacts(
        "vpce-1", ENDPOINT.dns_names[:1], ENDPOINT.address_of_subnet, ENDPOINT.zone_of_subnet
    )
    with pytest.raises(IncompleteNetwork, match="vpce-1 has no name for zone us-east-1a"):
        compose(endpoint=regional)


def test_an_endpoint_without_an_interface_in_a_subnet_is_an_error() -> None:
    """The error names the endpoint and the subnet."""
    partial = EndpointFacts(
        "vpce-1", ENDPOINT.dns_names, {"subnet-a": "172.16.1.10"}, ENDPOINT.zone_of_subnet
    )
    with pytest.raises(IncompleteNetwork, match="vpce-1 has no interface in subnet-b"):
        compose(endpoint=partial)


def test_overrides_need_no_zonal_name() -> None:
    """Where a path is led elsewhere, the endpoint's own names do not matter."""
    nameless = EndpointFacts("vpce-1", (), ENDPOINT.address_of_subnet, ENDPOINT.zone_of_subnet)
    overrides = {
        name: EndpointOverride(f"http://127.0.1{n}.1:80", (f"127.0.1{n}.1/32",))
        for n, name in enumerate(("tunnel-1", "tunnel-2"), 1)
    }
    paths = compose(endpoint=nameless, overrides=overrides)["paths"]
    assert [path["endpoint_url"] for path in paths] == [
        "http://127.0.11.1:80",
        "http://127.0.12.1:80",
    ]


def test_a_document_that_the_schema_refuses_is_not_composed() -> None:
    """An extra path that is malformed is refused with its field."""
    with pytest.raises(InvalidTopology, match="paths"):
        compose(extra_paths=[{"name": "Internet", "endpoint_url": "x", "peer_networks": []}])


def test_topology_fits_a_standard_parameter_with_room_to_grow() -> None:
    """With identifiers as long as AWS's, the topology takes less than three quarters of 4,096 bytes."""
    longer = {"subnet": 24, "rtb": 21, "eni": 21, "vpc": 21, "vpn": 21, "tgw": 21, "vpce": 22}

    def realistic(value: str) -> str:
        kind = value.rpartition("-")[0]
        return value.ljust(longer.get(kind, len(value)), "0")

    text = to_json(compose())
    for outputs in (COMMERCIAL, GOVCLOUD):
        for value in outputs.values():
            text = text.replace(f'"{value}"', f'"{realistic(value)}"')
    assert len(text.encode()) < MAXIMUM_BYTES * 3 / 4


def test_first_policy_is_the_schemas_defaults_written_out() -> None:
    """An operator who reads the parameter sees every setting that is in force."""
    policy = first_policy(compose(), None)
    assert policy["mode"] == "automatic"
    assert policy["data_classes"] == {"default": ["vpn"]}
    assert "hold_down_seconds" in policy


def test_first_policy_must_fit_the_link() -> None:
    """A policy that names a path which the link has not is refused before anything is stored."""
    with pytest.raises(InvalidPolicy, match="path_order"):
        first_policy(compose(), {"path_order": ["tunnel-7"]})


def test_first_routing_config_follows_the_policys_order() -> None:
    """Generation 1 begins on the path that the policy prefers, with every path that it lets anybody use, and with what
    it says of models: a link's first look has nothing to publish."""
    internet = {
        "name": "internet",
        "routing_method": "internet",
        "endpoint_url": "https://bedrock-runtime.us-east-1.amazonaws.com",
        "peer_networks": ["0.0.0.0/0"],
    }
    topology = compose(extra_paths=[internet])
    policy = first_policy(topology, {"path_order": ["tunnel-2"], "allowed_models": ["Amazon.*"]})
    now = datetime(2026, 1, 1, tzinfo=UTC)
    config = first_routing_config(topology, policy, now)
    assert (config["generation"], config["active_path"]) == (1, "tunnel-2")
    assert [path["state"] for path in config["paths"]] == ["enabled", "enabled", "excluded"]
    assert config["allowed_models"] == ["amazon.*"]
    assert config["published_at"] == "2026-01-01T00:00:00Z"
    assert json.loads(to_json(config)) == config
