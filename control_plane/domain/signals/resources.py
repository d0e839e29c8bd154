"""Which link, and which of its paths, a resource belongs to. The topology alone says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control_plane.domain.topology import Path, Topology

Topologies = Mapping[str, Topology]


@dataclass(frozen=True, slots=True)
class Owner:
    """A resource with the link it belongs to; `path` is None where several paths share it."""

    resource: str
    link_id: str
    path: str | None


def identifier(name: str) -> str:
    """The id at the end of an ARN; anything else is its own id."""
    return name.rsplit("/", 1)[-1] if name.startswith("arn:") else name


def owner_of(names: Iterable[str], topologies: Topologies) -> Owner | None:
    """The owner of the first of these ids or ARNs that belongs to one path; else to a link."""
    shared: Owner | None = None
    for name in names:
        found = _owner(identifier(name), topologies)
        if found is not None and found.path is not None:
            return found
        shared = shared or found
    return shared


def _owner(resource: str, topologies: Topologies) -> Owner | None:
    for link_id in sorted(topologies):
        topology = topologies[link_id]
        paths = [path.name for path in topology.paths if resource in _resources(path)]
        if paths:
            return Owner(resource, link_id, paths[0] if len(paths) == 1 else None)
        if resource in topology.managed_route_tables:
            return Owner(resource, link_id, None)
    return None


def _resources(path: Path) -> set[str | None]:
    own = {path.vpn_connection_id, path.vpc_endpoint_id}
    return own | {name for route in path.required_routes for name in (route.table_id, route.target)}
