"""A deployment that fails: what it undoes, what it leaves, and that repeating it goes on. Time is virtual."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.deploy import (
    Deployment,
    OnFailure,
    Progress,
    Trigger,
    deploy,
)
from infra.local.server import EmbeddedCloud
from infra.stacks import Plan
from tests.infrastructure.conftest import settings
from tests.infrastructure.failing_cloud import (
    COMMERCIAL_STACK,
    GOVCLOUD_STACK,
    TELEMETRY,
    Faulty,
    VirtualTime,
    changed,
    failing,
    journal,
    record,
    state,
    tunnels,
)

pytestmark = [pytest.mark.slow, pytest.mark.proof]


def test_a_tunnel_without_bgp_is_not_up(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """IPsec alone does not do: a tunnel that accepted no route is waited for like one that is down."""
    faulty = Faulty(cloud, {TELEMETRY: tunnels("UP", 0)})
    with failing(Trigger.TUNNEL_NOT_UP) as raised:
        deploy(faulty, settings(tunnels_up_seconds=60.0), clock=VirtualTime().clock)
    assert "has accepted no route" in raised.value.reason


def test_a_path_that_carries_nothing_undoes_the_change(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """No data plane is joined here, so the canary's own request gets no answer: the previous link is put back."""
    before = state(cloud)
    with failing(Trigger.CONNECTIVITY_TEST_FAILED) as raised:
        deploy(cloud, changed(connectivity_seconds=1.0), clock=VirtualTime().clock)
    assert raised.value.phase == "documents"
    assert raised.value.undone[0].startswith("documents: previous topology")
    assert state(cloud) == before


def test_an_endpoint_that_does_not_come_undoes_its_side(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """An endpoint that stays pending for ten minutes is a trigger; later phases were not begun and stay as they are."""

    def pending(answer: Any) -> Any:
        for endpoint in answer["VpcEndpoints"]:
            endpoint["State"] = "Pending"
        return answer

    before = state(cloud)
    faulty = Faulty(cloud, {("ec2", "commercial", "describe_vpc_endpoints"): pending})
    with failing(Trigger.ENDPOINT_CREATION_FAILED) as raised:
        deploy(faulty, changed(), clock=VirtualTime().clock)
    assert [line.partition(":")[0] for line in raised.value.undone] == ["commercial"]
    assert state(cloud) == before


def test_a_function_that_does_not_become_active_undoes_the_stack(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """A function that fails to come into its network is a trigger, named with Lambda's reason."""

    def failed(answer: Any) -> Any:
        return answer | {"State": "Failed", "StateReason": "no address left in the subnet"}

    before = state(cloud)
    faulty = Faulty(cloud, {("lambda", "govcloud", "get_function_configuration"): failed})
    with failing(Trigger.FUNCTION_DEPLOYMENT_FAILED) as raised:
        deploy(faulty, changed(), clock=VirtualTime().clock)
    assert "no address left in the subnet" in raised.value.reason
    assert state(cloud) == before


def test_a_stack_that_fails_to_change_has_gone_back_by_itself(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """CloudFormation undoes a failed update; the deployment sees to it that nothing else is left."""
    before = state(cloud)
    wrong = settings(govcloud_parameters={"FunctionSubnetBCidr": "192.168.1.0/24"})
    with failing(Trigger.STACK_FAILED) as raised:
        deploy(cloud, wrong, clock=VirtualTime().clock)
    assert raised.value.left == ()
    assert state(cloud) == before


def test_a_step_that_cannot_be_undone_is_passed_and_reported(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """Going back goes on past what fails, tells what is left, and the next deployment mends it."""
    before = state(cloud)
    faulty = Faulty(cloud, {TELEMETRY: tunnels("DOWN", 0)})
    asked = 0

    def refuse_at_last(answer: Any) -> Any:
        nonlocal asked
        asked += 1
        if asked > 3:  # the phase itself asks first
            raise ClientError(
                {"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListAccessKeys"
            )
        return answer

    faulty.answers["iam", "commercial", "list_access_keys"] = refuse_at_last
    with failing(Trigger.TUNNEL_NOT_UP) as raised:
        deploy(faulty, changed(tunnels_up_seconds=60.0), clock=VirtualTime().clock)
    assert [line.partition(":")[0] for line in raised.value.left] == ["credential"]
    assert record(cloud)["state"] == "under-way"
    assert state(cloud) == before
    deploy(cloud, settings())
    assert record(cloud)["state"] == "complete"


def test_an_interrupted_deployment_remembers_where_it_came_from(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """Killed in the middle, repeated, failing: it goes back to before the first attempt, not to the half-way."""
    before = state(cloud)

    def kill(progress: Progress) -> None:
        if progress.phase == "routers":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deploy(cloud, changed(), kill)
    assert state(cloud) != before
    messages: list[str] = []
    faulty = Faulty(cloud, {TELEMETRY: tunnels("DOWN", 0)})
    with failing(Trigger.TUNNEL_NOT_UP):
        deploy(
            faulty,
            changed(tunnels_up_seconds=60.0),
            lambda progress: messages.append(progress.message),
            clock=VirtualTime().clock,
        )
    assert any(message.startswith("going on with deployment") for message in messages)
    assert state(cloud) == before


def test_what_is_no_trigger_is_left_to_be_continued(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """A refused call undoes nothing; when it is allowed again, repeating the deployment finishes it."""
    faulty = Faulty(cloud, refused={("ssm", "govcloud", "put_parameter")})
    with failing(None) as raised:
        deploy(faulty, changed(), clock=VirtualTime().clock)
    assert raised.value.undone == ()
    assert state(cloud)["proxy"]["TWINSPAN_CONFIG_TTL_SECONDS"] == "9"
    assert deploy(cloud, changed()).topology["paths"][0]["endpoint_url"] == "http://127.0.11.1:9"
    assert journal(cloud)[-1]["event"] == "deployed"
    deploy(cloud, settings())


def test_on_failure_keep_leaves_everything(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """Whoever wants to look at what failed can have it left standing."""
    faulty = Faulty(cloud, {TELEMETRY: tunnels("DOWN", 0)})
    with failing(Trigger.TUNNEL_NOT_UP) as raised:
        deploy(
            faulty,
            changed(tunnels_up_seconds=60.0, on_failure=OnFailure.KEEP),
            clock=VirtualTime().clock,
        )
    assert raised.value.undone == ()
    assert state(cloud)["proxy"]["TWINSPAN_CONFIG_TTL_SECONDS"] == "9"
    deploy(cloud, settings())


def test_a_change_set_that_is_not_approved_changes_nothing(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """Each change set is shown first; a no drops it, and nothing has happened."""
    before, seen = state(cloud), []

    def no(plan: Plan) -> bool:
        seen.append([change.logical_id for change in plan.changes])
        return False

    with failing(None) as raised:
        deploy(cloud, changed(), approve=no)
    assert "not approved" in raised.value.reason
    assert seen == [["ProxyFunction"]]
    assert state(cloud) == before
    deploy(cloud, settings())


def test_stacks_are_protected_from_deletion(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """A stray DeleteStack is refused by CloudFormation; `destroy` lifts the protection itself."""
    for side, name in (("commercial", COMMERCIAL_STACK), ("govcloud", GOVCLOUD_STACK)):
        with pytest.raises(ClientError, match="TerminationProtection"):
            cloud.client("cloudformation", side).delete_stack(StackName=name)
