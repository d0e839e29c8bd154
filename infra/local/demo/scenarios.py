"""The outages that the demo plays, and what must hold in each.

A scenario drives the stage and checks promises; it never waits for a fixed time where it can wait for the
world to change. Faults are injected below the product: into the data plane, or by hand through EC2's API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from infra.local.demo.traffic import Traffic, wait_for_calls
from infra.local.demo.watch import Watcher
from infra.local.environment import Environment

# Timers of the demo's policy: short, and said so in its output.
POLICY: dict[str, Any] = {
    "hold_down_seconds": 4,
    "failback": {"stable_seconds": 3},
    "flap_damping": {
        "half_life_seconds": 8,
        "suppress_limit": 1500,
        "reuse_limit": 750,
        "maximum_suppress_seconds": 60,
    },
    "hysteresis": {"healthy_observations_to_recover": 2},
    "probe": {"attempts": 3, "required": 2, "timeout_seconds": 0.7},
    "maximum_switches_per_hour": 8,
    "lease_seconds": 60,
}
SWITCH_SECONDS = 40.0
REFUSALS = 10
RETURN_SECONDS = 90.0


@dataclass
class Stage:
    """What a scenario has at hand: the environment, the callers, the watcher, and its promises so far."""

    cloud: Environment
    traffic: Traffic
    watcher: Watcher
    say: Callable[[str], None]
    promises: list[tuple[str, bool, str]] = field(default_factory=list)
    generation_before: int = 0
    broke_at: float = 0.0
    healed_at: float = 0.0

    def promise(self, text: str, held: bool, detail: str = "") -> None:
        """Record whether something that must hold did."""
        self.promises.append((text, held, detail))

    def breaks(self, text: str, act: Callable[[], None]) -> None:
        """Break something, now."""
        self.say(text)
        self.generation_before = self.watcher.routing_config()["generation"]
        self.broke_at = time.monotonic()
        act()

    def heals(self, text: str, act: Callable[[], None]) -> None:
        """Mend it."""
        self.say(text)
        self.healed_at = time.monotonic()
        act()

    def active(self) -> str:
        """The published active path."""
        return str(self.watcher.routing_config()["active_path"])

    def expect_active(self, path: str, seconds: float) -> None:
        """The published config must come to say this path."""
        held = self.watcher.wait_for(lambda: self.active() == path, seconds)
        config = self.watcher.routing_config()
        self.promise(
            f"the published routing config says {path}",
            held,
            f"generation {config['generation']} says {config['active_path']}",
        )

    def expect_traffic_on(self, path: str, seconds: float = 20.0) -> None:
        """Calls must be answered over this path, twenty in a row."""

        def twenty(calls: list[Any]) -> bool:
            last = calls[-20:]
            return len(last) == 20 and all(c.path == path and not c.failed for c in last)

        held = wait_for_calls(self.traffic, twenty, time.monotonic(), seconds)
        self.promise(f"traffic is on {path}", held)

    def expect_no_failed_call(self) -> None:
        """Not one call may have failed."""
        calls = self.traffic.calls()
        failed = [call for call in calls if call.failed]
        detail = f"{len(calls)} calls, {len(failed)} failed"
        if failed:
            detail += f"; first: status {failed[0].status} {failed[0].error or ''}"
        self.promise("no inference call failed", bool(calls) and not failed, detail)

    def wait_for_refusals(self) -> None:
        """Leave things broken until the proxy has refused some calls, so that there is something to judge."""
        wait_for_calls(
            self.traffic,
            lambda calls: sum(call.failed for call in calls) >= REFUSALS,
            self.broke_at,
            SWITCH_SECONDS,
        )

    def expect_failed_closed(self, since: float, until: float) -> None:
        """While nothing works, every call is refused at once with 503 and Retry-After."""
        calls = [c for c in self.traffic.calls(since) if c.started < until]
        failed = [c for c in calls if c.failed]
        closed = [c for c in failed if c.status == 503 and c.retry_after]
        self.promise(
            "with no path left, calls fail closed: 503 with Retry-After",
            bool(closed) and len(closed) == len(failed),
            f"{len(failed)} of {len(calls)} calls while nothing worked, {len(closed)} of them so",
        )

    def expect_routes_agree(self) -> None:
        """The active path's required routes are in the route tables, and the config names that path."""
        path = self.active()
        missing = self.watcher.missing_routes(path)
        self.promise(
            "route tables and routing config agree",
            not missing,
            f"missing: {', '.join(missing)}"
            if missing
            else f"all routes that {path} requires are there",
        )

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """Data of this kind's entries since things broke."""
        entries = self.watcher.entries()
        return [entry.data for entry in entries if entry.kind == kind]


Scenario = Callable[[Stage], None]


def common_break(stage: Stage, fault: str, act: Callable[[], None]) -> None:
    """The common first act: something breaks, and traffic leaves."""
    stage.breaks(fault, act)
    stage.expect_active("tunnel-2", SWITCH_SECONDS)
    stage.expect_routes_agree()
    stage.expect_traffic_on("tunnel-2")


def common_heal(stage: Stage, text: str, act: Callable[[], None]) -> None:
    """The common last act: it heals, and traffic returns."""
    stage.heals(text, act)
    stage.expect_active("tunnel-1", RETURN_SECONDS)
    stage.expect_traffic_on("tunnel-1")
    stage.expect_no_failed_call()
    stage.expect_routes_agree()


def tunnel_down(stage: Stage) -> None:
    """Both tunnels of connection 1 are cut; AWS notices; traffic moves and comes back."""
    faults = stage.cloud.faults
    common_break(stage, "cut tunnel-1", lambda: faults.cut("tunnel-1"))
    alarm = f"twinspan-{stage.cloud.link_id}-tunnel-1-down"
    rang = stage.watcher.wait_for(
        lambda: stage.watcher.alarm_states().get(alarm) == "ALARM", SWITCH_SECONDS
    )
    stage.promise(f"the alarm {alarm} rang", rang)
    common_heal(stage, "heal tunnel-1", lambda: faults.heal("tunnel-1"))


def gray_failure(stage: Stage) -> None:
    """The tunnels stay UP in telemetry while every packet vanishes."""
    faults = stage.cloud.faults
    common_break(stage, "blackhole tunnel-1", lambda: faults.blackhole("tunnel-1"))
    connection = stage.watcher.topology()["paths"][0]["vpn_connection_id"]
    answer = stage.cloud.client("ec2").describe_vpn_connections(VpnConnectionIds=[connection])
    states = [t["Status"] for t in answer["VpnConnections"][0]["VgwTelemetry"]]
    stage.promise("telemetry said UP all the while", states == ["UP", "UP"], ", ".join(states))
    common_heal(stage, "heal tunnel-1", lambda: faults.heal("tunnel-1"))


def flap(stage: Stage) -> None:
    """tunnel-1 comes and goes; damping keeps traffic away until it has calmed down."""
    faults = stage.cloud.faults
    for number in (1, 2, 3):
        stage.breaks(f"cut tunnel-1 ({number} of 3)", lambda: faults.cut("tunnel-1"))
        stage.watcher.wait_for(lambda: stage.active() == "tunnel-2", SWITCH_SECONDS)
        stage.heals("heal tunnel-1", lambda: faults.heal("tunnel-1"))
        if number < 3:
            stage.watcher.wait_for(lambda: stage.active() == "tunnel-1", 15)
    stage.expect_active("tunnel-1", RETURN_SECONDS)
    stage.expect_traffic_on("tunnel-1")
    stage.expect_no_failed_call()
    switches = len(stage.journal("published"))
    limit = POLICY["maximum_switches_per_hour"]
    stage.promise(
        "the number of switches stayed within the policy's limit",
        2 <= switches <= limit,
        f"{switches} switches, limit {limit} an hour",
    )
    stage.expect_routes_agree()


def both_down(stage: Stage) -> None:
    """Nothing works: the proxy fails closed, people are told, and all recovers by itself."""
    faults = stage.cloud.faults
    stage.breaks("cut tunnel-1 and tunnel-2", lambda: _both(faults.cut))
    escalated = stage.watcher.wait_for(
        lambda: any(d["outcome"] == "escalated" for d in stage.journal("outcome")), SWITCH_SECONDS
    )
    stage.promise("the run escalated and says why for each path", escalated)
    config = stage.watcher.routing_config()
    stage.promise(
        "nothing was published onto a dead path",
        config["generation"] == stage.generation_before,
        f"generation {config['generation']}",
    )
    stage.wait_for_refusals()
    stage.heals("heal both", lambda: _both(faults.heal))
    stage.expect_traffic_on(stage.active(), RETURN_SECONDS)
    stage.expect_failed_closed(stage.broke_at, stage.healed_at)
    stage.expect_active("tunnel-1", RETURN_SECONDS)
    stage.expect_routes_agree()


def endpoint_down(stage: Stage) -> None:
    """The endpoint that tunnel-1 leads to fails while the tunnel itself is well."""
    faults = stage.cloud.faults
    common_break(stage, "fail endpoint-1", lambda: faults.refuse("endpoint-1"))
    common_heal(stage, "heal endpoint-1", lambda: faults.heal("endpoint-1"))


def route_deleted(stage: Stage) -> None:
    """Someone deletes the return route of tunnel-1's zone by hand; it is put back where it was."""
    route = _return_route(stage, 0)
    stage.breaks(
        f"delete {route['destination']} from {route['table_id']}", lambda: _delete(stage, route)
    )
    repaired = stage.watcher.wait_for(
        lambda: any(d["outcome"] == "repaired" for d in stage.journal("outcome")), SWITCH_SECONDS
    )
    stage.promise(
        "the route was put back", repaired and not stage.watcher.missing_routes("tunnel-1")
    )
    stage.expect_active("tunnel-1", RETURN_SECONDS)
    stage.expect_traffic_on("tunnel-1", RETURN_SECONDS)
    stage.expect_no_failed_call()
    stage.expect_routes_agree()


def bad_standby(stage: Stage) -> None:
    """tunnel-2 lost its return route unnoticed, then tunnel-1 fails: the model must refuse, by name."""
    faults, route = stage.cloud.faults, _return_route(stage, 1)
    stage.breaks(
        f"delete {route['destination']} from {route['table_id']}, then cut tunnel-1",
        lambda: _delete_and_cut(stage, route),
    )
    refused = stage.watcher.wait_for(lambda: bool(stage.journal("refused")), SWITCH_SECONDS)
    said = "; ".join(v for data in stage.journal("refused") for v in data["violations"])
    stage.promise("the route model refused tunnel-2", refused, said)
    named = route["table_id"] in said and route["destination"] in said
    stage.promise(
        "the refusal names the missing route", named, f"{route['table_id']} {route['destination']}"
    )
    config = stage.watcher.routing_config()
    stage.promise(
        "nothing was published",
        (config["generation"], config["active_path"]) == (stage.generation_before, "tunnel-1"),
        f"generation {config['generation']} says {config['active_path']}",
    )
    stage.wait_for_refusals()
    stage.heals("put the route back by hand", lambda: _create(stage, route))
    stage.expect_active("tunnel-2", RETURN_SECONDS)
    stage.expect_traffic_on("tunnel-2", RETURN_SECONDS)
    stage.expect_failed_closed(stage.broke_at, stage.healed_at)
    stage.heals("heal tunnel-1", lambda: faults.heal("tunnel-1"))
    stage.expect_active("tunnel-1", RETURN_SECONDS)
    stage.expect_routes_agree()


SCENARIOS: dict[str, Scenario] = {
    "tunnel-down": tunnel_down,
    "gray-failure": gray_failure,
    "flap": flap,
    "both-down": both_down,
    "endpoint-down": endpoint_down,
    "route-deleted": route_deleted,
    "bad-standby": bad_standby,
}

# What a scenario's policy has that the common one has not.
POLICY_OF: dict[str, dict[str, Any]] = {"bad-standby": {"drift_repair": "manual"}}


def policy_of(scenario: str) -> dict[str, Any]:
    """The policy document that a scenario runs under."""
    return POLICY | POLICY_OF.get(scenario, {})


def _both(act: Callable[[str], None]) -> None:
    act("tunnel-1")
    act("tunnel-2")


def _return_route(stage: Stage, path: int) -> dict[str, Any]:
    routes = stage.watcher.topology()["paths"][path]["required_routes"]
    return dict(next(route for route in routes if route["side"] == "commercial"))


def _delete(stage: Stage, route: dict[str, Any]) -> None:
    stage.cloud.client("ec2", "commercial").delete_route(
        RouteTableId=route["table_id"], DestinationCidrBlock=route["destination"]
    )


def _delete_and_cut(stage: Stage, route: dict[str, Any]) -> None:
    _delete(stage, route)
    stage.cloud.faults.cut("tunnel-1")


def _create(stage: Stage, route: dict[str, Any]) -> None:
    stage.cloud.client("ec2", "commercial").create_route(
        RouteTableId=route["table_id"],
        DestinationCidrBlock=route["destination"],
        NetworkInterfaceId=route["target"],
    )
