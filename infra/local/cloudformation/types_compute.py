"""Resource types that run or call code: Lambda, Step Functions, EventBridge, alarms.

Not guaranteed: functions run in worker processes on this machine, so where they would run in AWS (VPC,
architecture, runtime version) changes nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from infra.local.cloudformation.errors import TemplateProblem
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


class _Dashboard(ApiType):
    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call("cloudwatch", "delete_dashboards", DashboardNames=[existing.physical_id])


class _Alias(ApiType):
    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed - {"Description", "FunctionVersion"}:
            return None
        aws.shaped_call(
            "lambda", "update_alias", {name: new[name] for name in self.properties if name in new}
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
                "Metrics",
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
    _Alarm(
        name="AWS::CloudWatch::CompositeAlarm",
        service="cloudwatch",
        create_call="put_composite_alarm",
        ref="AlarmName",
        properties=frozenset(
            {
                "ActionsEnabled",
                "AlarmActions",
                "AlarmDescription",
                "AlarmName",
                "AlarmRule",
                "OKActions",
                "Tags",
            }
        ),
        required=frozenset({"AlarmRule"}),
        tags=tag_list(),
        name_property="AlarmName",
        longest_name=255,
        upsert=True,
        delete_call="delete_alarms",
        delete_by={},
    ),
    _Dashboard(
        name="AWS::CloudWatch::Dashboard",
        service="cloudwatch",
        create_call="put_dashboard",
        ref="=DashboardName",
        properties=frozenset({"DashboardBody", "DashboardName"}),
        required=frozenset({"DashboardBody"}),
        name_property="DashboardName",
        longest_name=255,
        upsert=True,
        delete_call="delete_dashboards",
        delete_by={},
    ),
    ApiType(
        name="AWS::Lambda::Version",
        service="lambda",
        create_call="publish_version",
        ref="FunctionArn",
        attributes={"FunctionArn": "FunctionArn", "Version": "Version"},
        properties=frozenset({"Description", "FunctionName"}),
        required=frozenset({"FunctionName"}),
        delete_call="delete_function",
        delete_by={"FunctionName": "=FunctionName", "Qualifier": "Version"},
    ),
    _Alias(
        name="AWS::Lambda::Alias",
        service="lambda",
        create_call="create_alias",
        ref="AliasArn",
        attributes={"AliasArn": "AliasArn"},
        properties=frozenset({"Description", "FunctionName", "FunctionVersion", "Name"}),
        no_effect={
            "ProvisionedConcurrencyConfig": "a worker process is kept for each function anyway"
        },
        required=frozenset({"FunctionName", "FunctionVersion", "Name"}),
        delete_call="delete_alias",
        delete_by={"FunctionName": "=FunctionName", "Name": "=Name"},
    ),
)
