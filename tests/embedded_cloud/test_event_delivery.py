"""EventBridge in the embedded cloud: what reaches a target, and what becomes of what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.embedded_cloud.conftest import Workbench

PASS = {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}}
TARGET_ROLE = "arn:aws-us-gov:iam::111111111111:role/events"


def attributes(message: dict[str, Any]) -> dict[str, str]:
    return {k: v["StringValue"] for k, v in message["MessageAttributes"].items()}


def test_state_machine_receives_the_event_untouched(bench: Workbench) -> None:
    """A state machine target is started with the event exactly as AWS shapes it."""
    machine = bench.state_machine(PASS)
    source = bench.rule({"Arn": machine, "RoleArn": TARGET_ROLE})
    event_id = bench.send(source, {"link_id": "bedrock"})
    (execution,) = bench.finished_executions(machine)
    event = json.loads(execution["input"])
    assert execution["status"] == "SUCCEEDED"
    assert execution["name"].startswith(event_id)
    assert list(event) == [
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    ]
    assert event["id"] == event_id
    assert event["account"] == "111111111111"
    assert event["region"] == "us-gov-west-1"
    assert event["detail"] == {"link_id": "bedrock"}
    assert event["time"].endswith("Z")


def test_each_event_starts_its_own_execution(bench: Workbench) -> None:
    """Equal events start executions with different names, as a target cannot set the name."""
    machine = bench.state_machine(PASS)
    source = bench.rule({"Arn": machine, "RoleArn": TARGET_ROLE})
    for _ in range(3):
        bench.send(source)
    executions = bench.finished_executions(machine, at_least=3)
    assert len({execution["name"] for execution in executions}) == 3


def test_constant_input_replaces_the_event(bench: Workbench) -> None:
    """A target with `Input` receives that text, whatever the event says."""
    machine = bench.state_machine(PASS)
    source = bench.rule({"Arn": machine, "RoleArn": TARGET_ROLE, "Input": '{"sweep": true}'})
    bench.send(source)
    (execution,) = bench.finished_executions(machine)
    assert json.loads(execution["input"]) == {"sweep": True}


def test_event_without_matching_rule_reaches_nobody(bench: Workbench) -> None:
    """An event that a rule's pattern excludes is accepted and not delivered."""
    url, arn = bench.queue()
    source = bench.rule({"Arn": arn}, EventPattern=json.dumps({"detail": {"wanted": [True]}}))
    bench.send(source, {"wanted": False})
    bench.send(source, {"wanted": True})
    (message,) = bench.messages(url)
    assert json.loads(message["Body"])["detail"] == {"wanted": True}


def test_missing_state_machine_goes_to_the_dead_letter_queue_at_once(bench: Workbench) -> None:
    """A target that does not exist is not retried: the event is dead-lettered with AWS's attributes."""
    url, queue = bench.queue()
    machine = "arn:aws-us-gov:states:us-gov-west-1:111111111111:stateMachine:gone"
    source = bench.rule(
        {"Arn": machine, "RoleArn": TARGET_ROLE, "DeadLetterConfig": {"Arn": queue}}
    )
    event_id = bench.send(source)
    (message,) = bench.messages(url)
    told = attributes(message)
    assert json.loads(message["Body"])["id"] == event_id
    assert told["ERROR_CODE"] == "NO_RESOURCE"
    assert told["TARGET_ARN"] == machine
    assert told["RULE_ARN"].endswith(f":rule/{source}")
    assert told["RETRY_ATTEMPTS"] == "0"


def test_throttled_target_is_retried_until_it_takes_the_event(bench: Workbench) -> None:
    """A target that is throttled twice still receives the event."""
    machine = bench.state_machine(PASS)
    source = bench.rule({"Arn": machine, "RoleArn": TARGET_ROLE})
    bench.cloud.router.fail_deliveries(machine, times=2)
    bench.send(source)
    assert len(bench.finished_executions(machine)) == 1


def test_retries_end_with_the_policy(bench: Workbench) -> None:
    """After MaximumRetryAttempts the event is dead-lettered and says why."""
    url, queue = bench.queue()
    machine = bench.state_machine(PASS)
    source = bench.rule(
        {
            "Arn": machine,
            "RoleArn": TARGET_ROLE,
            "DeadLetterConfig": {"Arn": queue},
            "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 120},
        }
    )
    bench.cloud.router.fail_deliveries(machine, times=100)
    bench.send(source)
    (message,) = bench.messages(url)
    bench.cloud.router.fail_deliveries(machine, times=0)
    told = attributes(message)
    assert told["RETRY_ATTEMPTS"] == "2"
    assert told["ERROR_CODE"] == "THROTTLING"
    assert told["EXHAUSTED_RETRY_CONDITION"] == "MaximumRetryAttempts"


def test_function_without_permission_is_not_invoked(bench: Workbench) -> None:
    """A function whose policy does not name EventBridge gets nothing, as in AWS."""
    url, queue = bench.queue()
    function = bench.function("def handler(event, context): return None")
    source = bench.rule({"Arn": function, "DeadLetterConfig": {"Arn": queue}})
    bench.send(source)
    (message,) = bench.messages(url)
    assert attributes(message)["ERROR_CODE"] == "NO_PERMISSIONS"


def test_permitted_function_is_invoked_with_the_event(bench: Workbench) -> None:
    """A function that allows EventBridge is invoked asynchronously with the event."""
    url, _ = bench.queue()
    function = bench.function(
        """
        import json, os, boto3

        def handler(event, context):
            boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=json.dumps(event))
        """,
        environment={"QUEUE": url},
        invoked_by="events.amazonaws.com",
    )
    source = bench.rule({"Arn": function})
    event_id = bench.send(source)
    (message,) = bench.messages(url)
    assert json.loads(message["Body"])["id"] == event_id


@pytest.mark.parametrize(
    ("target", "named"),
    [
        ({"Arn": "arn:aws-us-gov:kinesis:us-gov-west-1:111111111111:stream/s"}, "kinesis"),
        (
            {"Arn": "arn:aws-us-gov:sqs:us-gov-west-1:111111111111:q", "EcsParameters": {}},
            "EcsParameters",
        ),
    ],
)
def test_target_that_is_not_emulated_is_refused(
    bench: Workbench, target: dict[str, Any], named: str
) -> None:
    """A target the cloud cannot deliver to is an error when it is put, naming it."""
    with pytest.raises(ClientError, match=named) as refusal:
        bench.rule(
            {**target, "EcsParameters": {"TaskDefinitionArn": "arn:x"}}
            if "EcsParameters" in target
            else target
        )
    assert refusal.value.response["Error"]["Code"] == "NotEmulated"


def test_state_machine_target_needs_a_role(bench: Workbench) -> None:
    """A Step Functions target without RoleArn is refused, as AWS does."""
    with pytest.raises(ClientError, match="RoleArn is required"):
        bench.rule({"Arn": bench.state_machine(PASS)})


def test_unknown_pattern_operator_is_refused(bench: Workbench) -> None:
    """A pattern with an operator that EventBridge lacks is refused, naming the field."""
    with pytest.raises(ClientError, match=r"detail\.state.*unknown operator 'matches'"):
        bench.rule(
            {"Arn": bench.queue()[1]},
            EventPattern=json.dumps({"detail": {"state": [{"matches": "x"}]}}),
        )


def test_malformed_entries_are_refused_one_by_one(bench: Workbench) -> None:
    """PutEvents accepts the good entries and refuses the bad ones, each with its reason."""
    good = {"Source": "test", "DetailType": "Test", "Detail": "{}"}
    answer = bench.cloud.client("events").put_events(
        Entries=[good, {**good, "Detail": "no json"}, {**good, "Source": "aws.ec2"}]
    )
    assert answer["FailedEntryCount"] == 2
    codes = [entry.get("ErrorCode") for entry in answer["Entries"]]
    assert codes == [None, "MalformedDetail", "NotAuthorizedForSourceException"]
