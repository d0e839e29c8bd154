"""The journal in DynamoDB: append-only, chained by hashes, one partition per link.

Head and entry are written in one transaction, so two writers never both follow the same entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.adapters.items import from_item, to_item
from control_plane.domain.documents import canonical_json
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.errors import JournalContended

APPEND_ATTEMPTS = 8


class Journal:
    """Append-only entries of each link; head and entry are written in one transaction."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def append(
        self, link_id: str, kind: EntryKind, execution: str, data: dict[str, Any], now: datetime
    ) -> Entry:
        """Add an entry after the newest one.

        Raises:
            JournalContended: other writers were faster every time.
        """
        for _ in range(APPEND_ATTEMPTS):
            sequence, previous = self.head(link_id)
            entry = Entry(link_id, sequence + 1, now, kind, execution, data, previous)
            if self._try_append(entry, sequence, previous):
                return entry
        raise JournalContended(link_id, APPEND_ATTEMPTS)

    def head(self, link_id: str) -> tuple[int, str]:
        """Sequence number and hash of the newest entry; (0, GENESIS) for an empty journal."""
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(
                TableName=self._table, Key=self._head_key(link_id), ConsistentRead=True
            )
        if "Item" not in answer:
            return 0, GENESIS
        values = from_item(answer["Item"])
        return int(values["sequence"]), str(values["hash"])

    def entries(
        self,
        link_id: str,
        *,
        newest_first: bool = False,
        limit: int | None = None,
        after: int = 0,
    ) -> list[tuple[Entry, str]]:
        """Entries with their stored hashes, oldest first unless asked otherwise.

        Only those whose sequence number is greater than `after`, and no more than `limit` are read.
        """
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk > :after",
            "ExpressionAttributeValues": to_item(
                {":pk": f"JOURNAL#{link_id}", ":after": _sort_key(after)}
            ),
            "ScanIndexForward": not newest_first,
            "ConsistentRead": True,
            "PaginationConfig": {"PageSize": limit},  # None: as much as DynamoDB gives at once
        }
        found: list[tuple[Entry, str]] = []
        with calling("dynamodb:Query"):
            for page in self._db.get_paginator("query").paginate(**arguments):
                for item in page["Items"]:
                    found.append(_entry(from_item(item)))
                    if limit is not None and len(found) >= limit:
                        return found
        return found

    def of_kind(self, link_id: str, kind: EntryKind) -> Iterator[Entry]:
        """Entries of one kind, newest first; pages are fetched only as far as they are asked for."""
        pages = self._db.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            FilterExpression="#kind = :kind",
            ExpressionAttributeNames={"#kind": "kind"},
            ExpressionAttributeValues=to_item({":pk": f"JOURNAL#{link_id}", ":kind": str(kind)}),
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        with calling("dynamodb:Query"):
            for page in pages:
                for item in page["Items"]:
                    yield _entry(from_item(item))[0]

    def _try_append(self, entry: Entry, sequence: int, previous: str) -> bool:
        head = to_item({"sequence": entry.sequence, "hash": entry.hash}) | self._head_key(
            entry.link_id
        )
        unmoved = {
            "ConditionExpression": "#sequence = :sequence AND #hash = :hash",
            "ExpressionAttributeNames": {"#sequence": "sequence", "#hash": "hash"},
            "ExpressionAttributeValues": to_item({":sequence": sequence, ":hash": previous}),
        }
        first = {"ConditionExpression": "attribute_not_exists(pk)"}
        body = {
            "pk": f"JOURNAL#{entry.link_id}",
            "sk": _sort_key(entry.sequence),
            "at": entry.at.isoformat(),
            "kind": str(entry.kind),
            "execution": entry.execution,
            "data": canonical_json(entry.data),
            "previous_hash": entry.previous_hash,
            "hash": entry.hash,
        }
        with calling("dynamodb:TransactWriteItems"):
            try:
                self._db.transact_write_items(
                    TransactItems=[
                        {"Put": {"TableName": self._table, "Item": to_item(body)} | first},
                        {
                            "Put": {"TableName": self._table, "Item": head}
                            | (unmoved if sequence else first)
                        },
                    ]
                )
            except ClientError as error:
                if error_code(error) in ("TransactionCanceledException", "TransactionConflict"):
                    return False
                raise
        return True

    def _head_key(self, link_id: str) -> dict[str, Any]:
        return to_item({"pk": f"LINK#{link_id}", "sk": "JOURNAL_HEAD"})


def _sort_key(sequence: int) -> str:
    return f"{sequence:012d}"


def _entry(values: dict[str, Any]) -> tuple[Entry, str]:
    entry = Entry(
        link_id=str(values["pk"]).removeprefix("JOURNAL#"),
        sequence=int(values["sk"]),
        at=datetime.fromisoformat(values["at"]),
        kind=EntryKind(values["kind"]),
        execution=values["execution"],
        data=json.loads(values["data"]),
        previous_hash=values["previous_hash"],
    )
    return entry, str(values["hash"])
