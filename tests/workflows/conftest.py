"""The whole link on the embedded cloud, standing still: nothing starts unless a test starts it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from control_plane.adapters.items import link_key, to_item
from control_plane.adapters.journal import Journal
from control_plane.adapters.lease import SKEW_ALLOWANCE_MS, LeaseStore
from control_plane.adapters.link_state import LinkState
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import Entry, verify
from control_plane.operations.approvals import answer
from control_plane.operations.operator import resolve
from infra.local.dataplane import DataPlane
from infra.local.environment import Environment
from infra.local.held_against import Deployed

POLICY = {
    "hold_down_seconds": 0,
    "failback": {"automation": "manual", "stable_seconds": 0},
    "hysteresis": {"healthy_observations_to_recover": 1},
    "probe": {"attempts": 2, "required": 1, "timeout_seconds": 1.5},
    "maximum_switches_per_hour": 60,
    "lease_seconds": 30,
    "latency": {"warning_ms": 1000, "critical_ms": 2000},
}
SWEEP = {
    "source": "twinspan.sweep",
    "detail-type": "Twinspan Sweep",
    "detail": {"link_id": "bedrock"},
}
REPORT = {
    "source": "twinspan.proxy",
    "detail-type": "Twinspan Path Report",
    "detail": {
        "schema_version": 1,
        "link_id": "bedrock",
        "path": "tunnel-1",
        "state": "open",
        "reason": "no_response",
    },
}
EXECUTION_LIMIT_SECONDS = 240
POLL_SECONDS = 0.1  # each look is two requests' worth of this process's time, which the steps need


@dataclass(frozen=True)
class Finished:
    """How an execution ended."""

    name: str
    status: str
    error: str | None
    cause: str | None
    states: list[str]


@dataclass
class Link:
    """The link under test, in an operator's hands."""

    environment: Environment
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _journal: list[tuple[Entry, str]] = field(default_factory=list)  # as far as it was read

    def client(self, service: str, side: str = "govcloud") -> Any:
        return self.environment.client(service, side)

    # -- acting -----------------------------------------------------------------------------------

    def start(self, document: dict[str, Any]) -> str:
        """Start an execution; returns its ARN."""
        answer = self.client("stepfunctions").start_execution(
            stateMachineArn=self.environment.state_machine_arn,
            name=f"test-{next(self._numbers)}-{time.time_ns()}",
            input=json.dumps(document),
        )
        return str(answer["executionArn"])

    def finish(self, arn: str) -> Finished:
        """Wait for an execution's end."""
        steps, deadline = self.client("stepfunctions"), time.monotonic() + EXECUTION_LIMIT_SECONDS
        while (seen := steps.describe_execution(executionArn=arn))["status"] == "RUNNING":
            assert time.monotonic() < deadline, self.states(arn)
            time.sleep(POLL_SECONDS)
        return Finished(
            seen["name"], seen["status"], seen.get("error"), seen.get("cause"), self.states(arn)
        )

    @property
    def sweep_arn(self) -> str:
        """The sweep's state machine."""
        return self.environment.state_machine_arn.replace("-remediation", "-sweep")

    def sweep(self) -> tuple[Finished, list[Finished]]:
        """Run a sweep and the remediations that it starts, to their ends."""
        steps = self.client("stepfunctions")
        before = {one["executionArn"] for one in self.executions()}
        answer = steps.start_execution(
            stateMachineArn=self.sweep_arn, name=f"sweep-{time.time_ns()}", input="{}"
        )
        swept = self.finish(str(answer["executionArn"]))
        started = [o["executionArn"] for o in self.executions() if o["executionArn"] not in before]
        return swept, [self.finish(arn) for arn in started]

    def glance(self) -> list[dict[str, Any]]:
        """The links that one glance at all registered ones finds in need of a run."""
        payload = {"execution": "a test", "links": self.registrations()}
        answer = self.client("lambda").invoke(
            FunctionName="twinspan-bedrock-glance", Payload=json.dumps(payload)
        )
        return list(json.loads(answer["Payload"].read())["needs"])

    def registrations(self) -> list[dict[str, Any]]:
        """What links' stacks have written of themselves."""
        answer = self.client("ssm").get_parameters_by_path(Path="/twinspan-links/")
        return [json.loads(one["Value"]) for one in answer["Parameters"]]

    def register(self, link_id: str) -> None:
        """As another link's stack would: with a control plane like this one's, and nothing else yet."""
        ours = next(one for one in self.registrations() if one["link_id"] == "bedrock")
        self.client("ssm").put_parameter(
            Name=f"/twinspan-links/{link_id}",
            Value=json.dumps({**ours, "link_id": link_id}),
            Type="String",
        )

    def copy_documents(self, link_id: str) -> None:
        """Give another link this one's documents, with its own name in them."""
        for document in ("topology", "policy", "routing-config"):
            stored = self.client("ssm").get_parameter(Name=f"/twinspan/bedrock/{document}")
            text = stored["Parameter"]["Value"].replace('"bedrock"', f'"{link_id}"')
            self.client("ssm").put_parameter(
                Name=f"/twinspan/{link_id}/{document}", Value=text, Type="String"
            )

    def unregister(self, link_id: str) -> None:
        """Remove all that is stored under a link's name."""
        documents = [f"/twinspan/{link_id}/{d}" for d in ("topology", "policy", "routing-config")]
        names = [f"/twinspan-links/{link_id}", *documents]
        self.client("ssm").delete_parameters(Names=names)

    def alarms(self) -> list[str]:
        """Names of the link's alarms."""
        answer = self.client("cloudwatch").describe_alarms(AlarmNamePrefix="twinspan-bedrock-")
        return [
            a["AlarmName"] for k in ("MetricAlarms", "CompositeAlarms") for a in answer.get(k, [])
        ]

    def ring(self, *alarms: str, state: str) -> None:
        """Put alarms into a state, whose events reach nobody."""
        self.client("events").disable_rule(Name="twinspan-bedrock-alarms")
        for name in alarms:
            self.client("cloudwatch").set_alarm_state(
                AlarmName=name, StateValue=state, StateReason="a test"
            )

    def executions(self) -> list[dict[str, Any]]:
        """Executions of the remediation workflow, newest first."""
        answer = self.client("stepfunctions").list_executions(
            stateMachineArn=self.environment.state_machine_arn, maxResults=1000
        )
        return list(answer["executions"])

    def run(self, document: dict[str, Any]) -> Finished:
        """Run an execution to its end."""
        return self.finish(self.start(document))

    def intent(self, kind: str, **fields: Any) -> Finished:
        """Run an operator's intent."""
        return self.run({"intent": kind, "link_id": "bedrock", "requested_by": "a test", **fields})

    def set_policy(self, **fields: Any) -> None:
        """Store a policy."""
        self.client("ssm").put_parameter(
            Name="/twinspan/bedrock/policy",
            Value=json.dumps(POLICY | fields),
            Type="String",
            Overwrite=True,
        )

    def fail_next(self, function: str, fault: Any, times: int = 1) -> None:
        """Make a function's next invocations fail."""
        self.environment.cloud.lambdas.fail_next(f"twinspan-bedrock-{function}", fault, times)

    # -- looking ----------------------------------------------------------------------------------

    def states(self, arn: str) -> list[str]:
        """States that an execution entered."""
        history = self.client("stepfunctions").get_execution_history(
            executionArn=arn, maxResults=1000
        )
        return [
            event["stateEnteredEventDetails"]["name"]
            for event in history["events"]
            if "stateEnteredEventDetails" in event
        ]

    @property
    def config(self) -> dict[str, Any]:
        """What is published."""
        answer = self.client("ssm").get_parameter(Name="/twinspan/bedrock/routing-config")
        return dict(json.loads(answer["Parameter"]["Value"]))

    @property
    def published(self) -> tuple[int, str]:
        """Generation and active path."""
        return self.config["generation"], self.config["active_path"]

    def entries(self, kind: str | None = None, execution: str | None = None) -> list[Entry]:
        """Journal entries; the chain must hold whenever anybody looks."""
        journal = Journal(self, "twinspan-state")  # type: ignore[arg-type]
        self._journal += journal.entries("bedrock", after=len(self._journal))
        assert verify(self._journal, journal.head("bedrock") if self._journal else None) is None
        return [
            entry
            for entry, _ in self._journal
            if kind in (None, entry.kind) and execution in (None, entry.execution)
        ]

    @property
    def leases(self) -> LeaseStore:
        return LeaseStore(self, "twinspan-state")  # type: ignore[arg-type]

    @property
    def state(self) -> LinkState:
        return LinkState(self, "twinspan-state")  # type: ignore[arg-type]

    @property
    def lease_holder(self) -> str | None:
        return self.leases.current("bedrock").get("holder")

    def return_route(self, path: int) -> dict[str, Any]:
        """The commercial return route of the path with this index, as the topology requires it."""
        answer = self.client("ssm").get_parameter(Name="/twinspan/bedrock/topology")
        routes = json.loads(answer["Parameter"]["Value"])["paths"][path]["required_routes"]
        return dict(next(route for route in routes if route["side"] == "commercial"))

    def route_tables(self) -> dict[str, list[tuple[str, str]]]:
        """(destination, target) of every route of both sides' tables."""
        found = {}
        for side in ("govcloud", "commercial"):
            for table in self.client("ec2", side).describe_route_tables()["RouteTables"]:
                found[table["RouteTableId"]] = sorted(
                    (
                        route.get("DestinationCidrBlock", ""),
                        next((v for k, v in route.items() if k.endswith("Id")), "local"),
                    )
                    for route in table["Routes"]
                )
        return found

    def delete_route(self, route: dict[str, Any]) -> None:
        self.client("ec2", "commercial").delete_route(
            RouteTableId=route["table_id"], DestinationCidrBlock=route["destination"]
        )

    def store_history(self, history: LinkHistory) -> None:
        """Give the link another past."""
        lease = self.leases.acquire("bedrock", "a test", 30, self.now())
        assert lease is not None
        self.state.save_history("bedrock", history, lease)
        assert self.leases.release(lease, even_if_pending=True)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)

    def settle(self) -> None:
        """What time and an operator do after a failure: a dead run's lease runs out, a kept one is resolved."""
        held = self.leases.current("bedrock")
        if "kept_because" not in held and "holder" in held:
            long_ago = time.time_ns() // 1_000_000 - SKEW_ALLOWANCE_MS - 1
            self.client("dynamodb").update_item(
                TableName="twinspan-state",
                Key=to_item(link_key("bedrock", "LEASE")),
                UpdateExpression="SET expires_ms = :long_ago",
                ConditionExpression="holder = :dead",
                ExpressionAttributeValues=to_item({":long_ago": long_ago, ":dead": held["holder"]}),
            )
        self.resolve()

    @property
    def _stores(self) -> Any:
        """As much of a `Control` as an operator's own commands need."""
        return SimpleNamespace(
            leases=self.leases,
            state=self.state,
            session=self,
            journal=Journal(self, "twinspan-state"),  # type: ignore[arg-type]
        )

    def answer(self, execution: str, *, approved: bool) -> bool:
        """An operator answers the question with which an execution waits."""
        now = datetime.now(UTC)
        return answer(self._stores, "bedrock", execution, "an operator", now, approved=approved)

    def resolve(self) -> bool:
        """An operator has put the link right."""
        now = datetime.now(UTC)
        return resolve(self._stores, "bedrock", "an operator", "a test", now, leave_plan=False)

    def reset(self) -> None:
        """Everything well and on tunnel-1, under the common policy."""
        self.environment.cloud.lambdas.clear_faults()
        self.environment.faults.heal("all")
        self.settle()
        self.state.close_question("bedrock")
        self.store_history(LinkHistory())
        self.set_policy()
        if not self.environment.plane.wait_until(DataPlane.is_whole, 2):
            self.run(SWEEP)  # a failed test left a route missing
        assert self.environment.plane.wait_until(DataPlane.is_whole, 30)
        returned: list[Finished] = []
        while self.config["active_path"] != "tunnel-1":
            assert len(returned) < 3, self.entries(execution=returned[-1].name)
            returned.append(self.intent("failback", override=True, reason="reset"))


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    """The link, whose every call of AWS, whatever a test makes it do, its roles and endpoints must let through."""
    with Environment(policy=POLICY, timers=False, record_calls=True) as running:
        yield running
        record = running.cloud.calls
        assert record is not None
        assert record.unread == []
        assert Deployed(running.cloud).judge(record.calls).refused == ()


@pytest.fixture(scope="module")
def link_as_left(environment: Environment) -> Link:
    """The link as the test before left it."""
    return Link(environment)


@pytest.fixture
def link(link_as_left: Link) -> Iterator[Link]:
    """The link, healthy and on tunnel-1."""
    link_as_left.reset()
    yield link_as_left
    assert not link_as_left.environment.failures
