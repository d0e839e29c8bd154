"""IPsec tunnels: strongSwan, one daemon per tunnel end, each in a namespace of its own.

ESP is done in userspace (`kernel-libipsec` over a TUN device), on every kernel alike: on the wire it is
real IKE and UDP-encapsulated ESP. Such a daemon has one TUN device, so each end gets a daemon; the device
is moved into its gateway's namespace, and goes on working there.

The router's end runs on the connection and the key that `infra.router_config` rendered, word for word, one
tunnel per daemon. AWS's end is ours: a responder, as AWS's `StartupAction: add` is, that begins anew when
dead peer detection gives up (`DPDTimeoutAction: restart`).

Not guaranteed: the rendered `if_id`, which binds a tunnel to its XFRM interface, has no effect here.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vici.exception import CommandException, SessionException
from vici.session import Session

from infra.local.lab.namespaces import LabError, Namespaces, wait_for
from infra.local.lab.plan import sections
from infra.router_config import RouterConfiguration, Tunnel

_CHARON = "/usr/sbin/charon-systemd"
_START_SECONDS = 10.0
_VICI_SECONDS = 5.0
# Marks IKE's own packets, which must not be led into the tunnel that they negotiate.
_MARK = "0x42"
_SWANCTL_FOLDERS = (
    *("x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey"),
    *("private", "rsa", "ecdsa", "bliss", "pkcs8", "pkcs12"),
)
_DEAD = (OSError, SessionException, EOFError)


@dataclass(frozen=True, slots=True)
class Suite:
    """What an established tunnel encrypts with, as strongSwan names it."""

    ike_encryption: str
    ike_key_bits: int
    esp_encryption: str
    esp_key_bits: int


@dataclass(frozen=True, slots=True)
class Detection:
    """AWS's end: how long after a peer fell silent it is taken for dead.

    `interval_seconds` between keepalives, then `tries` retransmissions, the first after
    `timeout_seconds`, each next one later by the factor 1.5.
    """

    interval_seconds: int = 1
    tries: int = 2
    timeout_seconds: float = 0.4


class TunnelEnd:
    """One end of one tunnel. `name` is its namespace, `device` its TUN device in `gateway`."""

    def __init__(
        self,
        namespaces: Namespaces,
        name: str,
        gateway: str,
        device: str,
        connections: str,
        strongswan: str,
        connection: str,
    ) -> None:
        """`connections` and `strongswan` are the texts of swanctl.conf and of an included
        strongswan.conf; `connection` is the name of the one connection in it."""
        self.name = name
        self.device = device
        self._namespaces = namespaces
        self._gateway = gateway
        self._connection = connection
        self._directory = namespaces.directory / name
        self._vici_path = self._directory / "charon.vici"
        self._lock = threading.Lock()
        self._session: tuple[socket.socket, Any] | None = None
        self._directory.mkdir(mode=0o700)
        self._swanctl = self._directory / "swanctl"
        for folder in _SWANCTL_FOLDERS:
            (self._swanctl / folder).mkdir(parents=True)
        (self._directory / "included.conf").write_text(strongswan)
        (self._directory / "strongswan.conf").write_text(self._strongswan_conf())
        self.configure(connections)

    def configure(self, connections: str) -> None:
        """Write connections and keys; `load` puts them into effect."""
        (self._swanctl / "swanctl.conf").write_text(connections)

    def start(self) -> None:
        """Start the daemon and hand its device to the gateway. Loads nothing yet."""
        with contextlib.suppress(FileNotFoundError):
            self._vici_path.unlink()
        with contextlib.suppress(LabError):  # of the daemon before this one
            self._namespaces.ip(self.name, ["link del ipsec0"])
        self._namespaces.start(self.name, self.name, [_CHARON], self._environment())
        wait_for(self._answers, f"strongSwan in {self.name}", _START_SECONDS)
        gateway = self._namespaces.full_name(self._gateway)
        self._namespaces.ip(
            self.name,
            [
                f"link set ipsec0 netns {gateway} name {self.device}",
                # The daemon asks for its device by name, so something must bear the name.
                "link add ipsec0 type bridge",
                "link set ipsec0 up",
            ],
        )

    def load(self) -> None:
        """Load connections and keys; an end that starts its tunnel begins to."""
        self.run(["swanctl", "--load-all", "--noprompt"])

    def run(self, command: Sequence[str], text: str | None = None) -> None:
        """Run a command that talks to this daemon."""
        environment = [f"{key}={value}" for key, value in self._environment().items()]
        self._namespaces.run(self.name, ["env", *environment, *command], text)

    def kill(self) -> None:
        """The daemon dies without a word, and its device with it."""
        self.close()
        self._namespaces.kill(self.name)

    def close(self) -> None:
        """Hang up on the daemon, which goes on."""
        with self._lock:
            self._forget_session()

    def drop(self) -> None:
        """Forget the tunnel without telling the peer; whoever starts tunnels starts anew."""
        with self._session_or_none() as session:
            if session is not None:
                with contextlib.suppress(CommandException):  # there is none
                    list(
                        session.terminate({"ike": self._connection, "timeout": -1, "force": "yes"})
                    )

    def initiate(self) -> None:
        """Begin to negotiate, without waiting for the outcome."""
        with self._session_or_none() as session:
            if session is not None:
                list(session.initiate({"child": self._connection, "timeout": -1}))

    def rekey(self) -> None:
        """Exchange keys anew."""
        with self._session_or_none() as session:
            if session is not None:
                with contextlib.suppress(CommandException):  # there is no tunnel
                    session.rekey({"ike": self._connection})

    def suite(self) -> Suite | None:
        """What the tunnel encrypts with; None while there is none."""
        with self._session_or_none() as session:
            if session is None:
                return None
            for answer in session.list_sas({"ike": self._connection}):
                for association in answer.values():
                    found = _suite(association)
                    if found is not None:
                        return found
        return None

    def is_up(self) -> bool:
        """Whether this end holds an IKE and a child association. It may take the peer for alive
        until dead peer detection has run."""
        return self.suite() is not None

    # -- inside -----------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        return {
            "STRONGSWAN_CONF": str(self._directory / "strongswan.conf"),
            "SWANCTL_DIR": str(self._swanctl),
        }

    def _strongswan_conf(self) -> str:
        return f"""\
charon-systemd {{
  load = random nonce openssl pem pkcs1 kdf kernel-libipsec kernel-netlink socket-default vici
  journal {{
    default = -1
  }}
  filelog {{
    charon {{
      path = {self._namespaces.log_file(self.name + "-ike")}
      time_format = %H:%M:%S
      default = 1
      flush_line = yes
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{self._vici_path}
    }}
    kernel-libipsec {{
      allow_peer_ts = yes
    }}
    kernel-netlink {{
      fwmark = !{_MARK}
    }}
    socket-default {{
      fwmark = {_MARK}
    }}
  }}
}}
swanctl {{
  load = pem pkcs1 openssl random
  plugins {{
    vici {{
      socket = unix://{self._vici_path}
    }}
  }}
}}
include {self._directory / "included.conf"}
"""

    def _answers(self) -> bool:
        if not self._namespaces.is_running(self.name):
            raise LabError(f"strongSwan in {self.name} ended: {self._namespaces.said(self.name)}")
        with self._session_or_none() as session:
            return session is not None and bool(session.version())

    @contextlib.contextmanager
    def _session_or_none(self) -> Iterator[Any]:
        """A session with the daemon, kept from call to call; None while no daemon answers."""
        with self._lock:
            try:
                if self._session is None:
                    self._session = self._connected()
                yield self._session[1]
            except _DEAD:
                self._forget_session()
            except _NoDaemon:
                yield None

    def _connected(self) -> tuple[socket.socket, Any]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_VICI_SECONDS)
        try:
            connection.connect(str(self._vici_path))
        except OSError as error:
            connection.close()
            raise _NoDaemon from error
        return connection, Session(connection)  # type: ignore[no-untyped-call]

    def _forget_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session[0].close()


class _NoDaemon(Exception):
    """Nothing answers on the daemon's socket."""


def router_connections(configuration: RouterConfiguration, number: int) -> str:
    """The rendered connection and key of one tunnel, word for word."""
    blocks = sections(configuration.files["/etc/swanctl/conf.d/twinspan.conf"])
    connection = blocks[f"connections.tunnel-{number}"]
    key = blocks[f"secrets.ike-tunnel-{number}"]
    return f"connections {{\n{connection}}}\nsecrets {{\n{key}}}\n"


def router_strongswan(configuration: RouterConfiguration) -> str:
    """The rendered daemon settings."""
    return configuration.files["/etc/strongswan.d/twinspan.conf"]


def amazon_connections(
    tunnel: Tunnel, outside_router: str, number: int, detection: Detection
) -> str:
    """AWS's end of a tunnel, with the options that the templates ask AWS for."""
    return f"""\
connections {{
  tunnel-{number} {{
    version = 2
    proposals = aes256gcm16-prfsha384-ecp384
    local_addrs = {tunnel.outside_peer}
    remote_addrs = {outside_router}
    encap = yes
    mobike = no
    dpd_delay = {detection.interval_seconds}s
    keyingtries = 0
    local {{
      auth = psk
      id = {tunnel.outside_peer}
    }}
    remote {{
      auth = psk
      id = {outside_router}
    }}
    children {{
      tunnel-{number} {{
        local_ts = 0.0.0.0/0
        remote_ts = 0.0.0.0/0
        esp_proposals = aes256gcm16-ecp384
        dpd_action = restart
      }}
    }}
  }}
}}
secrets {{
  ike-tunnel-{number} {{
    id-1 = {tunnel.outside_peer}
    id-2 = {outside_router}
    secret = "{tunnel.pre_shared_key}"
  }}
}}
"""


def amazon_strongswan(detection: Detection) -> str:
    """AWS's end: daemon settings."""
    return f"""\
charon-systemd {{
  install_routes = no
  install_virtual_ip = no
  retransmit_tries = {detection.tries}
  retransmit_timeout = {detection.timeout_seconds:g}
  retransmit_base = 1.5
}}
"""


def _suite(association: Mapping[str, Any]) -> Suite | None:
    if _text(association.get("state")) != "ESTABLISHED":
        return None
    for child in association.get("child-sas", {}).values():
        if _text(child.get("state")) == "INSTALLED":
            return Suite(
                _text(association["encr-alg"]),
                int(_text(association["encr-keysize"])),
                _text(child["encr-alg"]),
                int(_text(child["encr-keysize"])),
            )
    return None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
