"""The whole lab as one object: what is where, and how it comes up.

    fn ── gw ─┬─ (vpn1_1) g11 ══ n1 ══ c11 (twinspan1) ─┬─ ra ─┬─ VPC ─┬─ ea
              ├─ (vpn1_2) g12 ══ n1 ══ c12 (twinspan2) ─┘      │       │
              ├─ (vpn2_1) g21 ══ n2 ══ c21 (twinspan1) ─┬─ rb ─┘       └─ eb
              └─ (vpn2_2) g22 ══ n2 ══ c22 (twinspan2) ─┘

`fn` is the functions' subnets, `gw` the transit gateway with AWS's ends of the tunnels, `ra` and `rb` the edge
routers, `ea` and `eb` the endpoint's interfaces; the double line is the underlay, where packets are
encrypted. A namespace's routes are the route table of what lives in it. `gw` and `fn` have no device towards
an underlay: what does not go through a tunnel goes nowhere.

Not guaranteed: a real router has the underlay in the same network namespace as its tunnels; here the two
are apart, as with `ip link add … type xfrm` they would not be.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.lab import tunnels
from infra.local.lab.internet import Internet, Trouble, Wire
from infra.local.lab.namespaces import LabError, Namespaces
from infra.local.lab.plan import LabPlan, RouterPlan
from infra.local.lab.routing import (
    AmazonGateway,
    EdgeRouting,
    Session,
    session_name,
)
from infra.local.lab.tunnels import Detection, TunnelEnd
from infra.router_config import TUNNEL_MTU, Tunnel

FUNCTION, GATEWAY = "fn", "gw"
ROUTERS, ENDPOINTS, INTERNETS = ("ra", "rb"), ("ea", "eb"), ("n1", "n2")
_COMMERCIAL_VPC = "vpc"
VPC_ROUTER = "169.254.255.1"
"""A VPC's implicit router: in GovCloud the way to the transit gateway."""
STATIC_METRIC = 10
"""Kernel metric of routes from route tables: they outrank what BGP brought."""
HOLD_SECONDS = 3
"""BGP's least; AWS's is 30 s, which the routers ask for too, and the shorter of two counts."""
_TUNNELS = (1, 2)
_UP_SECONDS = 20.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TunnelId:
    """A tunnel: connection and tunnel, both from 1."""

    connection: int
    number: int

    @property
    def device(self) -> str:
        """Its device in the gateway, and the name of its BGP session."""
        return session_name(self.connection, self.number)

    @property
    def amazon_end(self) -> str:
        """Namespace of AWS's end."""
        return f"g{self.connection}{self.number}"

    @property
    def router_end(self) -> str:
        """Namespace of the router's end."""
        return f"c{self.connection}{self.number}"


ALL_TUNNELS = tuple(TunnelId(c, n) for c in (1, 2) for n in _TUNNELS)


@dataclass(frozen=True, slots=True)
class TunnelState:
    """A tunnel as AWS sees it: IKE and ESP associations held, BGP session and what it brought."""

    ipsec: bool
    bgp: Session

    @property
    def is_up(self) -> bool:
        """AWS's UP, for a connection with dynamic routing."""
        return self.ipsec and self.bgp.established


class LabNetwork:
    """Namespaces first (`prepare`), then tunnels and routing for a plan (`build`). A context manager."""

    def __init__(self, *, hold_seconds: int = HOLD_SECONDS, detection: Detection | None = None):
        self.spaces = Namespaces()
        self._hold_seconds = hold_seconds
        self._detection = detection or Detection()
        self._parts = contextlib.ExitStack()
        self.plan: LabPlan | None = None
        self.amazon: dict[TunnelId, TunnelEnd] = {}
        self.router_ends: dict[TunnelId, TunnelEnd] = {}
        self.edge: list[EdgeRouting] = []
        self.internets: list[Internet] = []
        self._gateway: AmazonGateway | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as parts:
            parts.enter_context(self.spaces)
            self.spaces.add([FUNCTION, GATEWAY, *ENDPOINTS])
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for end in (*self.amazon.values(), *self.router_ends.values()):
            end.close()
        for internet in self.internets:
            internet.close()
        self._parts.close()

    # -- coming up --------------------------------------------------------------------------------

    def build(self, plan: LabPlan, *, routing: bool = True) -> None:
        """Bring everything up for a plan; tunnels and sessions then come up by themselves. Without
        `routing` there is no BGP, and every route behind the tunnels is somebody else's business."""
        self.plan = plan
        self.spaces.add(
            [_COMMERCIAL_VPC, *ROUTERS, *INTERNETS]
            + [end for tunnel in ALL_TUNNELS for end in (tunnel.amazon_end, tunnel.router_end)]
        )
        self._build_govcloud(plan)
        self._build_commercial(plan)
        for connection, (name, router) in enumerate(zip(INTERNETS, plan.routers, strict=True), 1):
            self._build_connection(connection, name, router)
        if not routing:
            return
        self._gateway = AmazonGateway(self.spaces, GATEWAY)
        self._gateway.start(plan, self._hold_seconds)
        for namespace, router in zip(ROUTERS, plan.routers, strict=True):
            edge = EdgeRouting(self.spaces, namespace, router.configuration)
            edge.start()
            self.edge.append(edge)

    def wait_until_up(self, seconds: float = _UP_SECONDS) -> None:
        """Wait for every tunnel. Raises `LabError` naming those that are down."""
        if not self.wait_for(lambda: not self._down(), seconds):
            raise LabError(f"not up within {seconds:g} s: {self._down()}")

    def _down(self) -> dict[str, TunnelState]:
        """Tunnels that are not up, or have not brought all that their router announces."""
        return {
            tunnel.device: state
            for tunnel, state in self.states().items()
            if not state.is_up
            or {str(network) for network in state.bgp.learned}
            != set(self._router(tunnel).facts.advertises)
        }

    def wait_for(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until a condition holds; False when time is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _build_govcloud(self, plan: LabPlan) -> None:
        spaces = self.spaces
        spaces.link((FUNCTION, "eni0"), (GATEWAY, "vpc0"))
        first, *others = plan.function_addresses
        spaces.ip(
            FUNCTION,
            [f"address add {address}/32 dev eni0" for address in (first, *others)]
            + [f"route add {plan.govcloud_cidr} dev eni0 scope link src {first}"],
        )
        spaces.ip(
            GATEWAY,
            [
                f"address add {VPC_ROUTER}/32 dev vpc0",
                # A transit gateway says nothing about what it does not carry.
                "route add blackhole default",
            ],
        )
        spaces.sysctl(GATEWAY, {"net.ipv4.ip_forward": 1})
        # A transit gateway has no address that a function could talk to.
        spaces.nft(
            GATEWAY,
            """\
table inet lab {
  chain input {
    type filter hook input priority filter; policy accept;
    iifname "vpc0" drop
  }
}
""",
        )

    def _build_commercial(self, plan: LabPlan) -> None:
        spaces = self.spaces
        spaces.ip(_COMMERCIAL_VPC, ["link add vpc type bridge", "link set vpc up"])
        addresses = [router.facts.private_address for router in plan.routers]
        inhabitants = zip(
            (*ROUTERS, *ENDPOINTS), (*addresses, *plan.endpoint_addresses), strict=True
        )
        for name, address in inhabitants:
            spaces.link((name, "eni0"), (_COMMERCIAL_VPC, name))
            spaces.ip(_COMMERCIAL_VPC, [f"link set {name} master vpc"])
            spaces.ip(
                name,
                [
                    f"address add {address}/32 dev eni0",
                    f"route add {plan.commercial_cidr} dev eni0 scope link src {address}",
                ],
            )
        for name, router in zip(ROUTERS, plan.routers, strict=True):
            # Its edge subnet's way to the internet, where nobody is.
            spaces.ip(name, [f"route add default via {VPC_ROUTER} dev eni0 onlink"])
            self._apply_files(name, router)

    def _apply_files(self, name: str, router: RouterPlan) -> None:
        """The rendered kernel parameters and packet filter, by the rendered commands."""
        files = router.configuration.files
        self.spaces.run(name, ["sysctl", "-q", "-p", "-"], files["/etc/twinspan/sysctl.conf"])
        self.spaces.nft(name, files["/etc/nftables/twinspan.nft"])

    def _build_connection(self, connection: int, name: str, router: RouterPlan) -> None:
        ids = [TunnelId(connection, number) for number in _TUNNELS]
        wires = tuple(
            Wire(t.amazon_end, t.router_end, router.tunnels[t.number - 1].outside_peer) for t in ids
        )
        internet = Internet(
            self.spaces, name, wires, router.facts.private_address, router.facts.outside_address
        )
        internet.build()
        self.internets.append(internet)
        for tunnel in ids:
            facts = router.tunnels[tunnel.number - 1]
            self.amazon[tunnel] = TunnelEnd(
                self.spaces,
                tunnel.amazon_end,
                GATEWAY,
                tunnel.device,
                tunnels.amazon_connections(
                    facts, router.facts.outside_address, tunnel.number, self._detection
                ),
                tunnels.amazon_strongswan(self._detection),
                f"tunnel-{tunnel.number}",
            )
            self.router_ends[tunnel] = TunnelEnd(
                self.spaces,
                tunnel.router_end,
                ROUTERS[connection - 1],
                f"twinspan{tunnel.number}",
                tunnels.router_connections(router.configuration, tunnel.number),
                tunnels.router_strongswan(router.configuration),
                f"tunnel-{tunnel.number}",
            )
            self._start_amazon_end(tunnel, facts)
            self.start_router_end(tunnel)

    def _start_amazon_end(self, tunnel: TunnelId, facts: Tunnel) -> None:
        self.amazon[tunnel].start()
        self.spaces.ip(
            GATEWAY,
            [
                f"link set {tunnel.device} mtu {TUNNEL_MTU} up",
                f"address add {facts.inside_peer}/30 dev {tunnel.device}",
            ],
        )
        self.amazon[tunnel].load()

    def start_router_end(self, tunnel: TunnelId) -> None:
        """Start the router's end, as at boot: the daemon, the rendered interface script, the keys."""
        end = self.router_ends[tunnel]
        end.start()
        # The script makes XFRM interfaces unless they are there; the other tunnel's may come later.
        script = self._lines_about("interfaces", tunnel, end.device)
        self.spaces.run(ROUTERS[tunnel.connection - 1], ["sh", "-s"], script)
        end.load()

    def _lines_about(self, script: str, tunnel: TunnelId, name: str) -> str:
        """The lines of a rendered script that concern one tunnel: it has a daemon of its own here."""
        text = self._router(tunnel).configuration.files[f"/etc/twinspan/{script}"]
        return "".join(f"{line}\n" for line in text.splitlines() if name in line or "set -" in line)

    # -- use --------------------------------------------------------------------------------------

    def states(self) -> dict[TunnelId, TunnelState]:
        """Every tunnel as AWS's end of it sees it now."""
        sessions = self._gateway.sessions() if self._gateway is not None else {}
        return {
            tunnel: TunnelState(end.is_up(), sessions.get(tunnel.device, Session(False)))
            for tunnel, end in self.amazon.items()
        }

    def set_trouble(self, tunnel: TunnelId, trouble: Trouble) -> None:
        """Replace what is wrong with a tunnel's underlay."""
        internet = self.internets[tunnel.connection - 1]
        internet.set_trouble(internet.wires[tunnel.number - 1], trouble)

    def mismatch_key(self, tunnel: TunnelId, mismatched: bool) -> None:
        """Give the router another pre-shared key than AWS has and let AWS drop the tunnel, as it does
        when its key is changed; or put the key right, by the rendered commands."""
        configuration = self._router(tunnel).configuration
        text = tunnels.router_connections(configuration, tunnel.number)
        key = self._router(tunnel).tunnels[tunnel.number - 1].pre_shared_key
        end = self.router_ends[tunnel]
        end.configure(text.replace(key, "0" + key[1:]) if mismatched else text)
        end.load()
        if mismatched:
            self.amazon[tunnel].drop()
            end.drop()
            end.initiate()
        else:
            end.run(["sh", "-s"], self._lines_about("initiate", tunnel, f"tunnel-{tunnel.number}"))

    def kill_router_end(self, tunnel: TunnelId) -> None:
        """The router's IKE daemon dies; `start_router_end` brings it back."""
        self.router_ends[tunnel].kill()

    def withdraw(self, connection: int, network: str, withdrawn: bool) -> None:
        """Let the router of a connection stop announcing a network, or announce it again."""
        router = self.plan_or_raise().routers[connection - 1]
        self.edge[connection - 1].configure(
            [
                f"router bgp {router.facts.asn}",
                "address-family ipv4 unicast",
                f"{'no ' if withdrawn else ''}network {network}",
            ]
        )

    def counters(self, tunnel: TunnelId) -> tuple[int, int]:
        """Bytes that the gateway has sent into a tunnel, and those that came out of it."""
        text = self.spaces.run(GATEWAY, ["cat", "/proc/net/dev"])
        for line in text.splitlines():
            device, _, numbers = line.strip().partition(":")
            if device == tunnel.device:
                fields = numbers.split()
                return int(fields[8]), int(fields[0])
        return 0, 0

    def plan_or_raise(self) -> LabPlan:
        """The plan that was built. Raises `LabError` before that."""
        if self.plan is None:
            raise LabError("the lab's network is not built yet")
        return self.plan

    def with_routes(self, endpoint_via: tuple[int, int] = (1, 2)) -> None:
        """The templates' routes: functions to the transit gateway, each zone's endpoint back through
        the router whose number is given."""
        plan = self.plan_or_raise()
        self.spaces.ip(
            GATEWAY,
            [f"route replace {plan.govcloud_cidr} dev vpc0 scope link metric {STATIC_METRIC}"],
        )
        self.spaces.ip(
            FUNCTION,
            [
                f"route replace {plan.commercial_cidr} via {VPC_ROUTER} dev eni0 onlink"
                f" metric {STATIC_METRIC} src {plan.function_addresses[0]}"
            ],
        )
        for name, router in zip(ENDPOINTS, endpoint_via, strict=True):
            via = plan.routers[router - 1].facts.private_address
            self.spaces.ip(
                name,
                [
                    f"route replace {plan.govcloud_cidr} via {via} dev eni0 onlink metric {STATIC_METRIC}"
                ],
            )

    def _router(self, tunnel: TunnelId) -> RouterPlan:
        return self.plan_or_raise().routers[tunnel.connection - 1]


def log_files(network: LabNetwork) -> list[Path]:
    """Where the daemons write, for a report of what went wrong."""
    return sorted(network.spaces.directory.glob("*.log"))
