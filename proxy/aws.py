"""AWS as the proxy uses it: four calls, all beside the request's path, in threads.

boto3 is imported when the first client is needed and one session is shared, so that a cold start pays for
neither twice. Endpoints come from the standard `AWS_ENDPOINT_URL…` environment. Timeouts are short and
retries few: every caller keeps what it has and tries again by itself.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from proxy.audit import Row
from proxy.reports import DETAIL_TYPE, SOURCE, Detail


class AwsClients:
    """Clients of one session, each made once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[str, Any] = {}

    def client(self, service: str, *, parameter_validation: bool = True) -> Any:
        """A client for this service."""
        with self._lock:
            if service not in self._clients:
                import boto3
                from botocore.config import Config

                if self._session is None:
                    self._session = boto3.Session()
                config = Config(
                    connect_timeout=2,
                    read_timeout=5,
                    parameter_validation=parameter_validation,
                    retries={"mode": "standard", "total_max_attempts": 2},
                )
                self._clients[service] = self._session.client(service, config=config)
            return self._clients[service]


class SsmParameters:
    """Parameter Store."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    def get(self, name: str) -> str:
        """The parameter's value."""
        answer = self._clients.client("ssm").get_parameter(Name=name)
        return str(answer["Parameter"]["Value"])


class Secrets:
    """Secrets Manager."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    def get(self, secret_id: str) -> str:
        """The current version's string."""
        answer = self._clients.client("secretsmanager").get_secret_value(SecretId=secret_id)
        return str(answer["SecretString"])


class EventBus:
    """EventBridge's default bus."""

    def __init__(self, clients: AwsClients) -> None:
        self._clients = clients

    def send(self, detail: Detail) -> None:
        """Put one path report.

        Raises:
            RuntimeError: the bus did not take it.
        """
        entry = {"Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": json.dumps(detail)}
        answer = self._clients.client("events").put_events(Entries=[entry])
        if answer["FailedEntryCount"]:
            raise RuntimeError(answer["Entries"][0].get("ErrorCode", "unknown"))


class AuditTable:
    """The DynamoDB table of audit rows.

    Rows are already in DynamoDB's own attribute values, so the request's body is written from them at once:
    botocore's validation and serialisation, shape by shape, cost more than carrying the calls themselves.
    Endpoint, signature, retries and errors remain botocore's.
    """

    def __init__(self, clients: AwsClients, table: str) -> None:
        self._clients = clients
        self._table = table
        self._body = threading.local()
        self._client: Any = None

    def write(self, rows: list[Row]) -> list[Row]:
        """Write a batch; rows that the table did not take after a second attempt come back."""
        left: list[Row] = rows
        for delay_seconds in (0.1, 0.0):
            left = self._put(left)
            if not left:
                return []
            time.sleep(delay_seconds)
        return left

    def _put(self, rows: list[Row]) -> list[Row]:
        client = self._ready_client()
        request = {self._table: [{"PutRequest": {"Item": row}} for row in rows]}
        self._body.value = json.dumps({"RequestItems": request}, separators=(",", ":")).encode()
        try:
            answer = client.batch_write_item(RequestItems={self._table: []})
        finally:
            self._body.value = None
        left = (answer.get("UnprocessedItems") or {}).get(self._table, [])
        return [item["PutRequest"]["Item"] for item in left]

    def _ready_client(self) -> Any:
        """The client, told to send our body in place of the one it would build."""
        if self._client is None:
            client = self._clients.client("dynamodb", parameter_validation=False)
            client.meta.events.register(
                "before-call.dynamodb.BatchWriteItem", self._replace_body, unique_id="audit-body"
            )
            self._client = client
        return self._client

    def _replace_body(self, params: dict[str, Any], **_: Any) -> None:
        params["body"] = self._body.value


class KeyTable:
    """The DynamoDB table of callers' keys."""

    def __init__(self, clients: AwsClients, table: str) -> None:
        self._clients = clients
        self._table = table

    def get(self, digest: str) -> dict[str, Any] | None:
        """The key with this digest, as it is now."""
        answer = self._clients.client("dynamodb").get_item(
            TableName=self._table, Key={"keyDigest": {"S": digest}}, ConsistentRead=True
        )
        item: dict[str, Any] | None = answer.get("Item")
        return item


class NoTable:
    """Where rows go when the audit is turned off."""

    def write(self, rows: list[Row]) -> list[Row]:
        """Take the rows and keep none."""
        return []
