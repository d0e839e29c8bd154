"""EC2's resource types: VPCs, routes, security groups, transit gateways, VPN connections, routers.

Not guaranteed: what EC2 itself is not emulated to do. Security groups and endpoint policies are stored
and shown, and a stock client reads them, but no packet is judged by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.errors import TemplateProblem
from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_specification,
)
from infra.local.cloudformation.shapes import is_true

_ROUTE_TARGETS = {
    "GatewayId": "GatewayId",
    "InstanceId": "InstanceId",
    "NatGatewayId": "NatGatewayId",
    "NetworkInterfaceId": "NetworkInterfaceId",
    "TransitGatewayId": "TransitGatewayId",
    "VpcEndpointId": "VpcEndpointId",
    "VpcPeeringConnectionId": "VpcPeeringConnectionId",
}


class _Vpc(ApiType):
    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        for name in ("EnableDnsSupport", "EnableDnsHostnames"):
            if name in properties:
                aws.call(
                    "ec2",
                    "modify_vpc_attribute",
                    VpcId=existing.physical_id,
                    **{name: {"Value": is_true(properties[name])}},
                )


class _Subnet(ApiType):
    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        if "MapPublicIpOnLaunch" in properties:
            aws.call(
                "ec2",
                "modify_subnet_attribute",
                SubnetId=existing.physical_id,
                MapPublicIpOnLaunch={"Value": is_true(properties["MapPublicIpOnLaunch"])},
            )


class _GatewayAttachment(ResourceType):
    name = "AWS::EC2::VPCGatewayAttachment"
    properties = frozenset({"VpcId", "InternetGatewayId"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        aws.shaped_call("ec2", "attach_internet_gateway", properties)
        return Existing(f"IGW|{properties['VpcId']}")

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.shaped_call("ec2", "detach_internet_gateway", properties)


class _Route(ResourceType):
    name = "AWS::EC2::Route"
    properties = frozenset({"RouteTableId", "DestinationCidrBlock", *_ROUTE_TARGETS})
    required = frozenset({"RouteTableId", "DestinationCidrBlock"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        aws.shaped_call("ec2", "create_route", properties)
        return _route(properties)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old[name] != new[name] for name in self.required):
            return None
        aws.shaped_call("ec2", "replace_route", new)
        return _route(new)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        place = {name: properties[name] for name in self.required}
        aws.shaped_call("ec2", "delete_route", place)


def _route(properties: Properties) -> Existing:
    destination = str(properties["DestinationCidrBlock"])
    return Existing(
        f"{properties['RouteTableId']}|{destination}", attributes={"CidrBlock": destination}
    )


def _permission(rule: Properties, peer_property: str) -> dict[str, Any]:
    """An `IpPermission` from a CloudFormation rule. `peer_property`: the group at the other end."""
    permission: dict[str, Any] = {"IpProtocol": str(rule["IpProtocol"])}
    for name in ("FromPort", "ToPort"):
        if name in rule:
            permission[name] = int(rule[name])
    described = {"Description": rule["Description"]} if "Description" in rule else {}
    if "CidrIp" in rule:
        permission["IpRanges"] = [{"CidrIp": rule["CidrIp"], **described}]
    elif peer_property in rule:
        permission["UserIdGroupPairs"] = [{"GroupId": rule[peer_property], **described}]
    elif lists := {"SourcePrefixListId", "DestinationPrefixListId"} & set(rule):
        permission["PrefixListIds"] = [{"PrefixListId": rule[lists.pop()], **described}]
    else:
        raise TemplateProblem("security group rule", f"CidrIp or {peer_property} is required")
    return permission


class _SecurityGroup(ApiType):
    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        group_id = existing.physical_id
        for rule in properties.get("SecurityGroupIngress", []):
            aws.call(
                "ec2",
                "authorize_security_group_ingress",
                GroupId=group_id,
                IpPermissions=[_permission(rule, "SourceSecurityGroupId")],
            )
        if "SecurityGroupEgress" in properties:
            _revoke_all_egress(aws, group_id)
            for rule in properties["SecurityGroupEgress"]:
                aws.call(
                    "ec2",
                    "authorize_security_group_egress",
                    GroupId=group_id,
                    IpPermissions=[_permission(rule, "DestinationSecurityGroupId")],
                )

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old.get(name) != new.get(name) for name in self.properties - self.afterwards):
            return None
        group_id = existing.physical_id
        for rule in old.get("SecurityGroupIngress", []):
            aws.call(
                "ec2",
                "revoke_security_group_ingress",
                GroupId=group_id,
                IpPermissions=[_permission(rule, "SourceSecurityGroupId")],
            )
        if "SecurityGroupEgress" in old and "SecurityGroupEgress" not in new:
            return None
        self.after_create(aws, existing, new)
        return existing


def _revoke_all_egress(aws: Surroundings, group_id: str) -> None:
    groups = aws.call("ec2", "describe_security_groups", GroupIds=[group_id])["SecurityGroups"]
    if groups[0]["IpPermissionsEgress"]:
        aws.call(
            "ec2",
            "revoke_security_group_egress",
            GroupId=group_id,
            IpPermissions=groups[0]["IpPermissionsEgress"],
        )


class _SecurityGroupRule(ResourceType):
    """A rule as a resource of its own, which two groups need that refer to each other."""

    no_effect: Mapping[str, str] = {}
    required = frozenset({"GroupId", "IpProtocol"})

    def __init__(self, direction: str, peer_property: str) -> None:
        self.name = f"AWS::EC2::SecurityGroup{direction.capitalize()}"
        self._direction, self._peer_property = direction, peer_property
        self.properties = frozenset(
            {"GroupId", "IpProtocol", "FromPort", "ToPort", "CidrIp", "Description", peer_property}
        )

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        self._call("authorize", aws, properties)
        return Existing(f"{properties['GroupId']}|{self._direction}|{aws.logical_id}")

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        self._call("revoke", aws, properties)

    def _call(self, verb: str, aws: Surroundings, properties: Properties) -> None:
        aws.call(
            "ec2",
            f"{verb}_security_group_{self._direction}",
            GroupId=properties["GroupId"],
            IpPermissions=[_permission(properties, self._peer_property)],
        )


class _NetworkInterface(ApiType):
    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        if "SourceDestCheck" in properties:
            aws.call(
                "ec2",
                "modify_network_interface_attribute",
                NetworkInterfaceId=existing.physical_id,
                SourceDestCheck={"Value": is_true(properties["SourceDestCheck"])},
            )


class _LaunchTemplate(ApiType):
    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if old.get("LaunchTemplateName") != new.get("LaunchTemplateName"):
            return None
        answer = aws.shaped_call(
            "ec2",
            "create_launch_template_version",
            {
                "LaunchTemplateId": existing.physical_id,
                "LaunchTemplateData": new["LaunchTemplateData"],
            },
        )
        latest = answer["LaunchTemplateVersion"]["VersionNumber"]
        attributes = {**existing.attributes, "LatestVersionNumber": latest}
        return Existing(existing.physical_id, attributes)


class _Instance(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        if "IamInstanceProfile" in parameters:
            parameters["IamInstanceProfile"] = {"Name": parameters["IamInstanceProfile"]}
        return parameters | {"MinCount": 1, "MaxCount": 1}

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("ec2", "terminate_instances", InstanceIds=[existing.physical_id])


class _VpcEndpoint(ApiType):
    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed != {"PolicyDocument"} or "PolicyDocument" not in new:
            return None
        aws.shaped_call(
            "ec2",
            "modify_vpc_endpoint",
            {"VpcEndpointId": existing.physical_id, "PolicyDocument": new["PolicyDocument"]},
        )
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("ec2", "delete_vpc_endpoints", VpcEndpointIds=[existing.physical_id])


class _TransitGateway(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        options = super().parameters(aws, properties)
        top: dict[str, Any] = {}
        for name in ("Description", "TagSpecifications"):
            if name in options:
                top[name] = options.pop(name)
        return {**top, "Options": options}


class _VpnConnection(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        options: dict[str, Any] = {}
        if "StaticRoutesOnly" in parameters:
            options["StaticRoutesOnly"] = parameters.pop("StaticRoutesOnly")
        if "VpnTunnelOptionsSpecifications" in parameters:
            options["TunnelOptions"] = parameters.pop("VpnTunnelOptionsSpecifications")
        return {**parameters, "Options": options} if options else parameters


class _TransitGatewayTableMember(ResourceType):
    """An attachment's association with a transit gateway's route table, or its propagation into it."""

    properties = frozenset({"TransitGatewayAttachmentId", "TransitGatewayRouteTableId"})
    required = properties
    no_effect: Mapping[str, str] = {}

    def __init__(self, name: str, create_call: str, delete_call: str) -> None:
        self.name, self._create_call, self._delete_call = name, create_call, delete_call

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        aws.shaped_call("ec2", self._create_call, properties)
        attachment, table = (properties[name] for name in sorted(self.properties))
        return Existing(f"{table}_{attachment}")

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.shaped_call("ec2", self._delete_call, properties)


NETWORK_TYPES: tuple[ResourceType, ...] = (
    _Vpc(
        name="AWS::EC2::VPC",
        service="ec2",
        create_call="create_vpc",
        result="Vpc",
        ref="VpcId",
        attributes={"VpcId": "VpcId", "CidrBlock": "CidrBlock"},
        properties=frozenset({"CidrBlock", "Tags", "EnableDnsSupport", "EnableDnsHostnames"}),
        required=frozenset({"CidrBlock"}),
        afterwards=frozenset({"EnableDnsSupport", "EnableDnsHostnames"}),
        tags=tag_specification("vpc"),
        delete_call="delete_vpc",
        delete_by={"VpcId": "@ref"},
    ),
    _Subnet(
        name="AWS::EC2::Subnet",
        service="ec2",
        create_call="create_subnet",
        result="Subnet",
        ref="SubnetId",
        attributes={
            "SubnetId": "SubnetId",
            "AvailabilityZone": "AvailabilityZone",
            "CidrBlock": "CidrBlock",
            "VpcId": "VpcId",
        },
        properties=frozenset(
            {"AvailabilityZone", "CidrBlock", "MapPublicIpOnLaunch", "Tags", "VpcId"}
        ),
        required=frozenset({"CidrBlock", "VpcId"}),
        afterwards=frozenset({"MapPublicIpOnLaunch"}),
        tags=tag_specification("subnet"),
        delete_call="delete_subnet",
        delete_by={"SubnetId": "@ref"},
    ),
    ApiType(
        name="AWS::EC2::InternetGateway",
        service="ec2",
        create_call="create_internet_gateway",
        result="InternetGateway",
        ref="InternetGatewayId",
        attributes={"InternetGatewayId": "InternetGatewayId"},
        properties=frozenset({"Tags"}),
        tags=tag_specification("internet-gateway"),
        delete_call="delete_internet_gateway",
        delete_by={"InternetGatewayId": "@ref"},
    ),
    _GatewayAttachment(),
    ApiType(
        name="AWS::EC2::RouteTable",
        service="ec2",
        create_call="create_route_table",
        result="RouteTable",
        ref="RouteTableId",
        attributes={"RouteTableId": "RouteTableId"},
        properties=frozenset({"VpcId", "Tags"}),
        required=frozenset({"VpcId"}),
        tags=tag_specification("route-table"),
        delete_call="delete_route_table",
        delete_by={"RouteTableId": "@ref"},
    ),
    _Route(),
    ApiType(
        name="AWS::EC2::SubnetRouteTableAssociation",
        service="ec2",
        create_call="associate_route_table",
        ref="AssociationId",
        attributes={"Id": "AssociationId"},
        properties=frozenset({"RouteTableId", "SubnetId"}),
        required=frozenset({"RouteTableId", "SubnetId"}),
        delete_call="disassociate_route_table",
        delete_by={"AssociationId": "@ref"},
    ),
    _SecurityGroup(
        name="AWS::EC2::SecurityGroup",
        service="ec2",
        create_call="create_security_group",
        ref="GroupId",
        attributes={"GroupId": "GroupId", "Id": "GroupId", "VpcId": "=VpcId"},
        properties=frozenset(
            {
                "GroupDescription",
                "GroupName",
                "SecurityGroupEgress",
                "SecurityGroupIngress",
                "Tags",
                "VpcId",
            }
        ),
        required=frozenset({"GroupDescription", "VpcId"}),
        renames={"GroupDescription": "Description"},
        afterwards=frozenset({"SecurityGroupEgress", "SecurityGroupIngress"}),
        name_property="GroupName",
        longest_name=255,
        tags=tag_specification("security-group"),
        delete_call="delete_security_group",
        delete_by={"GroupId": "@ref"},
    ),
    _SecurityGroupRule("ingress", "SourceSecurityGroupId"),
    _SecurityGroupRule("egress", "DestinationSecurityGroupId"),
    _NetworkInterface(
        name="AWS::EC2::NetworkInterface",
        service="ec2",
        create_call="create_network_interface",
        result="NetworkInterface",
        ref="NetworkInterfaceId",
        attributes={
            "Id": "NetworkInterfaceId",
            "PrimaryPrivateIpAddress": "PrivateIpAddress",
            "VpcId": "VpcId",
        },
        properties=frozenset(
            {"Description", "GroupSet", "PrivateIpAddress", "SourceDestCheck", "SubnetId", "Tags"}
        ),
        required=frozenset({"SubnetId"}),
        renames={"GroupSet": "Groups"},
        afterwards=frozenset({"SourceDestCheck"}),
        tags=tag_specification("network-interface"),
        delete_call="delete_network_interface",
        delete_by={"NetworkInterfaceId": "@ref"},
    ),
    _LaunchTemplate(
        name="AWS::EC2::LaunchTemplate",
        service="ec2",
        create_call="create_launch_template",
        result="LaunchTemplate",
        ref="LaunchTemplateId",
        attributes={
            "DefaultVersionNumber": "DefaultVersionNumber",
            "LatestVersionNumber": "LatestVersionNumber",
            "LaunchTemplateId": "LaunchTemplateId",
        },
        properties=frozenset({"LaunchTemplateData", "LaunchTemplateName"}),
        required=frozenset({"LaunchTemplateData"}),
        name_property="LaunchTemplateName",
        longest_name=128,
        delete_call="delete_launch_template",
        delete_by={"LaunchTemplateId": "@ref"},
    ),
    ApiType(
        name="AWS::EC2::EIP",
        service="ec2",
        create_call="allocate_address",
        ref="PublicIp",
        attributes={"AllocationId": "AllocationId", "PublicIp": "PublicIp"},
        properties=frozenset({"Domain", "Tags"}),
        required=frozenset({"Domain"}),
        tags=tag_specification("elastic-ip"),
        delete_call="release_address",
        delete_by={"AllocationId": "AllocationId"},
    ),
    ApiType(
        name="AWS::EC2::EIPAssociation",
        service="ec2",
        create_call="associate_address",
        ref="AssociationId",
        attributes={"Id": "AssociationId"},
        properties=frozenset({"AllocationId", "NetworkInterfaceId"}),
        required=frozenset({"AllocationId", "NetworkInterfaceId"}),
        delete_call="disassociate_address",
        delete_by={"AssociationId": "@ref"},
    ),
    _Instance(
        name="AWS::EC2::Instance",
        service="ec2",
        create_call="run_instances",
        result="Instances.0",
        ref="InstanceId",
        attributes={"InstanceId": "InstanceId", "PrivateIp": "PrivateIpAddress"},
        properties=frozenset(
            {
                "IamInstanceProfile",
                "ImageId",
                "InstanceType",
                "LaunchTemplate",
                "MetadataOptions",
                "NetworkInterfaces",
                "Tags",
            }
        ),
        tags=tag_specification("instance"),
        delete_call="terminate_instances",
        delete_by={},
    ),
    _VpcEndpoint(
        name="AWS::EC2::VPCEndpoint",
        service="ec2",
        create_call="create_vpc_endpoint",
        result="VpcEndpoint",
        ref="VpcEndpointId",
        attributes={"Id": "VpcEndpointId"},
        properties=frozenset(
            {
                "PolicyDocument",
                "PrivateDnsEnabled",
                "RouteTableIds",
                "SecurityGroupIds",
                "ServiceName",
                "SubnetIds",
                "Tags",
                "VpcEndpointType",
                "VpcId",
            }
        ),
        required=frozenset({"VpcId", "ServiceName"}),
        tags=tag_specification("vpc-endpoint"),
        delete_call="delete_vpc_endpoints",
        delete_by={},
    ),
    _TransitGateway(
        name="AWS::EC2::TransitGateway",
        service="ec2",
        create_call="create_transit_gateway",
        result="TransitGateway",
        ref="TransitGatewayId",
        attributes={"Id": "TransitGatewayId", "TransitGatewayArn": "TransitGatewayArn"},
        properties=frozenset(
            {
                "AmazonSideAsn",
                "AutoAcceptSharedAttachments",
                "DefaultRouteTableAssociation",
                "DefaultRouteTablePropagation",
                "Description",
                "DnsSupport",
                "Tags",
                "VpnEcmpSupport",
            }
        ),
        tags=tag_specification("transit-gateway"),
        delete_call="delete_transit_gateway",
        delete_by={"TransitGatewayId": "@ref"},
    ),
    ApiType(
        name="AWS::EC2::TransitGatewayVpcAttachment",
        service="ec2",
        create_call="create_transit_gateway_vpc_attachment",
        result="TransitGatewayVpcAttachment",
        ref="TransitGatewayAttachmentId",
        attributes={"Id": "TransitGatewayAttachmentId"},
        properties=frozenset({"Options", "SubnetIds", "Tags", "TransitGatewayId", "VpcId"}),
        required=frozenset({"SubnetIds", "TransitGatewayId", "VpcId"}),
        tags=tag_specification("transit-gateway-attachment"),
        delete_call="delete_transit_gateway_vpc_attachment",
        delete_by={"TransitGatewayAttachmentId": "@ref"},
    ),
    ApiType(
        name="AWS::EC2::TransitGatewayRouteTable",
        service="ec2",
        create_call="create_transit_gateway_route_table",
        result="TransitGatewayRouteTable",
        ref="TransitGatewayRouteTableId",
        attributes={"TransitGatewayRouteTableId": "TransitGatewayRouteTableId"},
        properties=frozenset({"Tags", "TransitGatewayId"}),
        required=frozenset({"TransitGatewayId"}),
        tags=tag_specification("transit-gateway-route-table"),
        delete_call="delete_transit_gateway_route_table",
        delete_by={"TransitGatewayRouteTableId": "@ref"},
    ),
    _TransitGatewayTableMember(
        "AWS::EC2::TransitGatewayRouteTableAssociation",
        "associate_transit_gateway_route_table",
        "disassociate_transit_gateway_route_table",
    ),
    _TransitGatewayTableMember(
        "AWS::EC2::TransitGatewayRouteTablePropagation",
        "enable_transit_gateway_route_table_propagation",
        "disable_transit_gateway_route_table_propagation",
    ),
    ApiType(
        name="AWS::EC2::CustomerGateway",
        service="ec2",
        create_call="create_customer_gateway",
        result="CustomerGateway",
        ref="CustomerGatewayId",
        attributes={"CustomerGatewayId": "CustomerGatewayId"},
        properties=frozenset({"BgpAsn", "IpAddress", "Tags", "Type"}),
        required=frozenset({"IpAddress", "Type"}),
        tags=tag_specification("customer-gateway"),
        delete_call="delete_customer_gateway",
        delete_by={"CustomerGatewayId": "@ref"},
    ),
    _VpnConnection(
        name="AWS::EC2::VPNConnection",
        service="ec2",
        create_call="create_vpn_connection",
        result="VpnConnection",
        ref="VpnConnectionId",
        attributes={"VpnConnectionId": "VpnConnectionId"},
        properties=frozenset(
            {
                "CustomerGatewayId",
                "StaticRoutesOnly",
                "Tags",
                "TransitGatewayId",
                "Type",
                "VpnTunnelOptionsSpecifications",
            }
        ),
        required=frozenset({"CustomerGatewayId", "Type"}),
        tags=tag_specification("vpn-connection"),
        delete_call="delete_vpn_connection",
        delete_by={"VpnConnectionId": "@ref"},
    ),
)
