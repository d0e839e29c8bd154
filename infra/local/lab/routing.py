"""BGP: BIRD at AWS's end of the tunnels, FRR in the edge routers.

The routers run FRR on the rendered `frr.conf`, word for word. AWS's end is ours: one session per tunnel, the
GovCloud VPC's network announced, the tunnel with the lower metric preferred (MED, as the routers set it), and
what is learned put into the gateway's kernel routes, where a static transit gateway route outranks it.

Not guaranteed: AWS's hold time is 30 s; the lab's is a parameter, and BGP uses the shorter of two peers'.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.local.lab.namespaces import LabError, Namespaces, run, wait_for
from infra.local.lab.plan import LabPlan
from infra.router_config import RouterConfiguration

Network = ipaddress.IPv4Network

LEARNED_METRIC = 100
"""Kernel metric of what BGP brought; lower ones outrank it."""
_FRR_DAEMONS = ("zebra", "bgpd")
_FRR_USER = "frr"
_START_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_END_OF_ANSWER = re.compile(rb"^(0|8|9)\d{3} ", re.M)


@dataclass(frozen=True, slots=True)
class Session:
    """What one BGP session has come to: `learned` are the peer's networks."""

    established: bool
    learned: tuple[Network, ...] = ()


def session_name(connection: int, tunnel: int) -> str:
    """The name of a tunnel's session, and of its device in the gateway."""
    return f"vpn{connection}_{tunnel}"


class AmazonGateway:
    """BIRD in the gateway's namespace."""

    def __init__(self, namespaces: Namespaces, namespace: str) -> None:
        self._namespaces = namespaces
        self._namespace = namespace
        self._directory = namespaces.directory / "bird"
        self._directory.mkdir(mode=0o700)
        self._socket_path = self._directory / "bird.ctl"

    def start(self, plan: LabPlan, hold_seconds: int) -> None:
        """Start it; sessions come up by themselves once their tunnels carry."""
        configuration = self._directory / "bird.conf"
        configuration.write_text(_bird(plan, hold_seconds))
        argv = ["bird", "-f", "-c", str(configuration), "-s", str(self._socket_path)]
        self._namespaces.start("bird", self._namespace, argv, {})
        wait_for(self._is_ready, "BIRD", _START_SECONDS)

    def sessions(self) -> Mapping[str, Session]:
        """Every session by name; empty while BIRD does not answer."""
        try:
            protocols = self._ask("show protocols")
            routes = self._ask("show route where source = RTS_BGP")
        except OSError:
            return {}
        return parse_sessions(protocols, routes)

    def set_enabled(self, session: str, enabled: bool) -> None:
        """Let a session live, or shut it down at AWS's end."""
        self._ask(f"{'enable' if enabled else 'disable'} {session}")

    def _is_ready(self) -> bool:
        if not self._namespaces.is_running("bird"):
            raise LabError(f"BIRD ended: {self._namespaces.said('bird')}")
        try:
            return "BIRD" in self._ask("show status")
        except OSError:
            return False

    def _ask(self, command: str) -> str:
        """BIRD's answer over its control socket, without the greeting."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(self._socket_path))
            _read_answer(connection)
            connection.sendall(command.encode() + b"\n")
            return _read_answer(connection)


class EdgeRouting:
    """FRR in an edge router's namespace: zebra for the kernel, bgpd for BGP."""

    def __init__(
        self, namespaces: Namespaces, namespace: str, configuration: RouterConfiguration
    ) -> None:
        self._namespaces = namespaces
        self._namespace = namespace
        self._directory = namespaces.directory / f"frr-{namespace}"
        self._directory.mkdir(mode=0o750)
        self._configuration = self._directory / "frr.conf"
        self._configuration.write_text(configuration.files["/etc/frr/frr.conf"])
        (self._directory / "vtysh.conf").touch()
        for path in (self._directory, self._configuration):
            shutil.chown(path, _FRR_USER, _FRR_USER)

    def start(self) -> None:
        """Start the daemons, then let them read the configuration as the service does."""
        zebra_socket = self._directory / "zserv.api"
        for daemon in _FRR_DAEMONS:
            name = f"{self._namespace}-{daemon}"
            argv = [f"/usr/lib/frr/{daemon}", "-A", "127.0.0.1", "-z", str(zebra_socket)]
            argv += ["-i", str(self._directory / f"{daemon}.pid"), "-f", "/dev/null"]
            argv += ["--vty_socket", str(self._directory)]
            if daemon == "zebra":
                argv += ["-s", "90000000"]
            self._namespaces.start(name, self._namespace, argv, {})
            vty = self._directory / f"{daemon}.vty"
            wait_for(vty.exists, f"{daemon} in {self._namespace}", _START_SECONDS)
        self._vtysh(["-b"])

    def configure(self, commands: Sequence[str]) -> None:
        """Change the running configuration, as an operator would."""
        self._vtysh([part for command in ("configure", *commands) for part in ("-c", command)])

    def show(self, command: str) -> str:
        """The answer to a `show` command."""
        return self._vtysh(["-c", command])

    def _vtysh(self, arguments: Sequence[str]) -> str:
        place = str(self._directory)
        return run(["vtysh", "--vty_socket", place, "--config_dir", place, *arguments])


def _bird(plan: LabPlan, hold_seconds: int) -> str:
    sessions = []
    for connection, router in enumerate(plan.routers, 1):
        for number, tunnel in enumerate(router.tunnels, 1):
            device = session_name(connection, number)
            sessions.append(
                f"""\
protocol bgp {device} from amazon {{
  neighbor {tunnel.inside_local} as {router.facts.asn};
  source address {tunnel.inside_peer};
  interface "{device}";
}}
"""
            )
    return f"""\
router id {plan.routers[0].tunnels[0].inside_peer};
protocol device {{
  scan time 1;
}}
protocol kernel {{
  metric {LEARNED_METRIC};
  ipv4 {{
    import none;
    export where source = RTS_BGP;
  }};
}}
protocol static announced {{
  ipv4;
  route {plan.govcloud_cidr} unreachable;
}}
template bgp amazon {{
  local as {plan.amazon_asn};
  hold time {hold_seconds};
  connect retry time 1;
  connect delay time 1;
  error wait time 1, 2;
  graceful restart off;
  ipv4 {{
    import all;
    export where proto = "announced";
  }};
}}
{"".join(sessions)}"""


def _read_answer(connection: socket.socket) -> str:
    answer = b""
    while not (answer.endswith(b"\n") and _END_OF_ANSWER.search(answer)):
        part = connection.recv(1 << 16)
        if not part:
            raise ConnectionResetError("BIRD closed its control socket")
        answer += part
    return answer.decode(errors="replace")


def parse_sessions(protocols: str, routes: str) -> Mapping[str, Session]:
    """From BIRD's answers: a protocol's line ends in its BGP state; a network's first line begins
    with the prefix, further ones of the same network are indented; `[name …]` names the protocol."""
    learned: dict[str, list[Network]] = {}
    network: Network | None = None
    for line in routes.splitlines():
        text = line[5:] if re.match(r"\d{4}[- ]", line) else line[1:]
        found = re.match(r"(\S+/\d+)?\s+unicast \[(\w+) ", text)
        if found is None:
            continue
        if found.group(1):
            network = Network(found.group(1))
        if network is not None:
            learned.setdefault(found.group(2), []).append(network)
    return {
        name: Session(state == "Established", tuple(learned.get(name, ())))
        for name, state in re.findall(r"^(?:\d{4}-| )(\w+)\s+BGP\s.*?(\w*)\s*$", protocols, re.M)
    }
