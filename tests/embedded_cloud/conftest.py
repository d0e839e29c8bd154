"""A running embedded cloud for the tests of its event plane, with the few things that most of them need.

Its clock is fast and its alarms and schedules stand still: tests move those by calling them with a time.
"""

from __future__ import annotations

import io
import json
import textwrap
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from infra.local.clock import CloudClock
from infra.local.server import EmbeddedCloud

FAST = 0.3
"""Real seconds that AWS's minute takes in these tests."""


def zipped(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, textwrap.dedent(text))
    return buffer.getvalue()


class Workbench:
    """Makes resources with names of their own, so that tests can share one cloud."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud

    def name(self, kind: str) -> str:
        return f"{kind}-{uuid.uuid4().hex[:8]}"

    def role(self, service: str) -> str:
        document = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": service},
                    "Action": "sts:AssumeRole",
                }
            ],
        }
        answer = self.cloud.client("iam").create_role(
            RoleName=self.name("role"), AssumeRolePolicyDocument=json.dumps(document)
        )
        return str(answer["Role"]["Arn"])

    def function(
        self,
        code: str,
        *,
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: int = 10,
        invoked_by: str | None = None,
        **settings: Any,
    ) -> str:
        """A function whose module `app.py` is `code`; returns its ARN."""
        client = self.cloud.client("lambda")
        name = self.name("function")
        answer = client.create_function(
            **{
                "FunctionName": name,
                "Runtime": "python3.12",
                "Role": self.role("lambda.amazonaws.com"),
                "Handler": "app.handler",
                "Code": {"ZipFile": zipped({"app.py": code, **(files or {})})},
                "Environment": {"Variables": dict(environment or {})},
                "Timeout": timeout_seconds,
                **settings,
            }
        )
        if invoked_by is not None:
            client.add_permission(
                FunctionName=name,
                StatementId="allowed",
                Action="lambda:InvokeFunction",
                Principal=invoked_by,
            )
        return str(answer["FunctionArn"])

    def queue(self, *, open_to_events: bool = True) -> tuple[str, str]:
        """A queue's URL and ARN."""
        client = self.cloud.client("sqs")
        url = client.create_queue(QueueName=self.name("queue"))["QueueUrl"]
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        if open_to_events:
            policy = {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "events.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": arn,
                    }
                ],
            }
            client.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
        return url, arn

    def messages(self, url: str, *, at_least: int = 1) -> list[dict[str, Any]]:
        """The messages in a queue, waiting for the first `at_least`."""
        found: list[dict[str, Any]] = []

        def receive() -> bool:
            answer = self.cloud.client("sqs").receive_message(
                QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            found.extend(answer.get("Messages", []))
            return len(found) >= at_least

        eventually(receive)
        return found

    def state_machine(self, definition: Mapping[str, Any]) -> str:
        answer = self.cloud.client("stepfunctions").create_state_machine(
            name=self.name("machine"),
            definition=json.dumps(definition),
            roleArn=self.role("states.amazonaws.com"),
        )
        return str(answer["stateMachineArn"])

    def rule(self, target: Mapping[str, Any], **rule: Any) -> str:
        """A rule with one target; returns its name. Without a pattern, one for a source of its own."""
        client = self.cloud.client("events")
        name = self.name("rule")
        if "ScheduleExpression" not in rule:
            rule.setdefault("EventPattern", json.dumps({"source": [name]}))
        client.put_rule(Name=name, **rule)
        client.put_targets(Rule=name, Targets=[{"Id": "target", **target}])
        return name

    def send(self, source: str, detail: Mapping[str, Any] | None = None) -> str:
        """Put an event on the default bus; returns its id."""
        answer = self.cloud.client("events").put_events(
            Entries=[
                {"Source": source, "DetailType": "Test", "Detail": json.dumps(detail or {"n": 1})}
            ]
        )
        assert answer["FailedEntryCount"] == 0, answer
        return str(answer["Entries"][0]["EventId"])

    def finished_executions(self, machine: str, *, at_least: int = 1) -> list[dict[str, Any]]:
        """The executions of a machine that ended, waiting for the first `at_least`."""
        client = self.cloud.client("stepfunctions")

        def finished() -> list[dict[str, Any]]:
            listed = client.list_executions(stateMachineArn=machine)["executions"]
            ended = [e for e in listed if e["status"] != "RUNNING"]
            return [client.describe_execution(executionArn=e["executionArn"]) for e in ended]

        eventually(lambda: len(finished()) >= at_least)
        return finished()


def eventually(condition: Callable[[], bool], timeout_seconds: float = 15.0) -> None:
    """Wait for something that other threads bring about."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def cloud() -> Iterator[EmbeddedCloud]:
    with EmbeddedCloud(clock=CloudClock(FAST), timers=False) as running:
        yield running
        assert running.failures == []


@pytest.fixture
def bench(cloud: EmbeddedCloud) -> Workbench:
    return Workbench(cloud)
