"""Resource types of the container edge: ECS, load balancers, their scaling.

Not guaranteed: nothing runs. Containers, load balancers and scaling are stored and shown, so that templates with
a container edge deploy and their promises can be asked; the proxy's server runs as a process of the environment.
"""

from __future__ import annotations

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
)


class _Service(ApiType):
    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        changed = {name for name in self.properties if old.get(name) != new.get(name)}
        if changed - {"DesiredCount", "TaskDefinition"}:
            return None
        aws.shaped_call(
            "ecs",
            "update_service",
            {
                "Cluster": new["Cluster"],
                "Service": existing.physical_id,
                **{name: new[name] for name in changed},
            },
        )
        return existing

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.shaped_call(
            "ecs",
            "delete_service",
            {"Cluster": properties["Cluster"], "Service": existing.physical_id, "Force": True},
        )


class _Balanced(ApiType):
    """A load balancer or target group, whose attributes a second call sets.

    `attributes_call`, `attributes_property`: that call, and the property it takes.
    """

    def after_create(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        name = next(iter(self.afterwards))
        if name in properties:
            aws.shaped_call(
                "elbv2",
                f"modify_{self.delete_call.removeprefix('delete_')}_attributes",
                {**self._who(existing), "Attributes": properties[name]},
            )

    def _who(self, existing: Existing) -> dict[str, str]:
        return {next(iter(self.delete_by)): existing.physical_id}

    def existing(self, answer: Mapping[str, Any], properties: Properties) -> Existing:
        made = super().existing(answer, properties)
        resource = made.physical_id.rpartition(":")[2]
        kind = next(name for name in self.full_names if resource.startswith(name))
        full = {self.full_names[kind]: resource.removeprefix("loadbalancer/")}
        return Existing(made.physical_id, {**made.attributes, **full})

    full_names: Mapping[str, str] = {
        "loadbalancer/": "LoadBalancerFullName",
        "targetgroup/": "TargetGroupFullName",
    }


class _ScalableTarget(ResourceType):
    name = "AWS::ApplicationAutoScaling::ScalableTarget"
    _PLACE = ("ResourceId", "ScalableDimension", "ServiceNamespace")
    properties = frozenset({*_PLACE, "MaxCapacity", "MinCapacity", "RoleARN"})
    required = frozenset({*_PLACE, "MaxCapacity", "MinCapacity"})
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        aws.shaped_call("application-autoscaling", "register_scalable_target", properties)
        return Existing("|".join(str(properties[name]) for name in self._PLACE))

    def update(
        self, aws: Surroundings, existing: Existing, old: Properties, new: Properties
    ) -> Existing | None:
        if any(old[name] != new[name] for name in self._PLACE):
            return None
        return self.create(aws, new)

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        place = {name: properties[name] for name in self._PLACE}
        aws.shaped_call("application-autoscaling", "deregister_scalable_target", place)


class _ScalingPolicy(ResourceType):
    name = "AWS::ApplicationAutoScaling::ScalingPolicy"
    properties = frozenset(
        {"PolicyName", "PolicyType", "ScalingTargetId", "TargetTrackingScalingPolicyConfiguration"}
    )
    required = properties
    no_effect: Mapping[str, str] = {}

    def create(self, aws: Surroundings, properties: Properties) -> Existing:
        parameters = {k: v for k, v in properties.items() if k != "ScalingTargetId"}
        answer = aws.shaped_call(
            "application-autoscaling",
            "put_scaling_policy",
            {**parameters, **self._place(aws, properties)},
        )
        return Existing(answer["PolicyARN"], {"Arn": answer["PolicyARN"]})

    @staticmethod
    def _place(aws: Surroundings, properties: Properties) -> dict[str, str]:
        parts = str(properties["ScalingTargetId"]).split("|")
        if len(parts) != 3:
            where = f"Resources.{aws.logical_id}.Properties.ScalingTargetId"
            raise TemplateProblem(where, "is not what Ref of a scalable target gives")
        return dict(
            zip(("ResourceId", "ScalableDimension", "ServiceNamespace"), parts, strict=True)
        )

    def delete(self, aws: Surroundings, existing: Existing, properties: Properties) -> None:
        aws.call(
            "application-autoscaling",
            "delete_scaling_policy",
            PolicyName=properties["PolicyName"],
            **self._place(aws, properties),
        )


EDGE_TYPES: tuple[ResourceType, ...] = (
    ApiType(
        name="AWS::ECS::Cluster",
        service="ecs",
        create_call="create_cluster",
        result="cluster",
        ref="clusterName",
        attributes={"Arn": "clusterArn"},
        properties=frozenset({"ClusterName", "ClusterSettings", "Tags"}),
        renames={"ClusterSettings": "settings"},
        tags=tag_list("tags"),
        name_property="ClusterName",
        delete_call="delete_cluster",
        delete_by={"cluster": "@ref"},
    ),
    ApiType(
        name="AWS::ECS::TaskDefinition",
        service="ecs",
        create_call="register_task_definition",
        result="taskDefinition",
        ref="taskDefinitionArn",
        attributes={"TaskDefinitionArn": "taskDefinitionArn"},
        properties=frozenset(
            {
                "ContainerDefinitions",
                "Cpu",
                "ExecutionRoleArn",
                "Family",
                "Memory",
                "NetworkMode",
                "RequiresCompatibilities",
                "RuntimePlatform",
                "Tags",
                "TaskRoleArn",
            }
        ),
        tags=tag_list("tags"),
        delete_call="deregister_task_definition",
        delete_by={"taskDefinition": "@ref"},
    ),
    _Service(
        name="AWS::ECS::Service",
        service="ecs",
        create_call="create_service",
        result="service",
        ref="serviceArn",
        attributes={"Name": "serviceName", "ServiceArn": "serviceArn"},
        properties=frozenset(
            {
                "Cluster",
                "DeploymentConfiguration",
                "DesiredCount",
                "EnableExecuteCommand",
                "HealthCheckGracePeriodSeconds",
                "LaunchType",
                "LoadBalancers",
                "NetworkConfiguration",
                "ServiceName",
                "Tags",
                "TaskDefinition",
            }
        ),
        required=frozenset({"Cluster", "TaskDefinition"}),
        tags=tag_list("tags"),
        name_property="ServiceName",
        delete_call="delete_service",
        delete_by={},
    ),
    _Balanced(
        name="AWS::ElasticLoadBalancingV2::LoadBalancer",
        service="elbv2",
        create_call="create_load_balancer",
        result="LoadBalancers.0",
        ref="LoadBalancerArn",
        attributes={"DNSName": "DNSName", "LoadBalancerArn": "LoadBalancerArn"},
        properties=frozenset(
            {
                "LoadBalancerAttributes",
                "Name",
                "Scheme",
                "SecurityGroups",
                "Subnets",
                "Tags",
                "Type",
            }
        ),
        tags=tag_list(),
        afterwards=frozenset({"LoadBalancerAttributes"}),
        name_property="Name",
        longest_name=32,
        delete_call="delete_load_balancer",
        delete_by={"LoadBalancerArn": "@ref"},
    ),
    _Balanced(
        name="AWS::ElasticLoadBalancingV2::TargetGroup",
        service="elbv2",
        create_call="create_target_group",
        result="TargetGroups.0",
        ref="TargetGroupArn",
        attributes={"TargetGroupArn": "TargetGroupArn"},
        properties=frozenset(
            {
                "HealthCheckIntervalSeconds",
                "HealthCheckPath",
                "HealthCheckTimeoutSeconds",
                "HealthyThresholdCount",
                "Matcher",
                "Name",
                "Port",
                "Protocol",
                "Tags",
                "TargetGroupAttributes",
                "TargetType",
                "UnhealthyThresholdCount",
                "VpcId",
            }
        ),
        tags=tag_list(),
        afterwards=frozenset({"TargetGroupAttributes"}),
        name_property="Name",
        longest_name=32,
        delete_call="delete_target_group",
        delete_by={"TargetGroupArn": "@ref"},
    ),
    ApiType(
        name="AWS::ElasticLoadBalancingV2::Listener",
        service="elbv2",
        create_call="create_listener",
        result="Listeners.0",
        ref="ListenerArn",
        attributes={"ListenerArn": "ListenerArn"},
        properties=frozenset(
            {"Certificates", "DefaultActions", "LoadBalancerArn", "Port", "Protocol", "SslPolicy"}
        ),
        required=frozenset({"DefaultActions", "LoadBalancerArn"}),
        delete_call="delete_listener",
        delete_by={"ListenerArn": "@ref"},
    ),
    _ScalableTarget(),
    _ScalingPolicy(),
)
