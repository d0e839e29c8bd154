"""The functions that tell the workflow of what they saw: behind the tunnels' logs, and the canary."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from control_plane.domain.journal import EntryKind
from control_plane.domain.observation import ProbeResult
from control_plane.domain.signals import Signal, parse_event
from control_plane.errors import AwsUnavailable
from control_plane.functions import canary
from control_plane.functions.canary import active_path, tell
from control_plane.functions.vpn_logs import follow
from control_plane.wiring import Control
from tests.adapters.conftest import routing_config, store
from tests.builders import probe
from tests.events.reading import LINKS, event, pack, unpack

Bus = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def bus(control: Control) -> Iterator[Bus]:
    """What reached the account's default bus, as a rule's target gets it: kept by a log group."""
    events, logs = (control.session.client(name) for name in ("events", "logs"))
    logs.create_log_group(logGroupName="/bus")
    arn = "arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:/bus"
    events.put_rule(Name="all", EventPattern='{"source": [{"prefix": "twinspan."}]}')
    events.put_targets(Rule="all", Targets=[{"Id": "log", "Arn": arn}])

    def told() -> list[dict[str, Any]]:
        kept = logs.filter_log_events(logGroupName="/bus")["events"]
        return [json.loads(item["message"]) for item in kept]

    yield told
    events.remove_targets(Rule="all", Ids=["log"])
    events.delete_rule(Name="all")
    logs.delete_log_group(logGroupName="/bus")


@pytest.mark.parametrize(
    "name", ["vpn-log-ike-down", "vpn-log-bgp-down", "vpn-log-route-withdrawn"]
)
def test_a_logged_loss_becomes_an_event_that_the_workflow_understands(
    control: Control, bus: Bus, name: str
) -> None:
    """What the function puts on the bus is read as the same signal as the line itself."""
    answer = follow(control, event(name), "request-1")
    (put,) = bus()
    direct, relayed = parse_event(event(name), LINKS), parse_event(put, LINKS)
    assert isinstance(direct, Signal) and isinstance(relayed, Signal)
    assert answer == {"told": [direct.about], "ignored": []}
    assert (relayed.about, relayed.path, relayed.resource) == (
        direct.about,
        direct.path,
        direct.resource,
    )
    assert direct.occurred_at is not None and relayed.occurred_at is not None
    assert abs((direct.occurred_at - relayed.occurred_at).total_seconds()) < 1


@pytest.mark.parametrize("name", ["vpn-log-established", "vpn-log-control-message"])
def test_a_routine_line_puts_nothing_on_the_bus(control: Control, bus: Bus, name: str) -> None:
    """Tunnels that are well start no executions."""
    assert follow(control, event(name), "request-1")["told"] == []
    assert bus() == []


def test_a_strange_tunnels_log_is_journaled_once(control: Control, bus: Bus) -> None:
    """Lines of a connection that the topology does not have are unmatched, whoever reads them."""
    payload = unpack(event("vpn-log-ike-down"))
    payload["logStream"] = "vpn-9-203.0.113.99"
    for number in range(3):
        assert follow(control, pack(payload), f"request-{number}")["told"] == []
    (entry,) = [entry for entry, _ in control.journal.entries("bedrock")]
    assert (entry.kind, entry.data["subject"]) == (EntryKind.UNMATCHED, "vpn-9")
    assert bus() == []


def test_an_event_that_the_bus_does_not_take_fails_the_invocation(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that is refused inside an accepted call is not lost without a word."""
    answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure"}]}
    client = control.session.client("events")
    monkeypatch.setattr(client, "put_events", lambda **_: answer)
    with pytest.raises(AwsUnavailable, match="InternalFailure"):
        follow(control, event("vpn-log-ike-down"), "request-1")


def test_a_failing_active_path_is_told_at_once(control: Control, bus: Bus) -> None:
    """The canary's event is read as a signal about the path it probed."""
    tell(control, "bedrock", probe("tunnel-1", passed=False))
    (put,) = bus()
    read = parse_event(put, LINKS)
    assert isinstance(read, Signal)
    assert (read.kind, read.path) == ("canary", "tunnel-1")


@dataclass(frozen=True)
class Prober:
    """Finds each path as it is told."""

    passes: dict[str, bool]

    def probe_all(self, paths: Any, _policy: Any) -> dict[str, ProbeResult]:
        return {path.name: probe(path.name, self.passes[path.name]) for path in paths}


@pytest.mark.parametrize(
    ("passes", "told_of"),
    [
        ({"tunnel-1": True, "tunnel-2": True}, []),
        ({"tunnel-1": True, "tunnel-2": False}, []),
        ({"tunnel-1": False, "tunnel-2": True}, ["tunnel-1"]),
        ({"tunnel-1": False, "tunnel-2": False}, ["tunnel-1"]),
    ],
)
def test_the_canary_tells_of_the_active_path_alone(
    control: Control,
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
    passes: dict[str, bool],
    told_of: list[str],
) -> None:
    """A failing standby is left to its alarm; what the canary returns names every path."""
    store(control, "routing-config", routing_config().to_json())
    monkeypatch.setattr(canary, "_control", lambda: control)
    monkeypatch.setattr(Control, "prober", lambda *_: Prober(passes))
    assert canary.handler({}, LambdaContext()) == passes
    assert [put["detail"]["path"] for put in bus()] == told_of


def test_an_answering_path_is_not_told_of(control: Control, bus: Bus) -> None:
    """Good news wakes nobody."""
    tell(control, "bedrock", probe("tunnel-1", passed=True))
    assert bus() == []


def test_the_canary_goes_on_without_a_usable_routing_config(control: Control) -> None:
    """With nothing published, or nonsense, no path is active, and the probing is not disturbed."""
    assert active_path(control, "bedrock") == ""
    store(control, "routing-config", '{"schema_version": 1}')
    assert active_path(control, "bedrock") == ""
