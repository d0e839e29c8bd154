"""Phase `commercial`: that side's network, its Bedrock endpoint and the edge routers, as one stack."""

from __future__ import annotations

from infra.deploy import stack_phase
from infra.deploy.preflight import network_problem
from infra.deploy.progress import DeploymentError, Trigger
from infra.deploy.run import Before, Run
from infra.deploy.settings import COMMERCIAL, TEMPLATES
from infra.stacks import MAXIMUM_BODY_BYTES, StackSource

NAME = "commercial"
_ENDPOINT_SECONDS = 600.0


class Commercial:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ("artifacts",)

    def require(self, run: Run) -> None:
        """The networks can be joined, and the template fits into the call: there is no bucket over there."""
        if problem := network_problem(run.settings):
            raise DeploymentError(NAME, problem)
        size = len((source(run).body or "").encode())
        if size > MAXIMUM_BODY_BYTES:
            raise DeploymentError(
                NAME,
                f"commercial.yaml has {size} bytes, more than the {MAXIMUM_BODY_BYTES} of a call",
            )

    def before(self, run: Run) -> Before:
        """The stack as it is now."""
        return stack_phase.remember(run, COMMERCIAL, run.settings.commercial_stack)

    def act(self, run: Run) -> None:
        """Bring the stack to its template."""
        stacks = run.stacks(COMMERCIAL)
        run.commercial = stacks.deploy(
            source(run), lambda message: run.say(NAME, message), run.approve
        )
        stacks.protect(run.settings.commercial_stack, True)

    def check(self, run: Run) -> None:
        """The endpoints are available."""
        ec2 = run.client("ec2", COMMERCIAL)
        wanted = [run.commercial["BedrockEndpointId"], run.commercial["Ec2EndpointId"]]

        def unavailable() -> str | None:
            found = ec2.describe_vpc_endpoints(VpcEndpointIds=wanted)["VpcEndpoints"]
            # Live answers are lower-case, the service model's names are not.
            bad = [
                f"{item['VpcEndpointId']} is {item['State'].lower()}"
                for item in found
                if item["State"].lower() != "available"
            ]
            return ", ".join(bad) or None

        run.until(NAME, _ENDPOINT_SECONDS, unavailable, Trigger.ENDPOINT_CREATION_FAILED)
        run.say(
            NAME,
            f"routers at {run.commercial['RouterAddressA']} and {run.commercial['RouterAddressB']}, "
            f"Bedrock endpoint {run.commercial['BedrockEndpointId']} available",
        )

    def undo(self, run: Run, before: Before) -> str:
        """Back to the stack before, or away with one that this deployment made: there is no data in it."""
        stack = run.settings.commercial_stack
        if before["existed"]:
            return stack_phase.go_back(run, COMMERCIAL, stack, before)
        if done := stack_phase.remove_failed(run, COMMERCIAL, stack):
            return done
        run.stacks(COMMERCIAL).protect(stack, False)
        run.stacks(COMMERCIAL).delete(stack)
        return f"stack {stack}, made by this deployment, is deleted"


def source(run: Run) -> StackSource:
    """What the stack is to be."""
    network = run.settings.govcloud_parameters.get("VpcCidr")
    return StackSource(
        name=run.settings.commercial_stack,
        parameters={
            "LinkId": run.settings.link_id,
            **({"PeerCidr": network} if network else {}),
            **run.settings.commercial_parameters,
        },
        body=(TEMPLATES / "commercial.yaml").read_text(),
        tags=run.settings.tags,
    )
