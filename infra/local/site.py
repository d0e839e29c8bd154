"""Where an environment's parts run: on the loopback interface, or in the lab's namespaces."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from infra.documents import EndpointOverride
from infra.local.clock import CloudClock
from infra.local.dataplane import DataPath, DataPlane, PathReport
from infra.local.faults import Faults


class Plane(Protocol):
    """The network between the functions and the endpoints; see `dataplane.DataPlane` for each."""

    @property
    def faults(self) -> Faults: ...
    @property
    def failures(self) -> list[Exception]: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def endpoint_overrides(self) -> dict[str, EndpointOverride]: ...
    def attach(self, paths: Iterable[DataPath]) -> None: ...
    def wait_until(self, condition: Callable[[Any], bool], timeout_seconds: float) -> bool: ...
    def is_whole(self) -> bool: ...
    def reports(self) -> list[PathReport]: ...


class Site(Protocol):
    """A place for functions, proxy and endpoints."""

    @property
    def function_command(self) -> Sequence[str]:
        """What comes before a command that is to run where the functions do."""

    @property
    def function_environment(self) -> Mapping[str, str]:
        """Variables that everything there is to have."""

    @property
    def proxy_port(self) -> int:
        """The port that the proxy listens on there; 0 for any."""

    def let_in(self, endpoint_url: str) -> None:
        """Let the functions reach the AWS APIs under their URL."""

    def endpoint_listeners(self) -> Sequence[socket.socket]:
        """Where the endpoints' addresses are, listening."""

    def endpoint_tls(self) -> ssl.SSLContext | None:
        """The endpoints' side of TLS, if they speak it."""

    def plane(
        self, upstream: tuple[str, int], clock: CloudClock, detection_aws_seconds: float
    ) -> Plane:
        """The network; see `dataplane.DataPlane` for the arguments."""

    def reached_from_here(self, proxy_url: str) -> str:
        """The URL under which this process reaches the proxy that listens on `proxy_url` there."""


class Loopback:
    """All on the loopback interface, with relays for tunnels."""

    function_command: Sequence[str] = ()
    function_environment: Mapping[str, str] = MappingProxyType({})
    proxy_port = 0

    def let_in(self, endpoint_url: str) -> None:
        """They are there."""

    def endpoint_listeners(self) -> Sequence[socket.socket]:
        return ()

    def endpoint_tls(self) -> ssl.SSLContext | None:
        return None

    def plane(
        self, upstream: tuple[str, int], clock: CloudClock, detection_aws_seconds: float
    ) -> Plane:
        return DataPlane(upstream, clock, detection_aws_seconds=detection_aws_seconds)

    def reached_from_here(self, proxy_url: str) -> str:
        return proxy_url
