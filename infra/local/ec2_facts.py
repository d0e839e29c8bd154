"""Facts of EC2 that moto lacks, added to it in this process: `install()`.

A stock boto3 client or the AWS CLI that describes the network must see what AWS would show, because the
control plane decides by it. Each `ec2_facts_…` module covers one part; this one covers VPC routes, Elastic IP addresses
and `DryRun`, and installs the others.

Not guaranteed: what is not named in these modules behaves as moto makes it behave. What moto does not
implement stays a loud `NotImplementedError`, among it `EnableVgwRoutePropagation`.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from moto.core.common_types import TYPE_RESPONSE
from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.exceptions import (
    DryRunClientError,
    EC2ClientError,
    InvalidParameterValue,
    InvalidTransitGatewayID,
    RouteAlreadyExistsError,
)
from moto.ec2.models.elastic_ip_addresses import ElasticAddress, ElasticAddressBackend
from moto.ec2.models.route_tables import Route, RouteBackend
from moto.ec2.responses import EC2Response

from infra.local import ec2_facts_endpoints, ec2_facts_transit_gateway, ec2_facts_vpn
from infra.local.ec2_facts_graft import graft, original

# A range for documentation: nobody's address.
_ELASTIC_RANGE = ipaddress.IPv4Network("192.0.2.0/24")
_TARGETS = (
    "gateway_id",
    "instance_id",
    "nat_gateway_id",
    "egress_only_igw_id",
    "transit_gateway_id",
    "interface_id",
    "vpc_peering_connection_id",
    "carrier_gateway_id",
    "vpc_endpoint_id",
)


def install() -> None:
    """Extend moto's EC2. Safe to call again; there is no way back within a process."""
    graft(Route, _RouteFacts, replaces=["state"])
    graft(RouteBackend, _RouteBackendFacts, replaces=["create_route", "replace_route"])
    graft(ElasticAddressBackend, _ElasticAddressFacts, replaces=["allocate_address"])
    graft(EC2Response, _DryRunFacts, replaces=["call_action"])
    ec2_facts_vpn.install()
    ec2_facts_transit_gateway.install()
    ec2_facts_endpoints.install()


class _RouteFacts:
    @property
    def state(self: Any) -> str:
        """`blackhole` when the target is gone. Source: "Route table concepts" in the VPC guide."""
        return "active" if self.local or _target_exists(self) else "blackhole"


class _RouteBackendFacts:
    def create_route(
        self: Any,
        route_table_id: str,
        destination_cidr_block: str | None,
        destination_ipv6_cidr_block: str | None = None,
        destination_prefix_list_id: str | None = None,
        local: bool = False,
        **targets: str | None,
    ) -> Route:
        if not local:
            _check_target(self, route_table_id, targets)
            if destination_cidr_block:
                # moto skips this check when the target is a network interface.
                table = self.get_route_table(route_table_id)
                wanted = ipaddress.IPv4Network(destination_cidr_block, strict=False)
                for route in table.routes:
                    existing = route.destination_cidr_block
                    if existing and ipaddress.IPv4Network(existing) == wanted:
                        raise RouteAlreadyExistsError(destination_cidr_block)
        created: Route = original(RouteBackend, "create_route")(
            self,
            route_table_id,
            destination_cidr_block,
            destination_ipv6_cidr_block,
            destination_prefix_list_id,
            local=local,
            **targets,
        )
        return created

    def replace_route(
        self: Any,
        route_table_id: str,
        destination_cidr_block: str,
        destination_ipv6_cidr_block: str | None = None,
        destination_prefix_list_id: str | None = None,
        nat_gateway_id: str | None = None,
        egress_only_igw_id: str | None = None,
        transit_gateway_id: str | None = None,
        gateway_id: str | None = None,
        instance_id: str | None = None,
        interface_id: str | None = None,
        vpc_peering_connection_id: str | None = None,
    ) -> Route:
        targets = {
            "nat_gateway_id": nat_gateway_id,
            "egress_only_igw_id": egress_only_igw_id,
            "transit_gateway_id": transit_gateway_id,
            "gateway_id": gateway_id,
            "instance_id": instance_id,
            "interface_id": interface_id,
            "vpc_peering_connection_id": vpc_peering_connection_id,
        }
        _check_target(self, route_table_id, targets)
        replaced: Route = original(RouteBackend, "replace_route")(
            self,
            route_table_id,
            destination_cidr_block,
            destination_ipv6_cidr_block,
            destination_prefix_list_id,
            **targets,
        )
        return replaced


class _ElasticAddressFacts:
    def allocate_address(
        self: Any, domain: str, address: str | None = None, tags: dict[str, str] | None = None
    ) -> ElasticAddress:
        """moto takes loopback addresses, which no customer gateway may have."""
        taken = {
            existing.public_ip
            for backend in ec2_facts_vpn.all_ec2_backends()
            for existing in list(backend.addresses)
        }
        free = (str(host) for host in _ELASTIC_RANGE.hosts() if str(host) not in taken)
        allocated: ElasticAddress = original(ElasticAddressBackend, "allocate_address")(
            self, domain, address or next(free), tags
        )
        return allocated


class _DryRunFacts:
    def call_action(self: Any) -> TYPE_RESPONSE:
        """With `DryRun`, answer as AWS does for a caller who has the permission: nothing is done."""
        action = camelcase_to_underscores(self._get_action())
        if hasattr(type(self), action) and self._get_bool_param("DryRun"):
            status, headers, body = self.serialized(ActionResult(DryRunClientError()))
            headers, body = self._enrich_response({**self.response_headers, **headers}, body)
            return status, headers, body
        answer: TYPE_RESPONSE = original(EC2Response, "call_action")(self)
        return answer


def _target_exists(route: Any) -> bool:
    backend = route.route_table.ec2_backend
    vpc_id = route.route_table.vpc_id
    if route.interface is not None:
        # An interface that is attached to nothing, or to a stopped instance, forwards nothing.
        instance = route.interface.instance
        return (
            route.interface.id in backend.enis
            and instance is not None
            and instance.state == "running"
        )
    if route.instance is not None:
        return bool(route.instance.state == "running")
    if route.transit_gateway is not None:
        return any(
            attachment.resource_id == vpc_id
            and attachment.transit_gateway_id == route.transit_gateway.id
            and attachment.state == "available"
            for attachment in list(backend.transit_gateway_attachments.values())
        )
    if route.nat_gateway is not None:
        return bool(route.nat_gateway.state == "available")
    if route.gateway is not None:
        return _gateway_is_attached(backend, route.gateway, vpc_id)
    if route.vpc_pcx is not None:
        return bool(route.vpc_pcx._status.code == "active")
    return any(
        (route.egress_only_igw, route.carrier_gateway, route.vpc_endpoint_id)
    )  # moto keeps no state for these that could be lost


def _gateway_is_attached(backend: Any, gateway: Any, vpc_id: str) -> bool:
    if gateway.id in backend.vpn_gateways:
        attachment = gateway.attachments.get(vpc_id)
        return attachment is not None and attachment.state == "attached"
    if gateway.id in backend.internet_gateways:
        return gateway.vpc is not None and gateway.vpc.id == vpc_id
    endpoint = backend.vpc_end_points.get(gateway.id)
    return endpoint is not None and endpoint.state == ec2_facts_endpoints.AVAILABLE


def _check_target(backend: Any, route_table_id: str, targets: dict[str, str | None]) -> None:
    table = backend.get_route_table(route_table_id)
    given = [name for name in _TARGETS if targets.get(name)]
    if len(given) != 1:
        raise EC2ClientError(
            "MissingParameter" if not given else "InvalidParameterCombination",
            "The request must contain exactly one of gatewayId, natGatewayId, "
            "networkInterfaceId, vpcPeeringConnectionId, egressOnlyInternetGatewayId, "
            "transitGatewayId, carrierGatewayId, vpcEndpointId or instanceId",
        )
    gateway_id = targets.get("transit_gateway_id")
    if gateway_id:
        attached = any(
            attachment.resource_id == table.vpc_id
            and attachment.transit_gateway_id == gateway_id
            and attachment.state == "available"
            for attachment in list(backend.transit_gateway_attachments.values())
        )
        if gateway_id not in backend.transit_gateways or not attached:
            raise InvalidTransitGatewayID(gateway_id)
    interface_id = targets.get("interface_id")
    if interface_id:
        interface = backend.get_network_interface(interface_id)
        if interface.subnet.vpc_id != table.vpc_id:
            raise InvalidParameterValue(
                f"route table {table.id} and interface {interface.id} belong to different networks"
            )
