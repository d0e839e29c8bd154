"""Where the link's drawing puts things: two partitions, and each path between them with its tunnels.

Pure geometry, made twice: wide, with the partitions side by side, and tall, for a phone. Coordinates are
computed along the way from GovCloud to the commercial side and across it, then turned.
"""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.domain.health import Health, PathHealth
from control_plane.domain.observation import ObservedPath, TunnelStatus
from control_plane.domain.topology import RoutingMethod, Topology


@dataclass(frozen=True, slots=True)
class TunnelLine:
    """One tunnel of a connection; `up` is None where EC2 was not asked."""

    d: str
    middle: tuple[float, float]
    up: bool | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One path: its tunnels, and the whole way that traffic takes over it."""

    name: str
    health: Health
    active: bool
    endpoint: str
    tunnels: tuple[TunnelLine, ...]
    way_in: str
    way_out: str
    ways: tuple[str, ...]
    label: tuple[float, float]
    endpoint_at: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of `width` by `height`."""

    tall: bool
    width: float
    height: float
    lanes: tuple[Lane, ...]
    proxy_at: tuple[float, float]
    description: str


def draw(
    topology: Topology,
    seen: tuple[ObservedPath, ...],
    health: dict[str, PathHealth],
    active: str | None,
    *,
    tall: bool,
) -> Picture:
    """The link as it is now."""
    count = len(topology.paths)
    if tall:
        width, height, across = 380.0, 480.0, 380.0 / count
        proxy, mouth, far, end = 64.0, 118.0, 352.0, 412.0
    else:
        across = 136.0
        width, height = 1000.0, across * count + 30.0
        proxy, mouth, far, end = 150.0, 262.0, 738.0, 812.0
    middle = (width if tall else height) / 2

    def at(along: float, over: float) -> tuple[float, float]:
        return (over, along) if tall else (along, over)

    def curve(a: tuple[float, float], b: tuple[float, float]) -> str:
        half = ((a[1] if tall else a[0]) + (b[1] if tall else b[0])) / 2
        one, two = at(half, a[0] if tall else a[1]), at(half, b[0] if tall else b[1])
        return f"C{one[0]:g} {one[1]:g} {two[0]:g} {two[1]:g} {b[0]:g} {b[1]:g}"

    lanes = []
    by_name = {path.name: path for path in seen}
    for number, path in enumerate(topology.paths):
        over = across * (number + 0.5) + (0 if tall else 15)
        states = [tunnel.status is TunnelStatus.UP for tunnel in by_name[path.name].tunnels or ()]
        drawn: list[bool | None] = list(states) or [None] * (
            2 if path.routing_method is RoutingMethod.VPN else 1
        )
        start, leave, stop = at(proxy, middle), at(far, over), at(end, over)
        offsets = [(index - (len(drawn) - 1) / 2) * 30 for index in range(len(drawn))]
        tunnels, ways = [], []
        for offset, up in zip(offsets, drawn, strict=True):
            here, there = at(mouth, over + offset), at(far, over + offset)
            line = f"M{here[0]:g} {here[1]:g} L{there[0]:g} {there[1]:g}"
            tunnels.append(TunnelLine(line, at((mouth + far) / 2, over + offset), up))
            if up is not False:
                ways.append(
                    f"M{start[0]:g} {start[1]:g} {curve(start, here)} L{there[0]:g} {there[1]:g} "
                    f"{curve(there, stop)}"
                )
        entry = at(mouth, over)
        lanes.append(
            Lane(
                name=path.name,
                health=health[path.name].health,
                active=path.name == active,
                endpoint=path.endpoint_address or "internet",
                tunnels=tuple(tunnels),
                way_in=f"M{start[0]:g} {start[1]:g} {curve(start, entry)}",
                way_out=f"M{leave[0]:g} {leave[1]:g} {curve(leave, stop)}",
                ways=tuple(ways),
                label=at((mouth + far) / 2, over),
                endpoint_at=stop,
            )
        )
    described = "; ".join(
        f"{lane.name} is {lane.health}"
        + (" and carries the traffic" if lane.active else "")
        + "".join(
            f", tunnel {index} {'not observed' if t.up is None else 'UP' if t.up else 'DOWN'}"
            for index, t in enumerate(lane.tunnels, start=1)
        )
        for lane in lanes
    )
    return Picture(tall, width, height, tuple(lanes), at(proxy, middle), described + ".")
