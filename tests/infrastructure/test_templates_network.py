"""What the deployed network promises, asked of the project's own route model, filters included."""

from __future__ import annotations

import pytest
from moto.ec2.models import ec2_backends

from control_plane.adapters.snapshot import describe_side
from control_plane.domain.route_model import Network, Snapshot
from infra.deploy import Deployment
from infra.local.ec2_facts_vpn import TunnelStatus, tunnels_of
from infra.local.server import EmbeddedCloud
from infra.local.sides import account_of
from infra.permissions import Permissions, Statement, of_documents, of_role
from infra.rendering import EVERYTHING, render


@pytest.fixture(scope="module")
def network(cloud: EmbeddedCloud, deployment: Deployment) -> Network:
    """Both sides as EC2 describes them once the templates are deployed and all tunnels are up."""
    account = account_of("govcloud")
    backend = ec2_backends[account.account_id][account.region]
    for connection in backend.vpn_connections.values():
        for tunnel in tunnels_of(connection):
            tunnel.report(TunnelStatus.UP)
    sides = {side: describe_side(cloud.client("ec2", side)) for side in ("govcloud", "commercial")}
    return Network.build(Snapshot.from_describe(sides))


def functions(deployment: Deployment) -> list[str]:
    return list(deployment.topology["sides"]["govcloud"]["subnet_ids"])


def test_no_private_subnet_has_a_way_to_or_from_the_internet(
    network: Network, deployment: Deployment
) -> None:
    """Routing alone guarantees it, for every public destination that any table on the way tells apart."""
    private = [deployment.commercial[f"PrivateSubnet{zone}Id"] for zone in "AB"]
    assert network.isolation_violations([deployment.govcloud["VpcId"], *private]) == ()


def test_the_edge_subnets_have_one(network: Network, deployment: Deployment) -> None:
    """The question above can be answered with yes: the routers' own subnets lead outside."""
    edges = [deployment.commercial[f"EdgeSubnet{zone}Id"] for zone in "AB"]
    assert network.isolation_violations(edges)


@pytest.mark.parametrize("number", [0, 1])
def test_each_path_is_delivered_both_ways(
    network: Network, deployment: Deployment, number: int
) -> None:
    """From each function subnet to each path's endpoint and back, through every group and ACL, by its own connection."""
    path = deployment.topology["paths"][number]
    for subnet in functions(deployment):
        trace = network.trace(subnet, path["endpoint_address"])
        assert trace.delivered_both_ways, trace
        assert trace.return_trace is not None
        for way in (trace, trace.return_trace):
            used = {hop.id for hop in way.hops if hop.kind == "vpn-connection"}
            assert used == {path["vpn_connection_id"]}


@pytest.mark.parametrize("port", [22, 80, 8443])
def test_nothing_but_https_is_delivered(
    network: Network, deployment: Deployment, port: int
) -> None:
    """Security groups and network ACLs let no other port through to an endpoint."""
    for path in deployment.topology["paths"]:
        trace = network.trace(functions(deployment)[0], path["endpoint_address"], port=port)
        assert not trace.delivered


CHANGES = ("CreateRoute", "ReplaceRoute", "DeleteRoute")
TRANSIT_CHANGES = tuple(change.replace("Route", "TransitGatewayRoute") for change in CHANGES)


@pytest.mark.parametrize("action", [*CHANGES, *TRANSIT_CHANGES])
def test_only_three_roles_change_routes(action: str) -> None:
    """Of all functions those that apply, undo or finish a plan may, and under the tags' condition alone."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    roles = [name for name, item in resources.items() if item.type_name == "AWS::IAM::Role"]
    able = {name: of_role(resources, name) for name in roles}
    able = {name: given for name, given in able.items() if given.allow(f"ec2:{action}")}
    assert set(able) == {"ApplyRole", "RecoverRole", "RollBackRole"}
    for given in able.values():
        about = [s for s in _about(given, f"ec2:{action}") if not _is_a_target(s)]
        assert about
        assert all(s.conditional for s in about)


def _is_a_target(statement: Statement) -> bool:
    """Whether it is about what a route leads to, which EC2 asks for besides the table."""
    return all(":transit-gateway-attachment/" in resource for resource in statement.resources)


def _about(given: Permissions, action: str) -> list[Statement]:
    return [s for s in given.statements if s.effect == "Allow" and s.names(action)]


def test_every_managed_table_and_no_other_carries_the_tags(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """What the tags' condition lets be changed is what the topology says is managed."""
    tagged = set()
    for side in ("govcloud", "commercial"):
        ec2 = cloud.client("ec2", side)
        for call, key, identifier in (
            ("describe_route_tables", "RouteTables", "RouteTableId"),
            ("describe_transit_gateway_route_tables", "TransitGatewayRouteTables", "TransitGatewayRouteTableId"),
        ):  # fmt: skip
            tagged |= {
                table[identifier]
                for table in getattr(ec2, call)()[key]
                if {"Key": "twinspan:managed", "Value": "true"} in table.get("Tags", [])
            }
    assert tagged == set(deployment.topology["managed_route_tables"])


def test_functions_use_what_their_endpoints_let_through() -> None:
    """No function is permitted a call of an AWS service here that the service's endpoint would refuse."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    passed = [
        of_documents([item.properties["PolicyDocument"]])
        for item in resources.values()
        if item.type_name == "AWS::EC2::VPCEndpoint"
    ]
    # Lambda makes interfaces, ships logs and sends traces itself, outside the VPC.
    by_lambda = ("logs:", "xray:", "ec2:AssignPrivate", "ec2:UnassignPrivate")
    interfaces = {"ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface"}
    for item in resources.values():
        if item.type_name != "AWS::Lambda::Function":
            continue
        role = item.properties["Role"].rpartition("/")[2]
        for action in of_role(resources, role).actions - interfaces:
            if not action.startswith(by_lambda):
                assert any(one.allow(action) for one in passed), f"{item.logical_id}: {action}"


# What endpoints let through and no function calls: by whom it is called, or why it is there.
FOR_OTHERS = {
    "cloudwatch:PutMetricData": "whoever measures something in the VPC; functions print their metrics",
    "ecr:*": "the container edge's start, which has a role and no function",
    "execute-api:Invoke": "the API's callers",
    "kms:*": "a client that decrypts by itself; the services decrypt for functions",
    "lambda:InvokeFunction": "verification, by the function's name",
    "logs:*": "the container edge's log",
    "ssm:GetParameter": "every function",
    "states:*": "operators in the VPC, and whoever answers a question for approval",
    "sts:GetCallerIdentity": "operators in the VPC",
}


def test_endpoints_let_through_what_functions_use_and_little_else() -> None:
    """An action in an endpoint's policy that no role has is for somebody who is named here."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    used = {
        action
        for name, item in resources.items()
        if item.type_name == "AWS::IAM::Role"
        for action in of_role(resources, name).actions
    }
    passed = {
        action
        for item in resources.values()
        if item.type_name == "AWS::EC2::VPCEndpoint"
        for action in of_documents([item.properties["PolicyDocument"]]).actions
    }
    assert "ec2:Describe*" not in passed
    unused = {
        action
        for action in passed - used
        if not {action, f"{action.partition(':')[0]}:*"} & set(FOR_OTHERS)
    }
    assert unused == set()


@pytest.mark.parametrize("role", ["GlanceRole", "ObserveRole", "ProxyRole", "EdgeTaskRole"])
def test_no_function_reads_a_pre_shared_key(role: str) -> None:
    """Neither its role nor the endpoint lets it: keys are the VPN service's and the deployment's."""
    resources = render("govcloud", EVERYTHING["govcloud"])
    place = "arn:aws-us-gov:secretsmanager:us-gov-west-1:111111111111:secret:twinspan/bedrock"
    keys = [f"{place}/pre-shared-key-{number}-AbCdEf" for number in ("1-1", "1-2", "2-1", "2-2")]
    given = of_role(resources, role)
    endpoint = of_documents([resources["SecretsManagerEndpoint"].properties["PolicyDocument"]])
    for holder in (given, endpoint):
        assert holder.allow("secretsmanager:GetSecretValue", f"{place}/commercial-AbCdEf")
        assert not any(holder.allow("secretsmanager:GetSecretValue", key) for key in keys)
