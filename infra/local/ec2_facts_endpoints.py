"""Interface endpoints as EC2 describes them.

moto gives an interface endpoint network interfaces with addresses outside their subnets and one DNS
name of a made-up form. Here each subnet gets an interface with the first free address from .10 on, and
the endpoint gets AWS's regional and zonal names, which are how a path picks a zone.

Not guaranteed: the names resolve nowhere (the data plane's relays stand in for them), AWS picks
addresses at random, and endpoint policies and security groups are not evaluated.

Shapes: botocore's service model `ec2` 2016-11-15 (`VpcEndpoint`, `DnsEntry`, `LastError`).
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
from typing import Any

from moto.ec2.exceptions import InvalidParameterValue
from moto.ec2.models.vpcs import VPCBackend, VPCEndPoint

from infra.local.ec2_facts_graft import graft, original

FIRST_HOST_NUMBER = 10
AVAILABLE = "available"
PARTIAL = "partial"

# Of the endpoint zones that AWS publishes only this one is needed; others get a stable made-up id.
_HOSTED_ZONES = {"us-east-1": "Z7HUB22UULQXV"}


def is_interface_endpoint(endpoint: VPCEndPoint) -> bool:
    """Whether it has interfaces, unlike a gateway endpoint."""
    return (endpoint.vpc_endpoint_type or "").lower() == "interface"


def set_endpoint_state(
    endpoint: VPCEndPoint, state: str, code: str | None = None, message: str | None = None
) -> None:
    """Put an endpoint into a state such as `failed` or `available`, as an injected fault does.

    `code` and `message` become `LastError`; without them `LastError` is cleared.
    """
    endpoint.state = state
    endpoint.last_error = {"Code": code, "Message": message} if code else None  # type: ignore[attr-defined]
    endpoint.failure_reason = message  # type: ignore[attr-defined]


class _EndpointFacts:
    last_error: dict[str, str] | None = None
    failure_reason: str | None = None
    requester_managed = False
    ip_address_type = "ipv4"

    def modify(
        self: Any,
        policy_doc: str | None,
        add_subnets: list[str] | None,
        remove_subnets: list[str] | None,
        add_route_tables: list[str] | None,
        remove_route_tables: list[str] | None,
        add_security_groups: list[str] | None,
        remove_security_groups: list[str] | None,
    ) -> None:
        original(VPCEndPoint, "modify")(
            self,
            policy_doc,
            add_subnets,
            remove_subnets,
            add_route_tables,
            remove_route_tables,
            add_security_groups,
            remove_security_groups,
        )
        if is_interface_endpoint(self):
            _match_interfaces_to_subnets(self)

    def get_filter_value(self: Any, filter_name: str, method_name: str | None = None) -> Any:
        if filter_name == "vpc-endpoint-id":
            return self.id
        return original(VPCEndPoint, "get_filter_value")(self, filter_name, method_name)


class _BackendFacts:
    def create_vpc_endpoint(
        self: Any,
        vpc_id: str,
        service_name: str,
        endpoint_type: str | None,
        policy_document: str | None,
        route_table_ids: list[str] | None = None,
        subnet_ids: list[str] | None = None,
        network_interface_ids: list[str] | None = None,
        dns_entries: dict[str, str] | None = None,
        client_token: str | None = None,
        security_group_ids: list[str] | None = None,
        tags: dict[str, str] | None = None,
        private_dns_enabled: bool | None = None,
    ) -> VPCEndPoint:
        interface = (endpoint_type or "").lower() == "interface"
        for subnet_id in subnet_ids or []:
            if self.get_subnet(subnet_id).vpc_id != vpc_id:
                raise InvalidParameterValue(f"The subnet '{subnet_id}' is not in '{vpc_id}'")
        endpoint: VPCEndPoint = original(VPCBackend, "create_vpc_endpoint")(
            self,
            vpc_id,
            service_name,
            endpoint_type,
            policy_document,
            route_table_ids or [],
            # moto would give an interface endpoint interfaces of its own for these.
            subnet_ids=None if interface else subnet_ids,
            client_token=client_token,
            security_group_ids=security_group_ids,
            tags=tags,
            private_dns_enabled=private_dns_enabled,
        )
        if interface:
            endpoint.subnet_ids = list(subnet_ids or [])
            _match_interfaces_to_subnets(endpoint)
        return endpoint


def install() -> None:
    """Add these facts to moto."""
    graft(VPCEndPoint, _EndpointFacts, replaces=["modify", "get_filter_value"])
    graft(VPCBackend, _BackendFacts, replaces=["create_vpc_endpoint"])


def _match_interfaces_to_subnets(endpoint: VPCEndPoint) -> None:
    backend = endpoint.ec2_backend
    existing = {backend.enis[eni_id].subnet.id: eni_id for eni_id in endpoint.network_interface_ids}
    subnet_ids = endpoint.subnet_ids or []
    for subnet_id, eni_id in existing.items():
        if subnet_id not in subnet_ids:
            backend.enis.pop(eni_id)
    kept = []
    for subnet_id in subnet_ids:
        kept.append(existing.get(subnet_id) or _new_interface(endpoint, subnet_id).id)
    endpoint.network_interface_ids = kept
    endpoint.dns_entries = _dns_entries(endpoint)


def _new_interface(endpoint: VPCEndPoint, subnet_id: str) -> Any:
    backend = endpoint.ec2_backend
    subnet = backend.get_subnet(subnet_id)
    interface = backend.create_network_interface(
        subnet,
        _first_free_address(backend, subnet),
        group_ids=list(endpoint.security_group_ids),
        description=f"VPC Endpoint Interface {endpoint.id}",
    )
    interface.interface_type = "vpc_endpoint"
    interface.requester_managed = True
    interface.status = "in-use"
    interface.source_dest_check = True
    return interface


def _first_free_address(backend: Any, subnet: Any) -> str:
    network = ipaddress.IPv4Network(subnet.cidr_block)
    taken = {
        address["PrivateIpAddress"]
        for interface in backend.enis.values()
        if interface.subnet.id == subnet.id
        for address in interface.private_ip_addresses
    }
    # The last address of a subnet is its broadcast address, which AWS keeps.
    candidates = itertools.islice(
        network, min(FIRST_HOST_NUMBER, network.num_addresses), network.num_addresses - 1
    )
    for candidate in candidates:
        if str(candidate) not in taken:
            return str(candidate)
    raise InvalidParameterValue(f"The subnet '{subnet.id}' has no free address")


def _dns_entries(endpoint: VPCEndPoint) -> list[dict[str, str]]:
    backend = endpoint.ec2_backend
    region = backend.region_name
    # com.amazonaws.us-east-1.ecr.api has the DNS name api.ecr.us-east-1.vpce.amazonaws.com.
    _, _, service = endpoint.service_name.partition(f"{region}.")
    if not service:
        raise InvalidParameterValue(
            f"The Vpc Endpoint Service '{endpoint.service_name}' does not exist"
        )
    label = ".".join(reversed(service.split(".")))
    digest = hashlib.sha256(endpoint.id.encode()).hexdigest()
    name = f"{endpoint.id}-{digest[:8]}"
    suffix = f"{label}.{region}.vpce.amazonaws.com"
    zone_id = _HOSTED_ZONES.get(
        region, "Z" + hashlib.sha256(region.encode()).hexdigest()[:12].upper()
    )
    zones = [
        backend.get_subnet(subnet_id).availability_zone for subnet_id in endpoint.subnet_ids or []
    ]
    names = [f"{name}.{suffix}", *(f"{name}-{zone}.{suffix}" for zone in zones)]
    entries = [{"DnsName": dns_name, "HostedZoneId": zone_id} for dns_name in names]
    if endpoint.private_dns_enabled:
        entries.append(
            {
                "DnsName": f"{label}.{region}.amazonaws.com",
                "HostedZoneId": "Z" + digest[8:20].upper(),
            }
        )
    return entries
