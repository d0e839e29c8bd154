"""AWS as the proxy uses it: five operations, all beside the request's path; the audit's in the event loop, in threads the others.

Timeouts are short and retries few: every caller keeps what it has and tries again by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.audit_rows import Row
from proxy.aws_json import DYNAMODB, EVENTS, SECRETS_MANAGER, SSM, AwsCalls
from proxy.aws_loop import LoopCalls
from proxy.reports import DETAIL_TYPE, SOURCE, Detail

SECOND_OFFER_SECONDS = 0.1
"""After so long rows that a table did not take are offered once more."""


class SsmParameters:
    """Parameter Store."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls

    def get(self, name: str) -> str:
        """The parameter's value."""
        answer = self._calls.call(SSM, "GetParameter", {"Name": name})
        return str(answer["Parameter"]["Value"])


class Secrets:
    """Secrets Manager."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls

    def get(self, secret_id: str, stage: str) -> str:
        """The string of the version at this stage."""
        asked = {"SecretId": secret_id, "VersionStage": stage}
        answer = self._calls.call(SECRETS_MANAGER, "GetSecretValue", asked)
        return str(answer["SecretString"])


class EventBus:
    """EventBridge's default bus."""

    def __init__(self, calls: AwsCalls) -> None:
        self._calls = calls

    def send(self, detail: Detail) -> None:
        """Put one path report.

        Raises:
            RuntimeError: the bus did not take it.
        """
        entry = {"Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": json.dumps(detail)}
        answer = self._calls.call(EVENTS, "PutEvents", {"Entries": [entry]})
        if answer["FailedEntryCount"]:
            raise RuntimeError(answer["Entries"][0].get("ErrorCode", "unknown"))


class AuditTable:
    """The DynamoDB table of audit rows.

    Rows are already in DynamoDB's own attribute values, and in JSON.
    """

    def __init__(self, calls: LoopCalls, table: str) -> None:
        self._calls = calls
        self._table = table

    async def write(self, rows: list[bytes]) -> list[Row]:
        """Write a batch; rows that the table did not take after a second attempt come back."""
        left = await self._put([msgspec.Raw(row) for row in rows])
        if left:
            await asyncio.sleep(SECOND_OFFER_SECONDS)
            left = await self._put(left)
        return left

    def close(self) -> None:
        """Close its connections."""
        self._calls.close()

    async def _put(self, rows: Sequence[Row | msgspec.Raw]) -> list[Row]:
        puts = [{"PutRequest": {"Item": row}} for row in rows]
        asked = {"RequestItems": {self._table: puts}}
        answer = await self._calls.call(DYNAMODB, "BatchWriteItem", asked)
        left = (answer.get("UnprocessedItems") or {}).get(self._table, [])
        return [item["PutRequest"]["Item"] for item in left]


class KeyTable:
    """The DynamoDB table of callers' keys."""

    def __init__(self, calls: AwsCalls, table: str) -> None:
        self._calls = calls
        self._table = table

    def get(self, digest: str) -> dict[str, Any] | None:
        """The key with this digest, as it is now."""
        key = {"keyDigest": {"S": digest}}
        answer = self._calls.call(
            DYNAMODB, "GetItem", {"TableName": self._table, "Key": key, "ConsistentRead": True}
        )
        item: dict[str, Any] | None = answer.get("Item")
        return item


class NoTable:
    """Where rows go when the audit is turned off."""

    async def write(self, rows: list[bytes]) -> list[Row]:
        """Take the rows and keep none."""
        return []

    def close(self) -> None:
        """There is nothing to close."""
