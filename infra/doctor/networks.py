"""Check `networks`: addresses that overlap, between the sides and with networks that are there already."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from control_plane.adapters.snapshot import pages
from infra.deploy.clients import Clients
from infra.deploy.preflight import DEFAULT_NETWORK, network_problem
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.doctor.findings import BOTH, Finding, Result

NAME = "networks"


def check_settings(settings: DeploySettings) -> list[Finding]:
    """The two networks of the link can be joined."""
    remedy = "choose networks that do not overlap: --parameter SIDE:VpcCidr=…"
    try:
        problem = network_problem(settings)
    except ValueError as error:
        return [Finding(NAME, BOTH, Result.FAILED, f"VpcCidr or PeerCidr: {error}", remedy)]
    if problem:
        return [Finding(NAME, BOTH, Result.FAILED, problem, remedy)]
    return [Finding(NAME, BOTH, Result.OK, "the two networks do not overlap")]


def check_account(clients: Clients, side: str, settings: DeploySettings) -> Iterator[Finding]:
    """VPCs of the account that are not the link's, and have addresses of one of the link's networks.

    Two VPCs may have the same addresses; joined by a transit gateway or a peering they may not.
    """
    ours = {
        GOVCLOUD: settings.govcloud_parameters,
        COMMERCIAL: settings.commercial_parameters,
    }
    try:
        networks = {
            name: ipaddress.ip_network(given.get("VpcCidr", DEFAULT_NETWORK[name]))
            for name, given in ours.items()
        }
    except ValueError:
        return  # told by `check_settings`
    stack_names = {settings.govcloud_stack, settings.commercial_stack}
    clash = False
    for vpc in pages(clients.client("ec2", side), "describe_vpcs", "Vpcs"):
        tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", ())}
        if tags.get("aws:cloudformation:stack-name") in stack_names or (
            tags.get("twinspan:link") == settings.link_id
        ):
            continue
        blocks = {item["CidrBlock"] for item in vpc.get("CidrBlockAssociationSet", ())}
        for block in sorted(blocks | {vpc["CidrBlock"]}):
            for name, network in networks.items():
                if ipaddress.ip_network(block).overlaps(network):
                    clash = True
                    yield Finding(
                        NAME,
                        side,
                        Result.WARNING,
                        f"{vpc['VpcId']} has {block}, which overlaps with the link's {name} network {network}",
                        "do not join it with the link's networks, or choose another VpcCidr",
                    )
    if not clash:
        yield Finding(NAME, side, Result.OK, "no other VPC has addresses of the link's networks")
