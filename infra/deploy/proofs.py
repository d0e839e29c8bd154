"""What a link has to prove before its deployment counts as done: on the route model, then for real.

The model shows that routes, security groups and network ACLs deliver a packet there and back. That a request is
really carried, the link's own functions show: they sit where the requests come from, which whoever deploys does not.
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.snapshot import describe_side
from control_plane.domain.route_model import Network
from control_plane.domain.route_model.snapshot import Snapshot
from infra.deploy.progress import DeploymentError, Trigger
from infra.deploy.run import Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD

_ALIVE = {
    "resource": "/{proxy+}",
    "path": "/healthz",
    "httpMethod": "GET",
    "headers": {},
    "multiValueHeaders": {},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": {"proxy": "healthz"},
    "stageVariables": None,
    "body": None,
    "isBase64Encoded": False,
    "requestContext": {"resourcePath": "/{proxy+}", "httpMethod": "GET", "path": "/healthz"},
}


def routes(run: Run, phase: str) -> None:
    """Every VPN path is delivered both ways from every subnet of the functions.

    Raises:
        DeploymentError: naming the path and where its packet ends.
    """
    sides = {side: describe_side(run.client("ec2", side)) for side in (GOVCLOUD, COMMERCIAL)}
    network = Network.build(Snapshot.from_describe(sides))
    for path in run.topology["paths"]:
        if "endpoint_address" not in path:
            continue
        for subnet in run.topology["sides"][GOVCLOUD]["subnet_ids"]:
            trace = network.trace(subnet, path["endpoint_address"], "tcp", 443)
            if not trace.delivered_both_ways:
                raise DeploymentError(
                    phase,
                    f"{path['name']}: the route model does not deliver from {subnet} to "
                    f"{path['endpoint_address']} and back:\n{trace.describe()}",
                    Trigger.CONNECTIVITY_TEST_FAILED,
                )
    run.say(phase, "the route model delivers every path, there and back")


def proxy_answers(run: Run, phase: str) -> None:
    """The proxy's function runs and says that it is alive."""
    name = run.govcloud["ProxyFunctionName"]

    def silent() -> str | None:
        answer = _invoke(run, name, _ALIVE)
        if isinstance(answer, dict) and answer.get("statusCode") == 200:
            return None
        return f"{name} does not answer: {_shortened(answer)}"

    run.until(phase, run.settings.connectivity_seconds, silent, Trigger.FUNCTION_DEPLOYMENT_FAILED)
    run.say(phase, f"{name} answers")


def paths_carry(run: Run, phase: str) -> None:
    """A signed request through each VPN path is answered: the canary's own probe, from inside."""
    name = run.govcloud["CanaryFunctionName"]
    wanted = [path["name"] for path in run.topology["paths"] if path["routing_method"] == "vpn"]

    def failing() -> str | None:
        answer = _invoke(run, name, {})
        if not isinstance(answer, dict) or not set(wanted) <= set(answer):
            return f"{name} could not test: {_shortened(answer)}"
        bad = [path for path in wanted if answer[path] is not True]
        return f"no answer through {', '.join(bad)}" if bad else None

    run.until(phase, run.settings.connectivity_seconds, failing, Trigger.CONNECTIVITY_TEST_FAILED)
    run.say(phase, f"a request went through {', '.join(wanted)}")


def _invoke(run: Run, name: str, event: dict[str, Any]) -> Any:
    functions = run.client("lambda", GOVCLOUD)
    try:
        answer = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    except ClientError as error:
        code = error.response["Error"]["Code"]
        # A function whose network interfaces are still being made, or that is being changed.
        if code in (
            "ResourceConflictException",
            "ResourceNotReadyException",
            "TooManyRequestsException",
        ):
            return {"errorType": code}
        raise
    return json.loads(answer["Payload"].read() or b"null")


def _shortened(answer: Any) -> str:
    return json.dumps(answer)[:300]
