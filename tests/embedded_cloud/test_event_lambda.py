"""Lambda in the embedded cloud: a function's own code, in a process of its own, with AWS's answers."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.local.lambda_runtime import Fault, FaultKind
from tests.embedded_cloud.conftest import Workbench, eventually, zipped


def invoke(bench: Workbench, function: str, payload: Any = None) -> tuple[Any, str | None]:
    answer = bench.cloud.client("lambda").invoke(
        FunctionName=function, Payload=json.dumps(payload or {})
    )
    return json.loads(answer["Payload"].read()), answer.get("FunctionError")


def log_lines(bench: Workbench, function: str) -> list[str]:
    group = "/aws/lambda/" + function.rsplit(":", 1)[1]
    answer = bench.cloud.client("logs").filter_log_events(logGroupName=group)
    return [event["message"] for event in answer["events"]]


def test_handler_sees_lambdas_environment(bench: Workbench) -> None:
    """A function has its own variables, Lambda's, credentials of its account, and nothing of the caller's."""
    os.environ["ONLY_IN_THE_TEST"] = "1"
    function = bench.function(
        """
        import os, boto3

        def handler(event, context):
            return {
                "environment": dict(os.environ),
                "account": boto3.client("sts").get_caller_identity()["Account"],
                "name": context.function_name,
                "arn": context.invoked_function_arn,
                "memory": context.memory_limit_in_mb,
                "remaining": context.get_remaining_time_in_millis(),
                "group": context.log_group_name,
            }
        """,
        environment={"TWINSPAN_LINK_ID": "bedrock"},
        timeout_seconds=7,
        MemorySize=256,
    )
    del os.environ["ONLY_IN_THE_TEST"]
    result, error = invoke(bench, function)
    assert error is None
    environment = result["environment"]
    assert environment["TWINSPAN_LINK_ID"] == "bedrock"
    assert environment["AWS_REGION"] == "us-gov-west-1"
    assert environment["AWS_ENDPOINT_URL"] == bench.cloud.endpoint_url
    assert environment["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12"
    assert "ONLY_IN_THE_TEST" not in environment
    assert result["account"] == "111111111111"
    assert result["arn"] == function
    assert result["memory"] == "256"
    assert 0 < result["remaining"] <= 7000
    assert result["group"] == "/aws/lambda/" + result["name"]


def test_function_finds_the_project_in_its_package_only(bench: Workbench) -> None:
    """A package of the project that is missing from the zip is missing, though the checkout has it."""
    function = bench.function(
        """
        def handler(event, context):
            import proxy
            found = {"proxy": proxy.__file__.startswith(__file__.rpartition("/")[0])}
            for name in ("control_plane", "infra"):
                try:
                    __import__(name)
                    found[name] = True
                except ModuleNotFoundError:
                    found[name] = False
            return found
        """,
        files={"proxy/__init__.py": ""},
    )
    result, error = invoke(bench, function)
    assert error is None
    assert result == {"proxy": True, "control_plane": False, "infra": False}


def test_exception_gives_its_class_name(bench: Workbench) -> None:
    """An exception becomes errorType, errorMessage and stackTrace, with the function error Unhandled."""
    function = bench.function(
        """
        class StaleGeneration(Exception):
            pass

        def handler(event, context):
            raise StaleGeneration("7 is not newer than 8")
        """
    )
    result, error = invoke(bench, function)
    assert error == "Unhandled"
    assert result["errorType"] == "StaleGeneration"
    assert result["errorMessage"] == "7 is not newer than 8"
    assert "app.py" in result["stackTrace"][0]
    assert len(result["stackTrace"]) == 1


@pytest.mark.parametrize(
    ("body", "error_type"),
    [
        ("import os; os._exit(3)", "Runtime.ExitError"),
        ("import sys; sys.exit(1)", "Runtime.ExitError"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "Runtime.ExitError"),
        ("return object()", "Runtime.MarshalError"),
        ("import time; time.sleep(60)", "Sandbox.Timedout"),
    ],
)
def test_ends_that_are_no_answer(bench: Workbench, body: str, error_type: str) -> None:
    """A crash, a timeout and an unserialisable answer have AWS's error types; the next call works."""
    function = bench.function(
        f"""
        def handler(event, context):
            if event.get("well"):
                return "well"
            {body}
        """,
        timeout_seconds=1,
    )
    result, error = invoke(bench, function)
    assert error == "Unhandled"
    assert result["errorType"] == error_type
    assert invoke(bench, function, {"well": True}) == ("well", None)


@pytest.mark.parametrize(
    ("code", "handler", "error_type"),
    [
        ("import nothing_of_that_name", "app.handler", "Runtime.ImportModuleError"),
        ("def handler(:", "app.handler", "Runtime.UserCodeSyntaxError"),
        ("x = 1", "app.handler", "Runtime.HandlerNotFound"),
        ("x = 1", "absent.handler", "Runtime.ImportModuleError"),
        ("raise KeyError('SETTING')", "app.handler", "KeyError"),
    ],
)
def test_initialisation_failures(
    bench: Workbench, code: str, handler: str, error_type: str
) -> None:
    """A function that cannot be loaded says why, as Lambda's runtime does."""
    function = bench.function(code, Handler=handler)
    result, error = invoke(bench, function)
    assert error == "Unhandled"
    assert result["errorType"] == error_type


def test_warm_worker_is_reused_until_the_function_changes(bench: Workbench) -> None:
    """Globals live on between invocations; new code or settings start a new process."""
    code = """
    import os
    calls = []

    def handler(event, context):
        calls.append(1)
        return [os.getpid(), len(calls), os.environ.get("V")]
    """
    function = bench.function(code)
    first, _ = invoke(bench, function)
    second, _ = invoke(bench, function)
    assert second == [first[0], 2, None]
    client = bench.cloud.client("lambda")
    client.update_function_configuration(
        FunctionName=function, Environment={"Variables": {"V": "2"}}
    )
    third, _ = invoke(bench, function)
    assert third[1:] == [1, "2"]
    assert third[0] != first[0]
    client.update_function_code(
        FunctionName=function, ZipFile=zipped({"app.py": "def handler(e, c): return 'new'"})
    )
    assert invoke(bench, function)[0] == "new"


def test_output_goes_to_cloudwatch_logs(bench: Workbench) -> None:
    """Output is framed by START, END and REPORT in the function's log group."""
    function = bench.function(
        """
        import logging

        def handler(event, context):
            print("to stdout")
            logging.getLogger().warning("by the logger")
        """
    )
    invoke(bench, function)
    lines = log_lines(bench, function)
    assert lines[0].startswith("START RequestId: ")
    assert lines[1] == "to stdout"
    assert lines[2].startswith("[WARNING]\t")
    assert lines[2].endswith("\tby the logger")
    assert lines[3].startswith("END RequestId: ")
    assert lines[4].startswith("REPORT RequestId: ")


def test_timeout_is_logged(bench: Workbench) -> None:
    """The log of a timed-out invocation keeps what was printed and says that it timed out."""
    function = bench.function(
        """
        def handler(event, context):
            print("before", flush=True)
        """
    )
    bench.cloud.lambdas.fail_next(function.rsplit(":", 1)[1], FaultKind.TIMEOUT_AFTER)
    invoke(bench, function)
    lines = log_lines(bench, function)
    assert "before" in lines
    assert any("Task timed out after 10.00 seconds" in line for line in lines)


def test_log_tail_is_returned_on_request(bench: Workbench) -> None:
    """LogType=Tail returns the end of the log with the answer."""
    function = bench.function("def handler(event, context): print('seen')")
    answer = bench.cloud.client("lambda").invoke(FunctionName=function, LogType="Tail")
    assert "seen" in base64.b64decode(answer["LogResult"]).decode()


def test_embedded_metrics_become_metric_data(bench: Workbench) -> None:
    """An EMF line in the output is metric data in each of its dimension sets."""
    function = bench.function(
        """
        from aws_lambda_powertools import Metrics
        from aws_lambda_powertools.metrics import MetricUnit

        metrics = Metrics(namespace="Probe")

        @metrics.log_metrics
        def handler(event, context):
            metrics.add_dimension(name="Path", value="tunnel-1")
            metrics.add_metric(name="Success", unit=MetricUnit.Count, value=1)
        """,
        environment={"POWERTOOLS_SERVICE_NAME": "canary"},
    )
    _, error = invoke(bench, function)
    assert error is None
    listed = bench.cloud.client("cloudwatch").list_metrics(Namespace="Probe")["Metrics"]
    assert [m["MetricName"] for m in listed] == ["Success"]
    assert {"Name": "Path", "Value": "tunnel-1"} in listed[0]["Dimensions"]


def test_asynchronous_invocation_is_retried_twice(bench: Workbench) -> None:
    """An Event invocation answers at once, is retried twice and then reported to its destination."""
    url, queue = bench.queue()
    function = bench.function("def handler(event, context): raise ValueError('no')")
    name = function.rsplit(":", 1)[1]
    client = bench.cloud.client("lambda")
    client.put_function_event_invoke_config(
        FunctionName=name, DestinationConfig={"OnFailure": {"Destination": queue}}
    )
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload='{"a": 1}')
    assert answer["StatusCode"] == 202
    (message,) = bench.messages(url)
    record = json.loads(message["Body"])
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 3
    assert record["requestPayload"] == {"a": 1}
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert len([i for i in bench.cloud.lambdas.history if i.function_name == name]) == 3


def test_busy_function_gets_more_workers(bench: Workbench) -> None:
    """Two invocations at the same time run in two processes."""
    function = bench.function(
        """
        import os, time, pathlib

        def handler(event, context):
            mine = pathlib.Path(event["folder"], str(os.getpid()))
            mine.touch()
            while len(list(mine.parent.iterdir())) < 2:
                time.sleep(0.01)
        """
    )
    with tempfile.TemporaryDirectory() as folder:
        answers: list[Any] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(invoke(bench, function, {"folder": folder}))
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [(None, None)] * 2


def test_reserved_concurrency_throttles(bench: Workbench) -> None:
    """A function with a reserved concurrency of 0 is refused with TooManyRequestsException."""
    function = bench.function("def handler(event, context): return None")
    client = bench.cloud.client("lambda")
    client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    with pytest.raises(ClientError) as refusal:
        invoke(bench, function)
    assert refusal.value.response["Error"]["Code"] == "TooManyRequestsException"


@pytest.mark.parametrize(
    ("fault", "error_type", "effects"),
    [
        (Fault(FaultKind.RAISE), "InjectedFault", 0),
        (Fault(FaultKind.KILL_BEFORE), "Runtime.ExitError", 0),
        (Fault(FaultKind.KILL_AFTER), "Runtime.ExitError", 2),
        (Fault(FaultKind.TIMEOUT_BEFORE), "Sandbox.Timedout", 0),
        (Fault(FaultKind.TIMEOUT_AFTER), "Sandbox.Timedout", 2),
        (Fault(FaultKind.KILL_BEFORE_CALL, 2), "Runtime.ExitError", 1),
        (Fault(FaultKind.KILL_AFTER_CALL, 2), "Runtime.ExitError", 2),
        (Fault(FaultKind.KILL_AFTER_WRITE, 1), "Runtime.ExitError", 1),
    ],
)
def test_injected_faults_leave_exactly_the_effects_before_them(
    bench: Workbench, fault: Fault, error_type: str, effects: int
) -> None:
    """A fault ends the next invocation at its place: AWS calls before it took effect, later ones did not."""
    url, _ = bench.queue()
    function = bench.function(
        """
        import os, boto3

        def handler(event, context):
            for number in range(2):
                boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=str(number))
            return "done"
        """,
        environment={"QUEUE": url},
    )
    name = function.rsplit(":", 1)[1]
    bench.cloud.lambdas.fail_next(name, fault)
    result, _ = invoke(bench, function)
    assert result["errorType"] == error_type
    assert bench.cloud.lambdas.history[-1].fault_fired
    assert bench.cloud.lambdas.pending_faults(name) == 0
    attributes = bench.cloud.client("sqs").get_queue_attributes(
        QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
    )["Attributes"]
    assert int(attributes["ApproximateNumberOfMessages"]) == effects
    assert invoke(bench, function)[0] == "done"


def test_topic_invokes_its_subscribed_function(bench: Workbench) -> None:
    """A function subscribed to a topic gets SNS's record."""
    url, _ = bench.queue()
    function = bench.function(
        """
        import json, os, boto3

        def handler(event, context):
            body = json.dumps(event["Records"][0]["Sns"])
            boto3.client("sqs").send_message(QueueUrl=os.environ["QUEUE"], MessageBody=body)
        """,
        environment={"QUEUE": url},
    )
    sns = bench.cloud.client("sns")
    topic = sns.create_topic(Name=bench.name("topic"))["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    sns.publish(TopicArn=topic, Message="approve?", Subject="link")
    (message,) = bench.messages(url)
    record = json.loads(message["Body"])
    assert (record["Message"], record["Subject"], record["TopicArn"]) == ("approve?", "link", topic)


def test_log_subscription_invokes_its_function(bench: Workbench) -> None:
    """A subscription filter's function gets the log events, packed as AWS packs them."""
    url, _ = bench.queue()
    function = bench.function(
        """
        import base64, gzip, json, os, boto3

        def handler(event, context):
            data = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
            boto3.client("sqs").send_message(
                QueueUrl=os.environ["QUEUE"], MessageBody=data["logEvents"][0]["message"]
            )
        """,
        environment={"QUEUE": url},
    )
    logs = bench.cloud.client("logs")
    group = bench.name("group")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    logs.put_subscription_filter(
        logGroupName=group, filterName="all", filterPattern="", destinationArn=function
    )
    logs.put_log_events(
        logGroupName=group,
        logStreamName="s",
        logEvents=[{"timestamp": int(time.time() * 1000), "message": "ike down"}],
    )
    bodies: list[str] = []

    def arrived() -> bool:
        bodies.extend(m["Body"] for m in bench.messages(url))
        return "ike down" in bodies

    eventually(arrived)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"Runtime": "nodejs20.x"}, "nodejs20.x"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "AWS_REGION"),
        ({"Handler": "nodots"}, "Handler"),
    ],
)
def test_function_that_cannot_run_is_refused(
    bench: Workbench, settings: dict[str, Any], named: str
) -> None:
    """A function that could not be run as written is an error when it is created."""
    with pytest.raises(ClientError, match=named):
        bench.function("x = 1", **settings)


def test_fault_needs_its_call_number() -> None:
    """A fault at a call names the call, and no other kind does."""
    with pytest.raises(ValueError, match="call_number"):
        Fault(FaultKind.KILL_BEFORE_CALL)
    with pytest.raises(ValueError, match="call_number"):
        Fault(FaultKind.RAISE, 1)


@pytest.mark.parametrize(
    ("pattern", "destination", "named"),
    [
        ("[ike_phase1_state=Down]", "lambda", "pattern"),
        ("", "kinesis", "log subscriptions to"),
    ],
)
def test_log_subscription_that_would_not_work_is_refused(
    bench: Workbench, pattern: str, destination: str, named: str
) -> None:
    """A subscription that the cloud would not filter, or not deliver, is an error when it is put."""
    logs = bench.cloud.client("logs")
    group = bench.name("group")
    logs.create_log_group(logGroupName=group)
    with pytest.raises(ClientError, match=named):
        logs.put_subscription_filter(
            logGroupName=group,
            filterName="f",
            filterPattern=pattern,
            destinationArn=f"arn:aws-us-gov:{destination}:us-gov-west-1:111111111111:x:y",
        )


def test_metric_filter_is_refused(bench: Workbench) -> None:
    """A metric filter would count nothing here, so it cannot be put."""
    with pytest.raises(ClientError, match="metric filters"):
        bench.cloud.client("logs").put_metric_filter(
            logGroupName="g",
            filterName="f",
            filterPattern="",
            metricTransformations=[{"metricName": "m", "metricNamespace": "n", "metricValue": "1"}],
        )
