"""Audit rows, metrics and path reports."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.audit import BATCH_ROWS, AuditLog
from proxy.audit_rows import RequestRecord, encoded, encoded_again
from proxy.circuit_breaker import BreakerState, Transition
from proxy.metrics import Metrics
from proxy.reports import INTERVAL_SECONDS, PathReporter
from tests.proxy.worlds import Reports, Rows
from tests.unit.test_proxy_config_source import Clock

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def record(number: int = 1, **fields: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "request_id": f"request-{number}",
        "operation": "converse",
        "source_ip": "10.0.1.7",
        "caller": "key-abc",
        "began_at": AT.timestamp(),
        "began": 0.0,
        "status": 200,
        "success": True,
        "path": "tunnel-1",
        "routing_method": "vpn",
        "total_seconds": 0.25,
    }
    return RequestRecord(**(values | fields))


def test_a_row_expires_after_thirty_days() -> None:
    """The row has the table's key and a time to live thirty days after the request."""
    key, row_json = encoded(record())
    row = json.loads(row_json)
    assert key == ("request-1", b"2026-03-01T12:00:00.000000Z")
    assert row["requestId"] == {"S": "request-1"}
    assert row["timestamp"] == {"S": "2026-03-01T12:00:00.000000Z"}
    assert int(row["expiresAt"]["N"]) - AT.timestamp() == 30 * 86_400


@pytest.mark.parametrize(
    "words", ['a "quoted" \\ word', "line\nbreak\x00", "ünïcode ☃", '"},"success":{"BOOL":true}']
)
def test_no_word_breaks_out_of_its_place(words: str) -> None:
    """Whatever a caller chose stands in the row as that, and a row that came back is the same row."""
    fields: dict[str, Any] = dict.fromkeys(
        ("request_id", "caller", "source_ip", "data_class", "model_id", "error", "path"), words
    )
    key, row_json = encoded(record(**fields, attempts=[(words, words)], success=False))
    row = json.loads(row_json)
    names = ("requestId", "caller", "sourceIp", "dataClass", "modelId", "error", "tunnelUsed")
    assert {name: row[name]["S"] for name in names} == dict.fromkeys(names, words)
    assert row["attempts"] == {"L": [{"S": f"{words}: {words}"}]}
    assert row["success"] == {"BOOL": False}
    assert encoded_again(row)[0] == key
    assert json.loads(encoded_again(row)[1]) == row


def test_rows_are_written_in_batches_and_none_is_lost_to_an_outage() -> None:
    """Rows queued while the table is out, or refused by it, are all there once it is back."""

    async def test() -> None:
        rows, clock = Rows(), Clock()
        log = AuditLog(rows, clock)
        for number in range(3 * BATCH_ROWS):
            log.add(record(number))
        rows.out = True
        await log.flush(5)
        assert rows.rows == []
        rows.out, rows.refuse_rows = False, 3
        await log.flush(5)
        await log.flush(5)
        written = {row["requestId"]["S"] for row in rows.rows}
        assert written == {f"request-{number}" for number in range(3 * BATCH_ROWS)}
        assert (log.written, log.dropped, len(log)) == (3 * BATCH_ROWS, 0, 0)

    asyncio.run(test())


def test_a_full_queue_counts_what_it_drops() -> None:
    """Memory is bounded: beyond the queue's size rows are dropped, and the number dropped is known."""

    async def test() -> None:
        log = AuditLog(Rows(), Clock(), queue_rows=10)
        for number in range(25):
            log.add(record(number))
        assert (len(log), log.dropped) == (10, 15)

    asyncio.run(test())


def test_housekeeping_backs_off_from_a_failing_table() -> None:
    """After a failed write the next is not tried before a pause that grows."""

    async def test() -> None:
        rows, clock = Rows(), Clock()
        rows.out = True
        log = AuditLog(rows, clock)
        log.add(record())
        for expected in (1, 2):
            log.write_if_due()
            while log._writing is not None:
                await asyncio.sleep(0)
            assert log.failures == expected
            log.write_if_due()
            assert log._writing is None, "within the pause"
            clock.now += 1.0
        rows.out = False
        clock.now += 30
        log.write_if_due()
        while log._writing is not None:
            await asyncio.sleep(0)
        assert len(rows.rows) == 1

    asyncio.run(test())


def test_two_rows_with_one_key_do_not_spoil_a_batch() -> None:
    """A request id that a caller used twice in one instant gives one row, not a refused batch."""

    async def test() -> None:
        rows = Rows()
        log = AuditLog(rows, Clock())
        log.add(record(1, status=500))
        log.add(record(1, status=200))
        await log.flush(5)
        assert [row["statusCode"] for row in rows.rows] == [{"N": "200"}]

    asyncio.run(test())


def test_embedded_metrics_say_what_happened_once() -> None:
    """The documents carry exact counts per path in the CrossPartition namespace, and each only once."""
    metrics = Metrics("bedrock")
    for number in range(250):
        attempts = [("tunnel-1", "connect_refused"), ("tunnel-2", "answered")]
        metrics.observe(
            record(number, path="tunnel-2", attempts=attempts, success=number % 50 != 0)
        )
    documents = [json.loads(line) for line in metrics.embedded(1)]
    first = documents[0]
    directive = first["_aws"]["CloudWatchMetrics"][0]
    assert directive["Namespace"] == "CrossPartition"
    assert (first["RequestCount"], first["ErrorCount"], first["FailoverCount"]) == (250, 5, 250)
    assert first["TunnelUsed"] == "tunnel-2"
    assert [len(found["RequestLatency"]) for found in documents] == [100, 100, 50]
    for found in documents:
        named = {metric["Name"] for metric in found["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
        assert named <= set(found)
    assert metrics.embedded(2) == []


def test_prometheus_text_is_cumulative_and_consistent() -> None:
    """The histogram's last bucket, its count and the request counter agree."""
    metrics = Metrics("bedrock")
    for seconds in (0.001, 0.3, 500.0):
        metrics.observe(record(total_seconds=seconds))
    text = metrics.prometheus([("twinspan_proxy_routing_generation", (), 7.0)])
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    labels = 'link="bedrock",path="tunnel-1"'
    assert found[f'twinspan_proxy_request_seconds_bucket{{{labels},le="+Inf"}}'] == "3"
    assert found[f'twinspan_proxy_request_seconds_bucket{{{labels},le="0.005"}}'] == "1"
    assert found[f"twinspan_proxy_request_seconds_count{{{labels}}}"] == "3"
    assert found['twinspan_proxy_routing_generation{link="bedrock"}'] == "7"
    asked = 'link="bedrock",operation="converse",status="200",path="tunnel-1"'
    assert found[f"twinspan_proxy_requests_total{{{asked}}}"] == "3"


def test_reports_are_few_and_end_with_the_truth() -> None:
    """A flapping breaker gives one report per interval, and the last report is its last state."""

    async def test() -> None:
        reports, clock = Reports(), Clock()
        reporter = PathReporter(reports, ThreadPoolExecutor(1), "bedrock", "me", clock)
        opened = Transition(BreakerState.OPEN, "reset")
        closed = Transition(BreakerState.CLOSED, "reset")
        for _ in range(10):
            reporter.note("tunnel-1", opened, 7)
            reporter.note("tunnel-1", closed, 7)
        await reporter.flush(5)
        assert [sent["state"] for sent in reports.sent] == ["open"]
        reporter.note("tunnel-2", opened, 7)
        await reporter.flush(5)
        assert [sent["path"] for sent in reports.sent] == ["tunnel-1", "tunnel-2"]
        clock.now += INTERVAL_SECONDS
        reporter.send_due()
        await reporter.flush(5)
        assert [sent["state"] for sent in reports.sent] == ["open", "open", "closed"]
        clock.now += INTERVAL_SECONDS
        reporter.send_due()
        await reporter.flush(5)
        assert len(reports.sent) == 3

    asyncio.run(test())
