"""Lambda authorizers in the embedded cloud's API Gateway: who is let in, what is remembered, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import urllib3
from botocore.exceptions import ClientError

from infra.local.server import EmbeddedCloud
from tests.embedded_cloud.conftest import Workbench, eventually
from tests.embedded_cloud.test_event_apigateway import ECHO, Api, invocation_uri

# Answers with what the token is, as JSON, says; its context tells how often this process was asked, and what.
ASKED = """
import json

asked = 0

def handler(event, context):
    global asked
    asked += 1
    token = event.get("authorizationToken") or event["headers"]["Authorization"]
    told = json.loads(token.removeprefix("Bearer "))
    if "error" in told:
        raise Exception(told["error"])
    if "answer" in told:
        return told["answer"]
    api, stage = event["methodArn"].split("/")[:2]
    return {
        "principalId": "team-a",
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": effect, "Action": "execute-api:Invoke", "Resource": f"{api}/{stage}/{what}"}
                for effect, what in told["policy"]
            ],
        },
        "context": {"asked": asked, "event": json.dumps(event), "flag": True, "half": 0.5},
        "usageIdentifierKey": told.get("usage"),
    }
"""
ALL = {"policy": [["Allow", "*"]]}
TOKEN = {
    "type": "TOKEN",
    "identitySource": "method.request.header.Authorization",
    "identityValidationExpression": "^Bearer .+$",
    "authorizerResultTtlInSeconds": 0,
}
REQUEST = {
    "type": "REQUEST",
    "identitySource": "method.request.header.Authorization, method.request.querystring.tenant",
    "authorizerResultTtlInSeconds": 3600,
}


def asking(
    bench: Workbench, settings: Mapping[str, Any], *, permitted: bool = True, **api: Any
) -> Api:
    """An API whose function tells its event, behind an authorizer that does as the token says."""
    function = bench.function(ASKED, invoked_by="apigateway.amazonaws.com" if permitted else None)
    authorizer = {**settings, "authorizerUri": invocation_uri(function)}
    return Api(bench, ECHO, authorizer=authorizer, **api)


def call(
    api: Api, told: Mapping[str, Any] | None, path: str = "/model/m", method: str = "POST"
) -> urllib3.BaseHTTPResponse:
    headers = {} if told is None else {"Authorization": f"Bearer {json.dumps(told)}"}
    return api.request(path, method, headers=headers)


def authorizer_context(answer: urllib3.BaseHTTPResponse) -> dict[str, str]:
    assert answer.status == 201, answer.data
    found: dict[str, str] = json.loads(answer.data)["requestContext"]["authorizer"]
    return found


def said(answer: urllib3.BaseHTTPResponse) -> tuple[int, str | None, Any]:
    return answer.status, answer.headers.get("x-amzn-ErrorType"), json.loads(answer.data)


def test_the_token_is_judged_and_the_context_goes_to_the_function(bench: Workbench) -> None:
    """The authorizer gets token and method ARN; its principal and context, every value text, reach the function."""
    api = asking(bench, TOKEN)
    context = authorizer_context(call(api, ALL))
    assert context["principalId"] == "team-a"
    assert (context["flag"], context["half"], context["asked"]) == ("true", "0.5", "1")
    assert json.loads(context["event"]) == {
        "type": "TOKEN",
        "methodArn": (
            f"arn:aws-us-gov:execute-api:us-gov-west-1:111111111111:{api.id}/v1/POST/model/m"
        ),
        "authorizationToken": f"Bearer {json.dumps(ALL)}",
    }


def test_no_token_or_one_of_the_wrong_form_is_401_and_asks_nobody(bench: Workbench) -> None:
    """Missing, empty, not matching the expression: each is AWS's 401 without an invocation."""
    api = asking(bench, TOKEN)
    unauthorized = (401, "UnauthorizedException", {"message": "Unauthorized"})
    for headers in ({}, {"Authorization": ""}, {"Authorization": json.dumps(ALL)}):
        assert said(api.request("/x", headers=headers)) == unauthorized
    assert authorizer_context(call(api, ALL))["asked"] == "1"


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ([["Allow", "POST/model/*"]], 201),
        ([["Allow", "POST/model/?"]], 201),
        ([["Allow", "GET/*"]], 403),
        ([["Allow", "*"], ["Deny", "POST/model/m"]], 403),
    ],
)
def test_the_policy_is_evaluated_against_the_method(
    bench: Workbench, policy: list[list[str]], status: int
) -> None:
    """What no statement allows is 403, and what one denies is 403 whatever another allows."""
    answer = call(asking(bench, TOKEN), {"policy": policy})
    assert answer.status == status
    if status == 403:
        denied = " with an explicit deny" if len(policy) > 1 else ""
        message = f"User is not authorized to access this resource{denied}"
        assert said(answer)[1:] == ("AccessDeniedException", {"Message": message})


def test_unauthorized_is_401_and_any_other_failure_500(bench: Workbench) -> None:
    """An authorizer that says `Unauthorized` means 401; one that fails otherwise is a 500 that tells nothing."""
    api = asking(bench, TOKEN)
    assert said(call(api, {"error": "Unauthorized"}))[:2] == (401, "UnauthorizedException")
    broken = (500, "AuthorizerConfigurationException", {"message": None})
    assert said(call(api, {"error": "a secret"})) == broken
    assert said(call(asking(bench, TOKEN, permitted=False), ALL)) == broken


STATEMENT = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"}


@pytest.mark.parametrize(
    "answer",
    [
        "text",
        {},
        {"principalId": "a"},
        {"principalId": "a", "policyDocument": {"Statement": []}},
        {"principalId": "a", "policyDocument": {"Statement": [{**STATEMENT, "Effect": "Maybe"}]}},
        {"principalId": "a", "policyDocument": {"Statement": [{**STATEMENT, "Action": []}]}},
        {"principalId": "a", "policyDocument": {"Statement": STATEMENT}, "context": {"a": [1]}},
        {"policyDocument": {"Statement": STATEMENT}},
    ],
)
def test_an_answer_of_the_wrong_form_is_500(bench: Workbench, answer: Any) -> None:
    """No policy, a policy that says nothing, a context that is no flat map: nobody is let in."""
    api = asking(bench, TOKEN)
    assert said(call(api, {"answer": answer}))[:2] == (500, "AuthorizerConfigurationException")


def test_a_condition_is_refused_aloud(bench: Workbench) -> None:
    """A part of a policy that is not evaluated here lets nobody in, and says why."""
    statement = {**STATEMENT, "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    answer = {"principalId": "a", "policyDocument": {"Statement": statement}}
    refused = call(asking(bench, TOKEN), {"answer": answer})
    assert refused.status == 501
    assert "Condition" in json.loads(refused.data)["message"]


def test_an_answer_is_remembered_by_its_identity_and_judged_anew(bench: Workbench) -> None:
    """Within its time the function is asked once per token; another method is judged by the same policy."""
    api = asking(bench, {**TOKEN, "authorizerResultTtlInSeconds": 3600})
    told = {"policy": [["Allow", "POST/*"]]}
    first, again = (authorizer_context(call(api, told)) for _ in range(2))
    assert first == again
    assert call(api, told, method="GET").status == 403
    other = authorizer_context(call(api, ALL))
    assert other["asked"] == "2"


def test_what_is_remembered_is_forgotten_after_its_time(bench: Workbench) -> None:
    """The time to live ends, by the cloud's clock; with none at all every call asks."""
    api = asking(bench, {**TOKEN, "authorizerResultTtlInSeconds": 1})
    first = authorizer_context(call(api, ALL))
    eventually(lambda: authorizer_context(call(api, ALL)) != first)
    uncached = asking(bench, TOKEN)
    assert [authorizer_context(call(uncached, ALL))["asked"] for _ in range(2)] == ["1", "2"]


def test_a_request_authorizer_gets_the_request_and_wants_all_its_sources(bench: Workbench) -> None:
    """It is asked with the request less its body, once for the same values; one missing is 401."""
    api = asking(bench, REQUEST)
    assert call(api, ALL).status == 401
    first = authorizer_context(call(api, ALL, "/model/m?tenant=1"))
    event = json.loads(first["event"])
    assert event["type"] == "REQUEST"
    assert event["methodArn"].endswith(f":{api.id}/v1/POST/model/m")
    assert event["queryStringParameters"] == {"tenant": "1"}
    assert event["pathParameters"] == {"proxy": "model/m"}
    assert event["requestContext"]["stage"] == "v1"
    assert event["stageVariables"] == {}
    assert "body" not in event
    assert authorizer_context(call(api, ALL, "/model/m?tenant=1")) == first
    assert authorizer_context(call(api, ALL, "/model/m?tenant=2"))["asked"] == "2"


@pytest.mark.parametrize("source", ["AUTHORIZER", "HEADER"])
def test_an_api_key_comes_from_where_the_api_takes_it(bench: Workbench, source: str) -> None:
    """A key must be one of the stage's plans, named by the authorizer or by the caller, not by the other one."""
    client = bench.cloud.client("apigateway")
    api = asking(bench, TOKEN, api_key_source=source, api_key_required=True)
    stage = [{"apiId": api.id, "stage": "v1"}]
    plan = client.create_usage_plan(name=bench.name("plan"), apiStages=stage)
    keys = {name: client.create_api_key(name=name, enabled=name != "off") for name in ("on", "off")}
    for key in keys.values():
        client.create_usage_plan_key(usagePlanId=plan["id"], keyId=key["id"], keyType="API_KEY")
    unplanned = client.create_api_key(name="unplanned", enabled=True)["value"]

    def answered(value: str | None, by: str) -> urllib3.BaseHTTPResponse:
        told = {**ALL, "usage": value} if by == "AUTHORIZER" else ALL
        headers = {"Authorization": f"Bearer {json.dumps(told)}"}
        if by == "HEADER" and value is not None:
            headers["x-api-key"] = value
        return api.request("/model/m", "POST", headers=headers)

    good = keys["on"]
    identity = json.loads(answered(good["value"], source).data)["requestContext"]["identity"]
    assert (identity["apiKey"], identity["apiKeyId"]) == (good["value"], good["id"])
    (other,) = {"AUTHORIZER", "HEADER"} - {source}
    wrong = [
        (good["value"], other),
        *((v, source) for v in (None, keys["off"]["value"], unplanned)),
    ]
    for value, by in wrong:
        assert said(answered(value, by)) == (403, "ForbiddenException", {"message": "Forbidden"})


def test_a_changed_authorizer_is_asked_as_it_is_now(bench: Workbench) -> None:
    """A time to live that was set to nothing holds for what is remembered already."""
    api = asking(bench, {**TOKEN, "authorizerResultTtlInSeconds": 3600})
    assert authorizer_context(call(api, ALL))["asked"] == "1"
    operation = {"op": "replace", "path": "/authorizerResultTtlInSeconds", "value": "0"}
    bench.cloud.client("apigateway").update_authorizer(
        restApiId=api.id, authorizerId=api.authorizer_id, patchOperations=[operation]
    )
    assert authorizer_context(call(api, ALL))["asked"] == "2"


URI = invocation_uri("arn:aws-us-gov:lambda:us-gov-west-1:111111111111:function:f")
HEADER = "method.request.header.Authorization"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"type": "COGNITO_USER_POOLS", "providerARNs": ["arn:aws:cognito-idp:pool"]}, "COGNITO"),
        ({"type": "TOKEN", "identitySource": HEADER, "authorizerCredentials": "arn:role"}, "cred"),
        ({"type": "TOKEN"}, "Identity source"),
        ({"type": "TOKEN", "identitySource": "method.request.querystring.a"}, "identity source"),
        ({"type": "TOKEN", "identitySource": HEADER, "identityValidationExpression": "("}, "expr"),
        ({"type": "TOKEN", "identitySource": HEADER, "authorizerUri": "arn:elsewhere"}, "URI"),
        (
            {"type": "TOKEN", "identitySource": HEADER, "authorizerResultTtlInSeconds": 3601},
            "TTL",
        ),
        ({"type": "REQUEST", "identitySource": "context.identity.sourceIp"}, "context"),
        ({"type": "REQUEST"}, "Identity source"),
    ],
)
def test_an_authorizer_that_would_not_be_carried_out_is_refused(
    bench: Workbench, settings: dict[str, Any], reason: str
) -> None:
    """It is an error when it is put, or changed into, not an open door."""
    client = bench.cloud.client("apigateway")
    api = client.create_rest_api(name=bench.name("api"))["id"]
    with pytest.raises(ClientError, match=reason):
        client.create_authorizer(restApiId=api, name="a", **{"authorizerUri": URI, **settings})
    assert client.get_authorizers(restApiId=api)["items"] == []


def test_a_method_and_its_authorizer_belong_together(bench: Workbench) -> None:
    """A method cannot name an authorizer that is not there, nor lose the one that it names."""
    client = bench.cloud.client("apigateway")
    api = asking(bench, TOKEN)
    root = client.get_resources(restApiId=api.id)["items"][0]["id"]
    place = {"restApiId": api.id, "resourceId": root, "httpMethod": "GET"}
    for authorizer in ({}, {"authorizerId": "another"}):
        with pytest.raises(ClientError, match="Invalid authorizer ID"):
            client.put_method(**place, authorizationType="CUSTOM", **authorizer)
    with pytest.raises(ClientError, match="COGNITO"):
        client.put_method(**place, authorizationType="COGNITO_USER_POOLS", authorizerId="a")
    with pytest.raises(ClientError, match="is referenced"):
        client.delete_authorizer(restApiId=api.id, authorizerId=api.authorizer_id)
    assert call(api, ALL).status == 201


def test_cloudformation_makes_changes_and_deletes_an_authorizer(
    cloud: EmbeddedCloud, bench: Workbench
) -> None:
    """A stock resource comes as written, changes in place, and goes with its stack; the methods stay behind it."""
    cfn, client = cloud.client("cloudformation"), cloud.client("apigateway")
    authorizer = bench.function(ASKED, invoked_by="apigateway.amazonaws.com")
    echo = bench.function(ECHO, invoked_by="apigateway.amazonaws.com")

    def template(seconds: int, key_source: str = "HEADER", key: bool = False) -> str:
        api = {"Ref": "Api"}
        resources: dict[str, Any] = {
            "Api": {
                "Type": "AWS::ApiGateway::RestApi",
                "Properties": {"Name": "api", "ApiKeySourceType": key_source},
            },
            "Authorizer": {
                "Type": "AWS::ApiGateway::Authorizer",
                "Properties": {
                    "RestApiId": api,
                    "Name": "asked",
                    "Type": "TOKEN",
                    "AuthType": "custom",
                    "AuthorizerUri": invocation_uri(authorizer),
                    "IdentitySource": HEADER,
                    "IdentityValidationExpression": "^Bearer .+$",
                    "AuthorizerResultTtlInSeconds": seconds,
                },
            },
            "Method": {
                "Type": "AWS::ApiGateway::Method",
                "Properties": {
                    "RestApiId": api,
                    "ResourceId": {"Fn::GetAtt": ["Api", "RootResourceId"]},
                    "HttpMethod": "POST",
                    "AuthorizationType": "CUSTOM",
                    "AuthorizerId": {"Ref": "Authorizer"},
                    "ApiKeyRequired": key,
                    "Integration": {
                        "Type": "AWS_PROXY",
                        "IntegrationHttpMethod": "POST",
                        "Uri": invocation_uri(echo),
                    },
                },
            },
            "Deployment": {
                "Type": "AWS::ApiGateway::Deployment",
                "DependsOn": "Method",
                "Properties": {"RestApiId": api},
            },
            "Stage": {
                "Type": "AWS::ApiGateway::Stage",
                "Properties": {
                    "RestApiId": api,
                    "DeploymentId": {"Ref": "Deployment"},
                    "StageName": "v1",
                },
            },
        }
        outputs = {
            "Api": {"Value": api},
            "Authorizer": {"Value": {"Fn::GetAtt": ["Authorizer", "AuthorizerId"]}},
        }
        return json.dumps({"Resources": resources, "Outputs": outputs})

    def outputs() -> dict[str, str]:
        (stack,) = cfn.describe_stacks(StackName=name)["Stacks"]
        assert stack["StackStatus"].endswith("_COMPLETE"), stack
        assert "ROLLBACK" not in stack["StackStatus"], stack
        return {item["OutputKey"]: item["OutputValue"] for item in stack["Outputs"]}

    def status(told: Mapping[str, Any] | None) -> int:
        headers = {} if told is None else {"Authorization": f"Bearer {json.dumps(told)}"}
        with urllib3.PoolManager() as pool:
            url = cloud.api_url(made["Api"], "v1") + "/"
            return pool.request("POST", url, headers=headers, retries=False).status

    name = bench.name("stack")
    cfn.create_stack(StackName=name, TemplateBody=template(60))
    made = outputs()
    place = {"restApiId": made["Api"], "authorizerId": made["Authorizer"]}
    found = client.get_authorizer(**place)
    assert found["authorizerResultTtlInSeconds"] == 60
    assert found["identityValidationExpression"] == "^Bearer .+$"
    assert (status(ALL), status(None)) == (201, 401)

    cfn.update_stack(StackName=name, TemplateBody=template(0))
    assert outputs() == made
    assert client.get_authorizer(**place)["authorizerResultTtlInSeconds"] == 0
    assert (status(ALL), status(None)) == (201, 401)

    cfn.update_stack(StackName=name, TemplateBody=template(0, "AUTHORIZER", key=True))
    assert outputs() == made
    assert client.get_rest_api(restApiId=made["Api"])["apiKeySource"] == "AUTHORIZER"
    assert (status(ALL), status(None)) == (403, 401)

    cfn.delete_stack(StackName=name)
    assert made["Api"] not in {item["id"] for item in client.get_rest_apis()["items"]}
