"""Phase `documents`: topology, policy and first routing config; then the route model and a request each way.

The topology is the deployment's and written whenever it changed. The policy is the operator's and the routing
config the control plane's: they are written once and then left alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from control_plane.domain.policy import Policy
from control_plane.domain.topology import Topology
from control_plane.settings import parameter_name
from infra import documents
from infra.deploy import proofs
from infra.deploy.progress import DeploymentError
from infra.deploy.run import Before, Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD
from infra.documents import EndpointFacts

NAME = "documents"
KINDS = ("topology", "policy", "routing-config")


class Documents:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ("commercial", "govcloud", "credential", "routers")

    def require(self, run: Run) -> None:
        """What is stored already can be read."""
        for kind in KINDS:
            stored(run, kind)

    def before(self, run: Run) -> Before:
        """The documents as they are, None for one that is not."""
        return {kind: stored(run, kind) for kind in KINDS}

    def act(self, run: Run) -> None:
        """Write what is the deployment's, and what nobody has written yet."""
        topology = documents.compose_topology(
            run.settings.link_id,
            run.sides,
            run.commercial,
            run.govcloud,
            _endpoint(run),
            run.settings.endpoint_overrides,
            run.settings.extra_paths,
        )
        if stored(run, "topology") != topology:
            _store(run, "topology", topology)
        policy = stored(run, "policy")
        if policy is None:
            policy = documents.first_policy(topology, run.settings.policy)
            _store(run, "policy", policy)
        Policy.from_json(documents.to_json(policy)).check_against(
            Topology.from_json(documents.to_json(topology))
        )
        config = stored(run, "routing-config")
        if config is None:
            config = documents.first_routing_config(topology, policy)
            _store(run, "routing-config", config)
        else:
            run.say(
                NAME,
                f"routing config stays at generation {config['generation']}, "
                f"active path {config['active_path']}",
            )
        run.topology, run.policy, run.routing_config = topology, policy, config

    def check(self, run: Run) -> None:
        """The route model finds every path delivered both ways, and every path carries a request."""
        # The transit gateway learns its routes over the tunnels: before they are up, the model has none.
        if run.settings.prove_routes and run.settings.tunnels_up_seconds:
            proofs.routes(run, NAME)
        if run.settings.connectivity_seconds:
            proofs.proxy_answers(run, NAME)
            proofs.paths_carry(run, NAME)

    def undo(self, run: Run, before: Before) -> str:
        """The topology before; what this deployment wrote first goes, unless the control plane went on from it."""
        done = []
        if before["topology"] is not None and stored(run, "topology") != before["topology"]:
            _store(run, "topology", before["topology"])
            done.append("previous topology")
        config = stored(run, "routing-config")
        if before["routing-config"] is None and config is not None:
            if config.get("published_by") != documents.PUBLISHED_BY:
                done.append(
                    f"routing config is at generation {config.get('generation')}, the control plane's: kept"
                )
            else:
                first = [kind for kind in KINDS if before[kind] is None]
                run.client("ssm", GOVCLOUD).delete_parameters(
                    Names=[parameter_name(run.settings.link_id, kind) for kind in first]
                )
                done.append(f"deleted: {', '.join(first)}")
        return "; ".join(done) or "nothing was changed"


def stored(run: Run, kind: str) -> dict[str, Any] | None:
    """A document as SSM holds it, None if it does not.

    Raises:
        DeploymentError: what is there is no JSON.
    """
    name = parameter_name(run.settings.link_id, kind)
    try:
        text = run.client("ssm", GOVCLOUD).get_parameter(Name=name)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return None
        raise
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        raise DeploymentError(NAME, f"{name} holds no JSON: mend or delete it") from None
    return value


def _store(run: Run, kind: str, value: Mapping[str, Any]) -> None:
    name = parameter_name(run.settings.link_id, kind)
    text = documents.to_json(value)
    run.client("ssm", GOVCLOUD).put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
    if stored(run, kind) != json.loads(text):
        raise DeploymentError(NAME, f"{name} does not hold what was written")
    run.say(NAME, f"{name} written ({len(text.encode())} bytes)")


def _endpoint(run: Run) -> EndpointFacts:
    ec2 = run.client("ec2", COMMERCIAL)
    wanted = run.commercial["BedrockEndpointId"]
    endpoint = ec2.describe_vpc_endpoints(VpcEndpointIds=[wanted])["VpcEndpoints"][0]
    interfaces = ec2.describe_network_interfaces(
        NetworkInterfaceIds=endpoint["NetworkInterfaceIds"]
    )["NetworkInterfaces"]
    subnets = ec2.describe_subnets(SubnetIds=endpoint["SubnetIds"])["Subnets"]
    return EndpointFacts.of(endpoint, interfaces, subnets)
