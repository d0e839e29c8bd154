"""Step Functions in the embedded cloud, driven as a stock client drives AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.stepfunctions import MissingSubstitution, create_state_machine
from tests.embedded_cloud.conftest import Workbench, eventually

PASS = {"StartAt": "Only", "States": {"Only": {"Type": "Pass", "End": True}}}


def task(function: str, **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": "arn:aws-us-gov:states:::lambda:invoke",
        "Parameters": {"FunctionName": function, "Payload.$": "$"},
        "OutputPath": "$.Payload",
        **fields,
    }


def run(bench: Workbench, machine: str, payload: Any) -> dict[str, Any]:
    client = bench.cloud.client("stepfunctions")
    arn = client.start_execution(stateMachineArn=machine, input=json.dumps(payload))["executionArn"]
    eventually(lambda: client.describe_execution(executionArn=arn)["status"] != "RUNNING")
    answer: dict[str, Any] = client.describe_execution(executionArn=arn)
    return answer


def test_error_class_is_the_error_name(bench: Workbench) -> None:
    """A handler's exception class is what ErrorEquals catches; a retried error is retried."""
    function = bench.function(
        """
        class RouteTableBusy(Exception):
            pass

        class LeaseLost(Exception):
            pass

        calls = []

        def handler(event, context):
            calls.append(1)
            if len(calls) == 1:
                raise RouteTableBusy("rtb-1")
            if event["lose"]:
                raise LeaseLost("taken by another")
            return {"calls": len(calls)}
        """
    )
    retry = [{"ErrorEquals": ["RouteTableBusy"], "IntervalSeconds": 1, "MaxAttempts": 2}]
    catch = [{"ErrorEquals": ["LeaseLost"], "ResultPath": "$.error", "Next": "Caught"}]
    machine = bench.state_machine(
        {
            "StartAt": "Work",
            "States": {
                "Work": task(function, Retry=retry, Catch=catch, End=True),
                "Caught": {"Type": "Pass", "End": True},
            },
        }
    )
    assert json.loads(run(bench, machine, {"lose": False})["output"]) == {"calls": 2}
    caught = json.loads(run(bench, machine, {"lose": True})["output"])
    assert caught["error"]["Error"] == "LeaseLost"
    assert json.loads(caught["error"]["Cause"])["errorMessage"] == "taken by another"


def test_times_in_a_result_can_be_described(bench: Workbench) -> None:
    """An SDK task's answer may hold times; the execution can be described all the same."""
    bench.cloud.client("ssm").put_parameter(Name="/described", Value="v", Type="String")
    get = {
        "Type": "Task",
        "Resource": "arn:aws-us-gov:states:::aws-sdk:ssm:getParameter",
        "Parameters": {"Name": "/described"},
        "End": True,
    }
    machine = bench.state_machine({"StartAt": "Get", "States": {"Get": get}})
    execution = run(bench, machine, {})
    assert json.loads(execution["output"])["Parameter"]["Value"] == "v"


def test_uncaught_crash_fails_the_execution(bench: Workbench) -> None:
    """A function that dies fails the execution with Lambda's error name."""
    function = bench.function("def handler(event, context): import os; os._exit(1)")
    machine = bench.state_machine({"StartAt": "Work", "States": {"Work": task(function, End=True)}})
    execution = run(bench, machine, {})
    assert execution["status"] == "FAILED"
    assert execution["error"] == "Runtime.ExitError"


def test_executions_without_a_name_do_not_collide(bench: Workbench) -> None:
    """Each unnamed execution gets a name of its own, as AWS gives a UUID."""
    machine = bench.state_machine(PASS)
    names = {run(bench, machine, {})["name"] for _ in range(3)}
    assert len(names) == 3


def test_equal_names_collide(bench: Workbench) -> None:
    """A name that was used is refused once the first execution has ended."""
    machine = bench.state_machine(PASS)
    client = bench.cloud.client("stepfunctions")
    client.start_execution(stateMachineArn=machine, name="once")
    bench.finished_executions(machine)
    with pytest.raises(ClientError) as refusal:
        client.start_execution(stateMachineArn=machine, name="once", input='{"other": 1}')
    assert refusal.value.response["Error"]["Code"] == "ExecutionAlreadyExists"


@pytest.mark.parametrize(("call", "status"), [("success", "SUCCEEDED"), ("failure", "FAILED")])
def test_task_token_is_answered_from_outside(bench: Workbench, call: str, status: str) -> None:
    """An execution waits for its task token and goes on with what the caller says."""
    url, _ = bench.queue()
    function = bench.function(
        """
        import os, boto3

        def handler(event, context):
            boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=event["token"])
        """,
        environment={"QUEUE": url},
    )
    wait = {
        "Type": "Task",
        "Resource": "arn:aws-us-gov:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": function, "Payload": {"token.$": "$$.Task.Token"}},
        "TimeoutSeconds": 60,
        "End": True,
    }
    machine = bench.state_machine({"StartAt": "Approve", "States": {"Approve": wait}})
    client = bench.cloud.client("stepfunctions")
    client.start_execution(stateMachineArn=machine)
    (message,) = bench.messages(url)
    if call == "success":
        client.send_task_success(taskToken=message["Body"], output='{"approved": true}')
    else:
        client.send_task_failure(taskToken=message["Body"], error="Rejected", cause="not today")
    (execution,) = bench.finished_executions(machine)
    assert execution["status"] == status
    if call == "success":
        assert json.loads(execution["output"]) == {"approved": True}
    else:
        assert (execution["error"], execution["cause"]) == ("Rejected", "not today")


def test_history_tells_the_states_in_order(bench: Workbench) -> None:
    """GetExecutionHistory lists the states entered, can be paged and reversed."""
    machine = bench.state_machine(
        {
            "StartAt": "First",
            "States": {
                "First": {"Type": "Pass", "Next": "Second"},
                "Second": {"Type": "Pass", "End": True},
            },
        }
    )
    arn = run(bench, machine, {})["executionArn"]
    client = bench.cloud.client("stepfunctions")
    pages = client.get_paginator("get_execution_history").paginate(
        executionArn=arn, PaginationConfig={"PageSize": 2}
    )
    events = [event for page in pages for event in page["events"]]
    entered = [
        e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e
    ]
    assert entered == ["First", "Second"]
    last = client.get_execution_history(executionArn=arn, reverseOrder=True, maxResults=1)["events"]
    assert last[0]["type"] == "ExecutionSucceeded"


def test_machine_of_the_commercial_side_calls_its_own_account(bench: Workbench) -> None:
    """An SDK task runs in the account of its state machine."""
    machine = create_state_machine(
        account_id="222222222222",
        region="us-east-1",
        name=bench.name("machine"),
        definition=json.dumps(
            {
                "StartAt": "Who",
                "States": {
                    "Who": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::aws-sdk:sts:getCallerIdentity",
                        "End": True,
                    }
                },
            }
        ),
        role_arn="arn:aws:iam::222222222222:role/states",
    )
    client = bench.cloud.client("stepfunctions", "commercial")
    arn = client.start_execution(stateMachineArn=machine)["executionArn"]
    eventually(lambda: client.describe_execution(executionArn=arn)["status"] != "RUNNING")
    output = json.loads(client.describe_execution(executionArn=arn)["output"])
    assert output["Account"] == "222222222222"


def test_definition_substitutions(bench: Workbench) -> None:
    """Placeholders of a definition are replaced; one without a value is an error naming it."""
    definition = json.dumps(
        {"StartAt": "Say", "States": {"Say": {"Type": "Pass", "Result": "${Word}", "End": True}}}
    )
    settings = {
        "account_id": "111111111111",
        "region": "us-gov-west-1",
        "definition": definition,
        "role_arn": "arn:aws-us-gov:iam::111111111111:role/states",
    }
    machine = create_state_machine(
        name=bench.name("m"), substitutions={"Word": "hello"}, **settings
    )
    assert json.loads(run(bench, machine, {})["output"]) == "hello"
    with pytest.raises(MissingSubstitution, match="Word"):
        create_state_machine(name=bench.name("m"), **settings)


def test_jsonata_is_refused(bench: Workbench) -> None:
    """A JSONata definition is an error when it is created, since nothing here could run it."""
    with pytest.raises(ClientError, match="JSONata"):
        bench.state_machine({"QueryLanguage": "JSONata", **PASS})


def test_stock_aws_cli_runs_an_execution(bench: Workbench) -> None:
    """The AWS CLI starts an execution and reads it, given nothing but the environment exports."""
    machine = bench.state_machine(PASS)

    def aws(*arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "awscli", "--output", "json", *arguments],
            env={**os.environ, **bench.cloud.environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)

    started = aws(
        "stepfunctions",
        "start-execution",
        "--state-machine-arn",
        machine,
        "--input",
        '{"intent": "drill"}',
    )
    bench.finished_executions(machine)
    described = aws(
        "stepfunctions", "describe-execution", "--execution-arn", started["executionArn"]
    )
    assert described["status"] == "SUCCEEDED"
    assert json.loads(described["output"]) == {"intent": "drill"}


@pytest.mark.parametrize(
    ("pattern", "output"),
    [
        ("startExecution.sync", {"Output": '{"x":1}'}),
        ("startExecution.sync:2", {"Output": {"x": 1}}),
        ("startExecution", {}),
    ],
)
def test_nested_executions(bench: Workbench, pattern: str, output: dict[str, Any]) -> None:
    """A state machine starts another one, and waits for it if asked to."""
    inner = bench.state_machine(
        {"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": {"x": 1}, "End": True}}}
    )
    nest = {
        "Type": "Task",
        "Resource": f"arn:aws-us-gov:states:::states:{pattern}",
        "Parameters": {"StateMachineArn": inner, "Input": {"a": 1}},
        "TimeoutSeconds": 20,
        "End": True,
    }
    machine = bench.state_machine({"StartAt": "Nest", "States": {"Nest": nest}})
    execution = run(bench, machine, {})
    assert execution["status"] == "SUCCEEDED", execution
    result = json.loads(execution["output"])
    assert result["ExecutionArn"].startswith(inner.replace(":stateMachine:", ":execution:"))
    assert {key: result[key] for key in output} == output
    (started,) = bench.finished_executions(inner)
    assert json.loads(started["input"])["a"] == 1
