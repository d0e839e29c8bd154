"""The lab as a place for an environment's parts: functions and proxy in one namespace, the endpoints in theirs."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from infra.local.clock import CloudClock
from infra.local.lab import requirements
from infra.local.lab.bridges import Bridges
from infra.local.lab.certificates import Authority
from infra.local.lab.namespaces import LabError
from infra.local.lab.network import ENDPOINTS, FUNCTION, LabNetwork
from infra.local.lab.plane import ENDPOINT_ADDRESSES, ENDPOINT_PORT, LabPlane
from infra.local.site import Plane

_PROXY_PORT = 8080


class LabSite:
    """A context manager. Raises `LabError` when the machine lacks what the lab needs."""

    proxy_port = _PROXY_PORT

    def __enter__(self) -> Self:
        missing = requirements.missing()
        if missing is not None:
            raise LabError(missing)
        with contextlib.ExitStack() as parts:
            self.network = parts.enter_context(LabNetwork())
            self._bridges = parts.enter_context(Bridges(self.network.spaces))
            self._proxy_url: str | None = None
            self._authority = Authority(self.network.spaces.directory)
            self._parts = parts.pop_all()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._parts.close()

    @property
    def function_command(self) -> Sequence[str]:
        return self.network.spaces.enter_command(FUNCTION)

    @property
    def function_environment(self) -> Mapping[str, str]:
        return {"SSL_CERT_FILE": str(self._authority.file)}

    def let_in(self, endpoint_url: str) -> None:
        """The control channel: the one address outside the link that the functions reach."""
        port = urlsplit(endpoint_url).port
        assert port is not None
        self._bridges.into(FUNCTION, port)

    def endpoint_listeners(self) -> Sequence[socket.socket]:
        spaces = self.network.spaces
        listeners = []
        for namespace, address in zip(ENDPOINTS, ENDPOINT_ADDRESSES.values(), strict=True):
            # The address comes with the rest of the network, later.
            spaces.sysctl(namespace, {"net.ipv4.ip_nonlocal_bind": 1})
            listeners.append(spaces.listener(namespace, address, ENDPOINT_PORT))
        return listeners

    def endpoint_tls(self) -> ssl.SSLContext | None:
        return self._authority.server_context(ENDPOINT_ADDRESSES.values())

    def plane(
        self, upstream: tuple[str, int], clock: CloudClock, detection_aws_seconds: float
    ) -> Plane:
        return LabPlane(self.network, clock)

    def reached_from_here(self, proxy_url: str) -> str:
        if self._proxy_url is None:
            self._proxy_url = f"http://127.0.0.1:{self._bridges.out_of(FUNCTION, _PROXY_PORT)}"
        return self._proxy_url
