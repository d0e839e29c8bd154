"""A link is as its templates say: after deploying, after an update, and told of when a hand has changed it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.deploy import Deployment, deploy
from infra.doctor import Result, drift
from infra.local.cloudformation.drift import canonical, checked_types
from infra.local.server import EmbeddedCloud
from infra.stack_drift import Looked, look
from infra.waiting import Clock, TimedOut
from tests.infrastructure.conftest import settings
from tests.templates import REGION, resources

ALARM = "twinspan.bedrock.latency"


def drifted(cloud: EmbeddedCloud, side: str) -> Looked:
    name = settings().govcloud_stack if side == "govcloud" else settings().commercial_stack
    return look(cloud.client("cloudformation", side), name, poll_seconds=0.01)


def test_most_of_a_link_is_looked_at() -> None:
    """What decides where packets go, who may what and who is told is read; the share of the whole is known."""
    for side in REGION:
        kinds = [item.type_name for item in resources(side).values()]
        read = [kind for kind in kinds if kind in checked_types()]
        assert len(read) > 0.6 * len(kinds), (side, len(read), len(kinds))


@pytest.mark.parametrize("side", REGION)
def test_a_fresh_link_has_not_drifted(
    cloud: EmbeddedCloud, deployment: Deployment, side: str
) -> None:
    """Every resource that is read has what the template gave it, in the nested stacks too."""
    looked = drifted(cloud, side)
    assert looked.drifted == ()
    assert looked.unread == ()
    assert looked.stacks > 10 or side == "commercial"


def test_an_updated_link_has_not_drifted(cloud: EmbeddedCloud, deployment: Deployment) -> None:
    """An update brings about all that it announces on both sides, and leaves nothing behind."""
    govcloud = {"LogRetentionDays": "90", "ProxyTimeoutSeconds": "20", "ApiBurst": "200"}
    commercial = {"LogRetentionDays": "90", "InternetPath": "allowed"}
    given = settings().commercial_parameters
    deploy(
        cloud,
        settings(govcloud_parameters=govcloud, commercial_parameters={**given, **commercial}),
    )
    assert [drifted(cloud, side).drifted for side in REGION] == [(), ()]
    deploy(cloud, settings())


def open_a_port(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    ec2 = cloud.client("ec2", "commercial")
    vpc = [{"Name": "vpc-id", "Values": [deployment.commercial["VpcId"]]}]
    (group,) = (
        one["GroupId"]
        for one in ec2.describe_security_groups(Filters=vpc)["SecurityGroups"]
        if one["Description"].startswith("Edge routers")
    )
    rule = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
    }
    place: dict[str, Any] = {"GroupId": group, "IpPermissions": [rule]}
    ec2.authorize_security_group_ingress(**place)
    return lambda: ec2.revoke_security_group_ingress(**place)


def lead_a_route_astray(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    ec2, there = cloud.client("ec2", "commercial"), deployment.commercial
    place = {
        "RouteTableId": there["PrivateRouteTableAId"],
        "DestinationCidrBlock": deployment.govcloud["VpcCidr"],
    }
    ec2.replace_route(**place, NetworkInterfaceId=there["RouterInterfaceBId"])
    return lambda: ec2.replace_route(**place, NetworkInterfaceId=there["RouterInterfaceAId"])


def take_a_route_out(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    ec2, there = cloud.client("ec2", "govcloud"), deployment.govcloud
    place = {
        "RouteTableId": there["FunctionRouteTableId"],
        "DestinationCidrBlock": deployment.commercial["VpcCidr"],
    }
    ec2.delete_route(**place)
    return lambda: ec2.create_route(**place, TransitGatewayId=there["TransitGatewayId"])


def silence_an_alarm(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    cloudwatch = cloud.client("cloudwatch", "govcloud")
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]
    names = (
        "AlarmName", "AlarmDescription", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "OKActions",
        "EvaluationPeriods", "DatapointsToAlarm", "ComparisonOperator", "Threshold", "TreatMissingData", "AlarmActions",
    )  # fmt: skip
    whole = {name: alarm[name] for name in names}
    cloudwatch.put_metric_alarm(**{**whole, "AlarmActions": [], "Threshold": 60000.0})
    return lambda: cloudwatch.put_metric_alarm(**whole)


def widen_a_role(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    iam, function = cloud.client("iam", "govcloud"), cloud.client("lambda", "govcloud")
    role = function.get_function(FunctionName="twinspan-bedrock-proxy")["Configuration"]["Role"]
    place = {"RoleName": role.rpartition("/")[2], "PolicyName": "by-hand"}
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
    iam.put_role_policy(**place, PolicyDocument=document)
    return lambda: iam.delete_role_policy(**place)


def switch_a_rule_off(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    events = cloud.client("events", "govcloud")
    events.disable_rule(Name="twinspan-bedrock-alarms")
    return lambda: events.enable_rule(Name="twinspan-bedrock-alarms")


def shorten_a_function(cloud: EmbeddedCloud, deployment: Deployment) -> Callable[[], Any]:
    function = cloud.client("lambda", "govcloud")
    name = deployment.govcloud["ProxyFunctionName"]
    before = function.get_function_configuration(FunctionName=name)["Timeout"]
    function.update_function_configuration(FunctionName=name, Timeout=3)
    return lambda: function.update_function_configuration(FunctionName=name, Timeout=before)


@pytest.mark.parametrize(
    ("change", "side", "resource", "properties"),
    [
        (open_a_port, "commercial", "RouterSecurityGroup", ("SecurityGroupIngress",)),
        (lead_a_route_astray, "commercial", "PrivateReturnRouteA", ("NetworkInterfaceId",)),
        (take_a_route_out, "govcloud", "CommercialRoute", ()),
        pytest.param(
            silence_an_alarm,
            "govcloud",
            "LatencyAlarm",
            ("AlarmActions", "Threshold"),
            marks=pytest.mark.proof,
        ),
        pytest.param(widen_a_role, "govcloud", "ProxyRole", ("Policies",), marks=pytest.mark.proof),
        pytest.param(
            switch_a_rule_off, "govcloud", "AlarmsRule", ("State",), marks=pytest.mark.proof
        ),
        pytest.param(
            shorten_a_function, "govcloud", "ProxyFunction", ("Timeout",), marks=pytest.mark.proof
        ),
    ],
)
def test_what_a_hand_changed_is_told_of(
    cloud: EmbeddedCloud,
    deployment: Deployment,
    change: Callable[[EmbeddedCloud, Deployment], Callable[[], Any]],
    side: str,
    resource: str,
    properties: tuple[str, ...],
) -> None:
    """By resource and property, and it alone; put back, it is in sync again. The doctor warns of it."""
    put_back = change(cloud, deployment)
    try:
        (found,) = drifted(cloud, side).drifted
        assert (found.logical_id, found.properties) == (resource, properties)
        assert found.gone is (properties == ())
    finally:
        put_back()
    assert drifted(cloud, side).drifted == ()


def test_the_doctor_warns_of_it_and_says_what_to_do(
    cloud: EmbeddedCloud, deployment: Deployment
) -> None:
    """A route may be the workflow's own repair; anything else is somebody's."""
    put_back = [change(cloud, deployment) for change in (open_a_port, lead_a_route_astray)]
    try:
        port, route = sorted(
            drift.check(cloud, "commercial", settings()), key=lambda f: f.detail, reverse=True
        )
        assert {port.result, route.result} == {Result.WARNING}
        assert "RouterSecurityGroup" in port.detail
        assert "SecurityGroupIngress" in port.detail
        assert "by hand" in port.remedy
        assert "PrivateReturnRouteA" in route.detail
        assert "repair" in route.remedy
    finally:
        for one in put_back:
            one()
    (finding,) = drift.check(cloud, "commercial", settings())
    assert finding.result is Result.OK


def test_a_link_that_is_not_there_has_not_drifted(cloud: EmbeddedCloud) -> None:
    """The doctor is asked before the first deployment too."""
    (finding,) = drift.check(cloud, "govcloud", settings(link_id="nowhere"))
    assert finding.result is Result.OK
    assert "no stack" in finding.detail


class Slow:
    """CloudFormation whose detections never end, or fail for some resources."""

    def __init__(self, status: str) -> None:
        self.status = status

    def get_paginator(self, _: str) -> Any:
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{"StackResourceSummaries": []}]

    def detect_stack_drift(self, **_: str) -> dict[str, str]:
        return {"StackDriftDetectionId": "one"}

    def describe_stack_drift_detection_status(self, **_: str) -> dict[str, str]:
        return {"DetectionStatus": self.status, "DetectionStatusReason": "no permission"}

    def describe_stack_resource_drifts(self, **_: Any) -> dict[str, Any]:
        return {"StackResourceDrifts": []}


def test_a_detection_that_does_not_end_is_given_up() -> None:
    """After ten minutes, naming the detection."""
    seconds = itertools.count(0.0, 60.0)
    clock = Clock(monotonic=lambda: next(seconds), sleep=lambda _: None)
    with pytest.raises(TimedOut, match="drift detection one"):
        look(Slow("DETECTION_IN_PROGRESS"), "a stack", clock=clock)


def test_what_could_not_be_read_is_no_proof_that_nothing_changed() -> None:
    """A detection that failed for a resource says so."""
    assert look(Slow("DETECTION_FAILED"), "a stack").unread == (("a stack", "no permission"),)


def test_a_stack_that_is_unknown_is_refused(cloud: EmbeddedCloud) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        look(cloud.client("cloudformation"), "no such stack")


@pytest.mark.parametrize(
    ("template", "live"),
    [
        ({"Port": "443"}, {"Port": 443}),
        ("true", True),
        ([{"a": 1}, {"b": "2"}], [{"b": 2}, {"a": "1"}]),
        ({"A": None, "B": 60.0}, {"B": "60"}),
    ],
)
def test_what_means_the_same_is_no_drift(template: Any, live: Any) -> None:
    """CloudFormation takes numbers and booleans as text; the order of a list says nothing."""
    assert canonical(template) == canonical(live)
