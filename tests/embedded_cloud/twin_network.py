"""The two-sided network of the design, built by the EC2 API alone, for tests of the data plane.

Both sides live in one stand-in account; their regions keep them apart.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import boto3
from moto.ec2.models import ec2_backends

from infra.local import ec2_facts
from infra.local.dataplane import DataPath
from infra.local.sides import COMMERCIAL, GOVCLOUD

ACCOUNT_ID = "123456789012"
GOVCLOUD_SIDE = dataclasses.replace(GOVCLOUD, account_id=ACCOUNT_ID)
COMMERCIAL_SIDE = dataclasses.replace(COMMERCIAL, account_id=ACCOUNT_ID)


@dataclass(frozen=True)
class Zone:
    """One path's resources: `letter` is the zone's, `connection_id` its VPN connection."""

    letter: str
    connection_id: str
    attachment_id: str
    router_id: str
    router_interface_id: str
    endpoint_subnet_id: str
    endpoint_table_id: str


@dataclass(frozen=True)
class TwinNetwork:
    govcloud: Any
    commercial: Any
    function_subnet_ids: tuple[str, ...]
    function_table_id: str
    transit_gateway_id: str
    transit_table_id: str
    vpc_attachment_id: str
    endpoint_id: str
    zones: tuple[Zone, Zone]

    def paths(self) -> list[DataPath]:
        return [
            DataPath(
                name=f"tunnel-{number}",
                source_subnet_ids=self.function_subnet_ids,
                vpn_connection_id=zone.connection_id,
                vpc_endpoint_id=self.endpoint_id,
                endpoint_subnet_id=zone.endpoint_subnet_id,
            )
            for number, zone in enumerate(self.zones, start=1)
        ]


def build() -> TwinNetwork:
    """Create everything in moto. The caller is inside `mock_aws`."""
    ec2_facts.install()
    gov: Any = boto3.client("ec2", region_name=GOVCLOUD.region)
    com: Any = boto3.client("ec2", region_name=COMMERCIAL.region)
    gov_vpc = gov.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    functions = tuple(
        gov.create_subnet(
            VpcId=gov_vpc,
            CidrBlock=f"10.0.{number}.0/24",
            AvailabilityZone=f"us-gov-west-1{letter}",
        )["Subnet"]["SubnetId"]
        for number, letter in ((1, "a"), (2, "b"))
    )
    gateway = gov.create_transit_gateway(
        Options={
            "AmazonSideAsn": 65000,
            "DefaultRouteTableAssociation": "disable",
            "DefaultRouteTablePropagation": "disable",
        }
    )["TransitGateway"]["TransitGatewayId"]
    vpc_attachment = gov.create_transit_gateway_vpc_attachment(
        TransitGatewayId=gateway, VpcId=gov_vpc, SubnetIds=list(functions)
    )["TransitGatewayVpcAttachment"]["TransitGatewayAttachmentId"]
    transit_table = gov.create_transit_gateway_route_table(TransitGatewayId=gateway)[
        "TransitGatewayRouteTable"
    ]["TransitGatewayRouteTableId"]
    _join(gov, transit_table, vpc_attachment)
    function_table = gov.create_route_table(VpcId=gov_vpc)["RouteTable"]["RouteTableId"]
    for subnet in functions:
        gov.associate_route_table(RouteTableId=function_table, SubnetId=subnet)
    gov.create_route(
        RouteTableId=function_table,
        DestinationCidrBlock="172.16.0.0/16",
        TransitGatewayId=gateway,
    )

    com_vpc = com.create_vpc(CidrBlock="172.16.0.0/16")["Vpc"]["VpcId"]
    zones = [
        _zone(gov, com, gateway, transit_table, com_vpc, letter, third_octet)
        for letter, third_octet in (("a", 1), ("b", 3))
    ]
    endpoint = com.create_vpc_endpoint(
        VpcId=com_vpc,
        VpcEndpointType="Interface",
        ServiceName="com.amazonaws.us-east-1.bedrock-runtime",
        SubnetIds=[zone.endpoint_subnet_id for zone in zones],
    )["VpcEndpoint"]["VpcEndpointId"]
    return TwinNetwork(
        govcloud=gov,
        commercial=com,
        function_subnet_ids=functions,
        function_table_id=function_table,
        transit_gateway_id=gateway,
        transit_table_id=transit_table,
        vpc_attachment_id=vpc_attachment,
        endpoint_id=endpoint,
        zones=(zones[0], zones[1]),
    )


def _zone(
    gov: Any,
    com: Any,
    gateway: str,
    transit_table: str,
    com_vpc: str,
    letter: str,
    third_octet: int,
) -> Zone:
    zone_name = f"us-east-1{letter}"
    endpoint_subnet, edge_subnet = (
        com.create_subnet(
            VpcId=com_vpc, CidrBlock=f"172.16.{octet}.0/24", AvailabilityZone=zone_name
        )["Subnet"]["SubnetId"]
        for octet in (third_octet, 100 + third_octet)
    )
    interface = com.create_network_interface(
        SubnetId=edge_subnet,
        TagSpecifications=[
            {
                "ResourceType": "network-interface",
                "Tags": [
                    {
                        "Key": "twinspan:advertises",
                        "Value": f"172.16.{third_octet}.0/24,172.16.0.0/16",
                    }
                ],
            }
        ],
    )["NetworkInterface"]["NetworkInterfaceId"]
    com.modify_network_interface_attribute(
        NetworkInterfaceId=interface, SourceDestCheck={"Value": False}
    )
    # Describing all images takes seconds; any that moto knows will do.
    image = next(iter(ec2_backends[ACCOUNT_ID][COMMERCIAL.region].amis))
    router = com.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.micro",
        NetworkInterfaces=[{"DeviceIndex": 0, "NetworkInterfaceId": interface}],
    )["Instances"][0]["InstanceId"]
    address = com.allocate_address(Domain="vpc")
    com.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=interface)
    table = com.create_route_table(VpcId=com_vpc)["RouteTable"]["RouteTableId"]
    com.associate_route_table(RouteTableId=table, SubnetId=endpoint_subnet)
    com.create_route(
        RouteTableId=table, DestinationCidrBlock="10.0.0.0/16", NetworkInterfaceId=interface
    )

    customer = gov.create_customer_gateway(
        Type="ipsec.1", BgpAsn=65001, PublicIp=address["PublicIp"]
    )["CustomerGateway"]["CustomerGatewayId"]
    connection = gov.create_vpn_connection(
        Type="ipsec.1", CustomerGatewayId=customer, TransitGatewayId=gateway
    )["VpnConnection"]["VpnConnectionId"]
    attachment = gov.describe_transit_gateway_attachments(
        Filters=[{"Name": "resource-id", "Values": [connection]}]
    )["TransitGatewayAttachments"][0]["TransitGatewayAttachmentId"]
    _join(gov, transit_table, attachment)
    return Zone(
        letter=letter,
        connection_id=connection,
        attachment_id=attachment,
        router_id=router,
        router_interface_id=interface,
        endpoint_subnet_id=endpoint_subnet,
        endpoint_table_id=table,
    )


def _join(gov: Any, table: str, attachment: str) -> None:
    gov.associate_transit_gateway_route_table(
        TransitGatewayRouteTableId=table, TransitGatewayAttachmentId=attachment
    )
    gov.enable_transit_gateway_route_table_propagation(
        TransitGatewayRouteTableId=table, TransitGatewayAttachmentId=attachment
    )
