"""The documents that a deployed link begins with: topology, policy, first routing config.

Pure: values in, documents out, each validated by the schema of whoever reads it. The deployment stores
them in SSM; from then on the policy is the operator's and the routing config the control plane's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control_plane.domain.policy import Policy
from control_plane.domain.topology import Topology
from control_plane.operations.published import FIRST_GENERATION, routing_config
from proxy.routing_config import RoutingConfig

PATH_OF_ZONE = {"A": ("tunnel-1", "VpnConnection1Id"), "B": ("tunnel-2", "VpnConnection2Id")}
PUBLISHED_BY = "deploy"


class IncompleteNetwork(Exception):
    """What AWS describes lacks something that a path needs; the message says what and where."""


@dataclass(frozen=True, slots=True)
class SideFacts:
    """Who and where one side is."""

    partition: str
    region: str
    account_id: str


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """The Bedrock endpoint as EC2 describes it.

    `dns_names`: all of its names. `address_of_subnet`, `zone_of_subnet`: by subnet id.
    """

    endpoint_id: str
    dns_names: tuple[str, ...]
    address_of_subnet: Mapping[str, str]
    zone_of_subnet: Mapping[str, str]

    @classmethod
    def of(
        cls,
        endpoint: Mapping[str, Any],
        interfaces: Sequence[Mapping[str, Any]],
        subnets: Sequence[Mapping[str, Any]],
    ) -> EndpointFacts:
        """From EC2's answers: a `VpcEndpoint`, its `NetworkInterfaces` and their `Subnets`."""
        return cls(
            endpoint_id=endpoint["VpcEndpointId"],
            dns_names=tuple(entry["DnsName"] for entry in endpoint.get("DnsEntries", [])),
            address_of_subnet={item["SubnetId"]: item["PrivateIpAddress"] for item in interfaces},
            zone_of_subnet={item["SubnetId"]: item["AvailabilityZone"] for item in subnets},
        )

    def zonal_name(self, subnet_id: str) -> str:
        """The DNS name of the endpoint's interface in one subnet's zone.

        Raises:
            IncompleteNetwork: if the endpoint has no name for that zone.
        """
        zone = self.zone_of_subnet.get(subnet_id)
        for name in self.dns_names:
            if zone is not None and name.split(".", 1)[0].endswith(f"-{zone}"):
                return name
        raise IncompleteNetwork(f"endpoint {self.endpoint_id} has no name for zone {zone}")


@dataclass(frozen=True, slots=True)
class EndpointOverride:
    """Where a path's endpoint is reached instead of at its zonal name."""

    endpoint_url: str
    peer_networks: tuple[str, ...]


def compose_topology(
    link_id: str,
    sides: Mapping[str, SideFacts],
    commercial: Mapping[str, str],
    govcloud: Mapping[str, str],
    endpoint: EndpointFacts,
    overrides: Mapping[str, EndpointOverride] | None = None,
    extra_paths: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The topology document from both stacks' outputs and what EC2 says of the endpoint.

    `sides`: by `govcloud` and `commercial`. `extra_paths`: further entries of `paths`, such as one over
    the internet.

    Raises:
        InvalidTopology: naming the field and the reason, also for a document beyond 4,096 bytes.
        IncompleteNetwork: the endpoint has no address or name for a path.
    """
    given = dict(overrides or {})
    paths = []
    for zone, (name, connection) in PATH_OF_ZONE.items():
        subnet = commercial[f"PrivateSubnet{zone}Id"]
        if subnet not in endpoint.address_of_subnet:
            raise IncompleteNetwork(f"endpoint {endpoint.endpoint_id} has no interface in {subnet}")
        override = given.pop(name, None)
        url = override.endpoint_url if override else f"https://{endpoint.zonal_name(subnet)}"
        peers = override.peer_networks if override else (commercial[f"PrivateSubnet{zone}Cidr"],)
        paths.append(
            {
                "name": name,
                "routing_method": "vpn",
                "endpoint_url": url,
                "peer_networks": list(peers),
                "vpn_connection_id": govcloud[connection],
                "vpc_endpoint_id": endpoint.endpoint_id,
                "endpoint_subnet_id": subnet,
                "endpoint_address": endpoint.address_of_subnet[subnet],
                "required_routes": [
                    {
                        "side": "govcloud",
                        "table_kind": "vpc",
                        "table_id": govcloud["FunctionRouteTableId"],
                        "destination": commercial["VpcCidr"],
                        "target": govcloud["TransitGatewayId"],
                    },
                    {
                        "side": "commercial",
                        "table_kind": "vpc",
                        "table_id": commercial[f"PrivateRouteTable{zone}Id"],
                        "destination": govcloud["VpcCidr"],
                        "target": commercial[f"RouterInterface{zone}Id"],
                    },
                ],
            }
        )
    if given:
        raise ValueError(f"overrides for paths that the link has not: {', '.join(sorted(given))}")
    document: dict[str, Any] = {
        "schema_version": 1,
        "link_id": link_id,
        "sides": {
            "govcloud": _side(
                sides["govcloud"], govcloud, ("FunctionSubnetAId", "FunctionSubnetBId")
            ),
            "commercial": _side(
                sides["commercial"], commercial, ("PrivateSubnetAId", "PrivateSubnetBId")
            ),
        },
        "credentials_secret_id": govcloud["CommercialCredentialId"],
        "paths": [*paths, *map(dict, extra_paths)],
        "managed_route_tables": [
            govcloud["FunctionRouteTableId"],
            govcloud["TransitGatewayRouteTableId"],
            commercial["PrivateRouteTableAId"],
            commercial["PrivateRouteTableBId"],
        ],
    }
    Topology.from_json(to_json(document))
    return document


def _side(facts: SideFacts, outputs: Mapping[str, str], subnets: Sequence[str]) -> dict[str, Any]:
    return {
        "partition": facts.partition,
        "region": facts.region,
        "account_id": facts.account_id,
        "vpc_id": outputs["VpcId"],
        "subnet_ids": [outputs[name] for name in subnets],
        "cidr": outputs["VpcCidr"],
    }


def first_policy(topology: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The policy to begin with: `given`, or the schema's safe defaults written out.

    Raises:
        InvalidPolicy: naming the field and the reason.
    """
    policy = Policy.from_json(to_json(dict(given or {})))
    policy.check_against(Topology.from_json(to_json(topology)))
    return policy.model_dump(mode="json")


def first_routing_config(
    topology: Mapping[str, Any], policy: Mapping[str, Any], now: datetime | None = None
) -> dict[str, Any]:
    """Generation 1, as the policy says: the most preferred path active, none excluded that may be used.

    Raises:
        InvalidRoutingConfig, InvalidPolicy: naming the field and the reason.
    """
    parsed = Topology.from_json(to_json(topology))
    rules = Policy.from_json(to_json(policy))
    config = routing_config(
        parsed,
        rules,
        rules.order(parsed)[0],
        FIRST_GENERATION,
        PUBLISHED_BY,
        "first deployment",
        now or datetime.now(UTC),
    )
    document: dict[str, Any] = json.loads(config.to_json())
    RoutingConfig.from_json(to_json(document))
    return document


def to_json(document: Mapping[str, Any]) -> str:
    """As it is stored: compact, since SSM counts bytes."""
    return json.dumps(document, separators=(",", ":"))
