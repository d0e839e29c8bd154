from __future__ import annotations

import asyncio
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from proxy import config_source
from proxy.config_source import ConfigSource, EndpointRules
from tests.proxy.worlds import Parameters
from tests.unit.test_proxy_routing_config import document

HOSTS = ("*.bedrock-runtime.us-east-1.vpce.amazonaws.com",)


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A source over a played SSM, with a clock in the test's hand."""

    def __init__(self, cache_file: Path | None = None, link_id: str = "bedrock") -> None:
        self.parameters = Parameters()
        self.clock = Clock()
        self.executor = ThreadPoolExecutor(1)
        self.source = ConfigSource(
            self.parameters,
            "/twinspan/bedrock/routing-config",
            link_id,
            EndpointRules(HOSTS),
            self.executor,
            ttl_seconds=5.0,
            maximum_age_seconds=60.0,
            clock=self.clock,
            cache_file=cache_file,
        )

    def publish(self, generation: int, **changes: Any) -> None:
        self.parameters.text = json.dumps(document(generation=generation, **changes))

    async def read(self) -> int:
        """Refresh and give the generation in use."""
        self.source.begin_refresh()
        while self.source._refresh is not None:
            await asyncio.sleep(0)
        return self.source.generation


def test_generations_only_grow() -> None:
    """A newer generation is adopted, an older one is refused and counted, and the newer stays in use."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        assert await bench.read() == 7
        bench.publish(9)
        assert await bench.read() == 9
        bench.publish(8)
        assert await bench.read() == 9
        assert bench.source.counters.refused_older == 1
        bench.publish(9, reason="another document under the same number")
        assert await bench.read() == 9
        assert bench.source.current is not None
        assert bench.source.current.reason != "another document under the same number"
        assert bench.source.counters.refused_older == 2

    asyncio.run(test())


@pytest.mark.parametrize(
    "spoilt",
    [
        "not json",
        json.dumps(document(generation=8, active_path="tunnel-9")),
        json.dumps(document(generation=8, link_id="other")),
        json.dumps(document(generation=8)).replace("vpce.amazonaws.com", "vpce.example.com"),
        json.dumps(document(generation=8)).replace("https://", "http://"),
    ],
)
def test_a_bad_document_is_refused_loudly(spoilt: str, caplog: pytest.LogCaptureFixture) -> None:
    """A document that is wrong, another link's or leads elsewhere is logged, counted and not used."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.parameters.text = spoilt
        assert await bench.read() == 7
        assert await bench.read() == 7
        assert bench.source.counters.refused_invalid == 2

    with caplog.at_level(logging.ERROR):
        asyncio.run(test())
    refusals = [record for record in caplog.records if record.message == "routing config refused"]
    assert len(refusals) == 1, "the same bad document is reported once"
    assert ": " in vars(refusals[0])["reason"]


def test_an_outage_of_ssm_changes_nothing() -> None:
    """Through hours without SSM the last good config stays in use, and requests do not wait for it."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.parameters.out = True
        for _ in range(10):
            bench.clock.now += 3600
            config = await bench.source.ready()
            assert config is not None
            assert config.generation == 7
        bench.parameters.out = False
        bench.publish(8)
        assert await bench.read() == 8

    asyncio.run(test())


def test_an_outage_that_hangs_delays_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a long outage a request takes the last good config though a read is under way that gets no answer."""
    monkeypatch.setattr(config_source, "WAIT_SECONDS", 3600)
    answered = threading.Event()

    def hangs(name: str) -> str:
        answered.wait(30)
        raise ConnectionError("SSM is out")

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.parameters.out = True
        bench.clock.now += 50
        await bench.read()
        bench.parameters.get = hangs  # type: ignore[method-assign]
        bench.clock.now += 50
        bench.source.refresh_if_due()
        try:
            config = await asyncio.wait_for(bench.source.ready(), 20)
            assert bench.source._refresh is not None
        finally:
            answered.set()
        assert config is not None
        assert config.generation == 7
        while bench.source._refresh is not None:
            await asyncio.sleep(0)

    asyncio.run(test())


def test_a_warm_request_does_not_wait_for_ssm() -> None:
    """When the config nears its end, a request takes the cached one and the refresh happens beside it."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.publish(8)
        bench.clock.now += 3.9
        await bench.source.ready()
        assert bench.source._refresh is None, "not due yet"
        bench.clock.now += 0.2
        config = await bench.source.ready()
        assert config is not None
        assert config.generation == 7
        while bench.source._refresh is not None:
            await asyncio.sleep(0)
        assert bench.source.generation == 8

    asyncio.run(test())


def test_a_process_that_was_frozen_reads_before_it_serves() -> None:
    """After a long freeze the first request waits for one refresh instead of using an ancient config."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.publish(8)
        bench.clock.now += 61
        config = await bench.source.ready()
        assert config is not None
        assert config.generation == 8

    asyncio.run(test())


def test_read_your_writes() -> None:
    """A request that asks for a newer generation gets it; asking again and again reads once a second."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        await bench.read()
        bench.clock.now += 1
        bench.publish(8)
        await bench.source.ensure_generation(8)
        assert bench.source.generation == 8
        reads = bench.parameters.reads
        for _ in range(50):
            await bench.source.ensure_generation(99)
        assert bench.parameters.reads == reads
        bench.clock.now += 1
        for _ in range(50):
            await bench.source.ensure_generation(99)
        assert bench.parameters.reads == reads + 1
        await bench.source.ensure_generation(3)
        assert bench.source.generation == 8

    asyncio.run(test())


def test_the_last_good_config_survives_a_restart(tmp_path: Path) -> None:
    """A proxy that starts without SSM uses what its predecessor stored, and still refuses older ones."""

    async def test() -> None:
        cache = tmp_path / "routing-config.json"
        before = Bench(cache)
        before.publish(7)
        await before.read()

        after = Bench(cache)
        after.parameters.out = True
        await after.source.start()
        assert after.source.generation == 7
        after.parameters.out = False
        after.publish(6)
        assert await after.read() == 7

    asyncio.run(test())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_spoilt_cache_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the cache file, the proxy starts and takes SSM's config."""

    async def test() -> None:
        cache = tmp_path / "routing-config.json"
        cache.write_bytes(content)
        bench = Bench(cache)
        bench.publish(7)
        await bench.source.start()
        assert bench.source.generation == 7

    asyncio.run(test())


def test_concurrent_first_requests_share_one_read() -> None:
    """Requests that arrive before anything is loaded wait for one read together and all are served."""

    async def test() -> None:
        bench = Bench()
        bench.publish(7)
        configs = await asyncio.gather(*(bench.source.ready() for _ in range(20)))
        assert {config.generation for config in configs if config is not None} == {7}
        assert None not in configs
        assert bench.parameters.reads == 1

    asyncio.run(test())


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com", True),
        ("https://VPCE-0A.bedrock-runtime.us-east-1.vpce.amazonaws.com:443", True),
        ("https://bedrock-runtime.us-east-1.vpce.amazonaws.com", False),
        ("https://evil-bedrock-runtime.us-east-1.vpce.amazonaws.com", False),
        ("https://x.bedrock-runtime.us-east-1.vpce.amazonaws.com.evil.example", False),
        ("http://vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com", False),
        ("http://127.0.11.1:8080", False),
    ],
)
def test_endpoints_lie_where_the_deployment_allows(url: str, allowed: bool) -> None:
    """Exact hosts and `*.suffix` patterns admit what they name and no look-alike; plaintext is refused."""
    assert (EndpointRules(HOSTS).refuse(url) is None) is allowed


def test_plaintext_is_for_loopback_unless_the_deployment_says_otherwise() -> None:
    """`http` passes to a loopback address, and elsewhere only by an explicit setting."""
    assert EndpointRules(("127.0.11.1",)).refuse("http://127.0.11.1:8080") is None
    assert EndpointRules(("10.0.0.9",)).refuse("http://10.0.0.9") is not None
    assert EndpointRules(("*.example",)).refuse("http://127.example") is not None
    assert EndpointRules(("127.0.0.1.example",)).refuse("http://127.0.0.1.example") is not None
    assert EndpointRules(("10.0.0.9",), allow_plaintext=True).refuse("http://10.0.0.9") is None
