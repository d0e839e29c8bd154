"""A link in memory: its network as it truly is, and Twinspan's stores with the semantics of the real ones.

Every write counts, and a run may be killed before or after any one of them. The invariants that can be seen at
a write are asserted there (numbers are those of the design's list).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from control_plane.adapters.lease import SKEW_ALLOWANCE_MS, Lease
from control_plane.adapters.proxy import ProxyAnswer
from control_plane.domain.changes import Change
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.domain.observation import ProbeResult
from control_plane.domain.plan import Plan
from control_plane.domain.policy import Policy
from control_plane.domain.topology import SideName, Topology
from control_plane.errors import (
    AwsUnavailable,
    InvalidPublishedConfig,
    LeaseLost,
    RouteChanged,
    StaleGeneration,
)
from proxy.routing_config import RoutingConfig
from tests.unit.route_model_language import route
from tests.unit.test_route_model_link import commercial, cut, govcloud

LINK = "bedrock"
START = datetime(2026, 3, 2, tzinfo=UTC)
PATHS = ("tunnel-1", "tunnel-2")
ZONE = {"tunnel-1": "a", "tunnel-2": "b"}


class Killed(BaseException):
    """The process of a step died. No handler of ours may catch it."""


def topology() -> Topology:
    """The link whose network is `govcloud()` and `commercial()`."""
    routes = [
        ("govcloud", "rtb-gov", "172.16.0.0/16", "tgw-1"),
    ]
    return Topology.model_validate(
        {
            "link_id": LINK,
            "sides": {
                "govcloud": {
                    "partition": "aws-us-gov", "region": "us-gov-west-1",
                    "account_id": "111111111111", "vpc_id": "vpc-gov",
                    "subnet_ids": ["subnet-gov-a", "subnet-gov-b"], "cidr": "10.0.0.0/16",
                },
                "commercial": {
                    "partition": "aws", "region": "us-east-1",
                    "account_id": "222222222222", "vpc_id": "vpc-com",
                    "subnet_ids": ["subnet-end-a", "subnet-end-b"], "cidr": "172.16.0.0/16",
                },
            },
            "credentials_secret_id": "none",
            "managed_route_tables": ["rtb-gov", "rtb-end-a", "rtb-end-b"],
            "paths": [
                {
                    "name": name,
                    "endpoint_url": f"https://{name}.invalid",
                    "peer_networks": [f"172.16.{2 * number + 1}.0/24"],
                    "vpn_connection_id": f"vpn-{number + 1}",
                    "vpc_endpoint_id": "vpce-1",
                    "endpoint_address": f"172.16.{2 * number + 1}.10",
                    "required_routes": [
                        {"side": side, "table_id": table, "destination": net, "target": target}
                        for side, table, net, target in (
                            *routes,
                            ("commercial", f"rtb-end-{ZONE[name]}", "10.0.0.0/16",
                             f"eni-router-{ZONE[name]}"),
                        )
                    ],
                }
                for number, name in enumerate(PATHS)
            ],
        }
    )  # fmt: skip


@dataclass
class World:
    """The truth, and everything that is stored about it."""

    policy: Policy
    topology: Topology = field(default_factory=topology)
    now: datetime = START
    skew_seconds: float = 0.0
    alive: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PATHS, True))
    gray: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PATHS, False))
    routes: dict[tuple[str, str], str] = field(default_factory=dict)
    config: RoutingConfig | None = None
    spoilt: bool = False
    claimed: int = 0
    versions: list[RoutingConfig] = field(default_factory=list)
    trouble: str | None = None
    in_alarm: bool = False
    down: set[str] = field(default_factory=set)
    lease: dict[str, Any] = field(default_factory=lambda: {"token": 0})
    entries_: list[Entry] = field(default_factory=list)
    history_: LinkHistory = field(default_factory=LinkHistory)
    history_token: int = 0
    plan: dict[str, Any] | None = None
    question: dict[str, Any] | None = None
    evidence_: list[Any] = field(default_factory=list)
    letters: list[str] = field(default_factory=list)
    running: str = ""
    die_at: int | None = None
    writes: int = 0
    before_write: Callable[[str], None] | None = None
    deaf_callers: bool = False
    publications: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in self.topology.paths:
            for one in path.required_routes:
                self.routes[one.table_id, one.destination] = one.target
        self.config = RoutingConfig.of(
            {
                "schema_version": 1, "link_id": LINK, "generation": 1, "active_path": "tunnel-1",
                "paths": [
                    {"name": p.name, "routing_method": "vpn", "endpoint_url": p.endpoint_url,
                     "peer_networks": list(p.peer_networks), "state": "enabled"}
                    for p in self.topology.paths
                ],
                "data_classes": {"default": ["vpn"]},
                "published_at": START, "published_by": "deploy", "reason": "first deployment",
            }
        )  # fmt: skip
        self.versions.append(self.config)

    @property
    def followed(self) -> RoutingConfig:
        """What proxies follow: the newest generation that was ever published."""
        return self.versions[-1]

    # -- the truth ----------------------------------------------------------------------------------

    def carries(self, path: str) -> bool:
        """Whether calls over the path are answered."""
        found = self.topology.path(path)
        assert found is not None
        routed = all(
            self.routes.get((r.table_id, r.destination)) == r.target for r in found.required_routes
        )
        return self.alive[path] and not self.gray[path] and routed

    def could_carry(self, path: str) -> bool:
        """Whether calls would be answered once routes are in order."""
        return self.alive[path] and not self.gray[path]

    def sides(self) -> dict[SideName, dict[str, Any]]:
        """What EC2 would describe."""
        gov, com = govcloud(), commercial()
        for number, name in enumerate(PATHS, 1):
            if not self.alive[name]:
                cut(gov, f"vpn-{number}")
        for table in (*gov.data["RouteTables"], *com.data["RouteTables"]):
            required = {d for table_id, d in self._required() if table_id == table["RouteTableId"]}
            table["Routes"] = [
                r for r in table["Routes"] if r["DestinationCidrBlock"] not in required
            ]
            table["Routes"] += [
                route(destination, target)
                for (table_id, destination), target in self.routes.items()
                if table_id == table["RouteTableId"]
            ]
        return {SideName.GOVCLOUD: gov.data, SideName.COMMERCIAL: com.data}

    def _required(self) -> set[tuple[str, str]]:
        return {(r.table_id, r.destination) for p in self.topology.paths for r in p.required_routes}

    # -- dying ----------------------------------------------------------------------------------------

    @contextmanager
    def write(self, where: str = "") -> Iterator[None]:
        """One write of the running step: it may die just before or just after, or be refused."""
        self._perhaps_die()
        if self.before_write is not None:
            self.before_write(where)
        yield
        self._perhaps_die()

    def _perhaps_die(self) -> None:
        self.writes += 1
        if self.die_at is not None and self.writes >= self.die_at:
            self.die_at = None
            raise Killed

    def _reach(self, service: str) -> None:
        if service in self.down:
            raise AwsUnavailable(service, "ServiceUnavailable")

    def now_of(self) -> datetime:
        """The running process's clock."""
        return self.now + timedelta(seconds=self.skew_seconds)

    # -- documents, evidence, letters ---------------------------------------------------------------------

    def topology_of(self, link_id: str) -> Topology:
        return self.topology

    def routing_config(self, link_id: str) -> RoutingConfig | None:
        if self.spoilt:
            raise InvalidPublishedConfig("document", "written by a stranger")
        return self.config

    def publish(
        self, config: RoutingConfig, expected_generation: int, *, replace_unreadable: bool = False
    ) -> None:
        current = None if self.spoilt and replace_unreadable else self.routing_config(LINK)
        found = current.generation if current else 0
        if found != expected_generation:
            raise StaleGeneration(LINK, expected_generation, found)
        with self.write():
            self._may_write()
            assert config.generation > self.followed.generation, "2: generations only grow"
            if not config.reason.startswith("rollback"):
                done = {e.kind for e in self.entries_ if e.execution == self.running}
                assert {EntryKind.PLANNED, EntryKind.PROBED} <= done, "3: both proofs first"
            self.config, self.spoilt = config, False
            self.versions.append(config)
            self.publications.append((config.generation, config.published_by))

    def ringing(self, prefix: str, names: Any) -> tuple[str, ...]:
        return (f"{prefix}tunnel-1-down",) if self.in_alarm else ()

    def highest(self, link_id: str) -> int:
        return self.claimed

    def claim(self, link_id: str, key: str | int, execution: str = "") -> bool:
        """A generation, or a first time: the world has seen everything before."""
        if isinstance(key, str):
            return True
        if key <= self.claimed:
            return False
        with self.write():
            self.claimed = key
        return True

    def put(self, document: Any) -> str:
        with self.write():
            self.evidence_.append(copy.deepcopy(document))
        return str(len(self.evidence_) - 1)

    def get(self, reference: str) -> Any:
        return copy.deepcopy(self.evidence_[int(reference)])

    def send(self, subject: str, text: str) -> None:
        self._reach("sns")
        with self.write("people"):
            self.letters.append(subject)

    # -- lease ------------------------------------------------------------------------------------------

    def acquire(self, link_id: str, holder: str, seconds: int, now: datetime) -> Lease | None:
        lease, now_ms = self.lease, _ms(now)
        stale = (
            lease.get("expires_ms", 0) < now_ms - SKEW_ALLOWANCE_MS and "kept_because" not in lease
        )
        if lease.get("holder") not in (None, holder) and not stale:
            return None
        with self.write():
            token = lease["token"] + 1
            self.lease = {"holder": holder, "token": token, "expires_ms": now_ms + seconds * 1000}
        return Lease(LINK, holder, token, now + timedelta(seconds=seconds), self.trouble)

    def leave_signal(self, link_id: str, trouble: str | None = None) -> bool:
        if "holder" not in self.lease:
            return False
        with self.write():
            self.lease["pending"] = True
            self.trouble = trouble or self.trouble
        return True

    def renew(self, lease: Lease, seconds: int, now: datetime) -> Lease:
        if not self._ours(lease) or self.lease["expires_ms"] < _ms(now):
            raise LeaseLost(LINK, lease.token)
        with self.write():
            self.lease["expires_ms"] = _ms(now) + seconds * 1000
        return Lease(LINK, lease.holder, lease.token, now + timedelta(seconds=seconds))

    def release(self, lease: Lease, *, even_if_pending: bool = False) -> bool:
        if not self._ours(lease):
            return True
        if self.lease.get("pending") and not even_if_pending:
            return False
        with self.write():
            self.lease = {"token": self.lease["token"]}
            self.trouble = self.trouble if even_if_pending else None
        return True

    def take_pending(self, lease: Lease) -> str | None:
        if not self._ours(lease):
            raise LeaseLost(LINK, lease.token)
        with self.write():
            self.lease.pop("pending", None)
        return self.trouble

    def keep(self, lease: Lease, reason: str) -> None:
        self._reach("lease")
        if not self._ours(lease):
            raise LeaseLost(LINK, lease.token)
        with self.write():
            self.lease["kept_because"] = reason

    def current(self, link_id: str) -> dict[str, Any]:
        return dict(self.lease)

    def resolve(self, link_id: str) -> bool:
        if "kept_because" not in self.lease:
            return False
        with self.write():
            self.lease = {"token": self.lease["token"]}
        return True

    def _ours(self, lease: Lease) -> bool:
        mine: bool = self.lease.get("holder") == lease.holder and self.lease["token"] == lease.token
        return mine

    def _may_write(self) -> None:
        assert self.lease.get("holder") == self.running, "1: only the lease's holder writes"

    # -- journal and state ----------------------------------------------------------------------------

    def append(
        self, link_id: str, kind: EntryKind, execution: str, data: dict[str, Any], now: datetime
    ) -> Entry:
        self._reach("journal")
        previous = self.entries_[-1].hash if self.entries_ else GENESIS
        entry = Entry(link_id, len(self.entries_) + 1, now, kind, execution, data, previous)
        with self.write("journal"):
            self.entries_.append(entry)
        return entry

    def entries(
        self, link_id: str, *, newest_first: bool = False, limit: int | None = None
    ) -> list[tuple[Entry, str]]:
        found = [(entry, entry.hash) for entry in self.entries_]
        return (found[::-1] if newest_first else found)[:limit]

    def of_kind(self, link_id: str, kind: EntryKind) -> Iterator[Entry]:
        return (entry for entry in self.entries_[::-1] if entry.kind is kind)

    def head(self, link_id: str) -> tuple[int, str]:
        return (len(self.entries_), self.entries_[-1].hash) if self.entries_ else (0, GENESIS)

    def history(self, link_id: str) -> LinkHistory:
        return self.history_

    def save_history(self, link_id: str, history: LinkHistory, lease: Lease) -> None:
        self._reach("history")
        if lease.token < self.history_token:
            raise LeaseLost(LINK, lease.token)
        with self.write():
            self.history_, self.history_token = history, lease.token

    def save_plan(self, plan: Plan, execution: str, lease: Lease) -> None:
        self._fence(lease)
        with self.write():
            self.plan = {"plan": plan, "token": lease.token, "open": True}

    def open_plan(self, link_id: str) -> Plan | None:
        return self.plan["plan"] if self.plan and self.plan["open"] else None

    def close_plan(self, plan: Plan, status: str, lease: Lease) -> None:
        self._fence(lease)
        with self.write():
            self.plan = {"plan": plan, "token": lease.token, "open": False}

    def _fence(self, lease: Lease) -> None:
        if self.plan and lease.token < self.plan["token"]:
            raise LeaseLost(LINK, lease.token)

    def latest_question(self, link_id: str) -> dict[str, Any] | None:
        return self.question

    # -- acting and looking ---------------------------------------------------------------------------

    def apply(self, change: Change) -> bool:
        found = self.routes.get((change.table_id, change.destination))
        if found == change.after:
            return False
        if found != change.before:
            raise RouteChanged(change.table_id, change.destination, str(change.before), str(found))
        with self.write():
            self._may_write()
            plan = self.open_plan(LINK)
            assert plan is not None, "5: the plan and its inverse are stored first"
            assert change in (*plan.changes, *plan.inverse_changes()), "5: and hold this change"
            if change.after is None:
                del self.routes[change.table_id, change.destination]
            else:
                self.routes[change.table_id, change.destination] = change.after
        return True

    def probe_all(self, paths: Any, policy: Any) -> dict[str, ProbeResult]:
        return {path.name: self.probe(path, policy) for path in paths}

    def probe(self, path: Any, policy: Any) -> ProbeResult:
        answered = policy.required if self.carries(path.name) else 0
        return ProbeResult(
            path=path.name,
            attempts=policy.attempts,
            answered=answered,
            required=policy.required,
            median_latency_ms=40.0 if answered else None,
        )

    def call(self, minimum_generation: int, model_id: str | None) -> ProxyAnswer:
        """The proxy: the published path if it carries, otherwise the other one."""
        config = self.followed
        if self.deaf_callers:
            return ProxyAnswer(503, None, config.generation, "nobody is let through")
        order = [config.active_path, *(p for p in PATHS if p != config.active_path)]
        for path in order:
            if self.carries(path):
                return ProxyAnswer(200, path, config.generation, "answered")
        return ProxyAnswer(503, None, config.generation, "no path")


class Control:
    """What operations are given: the world, under the names that they use."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.settings, self.session = SimpleNamespace(link_id=LINK), None
        self.leases = self.journal = self.state = self.evidence = self.generations = world
        self.notifier = self.events = self.first_times = self.proxy = self.alarms = world
        self.documents = SimpleNamespace(
            topology=world.topology_of,
            policy=lambda link_id, topology: world.policy,
            routing_config=world.routing_config,
            publish=world.publish,
        )

    def now(self) -> datetime:
        return self.world.now_of()

    def credential(self, topology: Topology) -> None:
        return None

    def sessions(self, topology: Topology, credential: None) -> dict[SideName, Any]:
        return {}

    def routes(self, topology: Topology) -> World:
        return self.world

    def prober(self, topology: Topology) -> World:
        return self.world


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
