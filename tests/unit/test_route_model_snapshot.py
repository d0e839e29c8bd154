"""Reading snapshots: the wrappings that describe output comes in, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.adapters.snapshot_files import load_snapshot, save_side
from control_plane.domain.route_model import InvalidSnapshot, Network, Snapshot
from tests.unit.route_model_language import Cloud, assert_reachable, propagated, route
from tests.unit.test_route_model_link import ENDPOINT_A, FUNCTIONS, commercial, govcloud
from tests.unit.test_route_model_rules import isolated_tables, peered_gateways, zones


def folder(path: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def grouped(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Rows gathered per transit gateway route table, as the `get-…` and `search-…` calls answer."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        rest = {name: value for name, value in row.items() if name != "TransitGatewayRouteTableId"}
        tables.setdefault(row["TransitGatewayRouteTableId"], []).append(rest)
    return [{"TransitGatewayRouteTableId": table, key: rest} for table, rest in tables.items()]


def test_one_file_per_side_and_one_document_answer_alike(tmp_path: Path) -> None:
    """A folder of CLI outputs, one merged document and one per side are the same network."""
    for side, cloud in (("govcloud", govcloud()), ("commercial", commercial())):
        save_side(tmp_path / "dir" / side, cloud.data)
    merged = {kind: govcloud().data[kind] + commercial().data[kind] for kind in govcloud().data}
    (tmp_path / "one.json").write_text(json.dumps(merged))
    sides = {"govcloud": govcloud().data, "commercial": commercial().data}
    (tmp_path / "sides.json").write_text(json.dumps(sides))
    answers = {
        json.dumps(
            Network.build(load_snapshot(tmp_path / name)).trace(FUNCTIONS, ENDPOINT_A).to_dict()
        )
        for name in ("dir", "one.json", "sides.json")
    }
    assert len(answers) == 1
    assert json.loads(answers.pop())["outcome"] == "DELIVERED"


def test_accounts_and_regions_as_subfolders(tmp_path: Path) -> None:
    """Resources of several accounts and Regions are one network, each peering listed by both of its ends."""
    data = peered_gateways().data
    halves: dict[str, dict[str, Any]] = {"1": {}, "2": {}}
    for kind, items in data.items():
        for number in halves:
            mine = [
                one for one in items if f"-{number}" in json.dumps(one) or kind == "SecurityGroups"
            ]
            halves[number][kind] = mine
    files = {
        f"aws/accounts/11111111111{number}/us-east-{number}/{kind}.json": {kind: items}
        for number, kinds in halves.items()
        for kind, items in kinds.items()
    }
    network = Network.build(load_snapshot(folder(tmp_path, files)))
    assert_reachable(network, "eni-1", "10.2.1.5")


def test_tables_grouped_by_their_id() -> None:
    """Exports that group propagations and routes under their table are read like flat rows."""
    cloud = isolated_tables()
    cloud.data["TransitGatewayPropagations"] = grouped(
        cloud.data.pop("TransitGatewayRouteTablePropagations"),
        "TransitGatewayRouteTablePropagations",
    )
    cloud.data["TransitGatewayStaticRoutes"] = grouped(
        cloud.data.pop("TransitGatewayRoutes"), "Routes"
    )
    network = cloud.network()
    assert_reachable(network, "eni-a", "10.2.1.5")
    assert network.trace("eni-a", "10.7.0.1").outcome == "BLACKHOLE"


def test_raw_outputs_of_calls_about_one_table(tmp_path: Path) -> None:
    """`get-…-associations`, `get-…-propagations` and `search-…-routes` name no table: the file's name does."""
    data = isolated_tables().data
    for item in data["TransitGatewayAttachments"]:
        item.pop("Association", None)
    del data["TransitGatewayRouteTableAssociations"]
    files: dict[str, Any] = {
        f"{kind}.json": {kind: items}
        for kind, items in data.items()
        if kind not in ("TransitGatewayRouteTablePropagations", "TransitGatewayRoutes")
    }
    for table, attachment in (("tgw-rtb-a", "tgw-attach-a"), ("tgw-rtb-b", "tgw-attach-b")):
        files[f"associations-{table}.json"] = {
            "Associations": [{"TransitGatewayAttachmentId": attachment, "State": "associated"}]
        }
        rows = [
            {key: value for key, value in row.items() if key != "TransitGatewayRouteTableId"}
            for row in data["TransitGatewayRouteTablePropagations"]
            if row["TransitGatewayRouteTableId"] == table
        ]
        files[f"propagations-{table}.json"] = {"TransitGatewayRouteTablePropagations": rows}
    files["search-tgw-rtb-a.json"] = {
        "Routes": [{"DestinationCidrBlock": "10.7.0.0/16", "Type": "static", "State": "blackhole"}],
        "AdditionalRoutesAvailable": True,
    }
    snapshot = load_snapshot(folder(tmp_path, files))
    network = Network.build(snapshot)
    assert_reachable(network, "eni-a", "10.2.1.5")
    assert network.trace("eni-a", "10.7.0.1").outcome == "BLACKHOLE"
    assert any("beyond the first page" in one for one in snapshot.not_observed)


def test_associations_listed_apart() -> None:
    """Associations by their own call count like those shown on attachments."""
    cloud = isolated_tables()
    for item in cloud.data["TransitGatewayAttachments"]:
        association = item.pop("Association", None)
        if association:
            cloud.data["TransitGatewayRouteTableAssociations"].append(
                {
                    "TransitGatewayRouteTableId": association["TransitGatewayRouteTableId"],
                    "TransitGatewayAttachmentId": item["TransitGatewayAttachmentId"],
                    "State": "associated",
                }
            )
    assert_reachable(cloud.network(), "eni-a", "10.2.1.5")


def test_default_tables_where_associations_were_not_observed() -> None:
    """A gateway's default association and propagation stand in for listings that nobody made."""
    cloud = zones()
    for kind in (
        "TransitGatewayAttachments",
        "TransitGatewayRouteTableAssociations",
        "TransitGatewayRouteTablePropagations",
        "TransitGatewayRoutes",
    ):
        del cloud.data[kind]
    cloud.data["TransitGateways"][0]["Options"] |= {
        "DefaultRouteTableAssociation": "enable",
        "AssociationDefaultRouteTableId": "tgw-rtb-1",
        "DefaultRouteTablePropagation": "enable",
        "PropagationDefaultRouteTableId": "tgw-rtb-1",
    }
    assert_reachable(cloud.network(), "eni-a1", "10.2.1.5")


def test_reservations_alone_are_enough() -> None:
    """Without `describe_network_interfaces`, the interfaces that instances show serve."""
    cloud = zones()
    reservations = []
    for item in cloud.data.pop("NetworkInterfaces"):
        instance_id = item["Attachment"]["InstanceId"]
        reservations.append(
            {
                "Instances": [
                    {
                        "InstanceId": instance_id,
                        "VpcId": item["VpcId"],
                        "SubnetId": item["SubnetId"],
                        "State": {"Name": "running"},
                        "NetworkInterfaces": [item],
                    }
                ]
            }
        )
    del cloud.data["Instances"]
    cloud.data["Reservations"] = reservations
    network = cloud.network()
    assert_reachable(network, "i-a1", "i-b1")
    assert "NetworkInterfaces" in network.facts.not_observed


def test_elastic_addresses_complete_interfaces() -> None:
    """An association that only `describe_addresses` shows makes its interface public."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5").internet_gateway("igw-1", "vpc-a")
    cloud.table("rtb-a", "vpc-a", route("0.0.0.0/0", "igw-1"), main=True)
    cloud.data["Addresses"].append(
        {"PublicIp": "3.3.3.3", "NetworkInterfaceId": "eni-a", "PrivateIpAddress": "10.0.1.5"}
    )
    assert cloud.network().trace("internet", "3.3.3.3").outcome == "DELIVERED"


def test_a_resource_seen_from_two_accounts_is_one() -> None:
    """A shared attachment whose association only its owner sees keeps it, in whatever order the accounts are read."""
    cloud = zones()
    stranger = [
        {key: value for key, value in item.items() if key != "Association"}
        for item in cloud.data["TransitGatewayAttachments"]
    ]
    for order in (("a", "b"), ("b", "a")):
        views = {"a": cloud.data, "b": {"TransitGatewayAttachments": stranger}}
        snapshot = Snapshot.from_describe({name: views[name] for name in order})
        assert_reachable(Network.build(snapshot), "eni-a1", "10.2.1.5")


def test_missing_kinds_are_listed_and_no_others() -> None:
    """What was asked for and is empty was observed; what was never asked for was not."""
    cloud = zones().forget("NatGateways", "VpcEndpoints")
    assert Snapshot.from_describe(cloud.data).not_observed == ("NatGateways", "VpcEndpoints")


def test_prefix_lists_in_their_three_forms() -> None:
    """AWS's own lists show `Cidrs`, managed ones have `Entries`, and entries may be listed apart."""
    for item in (
        {"Cidrs": ["52.0.0.0/8"]},
        {"Entries": [{"Cidr": "52.0.0.0/8"}]},
        {"Cidr": "52.0.0.0/8"},
    ):
        cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
        cloud.interface("eni-a", "subnet-a", "10.0.1.5").endpoint("vpce-1", "vpc-a", "Gateway")
        cloud.data["PrefixLists"].append({"PrefixListId": "pl-1", **item})
        cloud.table("rtb-a", "vpc-a", route("pl-1", "vpce-1"), main=True)
        assert cloud.network().trace("eni-a", "52.1.1.1").outcome == "DELIVERED"


def test_an_unobserved_prefix_list_is_said() -> None:
    """A route by a list whose entries nobody fetched cannot match, and the answer names the list."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").subnet("subnet-a", "vpc-a", "10.0.1.0/24")
    cloud.interface("eni-a", "subnet-a", "10.0.1.5").table(
        "rtb-a", "vpc-a", route("pl-1", "vpce-1"), main=True
    )
    trace = cloud.network().trace("eni-a", "52.1.1.1")
    assert "PrefixLists entries of pl-1" in trace.not_observed


# -- refused ----------------------------------------------------------------------------------------------------------


def broken(kind: str, index: int, **fields: Any) -> dict[str, Any]:
    data = zones().data
    data[kind][index] = {
        key: value for key, value in {**data[kind][index], **fields}.items() if value is not ...
    }
    return data


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({}, "describe outputs"),
        ({"Vpcs": {"VpcId": "vpc-1"}}, "Vpcs"),
        ({"Vpcs": [7]}, r"Vpcs\[0\]"),
        ({"Vpcs": [{"CidrBlock": "10.0.0.0/16"}]}, "VpcId"),
        (broken("Vpcs", 0, CidrBlock="10.0.0.0/99"), "vpc-a"),
        (broken("Subnets", 0, CidrBlock="elephant"), "subnet-a1"),
        (broken("Subnets", 0, VpcId=...), "subnet-a1: has no VpcId"),
        (broken("Subnets", 1, CidrBlock="10.1.1.128/25"), "subnet-a1-tgw.*overlaps.*subnet-a1"),
        (broken("NetworkInterfaces", 0, PrivateIpAddress="10.1.1"), "eni-a1"),
        (broken("RouteTables", 0, Routes=[{"GatewayId": "local"}]), "rtb-a.*DestinationCidrBlock"),
        (
            broken(
                "RouteTables", 0, Routes=[{"DestinationCidrBlock": "0.0.0.0/0", "State": "sleepy"}]
            ),
            "rtb-a.*sleepy",
        ),
        (broken("SecurityGroups", 0, IpPermissions=[{"IpProtocol": "smoke"}]), "sg-open.*smoke"),
        (
            {**zones().data, "TransitGatewayRoutes": [{"DestinationCidrBlock": "10.0.0.0/8"}]},
            "TransitGatewayRouteTableId",
        ),
    ],
)
def test_malformed_snapshots_are_refused_by_name(data: dict[str, Any], named: str) -> None:
    """The refusal names the resource and the field, in one line."""
    with pytest.raises(InvalidSnapshot, match=named) as refusal:
        Network.build(Snapshot.from_describe(data))
    assert "\n" not in str(refusal.value)


def test_active_peering_of_overlapping_vpcs_is_refused() -> None:
    """AWS allows no such peering, so a snapshot that shows one is wrong."""
    cloud = (
        Cloud()
        .vpc("vpc-a", "10.0.0.0/16")
        .vpc("vpc-b", "10.0.128.0/17")
        .peering("pcx-1", "vpc-a", "vpc-b")
    )
    with pytest.raises(InvalidSnapshot, match="pcx-1"):
        cloud.network()


def test_overlapping_vpcs_without_peering_are_fine() -> None:
    """Unconnected VPCs share address space in real accounts."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").vpc("vpc-b", "10.0.0.0/16")
    for name in ("a", "b"):
        cloud.subnet(f"subnet-{name}", f"vpc-{name}", "10.0.1.0/24").table(
            f"rtb-{name}", f"vpc-{name}", main=True
        )
    cloud.interface("eni-b", "subnet-b", "10.0.1.9")
    network = cloud.network()
    assert network.trace("subnet-b", "10.0.1.9").outcome == "DELIVERED"
    assert network.trace("subnet-a", "10.0.1.9").outcome == "NO_SUCH_HOST"


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({"Vpcs.json": '{"Vpcs": [{"VpcId": "vpc-1"'}, "Vpcs.json: line 1 column .*cut off"),
        ({"Vpcs.json": '{"Vpcs": ]}'}, "Vpcs.json: line 1 column"),
        ({"Vpcs.json": ""}, "Vpcs.json: the file is empty"),
        ({"a.json": "[1]"}, "a.json"),
        ({"readme.txt": "no"}, "no .json file"),
    ],
)
def test_unreadable_files_are_refused_by_name(
    tmp_path: Path, files: dict[str, Any], named: str
) -> None:
    """A broken or truncated file is named with the place in it."""
    with pytest.raises(InvalidSnapshot, match=named):
        load_snapshot(folder(tmp_path, files))


def test_other_services_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """An export may hold more than EC2's describe calls."""
    files = {f"{kind}.json": {kind: items} for kind, items in zones().data.items()}
    files["LoadBalancers.json"] = {"LoadBalancers": []}
    files["AvailabilityZones.json"] = {"AvailabilityZones": [{"ZoneName": "us-east-1a"}]}
    assert_reachable(Network.build(load_snapshot(folder(tmp_path, files))), "eni-a1", "10.2.1.5")


def test_a_propagated_route_is_no_static_one() -> None:
    """`before` of a change speaks of static routes only: a propagated one at the same prefix does not count."""
    cloud = Cloud().vpc("vpc-a", "10.0.0.0/16").vpn_gateway("vgw-1", "vpc-a")
    cloud.table("rtb-a", "vpc-a", propagated("192.168.0.0/16", "vgw-1"), main=True)
    from control_plane.domain.route_model import observed_target

    assert observed_target(cloud.network(), "rtb-a", "192.168.0.0/16") is None
