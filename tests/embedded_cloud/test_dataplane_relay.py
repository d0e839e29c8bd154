"""One relay: what a client's socket sees of an open, a silent and a refusing path."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from infra.local.relay import Relay, RelayMode

NEVER = 0.3
"""Seconds after which something that must not happen is taken not to have happened."""
SOON = 10.0

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    service = await asyncio.start_server(echo, "127.0.0.1", 0)
    relay = Relay("path", "127.0.21.1", service.sockets[0].getsockname())
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
        service.close()


def run(scenario: Callable[[Relay], Awaitable[None]]) -> None:
    async def main() -> None:
        async with relay() as started:
            await scenario(started)

    asyncio.run(main())


async def connect(relay: Relay, timeout_seconds: float = SOON) -> Stream:
    return await asyncio.wait_for(asyncio.open_connection(relay.host, relay.port), timeout_seconds)


async def exchange(stream: Stream, data: bytes, timeout_seconds: float = SOON) -> bytes:
    reader, writer = stream
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), timeout_seconds)


def test_silent_path_answers_no_connection() -> None:
    """A connection over a silent path times out; it is neither accepted nor refused."""

    async def scenario(relay: Relay) -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await connect(relay, NEVER)

    run(scenario)


def test_open_path_carries_bytes_both_ways_and_counts_them() -> None:
    """Bytes arrive unchanged in both directions, and the counters say how many and over how many
    connections."""

    async def scenario(relay: Relay) -> None:
        relay.set_mode(RelayMode.OPEN)
        big = bytes(range(256)) * 20_000
        first, second = await connect(relay), await connect(relay)
        received = asyncio.create_task(first[0].readexactly(len(big)))
        first[1].write(big)
        assert await asyncio.wait_for(received, SOON) == big
        assert await exchange(second, b"small") == b"small"
        assert relay.counters.connections == 2
        assert relay.counters.bytes_out == relay.counters.bytes_in == len(big) + 5
        first[1].close()
        second[1].close()

    run(scenario)


def test_established_connection_stalls_and_goes_on() -> None:
    """Bytes sent while a path is silent are kept back, not lost, and arrive once it is open again."""

    async def scenario(relay: Relay) -> None:
        relay.set_mode(RelayMode.OPEN)
        reader, writer = await connect(relay)
        assert await exchange((reader, writer), b"before") == b"before"
        relay.set_mode(RelayMode.SILENT)
        writer.write(b"during")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), NEVER)
        relay.set_mode(RelayMode.OPEN)
        assert await asyncio.wait_for(reader.readexactly(6), SOON) == b"during"
        writer.close()

    run(scenario)


def test_waiting_client_connects_when_the_path_opens() -> None:
    """A client that kept trying while a path was silent gets through after it has opened."""

    async def scenario(relay: Relay) -> None:
        attempt = asyncio.create_task(connect(relay))
        await asyncio.sleep(NEVER)
        assert not attempt.done()
        relay.set_mode(RelayMode.OPEN)
        stream = await attempt
        assert await exchange(stream, b"at last") == b"at last"
        stream[1].close()

    run(scenario)


def test_refusing_path_refuses_and_resets() -> None:
    """A refusing path refuses new connections, resets established ones, and can open again on the same
    port."""

    async def scenario(relay: Relay) -> None:
        relay.set_mode(RelayMode.OPEN)
        stream = await connect(relay)
        assert await exchange(stream, b"hello") == b"hello"
        port = relay.port
        relay.set_mode(RelayMode.REFUSING)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(stream[0].read(1), SOON)
        with pytest.raises(ConnectionRefusedError):
            await connect(relay)
        relay.set_mode(RelayMode.SILENT)
        with pytest.raises(TimeoutError):
            await connect(relay, NEVER)
        relay.set_mode(RelayMode.OPEN)
        assert relay.port == port
        again = await connect(relay)
        assert await exchange(again, b"again") == b"again"
        again[1].close()

    run(scenario)


def test_slow_path_delays_and_keeps_order() -> None:
    """A round trip over a slowed path takes at least the added delay, and bytes stay in order."""

    async def scenario(relay: Relay) -> None:
        relay.set_mode(RelayMode.OPEN)
        reader, writer = await connect(relay)
        assert await exchange((reader, writer), b"fast") == b"fast"
        relay.round_trip_delay_seconds = 0.2
        loop = asyncio.get_running_loop()
        began = loop.time()
        writer.write(b"one ")
        await writer.drain()
        await asyncio.sleep(0.01)
        relay.round_trip_delay_seconds = 0.0
        writer.write(b"two")
        assert await asyncio.wait_for(reader.readexactly(7), SOON) == b"one two"
        assert loop.time() - began >= 0.1
        writer.close()

    run(scenario)


def test_end_of_stream_passes_and_leaves_nothing() -> None:
    """A client's end of stream reaches the service and its answer the client; both sockets are freed."""

    async def scenario(relay: Relay) -> None:
        relay.set_mode(RelayMode.OPEN)
        reader, writer = await connect(relay)
        assert await exchange((reader, writer), b"last") == b"last"
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), SOON) == b""
        writer.close()
        async with asyncio.timeout(SOON):
            while relay.active_connections:
                await asyncio.sleep(0.01)

    run(scenario)
