"""The routing config as the proxy sees it: read from SSM, cached, and never worse than it was.

A request takes the config from memory. The refresh happens beside it, before the cached one expires; a
request waits for SSM only when nothing is loaded yet, when the process was frozen for long, or when the
caller asks for a newer generation than is loaded. Through an outage of SSM the last good config stays in
use without limit, and with a cache file it survives a restart as well. What is not guaranteed: that two
proxies use the same generation at the same moment; they differ by up to the time to live.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from proxy.routing_config import InvalidRoutingConfig, RoutingConfig

logger = logging.getLogger(__name__)

MINIMUM_GENERATION_REFRESH_SECONDS = 1.0
REFRESH_SHARE_OF_TTL = 0.8
WAIT_SECONDS = 1.0


class ParameterGetter(Protocol):
    """Reads one SSM parameter. Called in a thread; any exception counts as an outage."""

    def get(self, name: str) -> str:
        """The parameter's value."""


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """Where endpoints may lie: part of the deployment, beyond the reach of the routing config's writer."""

    hosts: tuple[str, ...]
    allow_plaintext: bool = False

    def refuse(self, endpoint_url: str) -> str | None:
        """Why this endpoint is not allowed, or None when it is."""
        parts = urlsplit(endpoint_url)
        host = (parts.hostname or "").lower()
        if not any(_host_matches(host, pattern) for pattern in self.hosts):
            return "its host is not on the allow-list"
        if parts.scheme != "https" and not self.allow_plaintext and not _is_loopback(host):
            return "plaintext http is allowed to a loopback address only"
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


@dataclass(slots=True)
class ConfigCounters:
    """How refreshes went, for metrics."""

    refreshed: int = 0
    unavailable: int = 0
    refused_invalid: int = 0
    refused_older: int = 0


class ConfigSource:
    """Holds the newest acceptable routing config of one link. Belongs to one event loop."""

    def __init__(
        self,
        getter: ParameterGetter,
        parameter: str,
        link_id: str,
        rules: EndpointRules,
        executor: Executor,
        *,
        ttl_seconds: float,
        maximum_age_seconds: float,
        clock: Callable[[], float],
        cache_file: Path | None = None,
    ) -> None:
        self._getter = getter
        self._parameter = parameter
        self._link_id = link_id
        self._rules = rules
        self._executor = executor
        self._ttl_seconds = ttl_seconds
        self._maximum_age_seconds = maximum_age_seconds
        self._clock = clock
        self._cache_file = cache_file
        self._refresh: asyncio.Task[None] | None = None
        self._due_at = float("-inf")
        self._asked_at = float("-inf")
        self._read_ended_at = float("-inf")
        self._refused_text: str | None = None
        self._listeners: list[Callable[[RoutingConfig | None, RoutingConfig], None]] = []
        self.counters = ConfigCounters()
        self.current: RoutingConfig | None = None

    @property
    def generation(self) -> int:
        """The generation in use; 0 when nothing is loaded."""
        return self.current.generation if self.current else 0

    def on_change(self, listener: Callable[[RoutingConfig | None, RoutingConfig], None]) -> None:
        """Call `listener(old, new)` whenever another config is adopted."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Load the persisted config, if any, and then what SSM holds. Does not raise for an outage."""
        self.load_cache_file()
        await self._refreshed(WAIT_SECONDS if self.current else 5.0)

    async def ready(self) -> RoutingConfig | None:
        """The config to use for a request; starts a refresh beside it when one is due."""
        now = self._clock()
        if now < self._due_at:
            return self.current
        if self.current is None or now - self._read_ended_at > self._maximum_age_seconds:
            asked_lately = now - self._asked_at < MINIMUM_GENERATION_REFRESH_SECONDS
            if self._refresh is not None or not asked_lately:
                await self._refreshed(WAIT_SECONDS)
        else:
            self.begin_refresh()
        return self.current

    async def ensure_generation(self, minimum: int) -> None:
        """Read-your-writes: refresh once, at most once a second, if the config is older than that."""
        if self.generation >= minimum:
            return
        if self._refresh is not None:
            # The read under way may have been answered before the caller's write.
            await self._refreshed(WAIT_SECONDS)
            if self.generation >= minimum:
                return
        if self._clock() - self._asked_at >= MINIMUM_GENERATION_REFRESH_SECONDS:
            await self._refreshed(WAIT_SECONDS)

    def begin_refresh(self) -> None:
        """Start a refresh unless one is under way."""
        if self._refresh is None:
            self._asked_at = self._clock()
            self._refresh = asyncio.get_running_loop().create_task(self._read())
            self._refresh.add_done_callback(self._read_done)

    def refresh_if_due(self) -> None:
        """For housekeeping: keep the config fresh while no request asks for it."""
        if self._clock() >= self._due_at:
            self.begin_refresh()

    async def _refreshed(self, timeout_seconds: float) -> None:
        self.begin_refresh()
        assert self._refresh is not None
        await asyncio.wait([self._refresh], timeout=timeout_seconds)

    def _read_done(self, task: asyncio.Task[None]) -> None:
        self._refresh = None
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("routing config refresh failed", extra={"error": type(error).__name__})

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            text = await loop.run_in_executor(self._executor, self._getter.get, self._parameter)
        except Exception as error:  # noqa: BLE001 -- whatever SSM's client raises, the last good config stays
            self.counters.unavailable += 1
            # The outage is known: no request need wait to find it out.
            self._read_ended_at = self._clock()
            # Soon again, but not at each request: an outage must not become a storm of reads.
            self._due_at = self._clock() + min(self._ttl_seconds, 1.0)
            logger.warning("routing config unavailable", extra={"error": type(error).__name__})
            return
        now = self._clock()
        self._read_ended_at = now
        self._due_at = now + self._ttl_seconds * REFRESH_SHARE_OF_TTL
        if self.adopt(text) and self._cache_file is not None:
            try:
                await loop.run_in_executor(self._executor, write_whole, self._cache_file, text)
            except OSError as error:
                logger.warning("routing config not persisted", extra={"error": error.strerror})

    def adopt(self, text: str) -> bool:
        """Use this document if it is good and newer; True if it was adopted."""
        if text == self._refused_text:
            self.counters.refused_invalid += 1
            return False
        try:
            config = RoutingConfig.from_json(text)
            self._check(config)
        except InvalidRoutingConfig as error:
            self.counters.refused_invalid += 1
            self._refused_text = text
            logger.error(
                "routing config refused",
                extra={"reason": str(error), "generation_in_use": self.generation},
            )
            return False
        self._refused_text = None
        self.counters.refreshed += 1
        old = self.current
        if old is not None and config.generation <= old.generation:
            if config != old:
                self.counters.refused_older += 1
                logger.error(
                    "routing config refused",
                    extra={
                        "reason": f"generation: {config.generation} is not newer",
                        "generation_in_use": old.generation,
                    },
                )
            return False
        self.current = config
        logger.info(
            "routing config adopted",
            extra={
                "generation": config.generation,
                "active_path": config.active_path,
                # The run that published it: by this name its steps, its journal and its traces are found.
                "execution": config.published_by,
            },
        )
        for listener in self._listeners:
            listener(old, config)
        return True

    def load_cache_file(self) -> None:
        """Adopt the persisted config; a missing or spoilt file is as good as none."""
        if self._cache_file is None:
            return
        try:
            text = self._cache_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeDecodeError) as error:
            logger.warning(
                "persisted routing config unreadable", extra={"error": type(error).__name__}
            )
            return
        self.adopt(text)

    def _check(self, config: RoutingConfig) -> None:
        if config.link_id != self._link_id:
            raise InvalidRoutingConfig(f"link_id: is not {self._link_id}")
        for position, path in enumerate(config.paths):
            if reason := self._rules.refuse(path.endpoint_url):
                raise InvalidRoutingConfig(f"paths.{position}.endpoint_url: {reason}")


def write_whole(path: Path, text: str) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
