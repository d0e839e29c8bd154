"""The lab's plan from what is deployed in the embedded cloud.

A router finds its configuration as it does in AWS: its instance's tag names the secret, and the secret
holds the files. AWS's ends of the tunnels are what the customer gateway's configuration describes.

Not guaranteed: a configuration that is stored later, a new pre-shared key for example, is not followed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from moto.ec2.models import EC2Backend, ec2_backends
from moto.secretsmanager.exceptions import SecretsManagerClientError
from moto.secretsmanager.models import secretsmanager_backends

from infra.local.ec2_facts_vpn import EdgeRouter, edge_router_of, network_of
from infra.local.lab.namespaces import LabError
from infra.local.lab.plan import LabPlan, RouterPlan
from infra.local.sides import COMMERCIAL, GOVCLOUD
from infra.router_config import Router, RouterConfiguration, parse_gateway_configuration

_CONFIGURATION_TAG, _PATH_TAG, _MANAGED_TAG = (
    "twinspan:configuration",
    "twinspan:path",
    "twinspan:managed",
)
_SERVICE = "bedrock-runtime"
_FUNCTION_HOST_NUMBER = 20
_CONNECTIONS = 2


@dataclass(frozen=True, slots=True)
class Deployed:
    """A plan, and how its parts are called in the cloud: by position the VPN connections, the functions'
    subnets, and the endpoint's subnets."""

    plan: LabPlan
    vpn_connection_ids: tuple[str, ...]
    function_subnet_ids: tuple[str, ...]
    endpoint_subnet_ids: tuple[str, ...]


def govcloud_ec2() -> EC2Backend:
    """GovCloud's EC2."""
    return ec2_backends[GOVCLOUD.account_id][GOVCLOUD.region]


def commercial_ec2() -> EC2Backend:
    """The commercial side's EC2."""
    return ec2_backends[COMMERCIAL.account_id][COMMERCIAL.region]


def deployed() -> Deployed | None:
    """What is deployed, or None until both routers have their configuration.

    Raises:
        LabError: it is not what the lab can show; says what is missing.
    """
    connections = sorted(
        (c for c in list(govcloud_ec2().vpn_connections.values()) if c.state == "available"),
        key=lambda connection: _tags(govcloud_ec2(), connection.id).get(_PATH_TAG, ""),
    )
    if len(connections) != _CONNECTIONS:
        return None
    routers = [_router(connection) for connection in connections]
    first, second = routers
    if first is None or second is None:
        return None
    functions = _function_subnets()
    endpoints = _endpoint_interfaces()
    if len(endpoints) != _CONNECTIONS:
        raise LabError(f"the lab needs one endpoint interface per zone, not {len(endpoints)}")
    plan = LabPlan(
        govcloud_cidr=_vpc_cidr(govcloud_ec2(), functions[0].vpc_id),
        commercial_cidr=first.facts.vpc_cidr,
        function_addresses=tuple(
            str(network_of(subnet.cidr_block)[_FUNCTION_HOST_NUMBER]) for subnet in functions
        ),
        routers=(first, second),
        endpoint_addresses=(endpoints[0].private_ip_address, endpoints[1].private_ip_address),
    )
    return Deployed(
        plan,
        tuple(connection.id for connection in connections),
        tuple(subnet.id for subnet in functions),
        tuple(interface.subnet.id for interface in endpoints),
    )


def _router(connection: Any) -> RouterPlan | None:
    router = edge_router_of(connection)
    if router is None:
        return None
    text = _secret_text(router)
    document = connection.customer_gateway_configuration
    if text is None or document is None:
        return None
    configuration = json.loads(text)
    first, second = parse_gateway_configuration(document)
    gateway = govcloud_ec2().customer_gateways[connection.customer_gateway_id]
    interface = router.network_interface
    tags = _tags(commercial_ec2(), router.instance.id)
    facts = Router(
        link_id=tags.get("twinspan:link", ""),
        name=tags.get("Name", router.instance.id),
        asn=int(gateway.bgp_asn),
        private_address=interface.private_ip_address,
        outside_address=gateway.ip_address,
        vpc_cidr=_vpc_cidr(commercial_ec2(), interface.subnet.vpc_id),
        advertises=tuple(str(network) for network in router.advertised),
        accepts=(),
    )
    commands = tuple(tuple(command) for command in configuration["commands"])
    return RouterPlan(
        facts,
        RouterConfiguration(configuration["files"], commands, len(configuration["boot"])),
        (first, second),
    )


def _secret_text(router: EdgeRouter) -> str | None:
    name = _tags(commercial_ec2(), router.instance.id).get(_CONFIGURATION_TAG)
    if name is None:
        return None
    secrets = secretsmanager_backends[COMMERCIAL.account_id][COMMERCIAL.region]
    try:
        answer = secrets.get_secret_value(name, "", "")
    except SecretsManagerClientError:
        return None  # none stored yet
    text = answer.get("SecretString")
    return str(text) if text else None


def _function_subnets() -> list[Any]:
    """The subnets of the one route table in the GovCloud VPC that may be changed."""
    ec2 = govcloud_ec2()
    for table in list(ec2.route_tables.values()):
        if _tags(ec2, table.id).get(_MANAGED_TAG) == "true":
            subnets = [ec2.get_subnet(subnet_id) for subnet_id in table._associations.values()]
            return sorted(subnets, key=lambda subnet: network_of(subnet.cidr_block))
    raise LabError("GovCloud has no managed route table, and so no functions' subnets")


def _endpoint_interfaces() -> list[Any]:
    ec2 = commercial_ec2()
    for endpoint in list(ec2.vpc_end_points.values()):
        if endpoint.service_name.endswith(_SERVICE):
            interfaces = [ec2.enis[identifier] for identifier in endpoint.network_interface_ids]
            return sorted(interfaces, key=lambda item: network_of(item.subnet.cidr_block))
    return []


def _vpc_cidr(ec2: EC2Backend, vpc_id: str) -> str:
    return str(ec2.vpcs[vpc_id].cidr_block)


def _tags(ec2: EC2Backend, resource_id: str) -> dict[str, str]:
    return dict(ec2.tags.get(resource_id, {}))
