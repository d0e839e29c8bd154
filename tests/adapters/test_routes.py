"""Changing routes: guarded, and harmless when repeated."""

import boto3
import pytest

from control_plane.adapters.ec2 import Routes
from control_plane.domain.changes import Change
from control_plane.domain.topology import SideName, TableKind
from control_plane.errors import AwsRefused, RouteChanged


@pytest.fixture
def world(session):
    """A VPC with a route table and two interfaces to route to."""
    ec2 = boto3.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="172.16.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="172.16.1.0/24")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    interfaces = [
        ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
        for _ in range(2)
    ]
    return Routes({SideName.COMMERCIAL: session}), table, interfaces


def change(table: str, before: str | None, after: str | None) -> Change:
    return Change(SideName.COMMERCIAL, TableKind.VPC, table, "10.0.0.0/16", before, after)


def test_create_replace_and_delete_do_what_the_change_says(world):
    """The table ends as `after` says, each time."""
    routes, table, (one, two) = world
    for before, after in [(None, one), (one, two), (two, None)]:
        step = change(table, before, after)
        assert routes.apply(step)
        assert routes.current(step) == after


def test_a_repeated_change_writes_nothing(world):
    """A retried step finds its work done."""
    routes, table, (one, _) = world
    assert routes.apply(change(table, None, one))
    assert not routes.apply(change(table, None, one))


def test_a_change_and_its_inverse_leave_the_table_as_it_was(world):
    """Undoing restores exactly what was there."""
    routes, table, (one, two) = world
    routes.apply(change(table, None, one))
    switch = change(table, one, two)
    routes.apply(switch)
    routes.apply(switch.inverse())
    assert routes.current(switch) == one


def test_a_route_that_someone_else_changed_is_left_alone(world):
    """A plan made on what is no longer true is not carried out."""
    routes, table, (one, two) = world
    routes.apply(change(table, None, two))
    with pytest.raises(RouteChanged, match=f"expected {one}, found {two}"):
        routes.apply(change(table, one, None))
    assert routes.current(change(table, two, None)) == two


def test_a_table_that_is_gone_is_named(world):
    """AWS's refusal carries its code."""
    routes, _, (one, _) = world
    with pytest.raises(AwsRefused, match=r"InvalidRouteTableID\.NotFound"):
        routes.apply(change("rtb-0000000000000000", None, one))
