"""Before anything: who we are on both sides, and that what was chosen can be had and would have an effect."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from infra.deploy.progress import DeploymentError
from infra.deploy.run import Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.documents import SideFacts

NAME = "preflight"
DEFAULT_NETWORK = {GOVCLOUD: "10.0.0.0/16", COMMERCIAL: "172.16.0.0/16"}


def check(run: Run) -> None:
    """Fill in `run.sides`.

    Raises:
        DeploymentError: one partition twice, networks that cannot be joined, or a setting that would have no effect.
    """
    for side in (GOVCLOUD, COMMERCIAL):
        sts = run.client("sts", side)
        identity = sts.get_caller_identity()
        partition = identity["Arn"].split(":")[1]
        run.sides[side] = SideFacts(partition, sts.meta.region_name, identity["Account"])
        run.say(
            NAME, f"{side}: account {identity['Account']}, {sts.meta.region_name} ({partition})"
        )
    if run.sides[GOVCLOUD].partition == run.sides[COMMERCIAL].partition:
        raise DeploymentError(
            NAME, f"both sides are in the partition {run.sides[GOVCLOUD].partition}"
        )
    if problem := network_problem(run.settings) or api_key_problem(run.settings):
        raise DeploymentError(NAME, problem)


def api_key_problem(settings: DeploySettings) -> str | None:
    """Why data classes of API keys would bind nobody, or None."""
    given = settings.govcloud_parameters
    if given.get("ApiKeyDataClasses") and given.get("ApiKeyFrom", "nowhere") == "nowhere":
        return "ApiKeyDataClasses: no route asks for an API key; set ApiKeyFrom as well"
    return None


def network_problem(settings: DeploySettings) -> str | None:
    """Why the two networks cannot be joined, or None.

    Raises:
        ValueError: a parameter is no network.
    """
    networks = {
        side: ipaddress.ip_network(given.get("VpcCidr", DEFAULT_NETWORK[side]))
        for side, given in _given(settings).items()
    }
    ours, theirs = networks[GOVCLOUD], networks[COMMERCIAL]
    if ours.overlaps(theirs):
        return f"VpcCidr: {ours} and {theirs} overlap"
    for side, wanted in ((GOVCLOUD, theirs), (COMMERCIAL, ours)):
        peer = _given(settings)[side].get("PeerCidr")
        if peer is not None and ipaddress.ip_network(peer) != wanted:
            return f"PeerCidr of {side} is {peer}, but the other side is {wanted}"
    return None


def _given(settings: DeploySettings) -> dict[str, Mapping[str, str]]:
    return {GOVCLOUD: settings.govcloud_parameters, COMMERCIAL: settings.commercial_parameters}
