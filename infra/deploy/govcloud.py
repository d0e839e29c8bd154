"""Phase `govcloud`: that side's network, both VPN connections, the proxy and the control plane, as one stack."""

from __future__ import annotations

from infra.deploy import stack_phase
from infra.deploy.artifacts import complete_source
from infra.deploy.attachment import attach
from infra.deploy.progress import DeploymentError, Trigger
from infra.deploy.protection import holds_data, lift
from infra.deploy.run import Before, Run
from infra.deploy.settings import GOVCLOUD

NAME = "govcloud"
_FUNCTION_SECONDS = 300.0


class GovCloud:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ("artifacts", "commercial")

    def require(self, run: Run) -> None:
        """The routers have the addresses that the customer gateways will name."""
        if missing := {"RouterAddressA", "RouterAddressB"} - set(run.commercial):
            raise DeploymentError(NAME, f"the commercial stack has no output {sorted(missing)[0]}")

    def before(self, run: Run) -> Before:
        """The stack as it is now, and its VPN connections."""
        outputs = run.stacks(GOVCLOUD).outputs(run.settings.govcloud_stack) or {}
        return {
            **stack_phase.remember(run, GOVCLOUD, run.settings.govcloud_stack),
            "vpn_connections": vpn_connections(outputs),
        }

    def act(self, run: Run) -> None:
        """Bring the stack to its template, and the VPN connections into the transit gateway's table."""
        stacks = run.stacks(GOVCLOUD)
        run.govcloud = stacks.deploy(
            complete_source(run), lambda message: run.say(NAME, message), run.approve
        )
        stacks.protect(run.settings.govcloud_stack, True)
        for name in ("VpnConnection1Id", "VpnConnection2Id"):
            attach(run, NAME, run.govcloud["TransitGatewayRouteTableId"], run.govcloud[name])
        run.say(NAME, "both VPN connections are in the transit gateway's route table")

    def check(self, run: Run) -> None:
        """Each function of the link is active, and its last update went through."""
        functions = run.client("lambda", GOVCLOUD)
        prefix = f"twinspan-{run.settings.link_id}-"
        named = [
            function["FunctionName"]
            for page in functions.get_paginator("list_functions").paginate()
            for function in page["Functions"]
            if function["FunctionName"].startswith(prefix)
        ]

        def not_ready() -> str | None:
            bad = []
            for name in named:
                found = functions.get_function_configuration(FunctionName=name)
                state = found.get("State", "Active")
                update = found.get("LastUpdateStatus", "Successful")
                if (state, update) != ("Active", "Successful"):
                    reason = found.get("StateReason") or found.get("LastUpdateStatusReason", "")
                    bad.append(f"{name} is {state}, its update {update} {reason}".rstrip())
            return "; ".join(bad) or None

        run.until(NAME, _FUNCTION_SECONDS, not_ready, Trigger.FUNCTION_DEPLOYMENT_FAILED)
        run.say(NAME, f"{len(named)} functions are active")

    def undo(self, run: Run, before: Before) -> str:
        """Back to the stack before; one that this deployment made goes, unless data is in it already."""
        stack = run.settings.govcloud_stack
        stacks = run.stacks(GOVCLOUD)
        if before["existed"]:
            done = stack_phase.go_back(run, GOVCLOUD, stack, before)
            return self._reconnected(run, before, done)
        if done_already := stack_phase.remove_failed(run, GOVCLOUD, stack):
            return done_already
        outputs = stacks.outputs(stack) or {}
        if where := holds_data(run.clients, outputs):
            return f"stack {stack} is kept: {where} holds data; `twinspan destroy` takes it down"
        lift(run.clients, outputs)
        stacks.protect(stack, False)
        stacks.delete(stack)
        return f"stack {stack}, made by this deployment, is deleted"

    def _reconnected(self, run: Run, before: Before, done: str) -> str:
        run.govcloud = run.stacks(GOVCLOUD).outputs(run.settings.govcloud_stack) or {}
        if vpn_connections(run.govcloud) == before["vpn_connections"]:
            return done
        for name in ("VpnConnection1Id", "VpnConnection2Id"):
            attach(run, NAME, run.govcloud["TransitGatewayRouteTableId"], run.govcloud[name])
        raise DeploymentError(
            NAME,
            f"{done}, with VPN connections made anew, which the routers do not know yet: "
            "deploy once more with the previous settings",
        )


def vpn_connections(outputs: dict[str, str]) -> list[str]:
    """The ids of both VPN connections, none of a stack that has none."""
    names = ("VpnConnection1Id", "VpnConnection2Id")
    return [outputs[name] for name in names if name in outputs]
