"""Who is counted by which API key, and that the deployed API is the one that the parameters ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from infra.deploy import TEMPLATES, Deployment, api_picture, deploy, plan
from infra.local.server import EmbeddedCloud
from infra.rendering import render
from tests.infrastructure.conftest import settings

NATIVE = {"ModelCallMethod", "GuardrailCallMethod"}
SIGNED = {"InvokeModelMethod", "RoutingMethod", "ModelsMethod", "AliasMethod"}


@pytest.mark.parametrize(
    ("where", "source", "counted"),
    [
        ("nowhere", "HEADER", set()),
        ("header", "HEADER", NATIVE | SIGNED),
        # No signed call could ever name a key there: it would be refused always.
        ("bearer-key", "AUTHORIZER", NATIVE),
    ],
)
def test_an_api_key_is_wanted_where_one_can_be_named(
    where: str, source: str, counted: set[str]
) -> None:
    """Each way of naming an API key holds for the routes that know it, and by default none is wanted."""
    for given in ({"ApiKeyFrom": where}, *([{}] if where == "nowhere" else [])):
        resources = render("govcloud", given)
        methods = {n: r for n, r in resources.items() if r.type_name.endswith("Gateway::Method")}
        assert methods.keys() == NATIVE | SIGNED
        assert {n for n, r in methods.items() if r.properties["ApiKeyRequired"]} == counted
        assert resources["Api"].properties["ApiKeySourceType"] == source


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        ("Bearer twk_1_secret", True),
        ("bearer twk_1_secret", True),
        ("Bearer  padded ", True),
        ("Bearer ", False),
        ("Bearer two words", False),
        ("twk_1_secret", False),
        ("AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=d", False),
        (f"Bearer {'x' * 513}", False),
    ],
)
def test_only_what_looks_like_a_bearer_key_is_looked_up(header: str, fits: bool) -> None:
    """The authorizer is not invoked for a missing key, a signature, or a text longer than any key."""
    expression = render("govcloud")["BearerKeyAuthorizer"].properties[
        "IdentityValidationExpression"
    ]
    assert (re.search(expression, header) is not None) is fits


@pytest.mark.parametrize(
    "given",
    [{"ApiKeyFrom": "bearer-key"}, {"BearerKeyCacheSeconds": "0"}, {"ProvisionedConcurrency": "1"}],
)
def test_a_parameter_of_the_picture_makes_a_new_deployment_of_the_api(
    cloud: EmbeddedCloud, deployment: Deployment, given: Mapping[str, str]
) -> None:
    """API Gateway serves the API as it was when it was deployed: what changes it deploys it anew, once."""
    planned = plan(cloud, settings(govcloud_parameters=given))
    changes = {
        (change.action, change.logical_id)
        for item in planned
        for change in item.changes
        if change.type_name == "AWS::ApiGateway::Deployment"
    }
    assert sorted(action for action, _ in changes) == ["Add", "Remove"]
    assert len({name for _, name in changes}) == 2
    assert all(item.changes == () for item in plan(cloud, settings()))


def test_an_api_counts_by_bearer_keys_without_becoming_another_one(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """Turned on and off again, the API keeps its id and every route; the key source is what was asked for."""
    client = cloud.client("apigateway")

    def routes() -> dict[tuple[str, str], tuple[str, bool]]:
        api = deployment.govcloud["ApiId"]
        return {
            (resource["path"], name): (method["authorizationType"], method["apiKeyRequired"])
            for resource in client.get_resources(restApiId=api)["items"]
            for name in resource.get("resourceMethods", {})
            for method in [
                client.get_method(restApiId=api, resourceId=resource["id"], httpMethod=name)
            ]
        }

    before = routes()
    counting = deploy(cloud, settings(govcloud_parameters={"ApiKeyFrom": "bearer-key"}))
    assert counting.govcloud["ApiId"] == deployment.govcloud["ApiId"]
    api = client.get_rest_api(restApiId=deployment.govcloud["ApiId"])
    assert api["apiKeySource"] == "AUTHORIZER"
    assert routes() == {place: (kind, kind == "CUSTOM") for place, (kind, _) in before.items()}
    deploy(cloud, settings())
    assert routes() == before


def test_every_parameter_of_the_picture_is_one_of_the_template() -> None:
    """A parameter that was renamed would silently no longer be looked at: it is an error instead."""
    root = (TEMPLATES / "govcloud.yaml").read_text()
    without = api_picture.digest_of(root, {})
    for name in api_picture.PICTURED:
        assert api_picture.digest_of(root, {name: "other"}) != without
        with pytest.raises(ValueError, match=name):
            api_picture.digest_of(root.replace(f"  {name}:\n", "  Other:\n"), {})
    declared = root.replace("Default: nowhere", "Default: header")
    assert api_picture.digest_of(declared, {}) != without
