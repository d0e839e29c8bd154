"""What a plan would change: route changes laid over the network, judged before and after.

The base model is not rebuilt: a changed table shares all routes but the changed ones with the observed table, so the cost
follows the plan and the flows asked about. Old faults are told apart from those that the plan introduces.

A clean report is a proof about routes as AWS documents them. It is none about what the snapshot did not observe
(`not_observed` of its traces), nor about what happens inside appliances.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from control_plane.domain.route_model.addresses import Address, Prefix, parse_prefix
from control_plane.domain.route_model.facts import Route, RouteRank
from control_plane.domain.route_model.isolation import Exposure, exposures_of_subnet
from control_plane.domain.route_model.lookups import Lookups
from control_plane.domain.route_model.question import InvalidQuestion, Question
from control_plane.domain.route_model.tables import RouteTable
from control_plane.domain.route_model.traces import Blocker, Outcome, Trace

Model = TypeVar("Model", bound=Lookups)

# Subnets of one table from which a changed route is tried: one per availability zone is enough, since
# subnets of a zone and table route alike.
_SUBNETS_TRIED = 4
_TRANSIT_KINDS = frozenset(
    {
        "vpn-connection",
        "transit-gateway",
        "virtual-private-gateway",
        "internet-gateway",
        "nat-gateway",
        "vpc-peering-connection",
        "customer-gateway",
    }
)


class RouteChange(Protocol):
    """What `validate` reads of a change; any value with these attributes will do."""

    @property
    def table_id(self) -> str: ...
    @property
    def destination(self) -> str: ...
    @property
    def before(self) -> str | None: ...
    @property
    def after(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Change:
    """Make `destination` in a route table lead to `after`, given that it leads to `before`.

    None stands for "no such static route". Targets are AWS ids as describe output shows them: `tgw-…`, `eni-…` in a VPC
    table, `tgw-attach-…` in a transit gateway's.
    """

    side: str
    table_kind: str
    table_id: str
    destination: str
    before: str | None
    after: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "side": str(self.side),
            "table_kind": str(self.table_kind),
            "table_id": self.table_id,
            "destination": self.destination,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow that must work, both ways: ends as for `Network.trace`."""

    source: str
    destination: str
    protocol: str = "tcp"
    port: int | None = 443

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "source": self.source,
            "destination": self.destination,
            "protocol": self.protocol,
            "port": self.port,
        }

    def __str__(self) -> str:
        service = self.protocol if self.port is None else f"{self.protocol}/{self.port}"
        return f"{self.source} → {self.destination} {service}"


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """What a plan may do. None means no limit."""

    allowed_tables: frozenset[str] | None = None
    max_changes: int | None = None


class ViolationKind(StrEnum):
    """What is wrong."""

    FORWARD_BROKEN = "forward_broken"
    RETURN_BROKEN = "return_broken"
    ASYMMETRIC_PATH = "asymmetric_path"
    BLACKHOLE = "blackhole"
    LOOP = "loop"
    TUNNEL_DOWN = "tunnel_down"
    INTERNET_EXPOSURE = "internet_exposure"
    TABLE_NOT_ALLOWED = "change_outside_allow_list"
    TOO_MANY_CHANGES = "too_many_changes"
    BEFORE_MISMATCH = "before_mismatch"
    INVALID_CHANGE = "invalid_change"
    UNKNOWN_TARGET = "unknown_target"


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding.

    `introduced`: it is not there without the plan. `blocking`: the plan must not be applied as it is. `resource_id` is the
    exact component; `message` names it and the route.
    """

    kind: ViolationKind
    message: str
    introduced: bool
    blocking: bool
    resource_id: str | None = None
    flow: Flow | None = None
    blocked_by: tuple[Blocker, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "kind": str(self.kind),
            "message": self.message,
            "introduced": self.introduced,
            "blocking": self.blocking,
            "resource_id": self.resource_id,
            "flow": self.flow.to_dict() if self.flow else None,
            "blocked_by": [blocker.to_dict() for blocker in self.blocked_by],
        }


@dataclass(frozen=True, slots=True)
class FlowResult:
    """A flow without and with the plan."""

    flow: Flow
    before: Trace
    after: Trace

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "flow": self.flow.to_dict(),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a plan."""

    violations: tuple[Violation, ...]
    flows: tuple[FlowResult, ...] = ()
    not_observed: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing blocks the plan."""
        return not any(violation.blocking for violation in self.violations)

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The traces with the plan applied, in the order of the flows: the evidence."""
        return tuple(result.after for result in self.flows)

    @property
    def introduced(self) -> tuple[Violation, ...]:
        """The findings that are the plan's own."""
        return tuple(violation for violation in self.violations if violation.introduced)

    def with_isolation(
        self, network: Lookups, changes: Iterable[RouteChange], private: Iterable[str]
    ) -> Report:
        """This report, and every way to or from the internet that private subnets have with the plan applied."""
        private = list(private)
        old = {one.message for one in isolation_violations(network, private)}
        planned = with_changes(network, changes)
        found = tuple(
            replace(one, introduced=one.message not in old)
            for one in isolation_violations(planned, private)
        )
        return replace(self, violations=(*self.violations, *found))

    def to_dict(self) -> dict[str, Any]:
        """The JSON of `twinspan validate --json`."""
        return {
            "ok": self.ok,
            "violations": [violation.to_dict() for violation in self.violations],
            "flows": [result.to_dict() for result in self.flows],
            "not_observed": list(self.not_observed),
        }

    def describe(self) -> str:
        """For people."""
        lines = []
        for violation in self.violations:
            age = "new" if violation.introduced else "already there"
            weight = "blocks" if violation.blocking else "warning"
            lines.append(f"{weight}: {violation.kind} ({age}): {violation.message}")
        for result in self.flows:
            back = result.after.return_trace
            lines.append(
                f"{result.flow}: {result.before.outcome} → {result.after.outcome}, "
                f"return {back.outcome if back else 'none'}"
            )
        lines.append("ok" if self.ok else "not ok")
        return "\n".join(lines)


@dataclass
class _Judge:
    """Collects findings about one plan."""

    base: Lookups
    changes: Sequence[RouteChange]
    limits: PlanLimits
    found: list[Violation] = field(default_factory=list)

    def add(
        self,
        kind: ViolationKind,
        message: str,
        *,
        introduced: bool = True,
        blocking: bool = True,
        resource_id: str | None = None,
        flow: Flow | None = None,
        blocked_by: tuple[Blocker, ...] = (),
    ) -> None:
        violation = Violation(kind, message, introduced, blocking, resource_id, flow, blocked_by)
        if violation not in self.found:
            self.found.append(violation)


def validate(
    network: Lookups,
    changes: Iterable[RouteChange],
    flows: Iterable[Flow] = (),
    limits: PlanLimits | None = None,
    assume_tunnels_up: bool = False,
) -> Report:
    """Judge a plan: limits, `before` values, the flows both ways, and what the changed routes do by themselves.

    Raises InvalidQuestion when a flow's end is unknown. A change that makes no sense is a violation, not an error.
    """
    judge = _Judge(network, list(changes), limits or PlanLimits())
    _check_limits(judge)
    planned = with_changes(network, _sensible(judge))
    results = [_judge_flow(judge, planned, flow, assume_tunnels_up) for flow in flows]
    _judge_changes(judge, planned)
    _judge_exposure(judge, planned)
    return Report(tuple(judge.found), tuple(results), network.facts.not_observed)


def with_changes(network: Model, changes: Iterable[RouteChange]) -> Model:
    """The network as the changes would leave it; shares all that they do not touch."""
    per_table: dict[str, dict[Prefix, tuple[Route, ...]]] = {}
    for change in changes:
        table = network.table(change.table_id)
        if table is None:
            raise InvalidQuestion("table_id", f"{change.table_id} is not in the snapshot")
        prefix = parse_prefix(change.destination)
        changed = per_table.setdefault(table.id, {})
        present = changed.get(prefix, table.routes_to(prefix))
        kept = tuple(route for route in present if route.rank >= RouteRank.PROPAGATED_VPC)
        if change.after is not None:
            rank = RouteRank.STATIC
            if any(route.rank is RouteRank.LOCAL for route in present):
                rank = RouteRank.LOCAL
            kept = (Route(table.id, prefix, (change.after,), rank), *kept)
        changed[prefix] = kept
    tables: dict[str, RouteTable] = {}
    for table_id, routes in per_table.items():
        table = network.table(table_id)
        assert table is not None
        tables[table_id] = table.with_changes(routes)
    return network.with_tables(tables)


def observed_target(network: Lookups, table_id: str, destination: str) -> str | None:
    """Where a table's static route for exactly this destination leads; None when there is none.

    Raises InvalidQuestion for an unknown table or a destination that is no CIDR.
    """
    table = network.table(table_id)
    if table is None:
        raise InvalidQuestion("table_id", f"{table_id} is not in the snapshot")
    try:
        prefix = parse_prefix(destination)
    except ValueError as error:
        raise InvalidQuestion("destination", str(error)) from None
    return _static_target(table, prefix)


def _static_target(table: RouteTable, prefix: Prefix) -> str | None:
    for route in table.routes_to(prefix):
        if route.rank <= RouteRank.STATIC:
            return route.target or "blackhole"
    return None


def _check_limits(judge: _Judge) -> None:
    limits = judge.limits
    if limits.max_changes is not None and len(judge.changes) > limits.max_changes:
        judge.add(
            ViolationKind.TOO_MANY_CHANGES,
            f"{len(judge.changes)} changes, and the policy allows {limits.max_changes}",
        )
    if limits.allowed_tables is None:
        return
    for change in judge.changes:
        if change.table_id not in limits.allowed_tables:
            judge.add(
                ViolationKind.TABLE_NOT_ALLOWED,
                f"{change.table_id} is not on the allow-list, and the plan changes its route {change.destination}",
                resource_id=change.table_id,
            )


def _sensible(judge: _Judge) -> list[RouteChange]:
    """The changes that can be laid over the network; the others become violations."""
    sensible: list[RouteChange] = []
    for change in judge.changes:
        table = judge.base.table(change.table_id)
        if table is None:
            judge.add(
                ViolationKind.INVALID_CHANGE,
                f"{change.table_id} is not in the snapshot",
                resource_id=change.table_id,
            )
            continue
        try:
            prefix = parse_prefix(change.destination)
        except ValueError as error:
            judge.add(
                ViolationKind.INVALID_CHANGE,
                f"{change.table_id}: destination {change.destination!r}: {error}",
                resource_id=change.table_id,
            )
            continue
        found = _static_target(table, prefix)
        if found != change.before:
            judge.add(
                ViolationKind.BEFORE_MISMATCH,
                f"route {prefix} in {table.id} leads to {found or 'nothing'}, "
                f"and the plan was made for {change.before or 'nothing'}",
                resource_id=table.id,
            )
        if found == "local" and change.after is None:
            judge.add(
                ViolationKind.INVALID_CHANGE,
                f"the local route {prefix} of {table.id} cannot be deleted",
                resource_id=table.id,
            )
            continue
        sensible.append(change)
    return sensible


# -- flows --------------------------------------------------------------------------------------------------------


def _judge_flow(judge: _Judge, planned: Lookups, flow: Flow, tunnels_up: bool) -> FlowResult:
    before, after = (
        Question(
            network,
            flow.source,
            flow.destination,
            flow.protocol,
            flow.port,
            filters_on=True,
            tunnels_up=tunnels_up,
            explain=network is planned,
        ).answer()
        for network in (judge.base, planned)
    )
    inside = bool(judge.base.index.interfaces_by_address) and _is_inside(judge.base, before)
    if not _good(after, inside):
        _flow_broken(
            judge, flow, before, after, ViolationKind.FORWARD_BROKEN, _good(before, inside)
        )
    elif after.return_trace is not None and not _good(after.return_trace, True):
        was_good = before.return_trace is not None and _good(before.return_trace, True)
        was_good = was_good and _good(before, inside)
        _flow_broken(judge, flow, before, after, ViolationKind.RETURN_BROKEN, was_good)
    else:
        _judge_symmetry(judge, flow, before, after)
    if any(hop.kind == "internet" for hop in after.hops) and flow.source != "internet" and inside:
        judge.add(
            ViolationKind.INTERNET_EXPOSURE,
            f"{flow} would cross the internet by {_crossing(after)}",
            introduced=not any(hop.kind == "internet" for hop in before.hops),
            resource_id=_crossing(after),
            flow=flow,
        )
    return FlowResult(flow, before, after)


def _is_inside(network: Lookups, trace: Trace) -> bool:
    """Whether a trace's destination is a resource or address of the snapshot."""
    facts = network.facts
    name = trace.destination
    if name in facts.interfaces or name in facts.instances or name in facts.endpoints:
        return True
    address = _address(name)
    return address is not None and bool(
        network.index.interfaces_by_address.get(address) or network.index.vpcs_at(address)
    )


def _address(text: str) -> Address | None:
    try:
        prefix = parse_prefix(text)
    except ValueError:
        return None
    return prefix.first


def _good(trace: Trace, inside: bool) -> bool:
    outcomes = [trace.outcome, *(other.outcome for other in trace.alternatives)]
    if inside:
        return all(outcome is Outcome.DELIVERED for outcome in outcomes)
    return all(outcome.arrives for outcome in outcomes)


def _flow_broken(
    judge: _Judge, flow: Flow, before: Trace, after: Trace, kind: ViolationKind, was_good: bool
) -> None:
    failing = after if kind is ViolationKind.FORWARD_BROKEN else after.return_trace
    assert failing is not None
    stop = after.stopped_at
    way = "forward" if kind is ViolationKind.FORWARD_BROKEN else "return"
    what = f"{stop.id} ({stop.kind}): {stop.why}" if stop else "it does not end at its destination"
    route = next((hop.route for hop in reversed(failing.hops) if hop.route), None)
    last = f", last route taken {route}" if route else ""
    judge.add(
        kind,
        f"{way} path of {flow}: {failing.outcome} at {what}{last}",
        introduced=was_good,
        resource_id=stop.id if stop else None,
        flow=flow,
        blocked_by=after.blocked_by,
    )
    special = {
        Outcome.BLACKHOLE: ViolationKind.BLACKHOLE,
        Outcome.LOOP: ViolationKind.LOOP,
    }.get(failing.outcome)
    if special is not None:
        judge.add(
            special,
            f"{flow}: {what}{last}",
            introduced=was_good,
            resource_id=stop.id if stop else None,
            flow=flow,
        )


def _judge_symmetry(judge: _Judge, flow: Flow, before: Trace, after: Trace) -> None:
    """Packet and reply should cross the same gateways, connections and routers: stateful devices see both or neither."""
    there, back = _crossed(after), _crossed(after.return_trace)
    if back is None or there is None or there == back:
        return
    old_there, old_back = _crossed(before), _crossed(before.return_trace)
    was_asymmetric = old_there != old_back and old_back is not None
    only_there, only_back = sorted(there - back), sorted(back - there)
    judge.add(
        ViolationKind.ASYMMETRIC_PATH,
        f"{flow} goes by {', '.join(only_there) or 'nothing else'} and returns by "
        f"{', '.join(only_back) or 'nothing else'}",
        introduced=not was_asymmetric,
        blocking=False,
        resource_id=(only_there or only_back)[0],
        flow=flow,
    )


def _crossed(trace: Trace | None) -> frozenset[str] | None:
    if trace is None:
        return None
    hops = trace.hops
    routers = {hop.id for hop in hops[2:-2] if hop.kind == "network-interface"}
    return frozenset({hop.id for hop in hops if hop.kind in _TRANSIT_KINDS} | routers)


def _crossing(trace: Trace) -> str:
    return next(
        (hop.id for hop in trace.hops if hop.kind.endswith("internet-gateway")), "the internet"
    )


# -- changed routes by themselves -----------------------------------------------------------------------------------


def _judge_changes(judge: _Judge, planned: Lookups) -> None:
    """Each new route, from one subnet per zone that uses its table: does it lead anywhere?"""
    kinds = {
        Outcome.BLACKHOLE: ViolationKind.BLACKHOLE,
        Outcome.DENIED: ViolationKind.BLACKHOLE,
        Outcome.LOOP: ViolationKind.LOOP,
        Outcome.UNKNOWN_TARGET: ViolationKind.UNKNOWN_TARGET,
        Outcome.TUNNEL_DOWN: ViolationKind.TUNNEL_DOWN,
    }
    for change in judge.changes:
        table = planned.table(change.table_id)
        destination = _address(change.destination)
        if table is None or change.after is None or destination is None:
            continue
        prefix = parse_prefix(change.destination)
        target = prefix.sample_host
        for subnet_id in _subnets_using(judge.base, change.table_id):
            try:
                after = _probe(planned, subnet_id, target)
                before = _probe(judge.base, subnet_id, target)
            except InvalidQuestion:
                continue  # a table for the other IP version than the subnet's
            kind = kinds.get(after.outcome)
            if kind is None or not any(
                hop.route and hop.route.table_id == change.table_id for hop in after.hops
            ):
                continue
            stop = after.stopped_at
            why = f"{stop.id}: {stop.why}" if stop else str(after.outcome)
            introduced = before.outcome is not after.outcome
            judge.add(
                kind,
                f"route {prefix} → {change.after} in {change.table_id} leads to {after.outcome} at {why}",
                introduced=introduced,
                blocking=introduced and kind is not ViolationKind.TUNNEL_DOWN,
                resource_id=stop.id if stop else change.table_id,
            )


def _probe(network: Lookups, subnet_id: str, target: Address) -> Trace:
    return Question(
        network,
        subnet_id,
        str(target),
        "tcp",
        443,
        filters_on=False,
        tunnels_up=False,
        explain=False,
    ).answer()


def _subnets_using(network: Lookups, table_id: str) -> list[str]:
    """One subnet per zone that a table routes; for a transit gateway's table, of each VPC associated with it."""
    table = network.table(table_id)
    if table is None:
        return []
    subnet_ids: list[str] = []
    if table.transit_gateway_id is None:
        subnet_ids = list(network.index.subnets_of_table.get(table_id, ()))
    else:
        for attachment in network.index.attachments_of_gateway.get(table.transit_gateway_id, ()):
            if attachment.table_id == table_id and attachment.resource_type == "vpc":
                subnet_ids += attachment.subnet_ids or ()
    chosen: dict[str | None, str] = {}
    for subnet_id in subnet_ids:
        subnet = network.facts.subnets.get(subnet_id)
        if subnet is not None:
            chosen.setdefault(subnet.zone, subnet_id)
        if len(chosen) >= _SUBNETS_TRIED:
            break
    return list(chosen.values())


def _judge_exposure(judge: _Judge, planned: Lookups) -> None:
    """Whether the plan opens a way between a subnet and the internet that was not there."""
    for table_id in dict.fromkeys(change.table_id for change in judge.changes):
        for subnet_id in _subnets_using(judge.base, table_id):
            after = exposures_of_subnet(planned, subnet_id)
            if not after:
                continue
            before = {
                (one.direction, one.gateway) for one in exposures_of_subnet(judge.base, subnet_id)
            }
            for exposure in after:
                if (exposure.direction, exposure.gateway) not in before:
                    judge.add(
                        ViolationKind.INTERNET_EXPOSURE,
                        exposure.message,
                        resource_id=exposure.gateway,
                    )


def isolation_violations(network: Lookups, ids: Iterable[str]) -> tuple[Violation, ...]:
    """Every way to or from the internet that these private subnets have; ids of subnets, or of VPCs for all of theirs.

    Raises InvalidQuestion for an id that is neither.
    """
    found: list[Exposure] = []
    for name in ids:
        if name in network.facts.subnets:
            subnet_ids = [name]
        elif name in network.facts.vpcs:
            subnet_ids = [one.id for one in network.facts.subnets.values() if one.vpc_id == name]
        else:
            raise InvalidQuestion("private", f"{name} is no subnet or VPC of the snapshot")
        for subnet_id in subnet_ids:
            found += exposures_of_subnet(network, subnet_id)
    return tuple(
        Violation(
            ViolationKind.INTERNET_EXPOSURE, one.message, False, True, resource_id=one.gateway
        )
        for one in found
    )


def audit(network: Lookups) -> Report:
    """The observed faults of a snapshot by itself: routes that lead nowhere, and connections that are down."""
    judge = _Judge(network, (), PlanLimits())
    for table in network.facts.tables.values():
        for route in table.routes():
            if route.state == "blackhole" and route.targets:
                judge.add(
                    ViolationKind.BLACKHOLE,
                    f"route {route.prefix} → {route.target} in {table.id} is a blackhole",
                    introduced=False,
                    blocking=False,
                    resource_id=table.id,
                )
                continue
            interface = network.facts.interfaces.get(route.target or "")
            if interface is None or interface.kind not in ("interface", ""):
                continue
            reason = interface.dead
            if interface.source_dest_check:
                reason = "its source/destination check is on, so it does not forward"
            if reason:
                judge.add(
                    ViolationKind.BLACKHOLE,
                    f"route {route.prefix} → {interface.id} in {table.id} leads nowhere: {reason}",
                    introduced=False,
                    blocking=False,
                    resource_id=interface.id,
                )
    for connection in network.facts.vpn_connections.values():
        if connection.tunnels_up == 0:
            judge.add(
                ViolationKind.TUNNEL_DOWN,
                f"all tunnels of {connection.id} are down",
                introduced=False,
                blocking=False,
                resource_id=connection.id,
            )
    return Report(tuple(judge.found), (), network.facts.not_observed)
