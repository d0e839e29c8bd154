"""The embedded cloud's CloudFormation: what it deploys, and that it refuses the rest aloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.server import EmbeddedCloud

VPC = {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "10.9.0.0/16"}}
TOPIC = {"Type": "AWS::SNS::Topic"}


@pytest.fixture
def cfn(cloud: EmbeddedCloud) -> Iterator[Any]:
    """A CloudFormation client; the test's stack is deleted afterwards."""
    client = cloud.client("cloudformation")
    yield client
    client.delete_stack(StackName="s")


def create(cfn: Any, resources: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """Create the stack `s`; returns it as described."""
    parameters = sections.pop("given", {})
    cfn.create_stack(
        StackName="s",
        TemplateBody=json.dumps({"Resources": resources, **sections}),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )
    stack: dict[str, Any] = cfn.describe_stacks(StackName="s")["Stacks"][0]
    return stack


def update(cfn: Any, resources: dict[str, Any], **sections: Any) -> dict[str, Any]:
    cfn.update_stack(StackName="s", TemplateBody=json.dumps({"Resources": resources, **sections}))
    stack: dict[str, Any] = cfn.describe_stacks(StackName="s")["Stacks"][0]
    return stack


def outputs(stack: dict[str, Any]) -> dict[str, str]:
    return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}


def value(cfn: Any, expression: Any, **sections: Any) -> str:
    """What an expression becomes."""
    stack = create(cfn, {"Topic": TOPIC}, Outputs={"It": {"Value": expression}}, **sections)
    return outputs(stack)["It"]


def physical_id(cfn: Any, logical_id: str) -> str:
    found = cfn.describe_stack_resource(StackName="s", LogicalResourceId=logical_id)
    identifier: str = found["StackResourceDetail"]["PhysicalResourceId"]
    return identifier


def failures(cfn: Any) -> dict[str, str]:
    """Resources that failed and why."""
    events = cfn.describe_stack_events(StackName="s")["StackEvents"]
    return {
        event["LogicalResourceId"]: event["ResourceStatusReason"]
        for event in events
        if event["ResourceStatus"].endswith("_FAILED")
    }


def test_unknown_type_fails_the_stack(cfn: Any) -> None:
    """A type that is not emulated fails the stack and names itself; nothing of the stack is made."""
    stack = create(cfn, {"Vpc": VPC, "Odd": {"Type": "AWS::Glue::Job", "Properties": {}}})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "AWS::Glue::Job" in failures(cfn)["Odd"]
    assert cfn.list_stack_resources(StackName="s")["StackResourceSummaries"] == []


def test_unknown_property_fails_the_stack(cfn: Any, cloud: EmbeddedCloud) -> None:
    """A property that is not emulated fails the stack and names itself; nothing was made before that."""
    before = len(cloud.client("ec2").describe_vpcs()["Vpcs"])
    vpc = {**VPC, "Properties": {**VPC["Properties"], "Ipv4IpamPoolId": "ipam-pool-1"}}  # type: ignore[dict-item]
    stack = create(cfn, {"Vpc": VPC, "Odd": vpc})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "Resources.Odd.Properties.Ipv4IpamPoolId" in failures(cfn)["Odd"]
    assert len(cloud.client("ec2").describe_vpcs()["Vpcs"]) == before


def test_unknown_nested_property_fails_the_stack(cfn: Any) -> None:
    """A property inside a property is checked against the service's API."""
    queue = {"Type": "AWS::DynamoDB::Table", "Properties": {
        "KeySchema": [{"AttributeName": "k", "KeyType": "HASH", "Colour": "red"}],
        "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }}  # fmt: skip
    create(cfn, {"Odd": queue})
    assert "KeySchema.0.Colour" in failures(cfn)["Odd"]


def test_missing_required_property_fails_the_stack(cfn: Any) -> None:
    """A required property that is missing is named."""
    create(cfn, {"Odd": {"Type": "AWS::EC2::VPC"}})
    assert "CidrBlock is required" in failures(cfn)["Odd"]


def test_unknown_attribute_fails_the_stack(cfn: Any) -> None:
    """GetAtt of an attribute that the type does not offer is an error, not an empty value."""
    topic = {**TOPIC, "Properties": {"DisplayName": {"Fn::GetAtt": ["Vpc", "Ipv6CidrBlocks"]}}}
    stack = create(cfn, {"Vpc": VPC, "Odd": topic})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "Ipv6CidrBlocks" in failures(cfn)["Odd"]


@pytest.mark.parametrize(
    ("expression", "named"),
    [
        ({"Fn::ImportValue": "elsewhere"}, "Fn::ImportValue"),
        ({"Fn::Transform": {"Name": "AWS::Include"}}, "Fn::Transform"),
        ("{{resolve:ssm:/a/b}}", "this dynamic reference"),
    ],
)
def test_unknown_function_fails_the_stack(cfn: Any, expression: Any, named: str) -> None:
    """A function that is not emulated is an error that names it."""
    create(cfn, {"Odd": {**TOPIC, "Properties": {"DisplayName": expression}}})
    assert named in failures(cfn)["Odd"]


@pytest.mark.parametrize(
    ("template", "named"),
    [
        ("Transform: AWS::Serverless-2016-10-31\nResources: {T: {Type: 'AWS::SNS::Topic'}}", "Transform"),
        ("Resources: {T: {Type: 'AWS::SNS::Topic', CreationPolicy: {}}}", "CreationPolicy"),
        ("Resources: {T: {Type: 'AWS::SNS::Topic', DependsOn: Nobody}}", "Nobody"),
        ("Resources: {}", "at least one resource"),
        ("Resources:\n  T: {Type: 'AWS::SNS::Topic'}\n  T: {Type: 'AWS::EC2::VPC'}", "twice"),
        ("Resources: {T: {Type: 'AWS::SNS::Topic'}}\nSurprise: 1", "Surprise"),
        ("[", "YAML"),
    ],
)  # fmt: skip
def test_wrong_template_is_refused_before_anything_happens(
    cfn: Any, template: str, named: str
) -> None:
    """A template that is wrong as a whole is refused by the call itself, naming the place."""
    with pytest.raises(ClientError, match=named):
        cfn.create_stack(StackName="s", TemplateBody=template)
    with pytest.raises(ClientError, match="does not exist"):
        cfn.describe_stacks(StackName="s")


def test_circular_references_are_found(cfn: Any) -> None:
    """Resources that wait for each other fail the stack with the circle."""
    stack = create(
        cfn,
        {
            "A": {**TOPIC, "Properties": {"DisplayName": {"Ref": "B"}}},
            "B": {**TOPIC, "DependsOn": "A"},
        },
    )
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    events = cfn.describe_stack_events(StackName="s")["StackEvents"]
    assert any("circular" in event.get("ResourceStatusReason", "") for event in events)


@pytest.mark.parametrize(
    ("slot", "given", "named"),
    [
        ({"Type": "String"}, None, "no default"),
        ({"Type": "String", "AllowedValues": ["a"]}, "b", "not one of"),
        ({"Type": "String", "AllowedPattern": "[a-z]+"}, "B", "does not match"),
        ({"Type": "Number"}, "x", "not a number"),
        ({"Type": "Number", "MaxValue": 3}, "4", "at most 3"),
        (
            {"Type": "AWS::SSM::Parameter::Value<String>"},
            "x",
            "does not emulate the parameter type",
        ),
    ],
)
def test_wrong_parameters_are_refused(
    cfn: Any, slot: dict[str, Any], given: str | None, named: str
) -> None:
    """A parameter that the template does not allow is refused, naming it."""
    with pytest.raises(ClientError, match=f"Parameters.P: .*{named}"):
        create(cfn, {"T": TOPIC}, Parameters={"P": slot}, given={"P": given} if given else {})


def test_undeclared_parameter_is_refused(cfn: Any) -> None:
    """A value for a parameter that the template does not have is a mistake, as in AWS."""
    with pytest.raises(ClientError, match="not declared"):
        create(cfn, {"T": TOPIC}, given={"Misspelt": "1"})


def test_partition_follows_the_region(cloud: EmbeddedCloud) -> None:
    """`AWS::Partition` is aws-us-gov in GovCloud and aws in the commercial region."""
    for side, partition in (("govcloud", "aws-us-gov"), ("commercial", "aws")):
        client = cloud.client("cloudformation", side)
        try:
            assert value(client, {"Ref": "AWS::Partition"}) == partition
        finally:
            client.delete_stack(StackName="s")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"Fn::Select": [1, {"Fn::GetAZs": ""}]}, "us-gov-west-1b"),
        ({"Fn::Select": [2, {"Fn::Cidr": ["10.0.0.0/16", 4, 8]}]}, "10.0.2.0/24"),
        ({"Fn::Join": ["-", ["a", {"Ref": "AWS::Region"}]]}, "a-us-gov-west-1"),
        ({"Fn::Sub": "${AWS::AccountId}/${!Kept}"}, "111111111111/${Kept}"),
        ({"Fn::Sub": ["${Name}!", {"Name": {"Fn::FindInMap": ["M", "a", "b"]}}]}, "found!"),
        ({"Fn::If": ["Yes", "then", "else"]}, "then"),
        ({"Fn::If": ["No", "then", "else"]}, "else"),
        ({"Fn::Base64": "abc"}, "YWJj"),
        ({"Fn::Select": ["1", {"Fn::Split": ["|", "x|y"]}]}, "y"),
    ],
)
def test_functions(cfn: Any, expression: Any, expected: str) -> None:
    """The intrinsic functions give what AWS's do."""
    found = value(
        cfn,
        expression,
        Mappings={"M": {"a": {"b": "found"}}},
        Conditions={
            "Yes": {"Fn::Equals": ["1", "1"]},
            "No": {"Fn::And": [{"Condition": "Yes"}, {"Fn::Not": [{"Condition": "Yes"}]}]},
        },
    )
    assert found == expected


def test_resources_are_made_after_what_they_need(cfn: Any) -> None:
    """References and DependsOn decide the order, not the place in the template."""
    stack = create(
        cfn,
        {
            "Subnet": {
                "Type": "AWS::EC2::Subnet",
                "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.9.1.0/24"},
            },
            "Vpc": {**VPC, "DependsOn": ["Topic"]},
            "Topic": TOPIC,
        },
    )
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    made = [
        event["LogicalResourceId"]
        for event in reversed(cfn.describe_stack_events(StackName="s")["StackEvents"])
        if event["ResourceStatus"] == "CREATE_COMPLETE" and event["LogicalResourceId"] != "s"
    ]
    assert made == ["Topic", "Vpc", "Subnet"]


def test_failed_creation_leaves_nothing(cfn: Any, cloud: EmbeddedCloud) -> None:
    """When a later resource fails, the earlier ones are deleted again."""
    subnet = {
        "Type": "AWS::EC2::Subnet",
        "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "192.168.0.0/24"},
    }
    before = len(cloud.client("ec2").describe_vpcs()["Vpcs"])
    stack = create(cfn, {"Vpc": VPC, "Subnet": subnet})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "CreateSubnet" in failures(cfn)["Subnet"]
    assert len(cloud.client("ec2").describe_vpcs()["Vpcs"]) == before


def test_update_changes_in_place_what_can_be_changed(cfn: Any, cloud: EmbeddedCloud) -> None:
    """An alarm keeps its identity when its threshold changes; an untouched neighbour is not touched."""
    alarm: dict[str, Any] = {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "Namespace": "N", "MetricName": "M", "Statistic": "Minimum", "Period": 60,
            "EvaluationPeriods": 1, "ComparisonOperator": "LessThanThreshold", "Threshold": 1,
        },
    }  # fmt: skip
    create(cfn, {"Alarm": alarm, "Vpc": VPC})
    name, vpc = physical_id(cfn, "Alarm"), physical_id(cfn, "Vpc")
    changed = {**alarm, "Properties": {**alarm["Properties"], "Threshold": 2}}
    assert update(cfn, {"Alarm": changed, "Vpc": VPC})["StackStatus"] == "UPDATE_COMPLETE"
    assert physical_id(cfn, "Alarm") == name
    assert physical_id(cfn, "Vpc") == vpc
    described = cloud.client("cloudwatch").describe_alarms(AlarmNames=[name])["MetricAlarms"]
    assert described[0]["Threshold"] == 2.0


def test_replacement_reaches_whoever_refers_to_it(cfn: Any, cloud: EmbeddedCloud) -> None:
    """A VPC with another network is made anew, its subnet with it, and the old ones go."""
    ec2 = cloud.client("ec2")

    def network(block: str) -> dict[str, Any]:
        return {
            "Vpc": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": f"{block}.0.0/16"}},
            "Subnet": {
                "Type": "AWS::EC2::Subnet",
                "Properties": {"VpcId": {"Ref": "Vpc"}, "CidrBlock": f"{block}.1.0/24"},
            },
        }

    create(cfn, network("10.7"))
    old = physical_id(cfn, "Vpc")
    assert update(cfn, network("10.8"))["StackStatus"] == "UPDATE_COMPLETE"
    new = physical_id(cfn, "Vpc")
    subnet = ec2.describe_subnets(SubnetIds=[physical_id(cfn, "Subnet")])["Subnets"][0]
    assert (subnet["VpcId"], subnet["CidrBlock"]) == (new, "10.8.1.0/24")
    assert old not in {vpc["VpcId"] for vpc in ec2.describe_vpcs()["Vpcs"]}


def test_failed_update_returns_to_what_was(cfn: Any, cloud: EmbeddedCloud) -> None:
    """When an update fails, changes are undone and additions deleted."""
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 10}}
    create(cfn, {"Queue": queue})
    stack = update(
        cfn,
        {
            "Queue": {**queue, "Properties": {"VisibilityTimeout": 20}},
            "Topic": TOPIC,
            "Odd": {"Type": "AWS::EC2::VPC", "Properties": {"CidrBlock": "nonsense"}, "DependsOn": "Topic"},
        },
    )  # fmt: skip
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    remaining = cfn.list_stack_resources(StackName="s")["StackResourceSummaries"]
    assert [item["LogicalResourceId"] for item in remaining] == ["Queue"]
    attributes = cloud.client("sqs").get_queue_attributes(
        QueueUrl=physical_id(cfn, "Queue"), AttributeNames=["VisibilityTimeout"]
    )["Attributes"]
    assert attributes["VisibilityTimeout"] == "10"


def test_update_without_a_change_is_refused(cfn: Any) -> None:
    """AWS refuses an update that would do nothing, and so does the embedded cloud."""
    create(cfn, {"Topic": TOPIC})
    with pytest.raises(ClientError, match="No updates are to be performed"):
        update(cfn, {"Topic": TOPIC})


def test_retained_resources_outlive_the_stack(cfn: Any, cloud: EmbeddedCloud) -> None:
    """`DeletionPolicy: Retain` leaves the resource when its stack goes."""
    create(cfn, {"Topic": {**TOPIC, "DeletionPolicy": "Retain"}, "Other": TOPIC})
    kept, other = physical_id(cfn, "Topic"), physical_id(cfn, "Other")
    cfn.delete_stack(StackName="s")
    sns = cloud.client("sns")
    topics = {topic["TopicArn"] for topic in sns.list_topics()["Topics"]}
    assert kept in topics
    assert other not in topics
    sns.delete_topic(TopicArn=kept)


def test_conditions_decide_what_exists(cfn: Any) -> None:
    """A resource whose condition does not hold is not made, and a reference to it is an error."""
    sections = {
        "Parameters": {"With": {"Type": "String", "Default": "no"}},
        "Conditions": {"Wanted": {"Fn::Equals": [{"Ref": "With"}, "yes"]}},
    }
    extra = {**TOPIC, "Condition": "Wanted"}
    stack = create(cfn, {"Topic": TOPIC, "Extra": extra}, **sections)
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    made = cfn.list_stack_resources(StackName="s")["StackResourceSummaries"]
    assert [item["LogicalResourceId"] for item in made] == ["Topic"]
    referring = {**TOPIC, "Properties": {"DisplayName": {"Ref": "Extra"}}}
    stack = update(cfn, {"Topic": referring, "Extra": extra}, **sections)
    assert stack["StackStatus"] == "UPDATE_ROLLBACK_COMPLETE"
    assert "condition does not hold" in failures(cfn)["Topic"]


def test_change_set_tells_before_it_does(cfn: Any) -> None:
    """A change set lists what would be added, changed and removed, and nothing happens until it is executed."""
    create(cfn, {"Queue": {"Type": "AWS::SQS::Queue"}, "Topic": TOPIC})
    template = json.dumps(
        {"Resources": {
            "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"VisibilityTimeout": 5}},
            "Vpc": VPC,
        }}
    )  # fmt: skip
    cfn.create_change_set(StackName="s", ChangeSetName="next", TemplateBody=template)
    described = cfn.describe_change_set(StackName="s", ChangeSetName="next")
    found = {
        change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"]["Action"]
        for change in described["Changes"]
    }
    assert found == {"Queue": "Modify", "Vpc": "Add", "Topic": "Remove"}
    assert cfn.describe_stacks(StackName="s")["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"
    cfn.execute_change_set(StackName="s", ChangeSetName="next")
    made = cfn.list_stack_resources(StackName="s")["StackResourceSummaries"]
    assert {item["LogicalResourceId"] for item in made} == {"Queue", "Vpc"}


def test_operations_that_are_not_emulated_are_refused(cfn: Any) -> None:
    """Stack sets and their drift answer with an error instead of moto's own idea of them."""
    for call in (
        lambda: cfn.list_stack_sets(),
        lambda: cfn.detect_stack_set_drift(StackSetName="s"),
    ):
        with pytest.raises(ClientError, match="does not emulate CloudFormation's"):
            call()


NESTED = "https://nested-templates.s3.us-gov-west-1.amazonaws.com/{}"


def nested(cloud: EmbeddedCloud, name: str, **template: Any) -> dict[str, Any]:
    """A nested stack's declaration; its template is put where the address leads."""
    s3 = cloud.client("s3")
    with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(
            Bucket="nested-templates",
            CreateBucketConfiguration={"LocationConstraint": "us-gov-west-1"},
        )
    s3.put_object(Bucket="nested-templates", Key=name, Body=json.dumps(template))
    return {
        "Type": "AWS::CloudFormation::Stack",
        "Properties": {"TemplateURL": NESTED.format(name)},
    }


def test_a_nested_stack_hands_its_outputs_out_and_goes_with_its_parent(
    cfn: Any, cloud: EmbeddedCloud
) -> None:
    """A parent reads a nested stack's outputs; deleted, it takes the nested stack with it."""
    inner = nested(
        cloud,
        "inner",
        Parameters={"Cidr": {"Type": "String"}},
        Resources={"V": {**VPC, "Properties": {"CidrBlock": {"Ref": "Cidr"}}}},
        Outputs={"Id": {"Value": {"Ref": "V"}}},
    )
    inner["Properties"]["Parameters"] = {"Cidr": "10.8.0.0/16"}
    stack = create(
        cfn, {"In": inner}, Outputs={"Id": {"Value": {"Fn::GetAtt": ["In", "Outputs.Id"]}}}
    )
    ec2 = cloud.client("ec2")
    found = ec2.describe_vpcs(VpcIds=[outputs(stack)["Id"]])["Vpcs"]
    assert [vpc["CidrBlock"] for vpc in found] == ["10.8.0.0/16"]
    inner_id = physical_id(cfn, "In")
    cfn.delete_stack(StackName="s")
    assert cfn.describe_stacks(StackName=inner_id)["Stacks"][0]["StackStatus"] == "DELETE_COMPLETE"


def test_a_nested_stack_that_fails_names_what_failed_inside(cfn: Any, cloud: EmbeddedCloud) -> None:
    """The parent rolls back and tells which resource of the nested stack it was."""
    wrong = nested(cloud, "wrong", Resources={"V": {"Type": "AWS::EC2::VPC"}})
    stack = create(cfn, {"T": TOPIC, "In": wrong})
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "failed to create: [V]" in failures(cfn)["In"]


def test_a_secrets_value_reaches_the_service_and_no_record(cfn: Any, cloud: EmbeddedCloud) -> None:
    """A dynamic reference is resolved when the resource is made; the stack's own records keep the reference."""
    secret = {
        "Type": "AWS::SecretsManager::Secret",
        "Properties": {"GenerateSecretString": {"PasswordLength": 20, "ExcludePunctuation": True}},
    }
    topic = {
        **TOPIC,
        "Properties": {"DisplayName": {"Fn::Sub": "{{resolve:secretsmanager:${S}:SecretString}}"}},
    }
    create(cfn, {"S": secret, "T": topic})
    value = cloud.client("secretsmanager").get_secret_value(SecretId=physical_id(cfn, "S"))
    made = cloud.client("sns").get_topic_attributes(TopicArn=physical_id(cfn, "T"))
    assert made["Attributes"]["DisplayName"] == value["SecretString"]
    assert value["SecretString"] not in repr(cfn.describe_stack_events(StackName="s"))
