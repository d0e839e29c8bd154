"""Watching the embedded cloud through AWS's own APIs, as an operator's tools would: nothing is peeked at."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from control_plane.adapters.journal import Journal
from control_plane.domain.journal import Entry
from control_plane.settings import parameter_name
from infra.local.environment import Environment

POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was seen to happen."""

    at: float
    kind: str
    text: str


class _Session:
    """Lets the product's own journal reader read through the environment's clients."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def client(self, service: str) -> Any:
        return self._environment.client(service)


class Watcher:
    """Follows journal, alarms and executions, and tells `say` what is new."""

    def __init__(self, environment: Environment, say: Callable[[Happening], None]) -> None:
        self._cloud = environment
        self._say = say
        self._journal = Journal(_Session(environment), "twinspan-state")  # type: ignore[arg-type]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="watcher", daemon=True)
        self._alarms: dict[str, str] = {}
        self._entries: list[Entry] = []
        self.failure: Exception | None = None

    def start(self) -> None:
        """Begin; what is there already is not news."""
        self._entries = self.entries()
        self._alarms = self.alarm_states()
        self._thread.start()

    def stop(self) -> None:
        """End after one last look."""
        self._stopping.set()
        self._thread.join(10)

    def entries(self) -> list[Entry]:
        """The whole journal."""
        return [entry for entry, _ in self._journal.entries(self._cloud.link_id)]

    def alarm_states(self) -> dict[str, str]:
        """State of each alarm by name."""
        pages = self._cloud.client("cloudwatch").get_paginator("describe_alarms").paginate()
        return {
            alarm["AlarmName"]: alarm["StateValue"]
            for page in pages
            for alarm in page["MetricAlarms"]
        }

    def all_quiet(self) -> bool:
        """Whether every alarm has had its first data and is OK."""
        return set(self.alarm_states().values()) <= {"OK"}

    def routing_config(self) -> dict[str, Any]:
        """What is published."""
        name = parameter_name(self._cloud.link_id, "routing-config")
        answer = self._cloud.client("ssm").get_parameter(Name=name)
        return dict(json.loads(answer["Parameter"]["Value"]))

    def topology(self) -> dict[str, Any]:
        """The link's topology."""
        name = parameter_name(self._cloud.link_id, "topology")
        answer = self._cloud.client("ssm").get_parameter(Name=name)
        return dict(json.loads(answer["Parameter"]["Value"]))

    def states_visited(self, execution: str) -> list[str]:
        """Names of the states that an execution entered, in order."""
        prefix = self._cloud.state_machine_arn.replace(":stateMachine:", ":execution:")
        history = self._cloud.client("stepfunctions").get_execution_history(
            executionArn=f"{prefix}:{execution}", maxResults=1000
        )
        return [
            event["stateEnteredEventDetails"]["name"]
            for event in history["events"]
            if "stateEnteredEventDetails" in event
        ]

    def missing_routes(self, path: str) -> list[str]:
        """Required routes of this path that the route tables do not have, by EC2's own answer."""
        missing = []
        document = next(p for p in self.topology()["paths"] if p["name"] == path)
        for required in document["required_routes"]:
            ec2 = self._cloud.client("ec2", required["side"])
            tables = ec2.describe_route_tables(RouteTableIds=[required["table_id"]])["RouteTables"]
            found = [
                route
                for route in tables[0]["Routes"]
                if route.get("DestinationCidrBlock") == required["destination"]
                and required["target"] in route.values()
                and route["State"] == "active"
            ]
            if not found:
                missing.append(f"{required['table_id']} {required['destination']}")
        return missing

    def wait_for(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Poll until the condition holds; False when time is up."""
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _follow(self) -> None:
        try:
            while not self._stopping.wait(POLL_SECONDS):
                self._look()
            self._look()
        except Exception as error:  # noqa: BLE001 - the demo reports it as a broken promise
            self.failure = error

    def _look(self) -> None:
        now = time.monotonic()
        states = self.alarm_states()
        for name, state in states.items():
            if self._alarms.get(name) != state:
                self._say(Happening(now, "alarm", f"{name}: {self._alarms.get(name)} → {state}"))
        self._alarms = states
        entries = self.entries()
        for entry in entries[len(self._entries) :]:
            self._say(Happening(now, str(entry.kind), describe(entry)))
        self._entries = entries


def describe(entry: Entry) -> str:
    """One line on a journal entry."""
    data = entry.data
    if entry.kind == "signal":
        return f"{data['about']}  [execution {entry.execution}]"
    if entry.kind == "decided":
        text = f"{data['kind']}{' → ' + data['path'] if data['path'] else ''}: {data['reasons'][0]}"
        passed = "; ".join(f"{name}: {why}" for name, why in data["passed_over"].items())
        return text + (f"  (passed over {passed})" if passed else "")
    if entry.kind == "planned":
        return f"the route model proves it, there and back: {'; '.join(data['effects'])}"
    if entry.kind == "refused":
        return "; ".join(data["violations"])
    if entry.kind == "probed":
        return (
            f"{data['path']}: {data['answered']} of {data['attempts']} answered by {data['peer']}"
        )
    if entry.kind == "published":
        return f"generation {data['generation']}: active path {data['active_path']}"
    if entry.kind == "verified":
        return str(data["seen"])
    if entry.kind == "outcome":
        return f"{data['outcome']}" + (f": {data['error']}" if "error" in data else "")
    if entry.kind == "applied":
        return f"{data['table_id']} {data['destination']}: {data['before']} → {data['after']}"
    return json.dumps(data)[:200]
