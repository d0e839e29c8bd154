"""API Gateway's resource types.

Not guaranteed: what the gateway of the embedded cloud does not do. Request validators and models are stored and
shown, and no request is judged by them; usage plans say whose API key is good, and count nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

from infra.local.cloudformation.errors import UnsupportedByEmbeddedCloud
from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_map,
)


class _RestApi(ApiType):
    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        made = super().create(aws, properties)
        # The root resource is an answer of its own: create_rest_api does not always tell it.
        found = aws.call("apigateway", "get_resources", restApiId=made.physical_id)["items"]
        root = next(item["id"] for item in found if item["path"] == "/")
        return Existing(made.physical_id, {"RestApiId": made.physical_id, "RootResourceId": root})

    _PATCHED: Mapping[str, str] = {
        "ApiKeySourceType": "apiKeySource",
        "Description": "description",
        "Name": "name",
        "Policy": "policy",
    }

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        operations = _patches(self._PATCHED, old, new, ignored=self.no_effect)
        if operations is None:
            return None
        aws.call(
            "apigateway",
            "update_rest_api",
            restApiId=existing.physical_id,
            patchOperations=operations,
        )
        return existing


class _Method(ResourceType):
    name = "AWS::ApiGateway::Method"
    properties = frozenset(
        {
            "ApiKeyRequired",
            "AuthorizationType",
            "AuthorizerId",
            "HttpMethod",
            "Integration",
            "RequestModels",
            "RequestParameters",
            "RequestValidatorId",
            "ResourceId",
            "RestApiId",
        }
    )
    required = frozenset({"HttpMethod", "ResourceId", "RestApiId"})
    no_effect: Mapping[str, str] = {}
    _PLACE = ("RestApiId", "ResourceId", "HttpMethod")
    _OPTIONAL = ("AuthorizerId", "RequestModels", "RequestParameters", "RequestValidatorId")
    _INTEGRATION: Mapping[str, str] = {
        "IntegrationHttpMethod": "integrationHttpMethod",
        "TimeoutInMillis": "timeoutInMillis",
        "Type": "type",
        "Uri": "uri",
    }

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        place = {name: properties[name] for name in self._PLACE}
        method = {
            "AuthorizationType": properties.get("AuthorizationType", "NONE"),
            "ApiKeyRequired": properties.get("ApiKeyRequired", False),
            **{name: properties[name] for name in self._OPTIONAL if name in properties},
        }
        aws.shaped_call("apigateway", "put_method", {**place, **method})
        integration = {}
        for name, value in properties.get("Integration", {}).items():
            if name not in self._INTEGRATION:
                where = f"Resources.{aws.logical_id}.Properties.Integration.{name}"
                raise UnsupportedByEmbeddedCloud(where, "this property")
            integration[self._INTEGRATION[name]] = value
        if integration:
            aws.shaped_call("apigateway", "put_integration", {**place, **integration})
        return Existing("-".join((*map(str, place.values()),)))

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        """Put in place of the old one. A new one beside it would have the same place, and be deleted with it."""
        if any(old[name] != new[name] for name in self._PLACE):
            return None
        return self.create(aws, new)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        place = {name: properties[name] for name in self._PLACE}
        aws.shaped_call("apigateway", "delete_method", place)


class _Authorizer(ApiType):
    _PATCHED: Mapping[str, str] = {
        "AuthType": "authType",
        "AuthorizerResultTtlInSeconds": "authorizerResultTtlInSeconds",
        "AuthorizerUri": "authorizerUri",
        "IdentitySource": "identitySource",
        "IdentityValidationExpression": "identityValidationExpression",
        "Name": "name",
        "Type": "type",
    }

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        operations = _patches(self._PATCHED, old, new)
        if operations is None:
            return None
        aws.call(
            "apigateway",
            "update_authorizer",
            restApiId=new["RestApiId"],
            authorizerId=existing.physical_id,
            patchOperations=operations,
        )
        return existing


def _patches(
    patched: Mapping[str, str],
    old: Properties,
    new: Properties,
    ignored: Collection[str] = (),
) -> list[dict[str, str]] | None:
    """The patch operations from old to new; None if a change is beyond them, such as a property that went."""
    changed = {name for name in {*old, *new} if old.get(name) != new.get(name)} - set(ignored)
    if any(name not in patched or name not in new for name in changed):
        return None
    return [
        {
            "op": "replace",
            "path": f"/{patched[name]}",
            "value": json.dumps(new[name]) if isinstance(new[name], dict) else str(new[name]),
        }
        for name in sorted(changed)
    ]


class _Stage(ApiType):
    _FLAGS: Mapping[str, str] = {
        "MetricsEnabled": "metrics/enabled",
        "DataTraceEnabled": "logging/dataTrace",
        "LoggingLevel": "logging/loglevel",
        "ThrottlingBurstLimit": "throttling/burstLimit",
        "ThrottlingRateLimit": "throttling/rateLimit",
    }

    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        operations = []
        for setting in properties.get("MethodSettings", []):
            prefix = "/{}/{}".format(
                setting["ResourcePath"].replace("/", "~1"), setting["HttpMethod"]
            ).replace("/~1*/", "/*/")
            for name, value in setting.items():
                if name in ("ResourcePath", "HttpMethod"):
                    continue
                if name not in self._FLAGS:
                    where = f"Resources.{aws.logical_id}.Properties.MethodSettings.{name}"
                    raise UnsupportedByEmbeddedCloud(where, "this property")
                text = json.dumps(value) if isinstance(value, bool) else str(value)
                operations.append(
                    {"op": "replace", "path": f"{prefix}/{self._FLAGS[name]}", "value": text}
                )
        self._patch(aws, existing, properties, operations)

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        settable = {"DeploymentId", "MethodSettings", "Variables"}
        if not changed <= settable or _places(old) != _places(new):
            return None
        variables, before = new.get("Variables", {}), old.get("Variables", {})
        operations = [
            {"op": "replace", "path": f"/variables/{name}", "value": value}
            for name, value in variables.items()
        ]
        operations += [
            {"op": "remove", "path": f"/variables/{name}"} for name in before.keys() - variables
        ]
        if "DeploymentId" in changed:
            deployed = {"op": "replace", "path": "/deploymentId", "value": new["DeploymentId"]}
            operations.append(deployed)
        self._patch(aws, existing, new, operations)
        self.after_create(aws, existing, new)
        return existing

    @staticmethod
    def _patch(
        aws: Surroundings, existing: Existing, stage: Properties, operations: list[dict[str, str]]
    ) -> None:
        if operations:
            aws.call(
                "apigateway",
                "update_stage",
                restApiId=stage["RestApiId"],
                stageName=existing.physical_id,
                patchOperations=operations,
            )


def _places(stage: Properties) -> list[tuple[str, ...]]:
    """What a stage's settings are about: methods, and the settings of each."""
    return [
        (setting["ResourcePath"], setting["HttpMethod"], *sorted(setting))
        for setting in stage.get("MethodSettings", [])
    ]


class _Account(ResourceType):
    """The settings of API Gateway in the account and region. They stay when the resource goes, as in AWS."""

    name = "AWS::ApiGateway::Account"
    properties = frozenset({"CloudWatchRoleArn"})
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        role = str(properties.get("CloudWatchRoleArn", ""))
        aws.call(
            "apigateway",
            "update_account",
            patchOperations=[{"op": "replace", "path": "/cloudwatchRoleArn", "value": role}],
        )
        return Existing(aws.generated_name())

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        self.create(aws, new)
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        """Nothing: the account keeps its settings."""


API_TYPES: tuple[ResourceType, ...] = (
    _RestApi(
        name="AWS::ApiGateway::RestApi",
        service="apigateway",
        create_call="create_rest_api",
        ref="id",
        properties=frozenset(
            {
                "ApiKeySourceType",
                "Description",
                "DisableExecuteApiEndpoint",
                "EndpointConfiguration",
                "Name",
                "Policy",
                "Tags",
            }
        ),
        no_effect={
            "EndpointAccessMode": "the gateway answers on loopback, under no server name",
            "SecurityPolicy": "the gateway speaks no TLS",
        },
        required=frozenset({"Name"}),
        renames={"ApiKeySourceType": "apiKeySource"},
        tags=tag_map("tags"),
        delete_call="delete_rest_api",
        delete_by={"restApiId": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::Resource",
        service="apigateway",
        create_call="create_resource",
        ref="id",
        attributes={"ResourceId": "id"},
        properties=frozenset({"ParentId", "PathPart", "RestApiId"}),
        required=frozenset({"ParentId", "PathPart", "RestApiId"}),
        delete_call="delete_resource",
        delete_by={"resourceId": "@ref", "restApiId": "=RestApiId"},
    ),
    _Method(),
    _Authorizer(
        name="AWS::ApiGateway::Authorizer",
        service="apigateway",
        create_call="create_authorizer",
        ref="id",
        attributes={"AuthorizerId": "id"},
        properties=frozenset(
            {
                "AuthType",
                "AuthorizerResultTtlInSeconds",
                "AuthorizerUri",
                "IdentitySource",
                "IdentityValidationExpression",
                "Name",
                "RestApiId",
                "Type",
            }
        ),
        required=frozenset({"Name", "RestApiId", "Type"}),
        delete_call="delete_authorizer",
        delete_by={"restApiId": "=RestApiId", "authorizerId": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::Deployment",
        service="apigateway",
        create_call="create_deployment",
        ref="id",
        attributes={"DeploymentId": "id"},
        properties=frozenset({"Description", "RestApiId"}),
        required=frozenset({"RestApiId"}),
        delete_call="delete_deployment",
        delete_by={"deploymentId": "@ref", "restApiId": "=RestApiId"},
    ),
    _Stage(
        name="AWS::ApiGateway::Stage",
        service="apigateway",
        create_call="create_stage",
        ref="stageName",
        properties=frozenset(
            {
                "DeploymentId",
                "Description",
                "MethodSettings",
                "RestApiId",
                "StageName",
                "Tags",
                "TracingEnabled",
                "Variables",
            }
        ),
        no_effect={"AccessLogSetting": "the gateway keeps no access log"},
        required=frozenset({"RestApiId"}),
        tags=tag_map("tags"),
        afterwards=frozenset({"MethodSettings"}),
        name_property="StageName",
        delete_call="delete_stage",
        delete_by={"restApiId": "=RestApiId", "stageName": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::Model",
        service="apigateway",
        create_call="create_model",
        ref="name",
        properties=frozenset({"ContentType", "Description", "Name", "RestApiId", "Schema"}),
        required=frozenset({"RestApiId"}),
        name_property="Name",
        delete_call="delete_model",
        delete_by={"restApiId": "=RestApiId", "modelName": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::RequestValidator",
        service="apigateway",
        create_call="create_request_validator",
        ref="id",
        attributes={"RequestValidatorId": "id"},
        properties=frozenset(
            {"Name", "RestApiId", "ValidateRequestBody", "ValidateRequestParameters"}
        ),
        required=frozenset({"RestApiId"}),
        delete_call="delete_request_validator",
        delete_by={"restApiId": "=RestApiId", "requestValidatorId": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::ApiKey",
        service="apigateway",
        create_call="create_api_key",
        ref="id",
        attributes={"APIKeyId": "id"},
        properties=frozenset({"Description", "Enabled", "Name", "Tags", "Value"}),
        tags=tag_map("tags"),
        name_property="Name",
        delete_call="delete_api_key",
        delete_by={"apiKey": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::UsagePlan",
        service="apigateway",
        create_call="create_usage_plan",
        ref="id",
        attributes={"Id": "id"},
        properties=frozenset(
            {"ApiStages", "Description", "Quota", "Tags", "Throttle", "UsagePlanName"}
        ),
        renames={"UsagePlanName": "name"},
        tags=tag_map("tags"),
        name_property="UsagePlanName",
        delete_call="delete_usage_plan",
        delete_by={"usagePlanId": "@ref"},
    ),
    ApiType(
        name="AWS::ApiGateway::UsagePlanKey",
        service="apigateway",
        create_call="create_usage_plan_key",
        ref="id",
        properties=frozenset({"KeyId", "KeyType", "UsagePlanId"}),
        required=frozenset({"KeyId", "KeyType", "UsagePlanId"}),
        delete_call="delete_usage_plan_key",
        delete_by={"usagePlanId": "=UsagePlanId", "keyId": "=KeyId"},
    ),
    _Account(),
)
