"""Faults of the lab's network, made and unmade."""

from __future__ import annotations

from infra.local.faults import Fault, FaultKind
from infra.local.lab.internet import Direction, Trouble
from infra.local.lab.network import GATEWAY, LabNetwork, TunnelId

LONGEST_BYTES = 600
"""What still passes an underlay whose MTU has dropped: keepalives and handshakes, and no call."""
LOSS_PERCENT = 5
_TROUBLES = {
    FaultKind.CUT: Trouble(drop=True),
    FaultKind.DROP_ESP: Trouble(drop_esp=True),
    FaultKind.ONE_WAY: Trouble(drop=True, direction=Direction.INBOUND),
    FaultKind.SMALL_MTU: Trouble(largest_bytes=LONGEST_BYTES),
    FaultKind.LOSS: Trouble(loss_percent=LOSS_PERCENT),
}


class LabFaults:
    """Makes the network's state of disrepair the wanted one, fault by fault."""

    def __init__(self, network: LabNetwork, endpoint_port: int) -> None:
        self._network = network
        self._port = endpoint_port
        self._tunnels: dict[TunnelId, Fault] = {}
        self._endpoints: dict[str, Fault] = {}
        self._withdrawn: set[int] = set()

    def match_tunnel(self, tunnel: TunnelId, fault: Fault | None) -> None:
        """Mend what a tunnel had, and break what it is to have."""
        before = self._tunnels.get(tunnel)
        if before == fault:
            return
        if before is not None:
            del self._tunnels[tunnel]
            self._set(tunnel, before, broken=False)
        if fault is not None:
            self._tunnels[tunnel] = fault
            self._set(tunnel, fault, broken=True)

    def match_endpoint(self, namespace: str, fault: Fault | None) -> None:
        """Let an endpoint's interface answer, refuse or fall silent."""
        if self._endpoints.get(namespace) == fault:
            return
        rules = {
            None: "",
            FaultKind.REFUSE: f"tcp dport {self._port} reject with tcp reset",
            FaultKind.BLACKHOLE: "drop",
        }.get(fault.kind if fault is not None else None)
        if rules is None or fault is None:
            self._endpoints.pop(namespace, None)
        else:
            self._endpoints[namespace] = fault
        self._network.spaces.nft(namespace, _filter("input", rules or ""))

    def _set(self, tunnel: TunnelId, fault: Fault, broken: bool) -> None:
        network = self._network
        match fault.kind:
            case FaultKind.KILL_IKE:
                if broken:
                    network.kill_router_end(tunnel)
                else:
                    network.start_router_end(tunnel)
            case FaultKind.WRONG_KEY:
                network.mismatch_key(tunnel, broken)
            case FaultKind.WITHDRAW:
                self._withdraw(tunnel.connection)
            case FaultKind.BLACKHOLE:
                self._drop_in_the_gateway()
            case FaultKind.SLOW:
                each_way = fault.delay_milliseconds / 2 if broken else 0.0
                network.set_trouble(tunnel, Trouble(delay_milliseconds=each_way))
            case kind:
                network.set_trouble(tunnel, _TROUBLES[kind] if broken else Trouble())

    def _withdraw(self, connection: int) -> None:
        """A router announces alike over both tunnels, so either's fault withdraws its networks."""
        withdrawn = any(
            tunnel.connection == connection and fault.kind is FaultKind.WITHDRAW
            for tunnel, fault in self._tunnels.items()
        )
        if withdrawn is (connection in self._withdrawn):
            return
        self._withdrawn ^= {connection}
        for announced in self._network.plan_or_raise().routers[connection - 1].facts.advertises:
            self._network.withdraw(connection, announced, withdrawn)

    def _drop_in_the_gateway(self) -> None:
        """Traffic vanishes between the gateway and the tunnel, whose own keepalives and BGP pass."""
        dead = [
            tunnel.device
            for tunnel, fault in self._tunnels.items()
            if fault.kind is FaultKind.BLACKHOLE
        ]
        rules = "\n".join(f'iifname "{name}" drop\n    oifname "{name}" drop' for name in dead)
        self._network.spaces.nft(GATEWAY, _filter("forward", rules))


def _filter(hook: str, rules: str) -> str:
    return f"""\
table inet faults
delete table inet faults
table inet faults {{
  chain {hook} {{
    type filter hook {hook} priority filter - 1; policy accept;
    {rules}
  }}
}}
"""
