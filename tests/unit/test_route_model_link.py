"""A link across two partitions: proofs before a switch, explanations, and what a plan would change."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.domain.route_model import (
    Change,
    Flow,
    InvalidQuestion,
    Network,
    Outcome,
    PlanLimits,
    Report,
    Snapshot,
    ViolationKind,
)
from tests.unit.route_model_language import (
    Cloud,
    assert_blackhole,
    assert_no_internet,
    assert_outcome,
    assert_passes,
    assert_reachable,
    route,
    rule,
)

FUNCTIONS = "subnet-gov-a"
ENDPOINT_A, ENDPOINT_B = "172.16.1.10", "172.16.3.10"


def govcloud() -> Cloud:
    """Private subnets in two zones, a transit gateway, two VPN connections with two tunnels each."""
    cloud = Cloud().vpc("vpc-gov", "10.0.0.0/16")
    for zone, net in (("a", 1), ("b", 2)):
        cloud.subnet(f"subnet-gov-{zone}", "vpc-gov", f"10.0.{net}.0/24", zone=f"gov-az-{zone}")
    cloud.group("sg-functions", inbound=[], outbound=[rule("tcp", (443, 443), "172.16.0.0/16")])
    cloud.interface("eni-function", "subnet-gov-a", "10.0.1.20", groups=("sg-functions",))
    cloud.table("rtb-gov", "vpc-gov", route("172.16.0.0/16", "tgw-1"), main=True)
    cloud.transit_gateway("tgw-1", "tgw-rtb-1")
    cloud.attach(
        "tgw-attach-vpc",
        "tgw-1",
        "vpc-gov",
        "tgw-rtb-1",
        subnets=("subnet-gov-a", "subnet-gov-b"),
        propagates_to=("tgw-rtb-1",),
    )
    for number, customer in (("1", "198.18.0.1"), ("2", "198.18.0.2")):
        cloud.vpn(f"vpn-{number}", "tgw-1", customer=customer)
        cloud.attach(f"tgw-attach-vpn-{number}", "tgw-1", f"vpn-{number}", "tgw-rtb-1")
    cloud.transit_route("tgw-rtb-1", "10.0.0.0/16", "tgw-attach-vpc", kind="propagated")
    learnt: dict[str, Any] = {"kind": "propagated", "resource": "vpn"}
    cloud.transit_route("tgw-rtb-1", "172.16.1.0/24", "tgw-attach-vpn-1", **learnt)
    cloud.transit_route("tgw-rtb-1", "172.16.3.0/24", "tgw-attach-vpn-2", **learnt)
    cloud.transit_route(
        "tgw-rtb-1", "172.16.0.0/16", "tgw-attach-vpn-1", "tgw-attach-vpn-2", **learnt
    )
    return cloud


def commercial() -> Cloud:
    """Two endpoint subnets, each with its own table, and two edge routers that own the customer gateways' addresses."""
    cloud = Cloud().vpc("vpc-com", "172.16.0.0/16").internet_gateway("igw-com", "vpc-com")
    cloud.group("sg-endpoint", inbound=[rule("tcp", (443, 443), "10.0.0.0/16")])
    for zone, net, edge in (("a", 1, 2), ("b", 3, 4)):
        cloud.subnet(f"subnet-end-{zone}", "vpc-com", f"172.16.{net}.0/24", zone=f"com-az-{zone}")
        cloud.subnet(f"subnet-edge-{zone}", "vpc-com", f"172.16.{edge}.0/24", zone=f"com-az-{zone}")
        cloud.interface(
            f"eni-end-{zone}",
            f"subnet-end-{zone}",
            f"172.16.{net}.10",
            groups=("sg-endpoint",),
            kind="vpc_endpoint",
        )
        public = "198.18.0.1" if zone == "a" else "198.18.0.2"
        cloud.interface(
            f"eni-router-{zone}",
            f"subnet-edge-{zone}",
            f"172.16.{edge}.10",
            public=public,
            check=False,
            instance=f"i-router-{zone}",
        )
        cloud.table(
            f"rtb-end-{zone}",
            "vpc-com",
            route("10.0.0.0/16", f"eni-router-{zone}"),
            subnets=(f"subnet-end-{zone}",),
        )
    cloud.table("rtb-edge", "vpc-com", route("0.0.0.0/0", "igw-com"), main=True)
    cloud.endpoint("vpce-1", "vpc-com", "Interface", "eni-end-a", "eni-end-b")
    return cloud


def link(gov: Cloud | None = None, com: Cloud | None = None) -> Network:
    sides = {"govcloud": (gov or govcloud()).data, "commercial": (com or commercial()).data}
    return Network.build(Snapshot.from_describe(sides))


def cut(cloud: Cloud, vpn: str) -> Cloud:
    """All tunnels of a connection go down; the routes that it taught are still listed."""
    for connection in cloud.data["VpnConnections"]:
        if connection["VpnConnectionId"] == vpn:
            for tunnel in connection["VgwTelemetry"]:
                tunnel["Status"] = "DOWN"
    return cloud


def withdrawn(cloud: Cloud, attachment: str) -> Cloud:
    """BGP has taken back what a dead connection taught."""
    routes = []
    for item in cloud.data["TransitGatewayRoutes"]:
        item["TransitGatewayAttachments"] = [
            one
            for one in item["TransitGatewayAttachments"]
            if one["TransitGatewayAttachmentId"] != attachment
        ]
        routes += [item] if item["TransitGatewayAttachments"] else []
    cloud.data["TransitGatewayRoutes"] = routes
    return cloud


def repair(before: str | None = "eni-router-a", after: str | None = "eni-router-b") -> Change:
    return Change("commercial", "vpc", "rtb-end-a", "10.0.0.0/16", before, after)


FLOW = Flow(FUNCTIONS, ENDPOINT_A)
LIMITS = PlanLimits(frozenset({"rtb-end-a", "rtb-end-b", "rtb-gov"}), 4)


def kinds(report: Report) -> set[ViolationKind]:
    return {violation.kind for violation in report.violations}


# -- traces across the partitions --------------------------------------------------------------------------------------


def test_both_paths_deliver_both_ways() -> None:
    """Each zone's endpoint is reached by its own connection and router, and its reply takes the same way."""
    network = link()
    for endpoint, vpn, router in (
        (ENDPOINT_A, "vpn-1", "eni-router-a"),
        (ENDPOINT_B, "vpn-2", "eni-router-b"),
    ):
        trace = assert_reachable(network, FUNCTIONS, endpoint)
        assert_passes(
            trace, "subnet-gov-a", "tgw-attach-vpc", "tgw-1", vpn, f"cgw-of-{vpn}", router, "vpce-1"
        )
        assert trace.return_trace is not None
        assert_passes(
            trace.return_trace,
            router,
            f"cgw-of-{vpn}",
            vpn,
            "tgw-1",
            "tgw-attach-vpc",
            "subnet-gov-a",
        )


def test_the_function_itself_is_delivered() -> None:
    """Security groups of function and endpoint let port 443 pass, and nothing else."""
    network = link()
    assert_reachable(network, "eni-function", ENDPOINT_A)
    assert_outcome(network, "eni-function", ENDPOINT_A, "DENIED", port=80)


def test_dead_tunnels_do_not_deliver_although_the_route_is_active() -> None:
    """A propagated route whose connection has all tunnels down ends in TUNNEL_DOWN, and the connection is named."""
    trace = assert_outcome(link(cut(govcloud(), "vpn-1")), FUNCTIONS, ENDPOINT_A, "TUNNEL_DOWN")
    assert trace.blocked_by[0].id == "vpn-1"
    assert_reachable(link(cut(govcloud(), "vpn-1")), FUNCTIONS, ENDPOINT_B)


def test_a_dead_router_cuts_off_its_zone_until_the_return_route_is_replaced() -> None:
    """After BGP withdrew router a, zone a is reached by router b; only its return route still leads to the dead one."""
    com = commercial()
    com.data["Instances"][0]["State"]["Name"] = "stopped"
    gov = withdrawn(cut(govcloud(), "vpn-1"), "tgw-attach-vpn-1")
    network = link(gov, com)
    trace = network.trace(FUNCTIONS, ENDPOINT_A)
    assert trace.outcome is Outcome.DELIVERED
    assert_passes(trace, "vpn-2", "eni-router-b", "eni-end-a")
    assert trace.return_trace is not None
    assert trace.return_trace.outcome is Outcome.BLACKHOLE
    assert [blocker.id for blocker in trace.blocked_by] == ["eni-router-a", "rtb-end-a"] or [
        blocker.id for blocker in trace.blocked_by
    ] == ["eni-router-a"]
    report = network.validate([repair()], flows=[FLOW], limits=LIMITS)
    assert report.ok, report.describe()
    assert report.traces[0].delivered_both_ways


def test_no_private_subnet_has_a_way_to_the_internet() -> None:
    """The design's promise: only the routers' own edge subnets touch the internet."""
    network = link()
    assert_no_internet(network, "vpc-gov", "subnet-end-a", "subnet-end-b")
    found = network.isolation_violations(["subnet-edge-a"])
    assert {violation.resource_id for violation in found} == {"igw-com"}


def test_a_default_route_over_the_vpn_to_a_router_is_a_way_to_the_internet() -> None:
    """Leaks are found across partitions: by transit gateway, VPN, a forwarding router and its internet gateway."""
    gov = govcloud()
    gov.data["RouteTables"][0]["Routes"].append(route("0.0.0.0/0", "tgw-1"))
    gov.transit_route("tgw-rtb-1", "52.0.0.0/8", "tgw-attach-vpn-1", resource="vpn")
    found = link(gov).isolation_violations(["vpc-gov"])
    assert found
    assert "igw-com" in found[0].message
    assert "52.0.0.0/8" in found[0].message


# -- what-if ------------------------------------------------------------------------------------------------------------


def test_a_plan_that_changes_nothing_is_clean() -> None:
    """No changes, a healthy flow: nothing to report."""
    report = link().validate([], flows=[FLOW], limits=LIMITS)
    assert report.violations == ()
    assert report.ok


def test_cross_connecting_is_allowed_and_named_asymmetric() -> None:
    """Zone a's replies over router b arrive by the other connection: delivered, and said to be asymmetric."""
    report = link().validate([repair()], flows=[FLOW], limits=LIMITS)
    assert report.ok, report.describe()
    assert kinds(report) == {ViolationKind.ASYMMETRIC_PATH}
    assert report.violations[0].introduced


def test_a_deleted_return_route_breaks_the_return_path() -> None:
    """The violation names the table that lacks the route, and what to put back."""
    report = link().validate([repair(after=None)], flows=[FLOW], limits=LIMITS)
    assert not report.ok
    broken = next(one for one in report.violations if one.kind is ViolationKind.RETURN_BROKEN)
    assert broken.introduced
    assert broken.resource_id == "rtb-end-a"
    assert any("10.0.0.0/16 → eni-router-" in one.fix for one in broken.blocked_by), broken


def test_an_old_fault_is_told_apart_from_a_new_one() -> None:
    """A flow that was broken before the plan is reported, and not as introduced by it."""
    gov = cut(govcloud(), "vpn-1")
    unrelated = Change("commercial", "vpc", "rtb-end-b", "10.9.0.0/16", None, "eni-router-b")
    report = link(gov).validate([unrelated], flows=[FLOW], limits=LIMITS)
    broken = next(one for one in report.violations if one.kind is ViolationKind.FORWARD_BROKEN)
    assert not broken.introduced
    assert broken.blocking


def test_a_route_to_an_interface_that_does_not_forward_is_a_blackhole() -> None:
    """Even with no flow asked about, the new route itself is tried."""
    report = link().validate([repair(after="eni-end-b")])
    assert ViolationKind.BLACKHOLE in kinds(report)
    assert not report.ok


def test_a_route_to_something_unknown_blocks() -> None:
    """A target that the snapshot does not have cannot be proved."""
    report = link().validate([repair(after="eni-nowhere")])
    assert ViolationKind.UNKNOWN_TARGET in kinds(report)
    assert not report.ok


def test_a_route_to_the_internet_gateway_is_exposure() -> None:
    """A plan that opens a private subnet to the internet is refused, whatever its flows do."""
    opening = Change("commercial", "vpc", "rtb-end-b", "0.0.0.0/0", None, "igw-com")
    report = link().validate([opening], flows=[FLOW], limits=LIMITS)
    exposure = next(one for one in report.violations if one.kind is ViolationKind.INTERNET_EXPOSURE)
    assert exposure.introduced
    assert exposure.resource_id == "igw-com"
    assert not report.ok


def test_a_loop_is_found() -> None:
    """Two tables that send a destination back and forth."""
    gov = govcloud()
    loop = Change(
        "govcloud", "transit-gateway", "tgw-rtb-1", "172.16.1.0/24", None, "tgw-attach-vpc"
    )
    report = link(gov).validate([loop], flows=[FLOW])
    assert ViolationKind.LOOP in kinds(report)
    assert not report.ok


def test_a_static_transit_gateway_route_masks_bgp_and_can_be_taken_back() -> None:
    """The override steers; deleting it brings back what BGP taught."""
    network = link()
    override = Change(
        "govcloud", "transit-gateway", "tgw-rtb-1", "172.16.1.0/24", None, "tgw-attach-vpn-2"
    )
    planned = network.with_changes([override])
    assert_passes(planned.trace(FUNCTIONS, ENDPOINT_A), "vpn-2", "eni-router-b", "eni-end-a")
    undone = planned.with_changes(
        [
            Change(
                "govcloud",
                "transit-gateway",
                "tgw-rtb-1",
                "172.16.1.0/24",
                "tgw-attach-vpn-2",
                None,
            )
        ]
    )
    assert_passes(undone.trace(FUNCTIONS, ENDPOINT_A), "vpn-1", "eni-router-a")
    assert_passes(network.trace(FUNCTIONS, ENDPOINT_A), "vpn-1", "eni-router-a")


def test_limits_are_violations() -> None:
    """A table off the allow-list and one change too many are refused by name."""
    changes = [
        repair(),
        Change("commercial", "vpc", "rtb-edge", "10.0.0.0/16", None, "eni-router-b"),
    ]
    report = link().validate(changes, limits=PlanLimits(frozenset({"rtb-end-a"}), 1))
    assert {ViolationKind.TABLE_NOT_ALLOWED, ViolationKind.TOO_MANY_CHANGES} <= kinds(report)
    outside = next(one for one in report.violations if one.kind is ViolationKind.TABLE_NOT_ALLOWED)
    assert outside.resource_id == "rtb-edge"


def test_before_that_is_not_observed_is_a_violation() -> None:
    """A plan made for another world is refused: the route leads elsewhere now."""
    report = link().validate([repair(before="eni-router-b", after="eni-router-b")])
    mismatch = next(one for one in report.violations if one.kind is ViolationKind.BEFORE_MISMATCH)
    assert "eni-router-a" in mismatch.message
    assert not report.ok


@pytest.mark.parametrize(
    "change",
    [
        Change("commercial", "vpc", "rtb-none", "10.0.0.0/16", None, "eni-router-a"),
        Change("commercial", "vpc", "rtb-end-a", "10.0.0.0/33", None, "eni-router-a"),
        Change("commercial", "vpc", "rtb-end-a", "172.16.0.0/16", "local", None),
    ],
)
def test_a_change_that_makes_no_sense_is_a_violation(change: Change) -> None:
    """Unknown tables, malformed destinations and deleting a local route are findings, not crashes."""
    assert ViolationKind.INVALID_CHANGE in kinds(link().validate([change]))


def test_the_base_model_is_untouched_by_a_what_if() -> None:
    """Validating a plan leaves the network as it was."""
    network = link()
    before = network.trace(FUNCTIONS, ENDPOINT_A).to_dict()
    network.validate([repair(after=None)], flows=[FLOW])
    assert network.trace(FUNCTIONS, ENDPOINT_A).to_dict() == before


# -- explanations ---------------------------------------------------------------------------------------------------------


def test_every_blocking_component_is_named_not_only_the_first() -> None:
    """A deleted route, a closed security group and a missing return route are three changes, all named."""
    gov, com = govcloud(), commercial()
    gov.data["RouteTables"][0]["Routes"] = [
        one for one in gov.data["RouteTables"][0]["Routes"] if one.get("TransitGatewayId") is None
    ]
    for group in com.data["SecurityGroups"]:
        if group["GroupId"] == "sg-endpoint":
            group["IpPermissions"] = []
    com.data["RouteTables"][0]["Routes"] = [
        one for one in com.data["RouteTables"][0]["Routes"] if one.get("NetworkInterfaceId") is None
    ]
    trace = assert_outcome(link(gov, com), FUNCTIONS, ENDPOINT_A, "NO_ROUTE")
    assert [blocker.id for blocker in trace.blocked_by] == ["rtb-gov", "sg-endpoint", "rtb-end-a"]
    assert trace.blocked_by[0].fix == "create route 172.16.0.0/16 → tgw-1 in rtb-gov"


def test_the_proposed_changes_do_fix_it() -> None:
    """Applying the proposed route is enough: the explanation is a proof, not a guess."""
    network = link().with_changes([repair(after=None)])
    trace = network.trace(FUNCTIONS, ENDPOINT_A)
    fix = trace.blocked_by[0].fix.split()
    assert fix[:2] == ["create", "route"]
    mended = network.with_changes([Change("commercial", "vpc", fix[-1], fix[2], None, fix[4])])
    assert mended.trace(FUNCTIONS, ENDPOINT_A).delivered_both_ways


def test_a_dead_connection_is_the_one_thing_to_mend() -> None:
    """Mending what packets take today is preferred over a detour of the same size."""
    trace = link(cut(govcloud(), "vpn-1")).trace(FUNCTIONS, ENDPOINT_A)
    assert [(blocker.id, blocker.kind) for blocker in trace.blocked_by] == [
        ("vpn-1", "vpn-connection")
    ]


def test_a_blackhole_is_named_with_its_route() -> None:
    """EC2's own blackhole state ends the trace at that table."""
    com = commercial()
    for table in com.data["RouteTables"]:
        for one in table["Routes"]:
            if one.get("NetworkInterfaceId") == "eni-router-a":
                one["State"] = "blackhole"
    network = link(com=com)
    assert_blackhole(network, "eni-end-a", "10.0.1.20")
    trace = network.trace(FUNCTIONS, ENDPOINT_A)
    assert trace.return_trace is not None
    assert trace.return_trace.outcome is Outcome.BLACKHOLE
    assert trace.blocked_by[0].id == "rtb-end-a"


def test_not_observed_kinds_are_listed() -> None:
    """A missing kind is fine, and the answer says that it was missing."""
    gov, com = govcloud().forget("NetworkAcls", "NatGateways"), commercial().forget("NetworkAcls")
    trace = link(gov, com).trace(FUNCTIONS, ENDPOINT_A)
    assert "NetworkAcls" in trace.not_observed
    assert "govcloud/NatGateways" in trace.not_observed


def test_missing_telemetry_is_taken_for_up_and_said() -> None:
    """Without telemetry the model cannot know, and does not pretend to."""
    gov = govcloud()
    del gov.data["VpnConnections"][0]["VgwTelemetry"]
    trace = assert_reachable(link(gov), FUNCTIONS, ENDPOINT_A)
    assert "VgwTelemetry of vpn-1" in trace.not_observed


def test_an_unknown_end_is_refused() -> None:
    """A question about something that is not there names it."""
    with pytest.raises(InvalidQuestion, match="subnet-nowhere"):
        link().trace("subnet-nowhere", ENDPOINT_A)
    with pytest.raises(InvalidQuestion, match="eni-nowhere"):
        link().trace(FUNCTIONS, "eni-nowhere")
