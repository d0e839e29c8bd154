"""Network namespaces of one lab: made, joined by links, commanded and entered.

Every namespace's name begins with the lab's own prefix, so that labs, and whatever else runs on the
machine, keep out of each other's way. All are owned by the keeper, which removes them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from infra.local.errors import EmbeddedCloudError
from infra.local.lab import keeper

LABS = Path("/run/twinspan-lab")
_COMMAND_SECONDS = 20.0
_CLONE_NEWNET = 0x40000000


class LabError(EmbeddedCloudError):
    """A part of the lab did not work; the text names the command or the daemon and what it said."""


class Namespaces:
    """The namespaces and daemons of one lab; a context manager.

    `directory` is the lab's own place for sockets, configurations and logs; it goes with the lab.
    """

    def __enter__(self) -> Namespaces:
        LABS.mkdir(mode=0o711, exist_ok=True)
        keeper.remove_leftovers(LABS)
        self.prefix = f"tw{secrets.token_hex(2)}"
        self.directory = LABS / self.prefix
        self.directory.mkdir(mode=0o711)
        self._lock = threading.Lock()
        self._entered: dict[str, ThreadPoolExecutor] = {}
        self._keeper = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-I", keeper.__file__, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._entered.values():
            executor.shutdown(wait=False, cancel_futures=True)
        self._entered.clear()
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    # -- namespaces and links ---------------------------------------------------------------------

    def full_name(self, name: str) -> str:
        """A namespace's name on this machine."""
        return f"{self.prefix}-{name}"

    def enter_command(self, name: str) -> list[str]:
        """What to put before a command so that it runs in a namespace."""
        return ["nsenter", f"--net=/run/netns/{self.full_name(name)}", "--"]

    def add(self, names: Iterable[str]) -> None:
        """Make namespaces: loopback up, IPv6 off, forwarding off, no reverse-path filter."""
        for name in names:
            self._ask({"op": "namespace", "name": self.full_name(name)})
            run(["ip", "netns", "add", self.full_name(name)])
            self.sysctl(
                name,
                {
                    # Set before any device is there, so that every one of them inherits it.
                    "net.ipv6.conf.all.disable_ipv6": 1,
                    "net.ipv6.conf.default.disable_ipv6": 1,
                    "net.ipv4.conf.all.rp_filter": 0,
                    "net.ipv4.conf.default.rp_filter": 0,
                },
            )
            self.ip(name, ["link set lo up"])

    def link(self, left: tuple[str, str], right: tuple[str, str]) -> None:
        """Join two namespaces by a pair of devices, each given as (namespace, device); both come up."""
        (a, a_device), (b, b_device) = left, right
        peer = f"peer name {b_device} netns {self.full_name(b)}"
        self.ip(a, [f"link add {a_device} type veth {peer}"])
        self.ip(a, [f"link set {a_device} up"])
        self.ip(b, [f"link set {b_device} up"])

    def ip(self, name: str, commands: Sequence[str]) -> None:
        """Run `ip` commands in a namespace, in order. Raises `LabError` for the first that fails."""
        if commands:
            batch = "\n".join(commands) + "\n"
            run(["ip", "-n", self.full_name(name), "-batch", "-"], batch)

    def nft(self, name: str, rules: str) -> None:
        """Load nftables rules into a namespace."""
        self.run(name, ["nft", "-f", "-"], rules)

    def sysctl(self, name: str, values: Mapping[str, int]) -> None:
        """Set kernel parameters of a namespace."""
        self.run(name, ["sysctl", "-q", "-w", *(f"{key}={value}" for key, value in values.items())])

    def run(self, name: str, command: Sequence[str], text: str | None = None) -> str:
        """Run a command in a namespace and return what it printed. Raises `LabError` if it fails."""
        return run([*self.enter_command(name), *command], text)

    # -- daemons ----------------------------------------------------------------------------------

    def start(
        self, daemon: str, namespace: str, argv: Sequence[str], environment: Mapping[str, str]
    ) -> int:
        """Start a daemon in a namespace; it ends with the lab. Returns its process id."""
        request = {
            "op": "start",
            "name": daemon,
            "argv": list(argv),
            "environment": dict(environment),
            "namespace": self.full_name(namespace),
            "log": str(self.log_file(daemon)),
        }
        return int(self._ask(request)["pid"])

    def stop(self, daemon: str, seconds: float = 2.0) -> None:
        """End a daemon: asked first, made to when time is up."""
        self._ask({"op": "stop", "name": daemon, "seconds": seconds})

    def kill(self, daemon: str) -> None:
        """End a daemon without a word."""
        self._ask({"op": "signal", "name": daemon, "signal": int(signal.SIGKILL)})
        self._ask({"op": "stop", "name": daemon, "seconds": 2.0})

    def is_running(self, daemon: str) -> bool:
        """Whether a daemon that was started has not ended."""
        return self._ask({"op": "status", "name": daemon})["status"] is None

    def log_file(self, daemon: str) -> Path:
        """Where a daemon writes."""
        return self.directory / f"{daemon}.log"

    def said(self, daemon: str, lines: int = 12) -> str:
        """The last lines of what a daemon wrote."""
        try:
            text = self.log_file(daemon).read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        with self._lock:
            try:
                self._keeper.stdin.write(json.dumps(request) + "\n")
                self._keeper.stdin.flush()
                line = self._keeper.stdout.readline()
            except (BrokenPipeError, ValueError) as error:
                raise LabError(f"the lab's keeper is gone: {error}") from error
        if not line:
            raise LabError("the lab's keeper is gone")
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise LabError(f"{request['op']} {request['name']}: {answer['error']}")
        return answer

    # -- sockets ----------------------------------------------------------------------------------

    def new_socket(self, name: str, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in a namespace; it can be used from anywhere in this process."""
        with self._lock:
            executor = self._entered.get(name)
            if executor is None:
                executor = self._entered[name] = ThreadPoolExecutor(
                    1, f"lab-{name}", _enter, (f"/run/netns/{self.full_name(name)}",)
                )
        return executor.submit(socket.socket, family, kind, protocol).result(_COMMAND_SECONDS)

    def listener(self, name: str, host: str, port: int) -> socket.socket:
        """A TCP socket in a namespace that listens there."""
        listening = self.new_socket(name, socket.AF_INET, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(1024)
        except OSError as error:
            listening.close()
            raise LabError(f"{name}: cannot listen on {host}:{port}: {error}") from error
        return listening


def _enter(path: str) -> None:
    """Move the calling thread, and no other, into a namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {path}")
    finally:
        os.close(descriptor)


def run(command: Sequence[str], text: str | None = None) -> str:
    """Run a command and return what it printed.

    Raises:
        LabError: with the command and what it said; input is left out, since it may hold keys.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the lab's own commands
            list(command),
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {_COMMAND_SECONDS:g} s") from None
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


@contextlib.contextmanager
def captured(namespaces: Namespaces, name: str, device: str, file: Path) -> Iterator[None]:
    """Capture every packet of a device (or `any`) into a file while the block runs."""
    daemon = f"tcpdump-{name}-{secrets.token_hex(2)}"
    # Packets are read and written as they come; root keeps the file in the lab's directory.
    argv = ["tcpdump", "-i", device, "-n", "--immediate-mode", "-U", "-Z", "root", "-w", str(file)]
    namespaces.start(daemon, name, argv, {})
    wait_for(lambda: "listening on" in namespaces.said(daemon), f"tcpdump in {name}", 5.0)
    try:
        yield
    finally:
        namespaces.stop(daemon)  # SIGTERM: it writes out what it has


def wait_for(
    condition: Callable[[], object], what: str, seconds: float, poll_seconds: float = 0.05
) -> None:
    """Wait until a condition holds. Raises `LabError` naming what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:g} s")
        time.sleep(poll_seconds)
