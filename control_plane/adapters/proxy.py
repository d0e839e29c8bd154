"""Calling the proxy function as API Gateway would, to confirm a switch from the caller's side."""

from __future__ import annotations

import json
from dataclasses import dataclass

from control_plane.adapters.aws import AwsSession, calling
from proxy.routing_config import VERIFICATION_MODEL


@dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """What one call through the proxy said: status, the path it really took, the generation it used."""

    status: int
    tunnel_used: str | None
    generation: int | None
    detail: str = ""


class ProxyCaller:
    """Invokes the proxy function of one link."""

    def __init__(self, session: AwsSession, function: str) -> None:
        self._lambda, self._function = session.client("lambda"), function

    def call(self, minimum_generation: int, model_id: str | None) -> ProxyAnswer:
        """One inference-shaped call that asks for at least this generation of the routing config."""
        model = (model_id or VERIFICATION_MODEL).replace(":", "%3A")
        headers = {
            "Content-Type": "application/json",
            "X-Twinspan-Min-Generation": str(minimum_generation),
        }
        path = f"/model/{model}/converse"
        event = {
            "resource": "/{proxy+}",
            "path": path,
            "httpMethod": "POST",
            "headers": headers,
            "multiValueHeaders": {key: [value] for key, value in headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": {"proxy": path.lstrip("/")},
            "stageVariables": None,
            "requestContext": {"httpMethod": "POST", "path": path, "requestId": "verification"},
            "body": json.dumps(
                {
                    "messages": [{"role": "user", "content": [{"text": "ping"}]}],
                    "inferenceConfig": {"maxTokens": 1},
                }
            ),
            "isBase64Encoded": False,
        }
        with calling("lambda:Invoke"):
            answer = self._lambda.invoke(
                FunctionName=self._function, Payload=json.dumps(event).encode()
            )
        payload = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            return ProxyAnswer(0, None, None, f"the function failed: {payload.get('errorType')}")
        found = {key.lower(): value for key, value in (payload.get("headers") or {}).items()}
        generation = found.get("x-routing-generation")
        return ProxyAnswer(
            status=int(payload["statusCode"]),
            tunnel_used=found.get("x-tunnel-used"),
            generation=int(generation) if generation else None,
            detail=f"status {payload['statusCode']} over {found.get('x-tunnel-used')}",
        )
