"""Route tables: which route a packet takes, by AWS's rules, with and without planned changes.

`RouteTable` holds the routes of one VPC or transit gateway route table. `with_changes` gives a table that differs
in a few destinations and shares everything else, so a what-if costs what the plan costs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from control_plane.domain.route_model.addresses import Address, Prefix, PrefixMap
from control_plane.domain.route_model.facts import Route, RouteRank, RouteState


@dataclass(slots=True)
class RouteTable:
    """One route table. `vpc_id` is None for a transit gateway's, `transit_gateway_id` for a VPC's."""

    id: str
    vpc_id: str | None = None
    transit_gateway_id: str | None = None
    propagating: tuple[str, ...] = ()
    _routes: PrefixMap[tuple[Route, ...]] = field(default_factory=PrefixMap)
    # Destinations of routes that were local when the table was created: no propagated route may come before them.
    _local: list[Prefix] = field(default_factory=list)

    def add(self, route: Route) -> None:
        """Add a route while the model is being built."""
        alone = (route,)
        present = self._routes.setdefault(route.prefix, alone)
        if present is not alone:
            if any(one.rank == route.rank and one.targets == route.targets for one in present):
                return
            self._routes[route.prefix] = tuple(sorted((*present, route), key=lambda one: one.rank))
        if route.rank is RouteRank.LOCAL:
            self._local.append(route.prefix)

    def lookup(self, address: Address) -> Route | None:
        """The route that AWS takes for this destination, or None when none matches.

        Longest prefix first; among equals static before prefix list before propagated; a propagated route never
        takes traffic from the local route, however specific it is (Site-to-Site VPN user guide, "Route tables and
        route priority"). A blackhole matches and drops; it does not fall through to a shorter prefix.
        """
        best = self._longest(address)
        if best is None:
            return None
        if best.rank < RouteRank.PROPAGATED_VPC and best.state is not RouteState.FILTERED:
            return best
        local = any(prefix.holds(address) for prefix in self._local)
        for candidates in self._candidates(address):
            for route in candidates:
                if route.state is RouteState.FILTERED:
                    continue
                if local and route.rank >= RouteRank.PROPAGATED_VPC:
                    continue
                return route
        return None

    def _longest(self, address: Address) -> Route | None:
        found = self._routes.longest(address)
        return found[0] if found else None

    def _candidates(self, address: Address) -> Iterator[tuple[Route, ...]]:
        return self._routes.matches(address)

    def routes_to(self, prefix: Prefix) -> tuple[Route, ...]:
        """The routes with exactly this destination, best first."""
        return self._routes.get(prefix) or ()

    def routes(self) -> Iterator[Route]:
        """All routes."""
        for _, candidates in self._routes.items():
            yield from candidates

    def has_route(self, prefix: Prefix) -> bool:
        """Whether any route has exactly this destination."""
        return bool(self.routes_to(prefix))

    def with_changes(self, changes: Mapping[Prefix, tuple[Route, ...]]) -> RouteTable:
        """A table in which these destinations have these routes (none to delete), sharing all others."""
        return _ChangedTable.over(self, changes)


@dataclass(slots=True)
class _ChangedTable(RouteTable):
    base: RouteTable = field(default_factory=lambda: RouteTable(""))
    changed: PrefixMap[tuple[Route, ...]] = field(default_factory=PrefixMap)

    @classmethod
    def over(cls, base: RouteTable, changes: Mapping[Prefix, tuple[Route, ...]]) -> _ChangedTable:
        changed: PrefixMap[tuple[Route, ...]] = PrefixMap()
        for prefix, routes in changes.items():
            changed[prefix] = routes
        return cls(
            base.id,
            base.vpc_id,
            base.transit_gateway_id,
            base.propagating,
            base._routes,
            base._local,
            base,
            changed,
        )

    def _longest(self, address: Address) -> Route | None:
        return next((candidates[0] for candidates in self._candidates(address)), None)

    def _candidates(self, address: Address) -> Iterator[tuple[Route, ...]]:
        # Both sequences come most specific first; a changed destination hides the base's, even when deleted.
        fresh = sorted(self._changed_matches(address), key=lambda pair: -pair[0].length)
        position = 0
        for candidates in self.base._candidates(address):
            prefix = candidates[0].prefix
            while position < len(fresh) and fresh[position][0].length >= prefix.length:
                if fresh[position][1]:
                    yield fresh[position][1]
                position += 1
            if self.changed.get(prefix) is None:
                yield candidates
        for _, candidates in fresh[position:]:
            if candidates:
                yield candidates

    def _changed_matches(self, address: Address) -> Iterable[tuple[Prefix, tuple[Route, ...]]]:
        # A plan changes a handful of destinations: reading them all is cheaper than a second probe per length.
        return [
            (prefix, routes) for prefix, routes in self.changed.items() if prefix.holds(address)
        ]

    def routes_to(self, prefix: Prefix) -> tuple[Route, ...]:
        found = self.changed.get(prefix)
        return self.base.routes_to(prefix) if found is None else found

    def routes(self) -> Iterator[Route]:
        for route in self.base.routes():
            if self.changed.get(route.prefix) is None:
                yield route
        for _, candidates in self.changed.items():
            yield from candidates
