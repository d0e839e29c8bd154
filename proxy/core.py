"""The one core behind both edges: composed from settings, kept going by housekeeping, ended in order.

An edge makes a `Core` inside its event loop, awaits `start`, and gives each request to `handle`. The server
runs `keep_house` beside the requests; the Lambda edge, which is frozen between invocations, calls
`after_invocation` instead.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from proxy.api import Api
from proxy.audit import AuditLog, RowWriter
from proxy.aws import AuditTable, EventBus, KeyTable, NoTable, Secrets, SsmParameters
from proxy.aws_json import AwsCalls, AwsRequests
from proxy.aws_loop import LoopCalls
from proxy.caller_keys import CallerKeys, KeyGetter
from proxy.carrier import Carrier, RetryBudget
from proxy.circuit_breaker import BreakerPolicy
from proxy.config_source import ConfigSource, EndpointRules, ParameterGetter
from proxy.credentials import CredentialSource, SecretGetter
from proxy.messages import Request, Response
from proxy.metrics import Metrics, Sample
from proxy.reports import PathReporter, ReportSender
from proxy.settings import Settings
from proxy.upstream import UpstreamOptions

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Outside:
    """What the core needs of AWS; tests give their own."""

    parameters: ParameterGetter
    secrets: SecretGetter
    reports: ReportSender
    rows: RowWriter
    keys: KeyGetter | None = None

    @classmethod
    def aws(cls, settings: Settings) -> Outside:
        """The real one."""
        requests = AwsRequests()
        calls = AwsCalls(requests)
        rows: RowWriter = NoTable()
        if settings.audit_table:
            rows = AuditTable(LoopCalls(requests), settings.audit_table)
        keys = KeyTable(calls, settings.keys_table) if settings.keys_table else None
        return cls(SsmParameters(calls), Secrets(calls), EventBus(calls), rows, keys)


class Core:
    """A proxy without an edge. Belongs to the event loop in which it is made."""

    def __init__(self, settings: Settings, outside: Outside) -> None:
        loop = asyncio.get_running_loop()
        clock = loop.time
        self._clock = clock
        self._settings = settings
        # Config, secret and report may each wait on AWS; none may keep another from its turn.
        self._executor = ThreadPoolExecutor(max_workers=3, thread_name_prefix="aws")
        self.source = ConfigSource(
            outside.parameters,
            settings.routing_config_parameter,
            settings.link_id,
            EndpointRules(settings.allowed_hosts, settings.allow_plaintext),
            self._executor,
            ttl_seconds=settings.config_ttl_seconds,
            maximum_age_seconds=settings.config_maximum_age_seconds,
            clock=clock,
            cache_file=Path(settings.config_cache_file) if settings.config_cache_file else None,
        )
        self.credentials = CredentialSource(
            outside.secrets,
            settings.credentials_secret_id,
            self._executor,
            ttl_seconds=settings.credentials_ttl_seconds,
            clock=clock,
        )
        reporter = f"{socket.gethostname()}/{os.getpid()}"
        self.reports = PathReporter(
            outside.reports, self._executor, settings.link_id, reporter, clock
        )
        # Made-up keys cost a look-up each: they wait for one another, not the config for them.
        self._key_executor = ThreadPoolExecutor(max_workers=2, thread_name_prefix="keys")
        self.keys = (
            CallerKeys(
                outside.keys, self._key_executor, clock, ttl_seconds=settings.keys_ttl_seconds
            )
            if outside.keys is not None
            else None
        )
        self.audit = AuditLog(outside.rows, clock)
        self.metrics = Metrics(settings.link_id)
        self.carrier = Carrier(
            self.source,
            self.credentials,
            _upstream_options(settings),
            BreakerPolicy(
                ejection_seconds=settings.ejection_seconds,
                ejection_maximum_seconds=settings.ejection_maximum_seconds,
            ),
            RetryBudget(settings.resend_budget_ratio, settings.resend_budget_burst),
            resend=settings.resend,
            hedge_after_seconds=settings.hedge_after_seconds,
            on_transition=self.reports.note,
        )
        self.api = Api(
            self.carrier,
            self.source,
            self.audit,
            self.metrics,
            clock,
            deadline_seconds=settings.request_deadline_seconds,
            body_limit_bytes=settings.body_limit_bytes,
            allowed_models=settings.allowed_models,
            samples=self._samples,
        )
        self._house: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load config and credential, both at once; an outage of AWS does not stop it."""
        await asyncio.gather(self.source.start(), self.credentials.ready())

    def handle(self, request: Request) -> Awaitable[Response]:
        """Answer one request."""
        return self.api.handle(request)

    def keep_house(self) -> None:
        """Begin housekeeping, until `stop`."""
        self._house = asyncio.get_running_loop().create_task(self._keep_house())

    def embedded_metrics(self) -> list[str]:
        """CloudWatch embedded-format lines of what happened since the last call."""
        return self.metrics.embedded(int(time.time() * 1000))

    async def after_invocation(self, timeout_seconds: float) -> None:
        """Finish what a frozen process could not: probes, reports, audit rows; for a bounded time."""
        self.carrier.tend(self._clock())
        self.reports.send_due()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.carrier.settle()
                await asyncio.gather(
                    self.reports.flush(timeout_seconds), self.audit.flush(timeout_seconds)
                )
        except TimeoutError:
            logger.warning("invocation ended with work left", extra={"queued": len(self.audit)})

    async def stop(self, timeout_seconds: float = 10.0) -> None:
        """Flush what is queued and close all connections. Requests must have ended."""
        if self._house is not None:
            self._house.cancel()
            await asyncio.gather(self._house, return_exceptions=True)
        await asyncio.gather(self.audit.flush(timeout_seconds), self.reports.flush(timeout_seconds))
        self.carrier.close()
        self.audit.close()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._key_executor.shutdown(wait=False, cancel_futures=True)

    async def _keep_house(self) -> None:
        emit_at = self._clock() + self._settings.metrics_interval_seconds
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            now = self._clock()
            self.source.refresh_if_due()
            self.credentials.refresh_if_due()
            self.carrier.tend(now)
            self.reports.send_due()
            self.audit.write_if_due()
            if now >= emit_at:
                emit_at = now + self._settings.metrics_interval_seconds
                for line in self.embedded_metrics():
                    print(line, flush=True)  # noqa: T201 -- the embedded format is read from stdout

    def _samples(self) -> list[Sample]:
        config, carrier = self.source.counters, self.carrier.counters
        totals = {
            "twinspan_proxy_config_refreshed_total": config.refreshed,
            "twinspan_proxy_config_unavailable_total": config.unavailable,
            "twinspan_proxy_config_refused_invalid_total": config.refused_invalid,
            "twinspan_proxy_config_refused_older_total": config.refused_older,
            "twinspan_proxy_credential_failures_total": self.credentials.failures,
            "twinspan_proxy_resent_total": carrier.resent,
            "twinspan_proxy_failovers_total": carrier.failovers,
            "twinspan_proxy_hedged_total": carrier.hedged,
            "twinspan_proxy_hedges_won_total": carrier.hedges_won,
            "twinspan_proxy_refused_at_the_door_total": carrier.refused_at_the_door,
            "twinspan_proxy_retry_budget_refusals_total": carrier.budget_refusals,
            "twinspan_proxy_path_reports_sent_total": self.reports.sent,
            "twinspan_proxy_path_reports_failed_total": self.reports.failed,
            "twinspan_proxy_audit_written_total": self.audit.written,
            "twinspan_proxy_audit_dropped_total": self.audit.dropped,
            "twinspan_proxy_audit_failures_total": self.audit.failures,
            "twinspan_proxy_audit_queued": len(self.audit),
            "twinspan_proxy_routing_generation": self.source.generation,
        }
        samples: list[Sample] = [(name, (), float(value)) for name, value in totals.items()]
        for (path, reason), count in carrier.attempts_failed.items():
            labels = (("path", path), ("reason", reason))
            samples.append(("twinspan_proxy_attempts_failed_total", labels, float(count)))
        return samples


def _upstream_options(settings: Settings) -> UpstreamOptions:
    tls = ssl.create_default_context(cafile=settings.ca_file or None)
    tls.minimum_version = ssl.TLSVersion.TLSv1_2
    tls.set_alpn_protocols(["http/1.1"])
    return UpstreamOptions(
        allowed_networks=tuple(ipaddress.ip_network(n) for n in settings.allowed_networks),
        connect_timeout_seconds=settings.connect_timeout_seconds,
        tls_timeout_seconds=settings.tls_timeout_seconds,
        user_timeout_seconds=settings.tcp_user_timeout_seconds,
        silence_seconds=settings.silence_seconds,
        probe_timeout_seconds=settings.probe_timeout_seconds,
        idle_seconds=settings.idle_seconds,
        tls=tls,
    )
