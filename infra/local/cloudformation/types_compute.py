"""Resource types that run or call code: Lambda, Step Functions, API Gateway, EventBridge, alarms.

Not guaranteed: functions run in worker processes on this machine, so where they would run in AWS (VPC,
architecture, runtime version) changes nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.errors import TemplateProblem, UnsupportedByEmbeddedCloud
from infra.local.cloudformation.resource_type import (
    ApiType,
    Existing,
    Properties,
    ResourceType,
    Surroundings,
    tag_list,
    tag_map,
)

_SUBSTITUTION = re.compile(r"\$\{([A-Za-z0-9]+)\}")


class _Function(ApiType):
    _CODE = "Code"
    _CONFIGURATION = frozenset(
        {"Description", "Environment", "Handler", "MemorySize", "Role", "Runtime", "Timeout"}
    )

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed - self._CONFIGURATION - {self._CODE}:
            return None
        function = {"FunctionName": existing.physical_id}
        if self._CODE in changed:
            aws.shaped_call("lambda", "update_function_code", {**function, **new[self._CODE]})
        configuration = {name: new[name] for name in changed - {self._CODE} if name in new}
        if configuration:
            aws.shaped_call(
                "lambda", "update_function_configuration", {**function, **configuration}
            )
        return existing


class _Permission(ResourceType):
    name = "AWS::Lambda::Permission"
    properties = frozenset({"Action", "FunctionName", "Principal", "SourceAccount", "SourceArn"})
    required = frozenset({"Action", "FunctionName", "Principal"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        statement = aws.generated_name(100)
        aws.shaped_call("lambda", "add_permission", {**properties, "StatementId": statement})
        return Existing(statement, {"Id": statement})

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call(
            "lambda",
            "remove_permission",
            FunctionName=properties["FunctionName"],
            StatementId=existing.physical_id,
        )


class _StateMachine(ApiType):
    def parameters(self, aws: Surroundings, properties: Properties) -> dict[str, Any]:
        parameters = super().parameters(aws, properties)
        parameters["definition"] = self._definition(aws, parameters)
        return parameters

    @staticmethod
    def _definition(aws: Surroundings, parameters: dict[str, Any]) -> str:
        """The ASL text; takes what describes it out of `parameters`."""
        substitutions = parameters.pop("DefinitionSubstitutions", {})
        location = parameters.pop("DefinitionS3Location", None)
        text = parameters.pop("DefinitionString", None)
        where = f"Resources.{aws.logical_id}.Properties"
        if (location is None) == (text is None):
            raise TemplateProblem(
                where, "one of DefinitionS3Location, DefinitionString is required"
            )
        if location is not None:
            stored = aws.call("s3", "get_object", Bucket=location["Bucket"], Key=location["Key"])
            text = stored["Body"].read().decode()
        wanted = set(_SUBSTITUTION.findall(text))
        if missing := wanted - set(substitutions):
            raise TemplateProblem(
                f"{where}.DefinitionSubstitutions",
                f"the definition names {', '.join(sorted(missing))}, which it does not give",
            )
        filled = _SUBSTITUTION.sub(lambda match: str(substitutions[match.group(1)]), text)
        try:
            json.loads(filled)
        except ValueError as error:
            raise TemplateProblem(where, f"the definition is not JSON: {error}") from None
        return filled

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old.get(n) != new.get(n) for n in ("StateMachineName", "StateMachineType", "Tags")):
            return None
        parameters = self.parameters(aws, new)
        for name in ("name", "type", "tags", "StateMachineName"):
            parameters.pop(name, None)
        aws.shaped_call(
            "stepfunctions",
            "update_state_machine",
            {**parameters, "stateMachineArn": existing.physical_id},
        )
        return existing


class _Rule(ResourceType):
    name = "AWS::Events::Rule"
    properties = frozenset(
        {"Description", "EventPattern", "Name", "ScheduleExpression", "State", "Targets"}
    )
    required: frozenset[str] = frozenset()
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        return self._put(aws, str(properties.get("Name") or aws.generated_name()), properties)

    def _put(self, aws: Surroundings, name: str, properties: Properties) -> Existing:
        rule = {k: v for k, v in properties.items() if k not in ("Targets", "Name")}
        answer = aws.shaped_call("events", "put_rule", {**rule, "Name": name})
        targets = properties.get("Targets", [])
        if targets:
            put = aws.shaped_call("events", "put_targets", {"Rule": name, "Targets": targets})
            if put["FailedEntryCount"]:
                raise TemplateProblem(
                    f"Resources.{aws.logical_id}.Properties.Targets",
                    put["FailedEntries"][0]["ErrorMessage"],
                )
        return Existing(name, {"Arn": answer["RuleArn"]})

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if old.get("Name") != new.get("Name"):
            return None
        kept = {target["Id"] for target in new.get("Targets", [])}
        self._remove(aws, existing, [t for t in old.get("Targets", []) if t["Id"] not in kept])
        return self._put(aws, existing.physical_id, new)

    @staticmethod
    def _remove(aws: Surroundings, existing: Existing, targets: list[Mapping[str, Any]]) -> None:
        if targets:
            ids = [target["Id"] for target in targets]
            aws.call("events", "remove_targets", Rule=existing.physical_id, Ids=ids)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        self._remove(aws, existing, properties.get("Targets", []))
        aws.call("events", "delete_rule", Name=existing.physical_id)


class _Alarm(ApiType):
    def existing(self, answer: Mapping[str, Any], properties: Properties) -> Existing:
        return Existing(str(properties["AlarmName"]))

    def _with_arn(self, aws: Surroundings, existing: Existing) -> Existing:
        name = existing.physical_id
        arn = f"arn:{aws.partition}:cloudwatch:{aws.region}:{aws.account_id}:alarm:{name}"
        return Existing(name, {"Arn": arn})

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        return self._with_arn(aws, super().create(aws, properties))

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        updated = super().update(aws, existing, old, new)
        return None if updated is None else self._with_arn(aws, updated)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("cloudwatch", "delete_alarms", AlarmNames=[existing.physical_id])


class _RestApi(ApiType):
    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        made = super().create(aws, properties)
        # The root resource is an answer of its own: create_rest_api does not always tell it.
        found = aws.call("apigateway", "get_resources", restApiId=made.physical_id)["items"]
        root = next(item["id"] for item in found if item["path"] == "/")
        return Existing(made.physical_id, {"RestApiId": made.physical_id, "RootResourceId": root})


class _Method(ResourceType):
    name = "AWS::ApiGateway::Method"
    properties = frozenset(
        {
            "ApiKeyRequired",
            "AuthorizationType",
            "HttpMethod",
            "Integration",
            "ResourceId",
            "RestApiId",
        }
    )
    required = frozenset({"HttpMethod", "ResourceId", "RestApiId"})
    no_effect: Mapping[str, str] = {}
    _INTEGRATION: Mapping[str, str] = {
        "IntegrationHttpMethod": "integrationHttpMethod",
        "TimeoutInMillis": "timeoutInMillis",
        "Type": "type",
        "Uri": "uri",
    }

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        place = {name: properties[name] for name in ("RestApiId", "ResourceId", "HttpMethod")}
        method = {
            "AuthorizationType": properties.get("AuthorizationType", "NONE"),
            "ApiKeyRequired": properties.get("ApiKeyRequired", False),
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

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        place = {name: properties[name] for name in ("RestApiId", "ResourceId", "HttpMethod")}
        aws.shaped_call("apigateway", "delete_method", place)


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
        if operations:
            aws.call(
                "apigateway",
                "update_stage",
                restApiId=properties["RestApiId"],
                stageName=existing.physical_id,
                patchOperations=operations,
            )

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed != {"DeploymentId"}:
            return None
        aws.call(
            "apigateway",
            "update_stage",
            restApiId=new["RestApiId"],
            stageName=existing.physical_id,
            patchOperations=[
                {"op": "replace", "path": "/deploymentId", "value": new["DeploymentId"]}
            ],
        )
        return existing


COMPUTE_TYPES: tuple[ResourceType, ...] = (
    _Function(
        name="AWS::Lambda::Function",
        service="lambda",
        create_call="create_function",
        ref="FunctionName",
        attributes={"Arn": "FunctionArn"},
        properties=frozenset(
            {
                "Code",
                "Description",
                "Environment",
                "FunctionName",
                "Handler",
                "MemorySize",
                "Role",
                "Runtime",
                "Tags",
                "Timeout",
            }
        ),
        no_effect={
            "Architectures": "functions run on this machine's processor",
            "LoggingConfig": "what a function prints goes to the embedded cloud's own log",
            "ReservedConcurrentExecutions": "concurrency is bounded by the worker processes",
            "TracingConfig": "there is no X-Ray daemon to send segments to",
            "VpcConfig": "functions reach paths through the relays, not through a network interface",
        },
        required=frozenset({"Code", "Handler", "Role", "Runtime"}),
        tags=tag_map(),
        name_property="FunctionName",
        delete_call="delete_function",
        delete_by={"FunctionName": "@ref"},
    ),
    _Permission(),
    _StateMachine(
        name="AWS::StepFunctions::StateMachine",
        service="stepfunctions",
        create_call="create_state_machine",
        ref="stateMachineArn",
        attributes={"Arn": "stateMachineArn", "Name": "=StateMachineName"},
        properties=frozenset(
            {
                "DefinitionS3Location",
                "DefinitionString",
                "DefinitionSubstitutions",
                "LoggingConfiguration",
                "RoleArn",
                "StateMachineName",
                "StateMachineType",
                "Tags",
                "TracingConfiguration",
            }
        ),
        required=frozenset({"RoleArn"}),
        renames={"StateMachineName": "name", "StateMachineType": "type"},
        tags=tag_list("tags"),
        name_property="StateMachineName",
        longest_name=80,
        delete_call="delete_state_machine",
        delete_by={"stateMachineArn": "@ref"},
    ),
    _Rule(),
    _Alarm(
        name="AWS::CloudWatch::Alarm",
        service="cloudwatch",
        create_call="put_metric_alarm",
        ref="AlarmName",
        properties=frozenset(
            {
                "ActionsEnabled",
                "AlarmActions",
                "AlarmDescription",
                "AlarmName",
                "ComparisonOperator",
                "DatapointsToAlarm",
                "Dimensions",
                "EvaluationPeriods",
                "MetricName",
                "Namespace",
                "OKActions",
                "Period",
                "Statistic",
                "Tags",
                "Threshold",
                "TreatMissingData",
            }
        ),
        required=frozenset({"ComparisonOperator", "EvaluationPeriods"}),
        tags=tag_list(),
        name_property="AlarmName",
        longest_name=255,
        upsert=True,
        delete_call="delete_alarms",
        delete_by={},
    ),
    _RestApi(
        name="AWS::ApiGateway::RestApi",
        service="apigateway",
        create_call="create_rest_api",
        ref="id",
        properties=frozenset(
            {
                "Description",
                "DisableExecuteApiEndpoint",
                "EndpointConfiguration",
                "Name",
                "Policy",
                "Tags",
            }
        ),
        required=frozenset({"Name"}),
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
            }
        ),
        required=frozenset({"RestApiId"}),
        tags=tag_map("tags"),
        afterwards=frozenset({"MethodSettings"}),
        name_property="StageName",
        delete_call="delete_stage",
        delete_by={"restApiId": "=RestApiId", "stageName": "@ref"},
    ),
)
