"""The two underlays: an "internet" between AWS's tunnel endpoints and one edge router, and its troubles.

Each does what AWS's internet gateway does for the router's Elastic IP, an exact one-to-one translation, and
forwards between the tunnel ends and nothing else. Trouble is made by dropping what it forwards
(nftables), and by leading packets through a relay that holds them for a while (`delay`).
"""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.local.lab import delay
from infra.local.lab.namespaces import Namespaces, wait_for

NEXT_HOP = "100.64.0.1"
"""The underlay's own address, towards every tunnel end."""
_IKE = "udp dport { 500, 4500 }"
# RFC 3948: IKE on port 4500 begins with four zero bytes, where ESP has its SPI.
_ESP_ONLY = "udp dport 4500 @th,64,32 != 0"
_DELAY_DEVICE = "delay0"
_FIRST_TABLE = 100
_START_SECONDS = 5.0


class Direction(enum.StrEnum):
    """Which packets a trouble concerns, seen from GovCloud."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a tunnel's underlay; nothing, by default.

    `drop`: every packet vanishes; `drop_esp`: those that carry traffic, while IKE passes;
    `loss_percent`: so many of a hundred, at random; `largest_bytes`: longer ones vanish;
    `direction`: for all of these. `delay_milliseconds`: each way.
    """

    drop: bool = False
    drop_esp: bool = False
    loss_percent: int = 0
    largest_bytes: int | None = None
    delay_milliseconds: float = 0.0
    direction: Direction = Direction.BOTH


@dataclass(frozen=True, slots=True)
class Wire:
    """One tunnel's way across: its ends' namespaces, which are also its devices' names here."""

    amazon_end: str
    router_end: str
    amazon_address: str


class Internet:
    """One underlay. `router_private`, `router_outside`: the edge router's own address and its Elastic IP."""

    def __init__(
        self,
        namespaces: Namespaces,
        name: str,
        wires: tuple[Wire, ...],
        router_private: str,
        router_outside: str,
    ) -> None:
        self.name = name
        self.wires = wires
        self._namespaces = namespaces
        self._private = router_private
        self._outside = router_outside
        self._trouble: dict[str, Trouble] = {}
        self._relay: delay.Control | None = None

    def build(self) -> None:
        """Join the tunnel ends; their namespaces are there already."""
        spaces = self._namespaces
        spaces.sysctl(self.name, {"net.ipv4.ip_forward": 1})
        spaces.ip(self.name, [f"address add {NEXT_HOP}/32 dev lo"])
        commands = []
        for index, wire in enumerate(self.wires):
            table = _FIRST_TABLE + index
            for end, address in (
                (wire.amazon_end, wire.amazon_address),
                (wire.router_end, self._private),
            ):
                spaces.link((end, "out0"), (self.name, end))
                spaces.ip(
                    end,
                    [
                        f"address add {address}/32 dev out0",
                        f"route add default via {NEXT_HOP} dev out0 onlink",
                    ],
                )
            # Both ends at the router have one address: the sender tells which of them is meant.
            commands += [
                f"route add {wire.amazon_address} dev {wire.amazon_end}",
                f"route add {self._outside} via {self._private} dev {wire.router_end} onlink"
                f" table {table}",
                f"rule add from {wire.amazon_address} to {self._outside} lookup {table}"
                f" priority {table}",
            ]
        spaces.ip(self.name, commands)
        spaces.nft(self.name, self._rules())

    def set_trouble(self, wire: Wire, trouble: Trouble) -> None:
        """Replace what is wrong with a tunnel's way across."""
        self._trouble[wire.amazon_end] = trouble
        self._namespaces.nft(self.name, "delete table ip lab\n" + self._rules())
        self._set_delays()

    def trouble(self, wire: Wire) -> Trouble:
        """What is wrong with a tunnel's way across."""
        return self._trouble.get(wire.amazon_end, Trouble())

    def close(self) -> None:
        """Close what is open towards the relay; the rest goes with the namespaces."""
        if self._relay is not None:
            self._relay.close()

    def _rules(self) -> str:
        routers = ", ".join(f'"{wire.router_end}"' for wire in self.wires)
        drops = [rule for wire in self.wires for rule in self._drops(wire)]
        between = [
            f'iifname "{a}" oifname {{ "{b}", "{_DELAY_DEVICE}" }} {_IKE} accept'
            for wire in self.wires
            for a, b in (
                (wire.amazon_end, wire.router_end),
                (wire.router_end, wire.amazon_end),
            )
        ]
        forward = "\n    ".join([*drops, *between, f'iifname "{_DELAY_DEVICE}" accept'])
        return f"""\
table ip lab {{
  chain translate_source {{
    type filter hook prerouting priority mangle;
    iifname {{ {routers} }} ip saddr {self._private} ip saddr set {self._outside}
  }}
  chain translate_destination {{
    type filter hook postrouting priority mangle;
    oifname {{ {routers} }} ip daddr {self._outside} ip daddr set {self._private}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    {forward}
  }}
}}
"""

    def _drops(self, wire: Wire) -> list[str]:
        trouble = self.trouble(wire)
        devices = {
            Direction.OUTBOUND: (wire.amazon_end,),
            Direction.INBOUND: (wire.router_end,),
            Direction.BOTH: (wire.amazon_end, wire.router_end),
        }[trouble.direction]
        matches = []
        if trouble.drop:
            matches.append("")
        if trouble.drop_esp:
            matches.append(_ESP_ONLY)
        if trouble.loss_percent:
            matches.append(f"numgen random mod 100 < {trouble.loss_percent}")
        if trouble.largest_bytes is not None:
            matches.append(f"ip length > {trouble.largest_bytes}")
        return [f'iifname "{device}" {match} drop' for device in devices for match in matches]

    def _set_delays(self) -> None:
        delays = {wire: self.trouble(wire).delay_milliseconds / 1000 for wire in self.wires}
        if self._relay is None:
            if not any(delays.values()):
                return
            self._start_relay()
        assert self._relay is not None
        # One device serves every wire: the relay tells them apart by AWS's address.
        self._relay.set_delays({wire.amazon_address: delays[wire] for wire in self.wires})

    def _start_relay(self) -> None:
        spaces = self._namespaces
        path = spaces.directory / f"{self.name}-delay.ctl"
        daemon = f"{self.name}-delay"
        argv = [sys.executable, "-I", str(Path(delay.__file__)), _DELAY_DEVICE, str(path)]
        spaces.start(daemon, self.name, argv, {})
        wait_for(path.exists, f"the delay relay of {self.name}", _START_SECONDS)
        commands = [
            f"link set {_DELAY_DEVICE} up",
            f"route add default dev {_DELAY_DEVICE} table 99",
        ]
        for wire in self.wires:
            for device in (wire.amazon_end, wire.router_end):
                commands.append(f"rule add iif {device} lookup 99 priority 50")
        spaces.ip(self.name, commands)
        self._relay = delay.Control(path)
