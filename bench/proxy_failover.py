"""A steady stream of calls while the active path fails and heals: how many fail, how many are slow.

    python -m bench.proxy_failover [--quick]

100 calls a second, upstream time 20 ms, through the proxy as a process of its own. Each fault befalls the
active path for 9 s and heals. Aims: no failed call; none longer than its normal time + the connect timeout
+ 2 s; at most one slow call after the breaker has seen the fault, which is when its path report is made.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
from dataclasses import dataclass

from bench.proxy_surroundings import played_aws, proxy, routing_document
from tests.proxy.worlds import (
    ADDRESSES,
    Seen,
    Upstream,
    answer_probe,
    answer_well,
    answer_with,
    hang,
    http,
)

RATE = 100
UPSTREAM_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 0.5
SLOW_SECONDS = UPSTREAM_SECONDS + CONNECT_TIMEOUT_SECONDS
"""A call beyond this was held up by the fault."""
FAULTS = ("refused", "503", "hang", "blackhole")
REQUEST = (
    b"POST /model/a.model/converse HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: 2\r\nconnection: close\r\n\r\n{}"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it. Times are seconds since the fault began."""

    began: float
    seconds: float
    status: int


async def answer_in_time(upstream: Upstream, seen: Seen, writer: asyncio.StreamWriter) -> None:
    """The model's own time, then the answer."""
    await asyncio.sleep(UPSTREAM_SECONDS)
    await answer_well(upstream, seen, writer)


async def call(port: int, origin: float) -> Call:
    """One call on a connection of its own; status 0 when no whole answer came."""
    clock = asyncio.get_running_loop().time
    began = clock()
    status = 0
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(REQUEST)
                status = int((await reader.read()).split(b" ", 2)[1])
            finally:
                writer.close()
    except (OSError, TimeoutError, IndexError):
        status = 0
    return Call(began - origin, clock() - began, status)


async def befall(upstream: Upstream, fault: str) -> None:
    """Break the path."""
    if fault == "refused":
        await upstream.refuse()
    elif fault == "blackhole":
        await upstream.blackhole()
    elif fault == "hang":
        upstream.behaviour = upstream.probe_behaviour = hang
    else:
        upstream.behaviour = upstream.probe_behaviour = answer_with(http(503, b"{}"))


async def heal(upstream: Upstream, fault: str) -> None:
    """Mend it."""
    upstream.behaviour, upstream.probe_behaviour = answer_in_time, answer_probe
    if fault == "blackhole":
        upstream.clear_backlog()
    if fault in ("blackhole", "refused"):
        await upstream.start()


async def steady(port: int, upstream: Upstream, fault: str, fault_seconds: float) -> list[Call]:
    """A second of peace, the fault, then three seconds healed, all under the same load."""
    loop = asyncio.get_running_loop()
    origin = loop.time() + 1.0
    steps = [(0.0, befall), (fault_seconds, heal)]
    calls: list[asyncio.Task[Call]] = []
    for number in itertools.count():
        at = -1.0 + number / RATE
        if at >= fault_seconds + 3.0:
            break
        await asyncio.sleep(max(0.0, origin + at - loop.time()))
        if steps and at >= steps[0][0]:
            await steps.pop(0)[1](upstream, fault)
        calls.append(asyncio.create_task(call(port, origin)))
    return await asyncio.gather(*calls)


async def measure(fault: str, fault_seconds: float) -> None:
    """One fault, with a proxy of its own, and a line about it."""
    upstreams = {name: Upstream(ADDRESSES[name]) for name in ("tunnel-1", "tunnel-2")}
    for upstream in upstreams.values():
        upstream.behaviour = answer_in_time
        await upstream.start()
    document = routing_document({name: upstream.url for name, upstream in upstreams.items()})
    try:
        with (
            played_aws(document) as aws,
            proxy(aws, TWINSPAN_CONNECT_TIMEOUT_SECONDS=str(CONNECT_TIMEOUT_SECONDS)) as ours,
        ):
            calls = await steady(ours.port, upstreams["tunnel-1"], fault, fault_seconds)
            reported = [report["state"] for report in aws.reports]
    finally:
        for upstream in upstreams.values():
            await upstream.close()
        await asyncio.sleep(0.1)  # their transports close in the next turns of the loop
    failed = sum(one.status != 200 for one in calls)
    slow = [one for one in calls if one.seconds > SLOW_SECONDS]
    # Two probes of half a second each, after a second's silence, are the longest a breaker takes to see.
    after = sum(one.began > 2.5 for one in slow)
    median = statistics.median(one.seconds for one in calls)
    print(
        f"  {fault:10} {len(calls):5} calls  failed {failed}  slow {len(slow)}, of them {after} once"
        f" seen  longest {max(one.seconds for one in calls):.2f} s  median {median * 1000:.1f} ms"
        f"  reports {reported}",
        flush=True,
    )


def main() -> None:
    """Print a line per fault."""
    seconds = 4.0 if "--quick" in sys.argv else 9.0
    longest = SLOW_SECONDS + 2
    print(
        f"Failover under {RATE} calls a second, each fault for {seconds:g} s"
        f" (aims: 0 failed, longest {longest:.2f} s, at most 1 slow once seen;"
        f" load average {os.getloadavg()[0]:.1f})"
    )
    for fault in FAULTS:
        asyncio.run(measure(fault, seconds))


if __name__ == "__main__":
    main()
