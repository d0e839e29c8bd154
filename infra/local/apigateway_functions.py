"""The Lambda functions that API Gateway invokes, for an integration or as an authorizer."""

from __future__ import annotations

import re

from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaFunction
from moto.awslambda_simple.models import lambda_simple_backends

from infra.local import resource_policies
from infra.local.errors import NotEmulated

_FUNCTION_URI = re.compile(
    r"arn:[^:]+:apigateway:[^:]+:lambda:path/[^/]+/functions/(.+)/invocations"
)


class CannotInvoke(Exception):
    """There is no such function, or its policy does not let this API invoke it."""


def validate_integration(integration_type: str, uri: str | None, where: str) -> None:
    """Refuse an integration that the gateway does not carry out."""
    if integration_type != "AWS_PROXY" or not is_function_uri(uri):
        raise NotEmulated(f"API Gateway integration {integration_type} {uri or ''} ({where})")


def is_function_uri(uri: str | None) -> bool:
    """Whether a URI names a Lambda function, as integrations and authorizers do."""
    return _FUNCTION_URI.fullmatch(uri or "") is not None


def function_behind(uri: str | None, source_arn: str, source_account: str) -> LambdaFunction:
    """The function, if its own policy lets API Gateway invoke it for `source_arn`. Raises `CannotInvoke`."""
    match = _FUNCTION_URI.fullmatch(uri or "")
    if match is None:
        raise CannotInvoke(f"{uri} names no function")
    arn = match[1]
    region, account_id = arn.split(":")[3:5]
    try:
        function = lambda_simple_backends[account_id][region].get_function(arn)
    except LambdaClientError as error:
        raise CannotInvoke(str(error)) from None
    if not resource_policies.allows(
        function.policy.statements,
        service="apigateway.amazonaws.com",
        action="lambda:InvokeFunction",
        source_arn=source_arn,
        source_account=source_account,
    ):
        raise CannotInvoke(f"the policy of {arn} does not allow {source_arn} to invoke it")
    return function
