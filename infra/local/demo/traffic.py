"""A steady stream of inference calls through the proxy, and what became of each.

Plain HTTP on kept-alive connections, as a client library would; calls are started on a fixed beat, so a
slow answer delays the next call of its own worker only. A call fails when it gets no answer or an
answer other than 200: no retries hide anything here.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

CALL_TIMEOUT_SECONDS = 20.0
WORKERS = 4


@dataclass(frozen=True, slots=True)
class Call:
    """One call: when it started (seconds of the monotonic clock), how it ended, what it said it used.

    `upstream_request_id` is the service's own, as the proxy passed it back.
    """

    started: float
    seconds: float
    status: int
    path: str | None
    generation: int | None
    retry_after: str | None
    error: str | None = None
    upstream_request_id: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the caller did not get its completion."""
        return self.status != 200


class Traffic:
    """Calls at a steady rate from `start` until `stop`."""

    def __init__(self, proxy_url: str, model_id: str, calls_per_second: float) -> None:
        parts = urlsplit(proxy_url)
        assert parts.hostname is not None and parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._target = f"/model/{model_id}/converse"
        self._interval_seconds = WORKERS / calls_per_second
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._threads = [
            threading.Thread(
                target=self._work, args=(number,), name=f"caller-{number}", daemon=True
            )
            for number in range(WORKERS)
        ]

    def start(self) -> None:
        """Begin calling."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the calls under way, and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(CALL_TIMEOUT_SECONDS + 1)

    def calls(self, since: float = 0.0) -> list[Call]:
        """Calls that have ended and were started at or after `since`, oldest first."""
        with self._lock:
            return sorted((c for c in self._calls if c.started >= since), key=lambda c: c.started)

    def _work(self, number: int) -> None:
        connection = http.client.HTTPConnection(*self._address, timeout=CALL_TIMEOUT_SECONDS)
        beat = time.monotonic() + number * self._interval_seconds / WORKERS
        while not self._stopping.wait(max(0.0, beat - time.monotonic())):
            call = self._call(connection)
            with self._lock:
                self._calls.append(call)
            beat = max(beat + self._interval_seconds, time.monotonic())
        connection.close()

    def _call(self, connection: http.client.HTTPConnection) -> Call:
        body = json.dumps(
            {
                "messages": [{"role": "user", "content": [{"text": "Which path is this?"}]}],
                "inferenceConfig": {"maxTokens": 16},
            }
        )
        started = time.monotonic()
        try:
            connection.request("POST", self._target, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Call(started, time.monotonic() - started, 0, None, None, None, repr(error))
        generation = answer.getheader("x-routing-generation")
        return Call(
            started,
            time.monotonic() - started,
            answer.status,
            answer.getheader("x-tunnel-used"),
            int(generation) if generation else None,
            answer.getheader("retry-after"),
            upstream_request_id=answer.getheader("x-amzn-requestid"),
        )


def by_path(calls: list[Call]) -> Counter[str]:
    """How many answered calls took each path."""
    return Counter(call.path for call in calls if call.path is not None and not call.failed)


def runs(calls: list[Call]) -> list[tuple[str, int]]:
    """The sequence of paths as (path, calls in a row); failed calls count as `failed`."""
    found: list[tuple[str, int]] = []
    for call in calls:
        name = "failed" if call.failed else call.path or "unknown"
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + 1)
        else:
            found.append((name, 1))
    return found


def wait_for_calls(
    traffic: Traffic, condition: Callable[[list[Call]], bool], since: float, timeout_seconds: float
) -> bool:
    """Wait until the calls since a moment satisfy the condition; False when time is up."""
    deadline = time.monotonic() + timeout_seconds
    while not condition(traffic.calls(since)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
