"""What a deployment proves at its end, on a link that carries: the route model, the proxy, a request each way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from infra.deploy import DeploymentError, DeploySettings, Progress, Trigger, deploy
from infra.local.environment import Environment

pytestmark = [pytest.mark.slow, pytest.mark.proof]


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """A link with relays behind its tunnels; alarms and schedules stand still."""
    with Environment(timers=False) as running:
        yield running


def proving(environment: Environment) -> DeploySettings:
    """The environment's own settings, with the proofs that it cannot yet make when it is deployed."""
    return replace(environment.deploy_settings(), prove_routes=True, connectivity_seconds=20.0)


def test_a_link_that_carries_passes(environment: Environment) -> None:
    """Both paths are delivered on the model and carry a real request; nothing is changed by asking."""
    said: list[Progress] = []
    done = deploy(environment.cloud, proving(environment), said.append)
    assert done.topology == environment.deployment.topology
    messages = "\n".join(item.message for item in said)
    assert "the route model delivers every path, there and back" in messages
    assert "a request went through tunnel-1, tunnel-2" in messages


def test_a_path_without_its_way_back_is_found_by_the_model(environment: Environment) -> None:
    """With a return route gone the model names the path and says what is missing."""
    ec2 = environment.client("ec2", "commercial")
    commercial, govcloud = environment.deployment.commercial, environment.deployment.govcloud
    where = {
        "RouteTableId": commercial["PrivateRouteTableAId"],
        "DestinationCidrBlock": govcloud["VpcCidr"],
    }
    ec2.delete_route(**where)
    try:
        with pytest.raises(DeploymentError, match="tunnel-1: the route model") as raised:
            deploy(environment.cloud, proving(environment))
    finally:
        ec2.create_route(**where, NetworkInterfaceId=commercial["RouterInterfaceAId"])
    assert raised.value.trigger is Trigger.CONNECTIVITY_TEST_FAILED


def test_a_gray_failure_is_found_by_a_request(environment: Environment) -> None:
    """A tunnel that is UP and carries nothing passes every check but the request itself."""
    environment.faults.blackhole("tunnel-2")
    try:
        with pytest.raises(DeploymentError, match="no answer through tunnel-2") as raised:
            deploy(environment.cloud, replace(proving(environment), connectivity_seconds=2.0))
    finally:
        environment.faults.heal("tunnel-2")
    assert raised.value.trigger is Trigger.CONNECTIVITY_TEST_FAILED
