"""Faults of network paths: what can break, and what is broken now.

Targets, by the names that a user types:

    tunnel-1      every tunnel of the VPN connection that path `tunnel-1` uses
    tunnel-1:1    one of its two AWS tunnels; the connection goes on carrying by the other
    endpoint-1    the endpoint interface that path `tunnel-1` leads to
    internet      the internet path, if the link has one

Faults: `cut` (packets vanish, and dead peer detection notices), `blackhole` (packets vanish while the
tunnel stays UP: a gray failure), `slow` (delay in milliseconds of round trip), `refuse` (an endpoint has
failed and refuses). A target has one fault at a time; a new one replaces it.

Tunnels of the lab, which are real, have more that can break: see `LAB_ONLY`.

Not guaranteed: faults know nothing of routes. Break those with the EC2 API.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass


class FaultKind(enum.StrEnum):
    """What can go wrong; see the module's description."""

    CUT = "cut"
    BLACKHOLE = "blackhole"
    SLOW = "slow"
    REFUSE = "refuse"
    KILL_IKE = "kill-ike"
    DROP_ESP = "drop-esp"
    WRONG_KEY = "wrong-key"
    WITHDRAW = "withdraw"
    ONE_WAY = "one-way"
    SMALL_MTU = "small-mtu"
    LOSS = "loss"


LAB_ONLY = {
    FaultKind.KILL_IKE: "the router's IKE daemon dies",
    FaultKind.DROP_ESP: "encrypted packets vanish while IKE goes on",
    FaultKind.WRONG_KEY: "the router has another pre-shared key than AWS, and both start anew",
    FaultKind.WITHDRAW: "the router stops announcing its networks while the tunnels stay up",
    FaultKind.ONE_WAY: "packets towards AWS vanish, those from AWS arrive",
    FaultKind.SMALL_MTU: "long packets vanish, short ones pass, and nobody says why",
    FaultKind.LOSS: "one packet in twenty vanishes, in each direction",
}
"""What can break of a tunnel that is real, and what it means."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault and, if it slows, by how much round trip."""

    kind: FaultKind
    delay_milliseconds: int = 0

    def __str__(self) -> str:
        if self.kind is FaultKind.SLOW:
            return f"{self.kind} +{self.delay_milliseconds} ms"
        return self.kind.value


class UnknownTarget(ValueError):
    """No such thing to break. `known` lists what there is."""

    def __init__(self, target: str, known: list[str]) -> None:
        self.target = target
        self.known = known
        there_are = f"known targets: {', '.join(known)}" if known else "nothing is deployed yet"
        super().__init__(f"unknown target {target!r}; {there_are}")


class FaultNotApplicable(ValueError):
    """The target cannot have this fault, or its parameter is out of range."""


@dataclass(frozen=True, slots=True)
class PathElements:
    """What of a path can break: its tunnels as (VPN connection id, number from 1), its endpoint."""

    tunnels: tuple[tuple[str, int], ...]
    endpoint: str | None


Element = str | tuple[str, int]
"""A tunnel as (VPN connection id, number), or an endpoint's name such as `endpoint-1`."""

_ALLOWED_ON_ENDPOINT = {
    FaultKind.REFUSE: FaultKind.REFUSE,
    FaultKind.CUT: FaultKind.REFUSE,  # an endpoint has no wire; gone is gone
    FaultKind.BLACKHOLE: FaultKind.BLACKHOLE,
    FaultKind.SLOW: FaultKind.SLOW,
}
_LONGEST_DELAY_MILLISECONDS = 600_000


class Faults:
    """The faults in force. Thread-safe. `on_change` is called after each change and must not return
    before the change is in force."""

    def __init__(self, on_change: Callable[[], None], *, in_the_lab: bool = False) -> None:
        self._on_change = on_change
        self._in_the_lab = in_the_lab
        self._lock = threading.Lock()
        self._paths: dict[str, PathElements] = {}
        self._in_force: dict[Element, Fault] = {}

    def set_paths(self, paths: Mapping[str, PathElements]) -> None:
        with self._lock:
            self._paths = dict(paths)

    def cut(self, target: str) -> None:
        self._break(target, Fault(FaultKind.CUT))

    def blackhole(self, target: str) -> None:
        self._break(target, Fault(FaultKind.BLACKHOLE))

    def slow(self, target: str, milliseconds: int) -> None:
        if not 1 <= milliseconds <= _LONGEST_DELAY_MILLISECONDS:
            raise FaultNotApplicable(
                f"the delay must be 1 to {_LONGEST_DELAY_MILLISECONDS} ms, not {milliseconds}"
            )
        self._break(target, Fault(FaultKind.SLOW, milliseconds))

    def refuse(self, target: str) -> None:
        self._break(target, Fault(FaultKind.REFUSE))

    def inject(self, target: str, kind: FaultKind) -> None:
        """Any fault that has no parameter, by its kind."""
        if kind is FaultKind.SLOW:
            raise FaultNotApplicable("slow needs a delay")
        self._break(target, Fault(kind))

    def heal(self, target: str) -> None:
        """Remove the target's fault, if any; `all` heals everything."""
        with self._lock:
            elements = list(self._in_force) if target == "all" else self._elements(target)
            for element in elements:
                self._in_force.pop(element, None)
        self._on_change()

    def targets(self) -> list[str]:
        with self._lock:
            return self._targets()

    def in_force(self) -> dict[str, Fault]:
        """Faults by the shortest name of their target."""
        with self._lock:
            found: dict[str, Fault] = {}
            for name, path in self._paths.items():
                faults = [self._in_force.get(tunnel) for tunnel in path.tunnels]
                if faults and faults[0] is not None and all(f == faults[0] for f in faults):
                    found[name] = faults[0]
                else:
                    for (_, number), fault in zip(path.tunnels, faults, strict=True):
                        if fault is not None:
                            found[f"{name}:{number}"] = fault
                if path.endpoint is not None and path.endpoint in self._in_force:
                    found[path.endpoint] = self._in_force[path.endpoint]
            return found

    def of_tunnel(self, vpn_connection_id: str, number: int) -> Fault | None:
        return self._in_force.get((vpn_connection_id, number))

    def of_endpoint(self, name: str | None) -> Fault | None:
        return self._in_force.get(name) if name is not None else None

    def _break(self, target: str, fault: Fault) -> None:
        with self._lock:
            for element in self._elements(target):
                self._in_force[element] = self._fitting(target, element, fault)
        self._on_change()

    def _fitting(self, target: str, element: Element, fault: Fault) -> Fault:
        if fault.kind in LAB_ONLY and (isinstance(element, str) or not self._in_the_lab):
            raise FaultNotApplicable(
                f"{fault.kind} is for tunnels of the lab (up --lab), which {target} is not"
            )
        if isinstance(element, str):
            return Fault(_ALLOWED_ON_ENDPOINT[fault.kind], fault.delay_milliseconds)
        if fault.kind is FaultKind.REFUSE:
            raise FaultNotApplicable(
                f"{target} is a tunnel and cannot refuse; cut or blackhole it, or refuse an endpoint"
            )
        return fault

    def _elements(self, target: str) -> list[Element]:
        for name, path in self._paths.items():
            if target == path.endpoint:
                return [target]
            if target == name and path.tunnels:
                return list(path.tunnels)
            for tunnel in path.tunnels:
                if target == f"{name}:{tunnel[1]}":
                    return [tunnel]
        raise UnknownTarget(target, self._targets())

    def _targets(self) -> list[str]:
        targets: list[str] = []
        for name, path in self._paths.items():
            if path.tunnels:
                targets += [name, *(f"{name}:{number}" for _, number in path.tunnels)]
            if path.endpoint is not None:
                targets.append(path.endpoint)
        return targets
