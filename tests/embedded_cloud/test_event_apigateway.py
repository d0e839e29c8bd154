"""API Gateway in the embedded cloud: from an HTTP request to a function and back."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
import urllib3
from botocore.exceptions import ClientError

from infra.local.sides import COMMERCIAL, GOVCLOUD, SideAccount
from tests.embedded_cloud.conftest import Workbench

ECHO = """
import json

def handler(event, context):
    return {
        "statusCode": 201,
        "headers": {"X-Single": "1", "Content-Type": "application/json"},
        "multiValueHeaders": {"X-Many": ["a", "b"]},
        "body": json.dumps(event),
    }
"""


def invocation_uri(function: str) -> str:
    """How an integration or an authorizer names a function."""
    path = f"2015-03-31/functions/{function}/invocations"
    return f"arn:aws-us-gov:apigateway:{GOVCLOUD.region}:lambda:path/{path}"


class Api:
    """A REST API with one method on `{proxy+}` (or on other paths), deployed as stage v1.

    `authorizer`: what `create_authorizer` gets; every method then asks it.
    """

    def __init__(
        self,
        bench: Workbench,
        code: str,
        *,
        authorization: str = "NONE",
        paths: tuple[str, ...] = ("{proxy+}",),
        allowed: bool = True,
        timeout_milliseconds: int | None = None,
        binary_types: tuple[str, ...] = (),
        timeout_seconds: int = 10,
        authorizer: Mapping[str, Any] | None = None,
        api_key_source: str = "HEADER",
        api_key_required: bool = False,
    ) -> None:
        client = bench.cloud.client("apigateway")
        function = bench.function(
            code,
            invoked_by="apigateway.amazonaws.com" if allowed else None,
            timeout_seconds=timeout_seconds,
        )
        api = client.create_rest_api(
            name=bench.name("api"),
            binaryMediaTypes=list(binary_types),
            apiKeySource=api_key_source,
        )
        method: dict[str, Any] = {"authorizationType": authorization}
        if authorizer is not None:
            made = client.create_authorizer(restApiId=api["id"], name="asked", **authorizer)
            self.authorizer_id = made["id"]
            method = {"authorizationType": "CUSTOM", "authorizerId": made["id"]}
        root = client.get_resources(restApiId=api["id"])["items"][0]["id"]
        for path in paths:
            parent = root
            for part in path.split("/"):
                existing = client.get_resources(restApiId=api["id"])["items"]
                found = [
                    r for r in existing if r.get("parentId") == parent and r["pathPart"] == part
                ]
                parent = (
                    found[0]["id"]
                    if found
                    else client.create_resource(
                        restApiId=api["id"], parentId=parent, pathPart=part
                    )["id"]
                )
            place = {"restApiId": api["id"], "resourceId": parent, "httpMethod": "ANY"}
            client.put_method(**place, **method, apiKeyRequired=api_key_required)
            timeout = (
                {"timeoutInMillis": timeout_milliseconds}
                if timeout_milliseconds is not None
                else {}
            )
            client.put_integration(
                **place,
                type="AWS_PROXY",
                integrationHttpMethod="POST",
                uri=invocation_uri(function),
                **timeout,
            )
        client.create_deployment(restApiId=api["id"], stageName="v1")
        self.function = function
        self.id = api["id"]
        self.url = bench.cloud.api_url(api["id"], "v1")

    def request(self, path: str, method: str = "GET", **kwargs: Any) -> urllib3.BaseHTTPResponse:
        with urllib3.PoolManager() as pool:
            return pool.request(method, self.url + path, retries=False, **kwargs)


def signed(url: str, account: SideAccount, service: str, region: str) -> dict[str, str]:
    request = botocore.awsrequest.AWSRequest("POST", url, data=b"{}")
    credentials = botocore.credentials.Credentials(account.access_key_id, account.secret_access_key)
    botocore.auth.SigV4Auth(credentials, service, region).add_auth(request)
    return dict(request.headers.items())


def test_function_gets_the_rest_proxy_event(bench: Workbench) -> None:
    """A request arrives as a REST proxy event and the function's status, headers and body go back."""
    api = Api(bench, ECHO)
    answer = api.request(
        "/model/a%3A1/invoke?x=1&x=2&y=%C3%A4",
        "POST",
        body=b'{"prompt": "hi"}',
        headers={"Content-Type": "application/json", "X-Own": "me"},
    )
    assert answer.status == 201
    assert answer.headers["X-Single"] == "1"
    assert answer.headers.getlist("X-Many") == ["a", "b"]
    event = json.loads(answer.data)
    assert event["resource"] == "/{proxy+}"
    assert event["path"] == "/model/a%3A1/invoke"
    assert event["pathParameters"] == {"proxy": "model/a:1/invoke"}
    assert event["httpMethod"] == "POST"
    assert event["queryStringParameters"] == {"x": "2", "y": "ä"}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "y": ["ä"]}
    assert event["headers"]["X-Own"] == "me"
    assert event["multiValueHeaders"]["X-Own"] == ["me"]
    assert event["body"] == '{"prompt": "hi"}'
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert (context["stage"], context["apiId"]) == ("v1", api.id)
    assert context["path"] == "/v1/model/a%3A1/invoke"
    assert context["accountId"] == "111111111111"
    assert context["identity"]["sourceIp"] == "127.0.0.1"


def test_the_most_specific_resource_serves(bench: Workbench) -> None:
    """A literal path wins over a parameter, and a parameter over a greedy one."""
    api = Api(bench, ECHO, paths=("{proxy+}", "model/{id}", "model/list"))
    found = {
        path: json.loads(api.request(path).data)["resource"]
        for path in ("/model/list", "/model/m-1", "/model/m-1/invoke")
    }
    assert found == {
        "/model/list": "/model/list",
        "/model/m-1": "/model/{id}",
        "/model/m-1/invoke": "/{proxy+}",
    }


@pytest.mark.parametrize(
    ("path", "stage", "message"),
    [
        ("/elsewhere", "v1", "Missing Authentication Token"),
        ("/model/list", "v2", "Forbidden"),
    ],
)
def test_what_is_not_there_is_forbidden(
    bench: Workbench, path: str, stage: str, message: str
) -> None:
    """A path or stage that does not exist is AWS's 403, not a 404."""
    api = Api(bench, ECHO, paths=("model/list",))
    with urllib3.PoolManager() as pool:
        answer = pool.request("GET", bench.cloud.api_url(api.id, stage) + path, retries=False)
    assert answer.status == 403
    assert json.loads(answer.data) == {"message": message}


@pytest.mark.parametrize(
    "returned",
    [
        '"text"',
        "{}",
        '{"statusCode": "abc"}',
        '{"statusCode": 200, "body": {"a": 1}}',
        '{"statusCode": 200, "headers": {"X": {"a": 1}}}',
        '{"statusCode": 200, "headers": {"X": "a\\r\\nSet-Cookie: b"}}',
        '{"statusCode": 200, "multiValueHeaders": {"X": "a"}}',
        '{"statusCode": 1000}',
    ],
)
def test_malformed_answer_is_a_502(bench: Workbench, returned: str) -> None:
    """An answer that is no proxy response becomes 502 Internal server error."""
    api = Api(bench, f"import json\ndef handler(e, c): return json.loads({returned!r})")
    answer = api.request("/x")
    assert answer.status == 502
    assert json.loads(answer.data) == {"message": "Internal server error"}


def test_failing_function_is_a_502_without_details(bench: Workbench) -> None:
    """An exception of the function becomes 502, and its text does not reach the client."""
    api = Api(bench, "def handler(e, c): raise ValueError('secret')")
    answer = api.request("/x")
    assert answer.status == 502
    assert b"secret" not in answer.data


def test_slow_function_is_a_504(bench: Workbench) -> None:
    """After the integration's timeout the gateway answers 504."""
    api = Api(
        bench,
        "import time\ndef handler(e, c): time.sleep(2)",
        timeout_milliseconds=100,
    )
    answer = api.request("/x")
    assert answer.status == 504
    assert json.loads(answer.data) == {"message": "Endpoint request timed out"}


def test_function_must_allow_the_gateway(bench: Workbench) -> None:
    """Without a permission on the function the API answers 500, as in AWS."""
    assert Api(bench, ECHO, allowed=False).request("/x").status == 500


def test_iam_method_wants_a_signature_for_the_gateway(bench: Workbench) -> None:
    """AWS_IAM lets a request signed for execute-api in, and no other."""
    api = Api(bench, ECHO, authorization="AWS_IAM")
    url = api.url + "/model/m/invoke"

    def status(headers: dict[str, str] | None) -> tuple[int, str | None]:
        answer = api.request("/model/m/invoke", "POST", body=b"{}", headers=headers)
        return answer.status, answer.headers.get("x-amzn-ErrorType")

    region = GOVCLOUD.region
    assert status(None) == (403, "MissingAuthenticationTokenException")
    assert status({"Authorization": "Bearer x"}) == (403, "MissingAuthenticationTokenException")
    assert status(signed(url, GOVCLOUD, "bedrock", region)) == (403, "InvalidSignatureException")
    assert status(signed(url, GOVCLOUD, "execute-api", "us-east-1")) == (
        403,
        "InvalidSignatureException",
    )
    assert status(signed(url, COMMERCIAL, "execute-api", region)) == (
        403,
        "UnrecognizedClientException",
    )
    assert status(signed(url, GOVCLOUD, "execute-api", region)) == (201, None)


def test_stock_bedrock_client_is_refused_by_an_iam_method(bench: Workbench) -> None:
    """A stock bedrock-runtime client signs for another service, so AWS_IAM refuses it."""
    api = Api(bench, ECHO, authorization="AWS_IAM")
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=api.url,
        region_name=GOVCLOUD.region,
        aws_access_key_id=GOVCLOUD.access_key_id,
        aws_secret_access_key=GOVCLOUD.secret_access_key,
    )
    with pytest.raises(ClientError, match="execute-api"):
        client.invoke_model(modelId="m", body=b"{}")
    client.close()


def test_binary_media_types_are_base64_inside(bench: Workbench) -> None:
    """A body of a binary media type is base64 for the function and bytes for the client."""
    api = Api(
        bench,
        """
        def handler(event, context):
            assert event["isBase64Encoded"]
            return {"statusCode": 200, "isBase64Encoded": True, "body": event["body"]}
        """,
        binary_types=("application/vnd.amazon.eventstream",),
    )
    media_type = "application/vnd.amazon.eventstream"
    answer = api.request(
        "/x",
        "POST",
        body=b"\x00\xff\x01",
        headers={"Content-Type": media_type, "Accept": media_type},
    )
    assert answer.data == b"\x00\xff\x01"
    other = api.request("/x", "POST", body=b"\x00\xff", headers={"Content-Type": media_type})
    assert base64.b64decode(other.data) == b"\x00\xff"


def test_oversized_request_is_refused(bench: Workbench) -> None:
    """A body above API Gateway's 10 MB is 413 and reaches no function."""
    api = Api(bench, ECHO)
    answer = api.request("/x", "POST", headers={"Content-Length": str(11 * 1024 * 1024)})
    assert answer.status == 413


def test_other_integrations_are_refused(bench: Workbench) -> None:
    """An integration that nothing here would carry out is an error when it is put."""
    client = bench.cloud.client("apigateway")
    api = client.create_rest_api(name=bench.name("api"))["id"]
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    place = {"restApiId": api, "resourceId": root, "httpMethod": "GET"}
    client.put_method(**place, authorizationType="NONE")
    with pytest.raises(ClientError, match="MOCK"):
        client.put_integration(**place, type="MOCK")
