"""Twinspan's own state in DynamoDB: lease, journal, plans, path history, evidence.

One table, keys `pk` and `sk`. Every write that matters is conditional. Times in conditions are epoch
milliseconds of the writer's clock; a lease is taken over only `SKEW_ALLOWANCE_MS` after it ran out, so that
clocks of two writers may differ by that much without two of them holding it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.adapters.items import item as _item
from control_plane.adapters.items import link_key
from control_plane.adapters.items import values as _values
from control_plane.domain.documents import canonical_json
from control_plane.domain.history import LinkHistory
from control_plane.domain.journal import GENESIS, Entry, EntryKind
from control_plane.domain.plan import Plan
from control_plane.errors import JournalContended, LeaseLost

SKEW_ALLOWANCE_MS = 2_000
APPEND_ATTEMPTS = 8
# DynamoDB's limit is 400 KB an item; larger evidence goes to the bucket.
INLINE_EVIDENCE_BYTES = 300_000


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act on a link until `expires_at`; `token` grows with each lease ever given.

    `trouble` is what was left with earlier holders and never taken up.
    """

    link_id: str
    holder: str
    token: int
    expires_at: datetime
    trouble: str | None = None


class LeaseStore:
    """The lease of each link: one item that is never deleted, so that its token only grows."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def acquire(self, link_id: str, holder: str, seconds: int, now: datetime) -> Lease | None:
        """Take the lease, or take over one that ran out; None while another holder's is live.

        A holder that asks again (a retried step) gets a fresh token, which its earlier self then lacks.
        """
        expires_ms = _milliseconds(now) + seconds * 1000
        with calling("dynamodb:UpdateItem"):
            try:
                answer = self._db.update_item(
                    TableName=self._table,
                    Key=self._key(link_id),
                    UpdateExpression=(
                        "SET holder = :me, expires_ms = :until, #token = if_not_exists(#token, :zero) + :one "
                        "REMOVE signal_pending, kept_because"
                    ),
                    ConditionExpression=(
                        "attribute_not_exists(holder) OR holder = :me OR "
                        "(expires_ms < :stale AND attribute_not_exists(kept_because))"
                    ),
                    ExpressionAttributeNames={"#token": "token"},
                    ExpressionAttributeValues=_item(
                        {
                            ":me": holder,
                            ":until": expires_ms,
                            ":stale": _milliseconds(now) - SKEW_ALLOWANCE_MS,
                            ":zero": 0,
                            ":one": 1,
                        }
                    ),
                    ReturnValues="ALL_NEW",
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return None
                raise
        values = _values(answer["Attributes"])
        expires_at = datetime.fromtimestamp(expires_ms / 1000, UTC)
        return Lease(link_id, holder, int(values["token"]), expires_at, values.get("trouble"))

    def leave_signal(self, link_id: str, trouble: str | None = None) -> bool:
        """Tell the holder that another signal came; False when nobody holds the lease any more.

        `trouble` says what the signal told of, if it did; only the newest is kept.
        """
        update = "SET signal_pending = :yes"
        values: dict[str, Any] = {":yes": True}
        if trouble is not None:
            update += ", trouble = :trouble"
            values[":trouble"] = trouble
        return self._conditional(link_id, update, "attribute_exists(holder)", values)

    def renew(self, lease: Lease, seconds: int, now: datetime) -> Lease:
        """Prove that the lease is still ours, and lengthen it.

        Raises:
            LeaseLost: it ran out, or a newer token was given.
        """
        expires_ms = _milliseconds(now) + seconds * 1000
        held = self._conditional(
            lease.link_id,
            "SET expires_ms = :until",
            "holder = :me AND #token = :token AND expires_ms >= :now",
            {
                ":until": expires_ms,
                ":me": lease.holder,
                ":token": lease.token,
                ":now": _milliseconds(now),
            },
        )
        if not held:
            raise LeaseLost(lease.link_id, lease.token)
        until = datetime.fromtimestamp(expires_ms / 1000, UTC)
        return Lease(lease.link_id, lease.holder, lease.token, until)

    def release(self, lease: Lease, *, even_if_pending: bool = False) -> bool:
        """Give the lease back; False when a signal is pending, which keeps it held.

        Releasing a lease that was lost meanwhile is no error: it is already another's.
        """
        condition = "holder = :me AND #token = :token"
        if not even_if_pending:
            condition += " AND attribute_not_exists(signal_pending)"
        values = {":me": lease.holder, ":token": lease.token}
        remove = "REMOVE holder, expires_ms, signal_pending, kept_because"
        if not even_if_pending:
            remove += ", trouble"
        if self._conditional(lease.link_id, remove, condition, values):
            return True
        current = self.current(lease.link_id)
        still_ours = (
            current.get("holder") == lease.holder and int(current.get("token", 0)) == lease.token
        )
        return not still_ours

    def take_pending(self, lease: Lease) -> str | None:
        """Clear the pending mark, before observing again; returns the trouble that was left with it.

        Raises:
            LeaseLost: the lease is no longer ours.
        """
        held = self._conditional(
            lease.link_id,
            "REMOVE signal_pending",
            "holder = :me AND #token = :token",
            {":me": lease.holder, ":token": lease.token},
        )
        if not held:
            raise LeaseLost(lease.link_id, lease.token)
        # Read afterwards: what is left from here on is pending again, and found by the next release.
        trouble = self.current(lease.link_id).get("trouble")
        return str(trouble) if trouble is not None else None

    def keep(self, lease: Lease, reason: str) -> None:
        """Hold the lease without end: nothing acts on this link until an operator resolves it."""
        held = self._conditional(
            lease.link_id,
            "SET kept_because = :reason",
            "holder = :me AND #token = :token",
            {":reason": reason, ":me": lease.holder, ":token": lease.token},
        )
        if not held:
            raise LeaseLost(lease.link_id, lease.token)

    def resolve(self, link_id: str) -> bool:
        """Let go of a kept lease; False when none was kept."""
        return self._conditional(
            link_id,
            "REMOVE holder, expires_ms, signal_pending, kept_because",
            "attribute_exists(kept_because)",
            {},
        )

    def current(self, link_id: str) -> dict[str, Any]:
        """The raw lease item, for people: holder, token, expires_ms, kept_because."""
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(
                TableName=self._table, Key=self._key(link_id), ConsistentRead=True
            )
        return _values(answer.get("Item", {}))

    def _key(self, link_id: str) -> dict[str, Any]:
        return _item(link_key(link_id, "LEASE"))

    def _conditional(
        self, link_id: str, update: str, condition: str, values: dict[str, Any]
    ) -> bool:
        arguments: dict[str, Any] = {}
        if values:
            arguments["ExpressionAttributeValues"] = _item(values)
        if "#token" in condition:
            arguments["ExpressionAttributeNames"] = {"#token": "token"}
        with calling("dynamodb:UpdateItem"):
            try:
                self._db.update_item(
                    TableName=self._table,
                    Key=self._key(link_id),
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    **arguments,
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True


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
        values = _values(answer["Item"])
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
            "ExpressionAttributeValues": _item(
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
                    found.append(_entry(_values(item)))
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
            ExpressionAttributeValues=_item({":pk": f"JOURNAL#{link_id}", ":kind": str(kind)}),
            ScanIndexForward=False,
            ConsistentRead=True,
        )
        with calling("dynamodb:Query"):
            for page in pages:
                for item in page["Items"]:
                    yield _entry(_values(item))[0]

    def _try_append(self, entry: Entry, sequence: int, previous: str) -> bool:
        head = _item({"sequence": entry.sequence, "hash": entry.hash}) | self._head_key(
            entry.link_id
        )
        unmoved = {
            "ConditionExpression": "#sequence = :sequence AND #hash = :hash",
            "ExpressionAttributeNames": {"#sequence": "sequence", "#hash": "hash"},
            "ExpressionAttributeValues": _item({":sequence": sequence, ":hash": previous}),
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
                        {"Put": {"TableName": self._table, "Item": _item(body)} | first},
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
        return _item({"pk": f"LINK#{link_id}", "sk": "JOURNAL_HEAD"})


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


class LinkState:
    """History, plans and waiting approvals of a link."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def history(self, link_id: str) -> LinkHistory:
        """The link's memory; blank when nothing was observed yet."""
        values = self._get(link_id, "HISTORY")
        return LinkHistory.model_validate_json(values["document"]) if values else LinkHistory()

    def save_history(self, link_id: str, history: LinkHistory, lease: Lease) -> None:
        """Store the link's memory.

        Raises:
            LeaseLost: a holder with a newer token has written it already.
        """
        if not self._put_fenced(
            link_id, "HISTORY", {"document": history.model_dump_json()}, lease.token
        ):
            raise LeaseLost(link_id, lease.token)

    def save_plan(self, plan: Plan, execution: str, lease: Lease) -> None:
        """Store the plan with its inverse. From here on the link has an open plan until `close_plan`.

        Raises:
            LeaseLost: a holder with a newer token has a plan open.
        """
        document = {
            "plan": canonical_json(plan.to_dict()),
            "inverse": canonical_json([c.to_dict() for c in plan.inverse_changes()]),
            "execution": execution,
            "status": "open",
        }
        if not self._put_fenced(plan.link_id, "PLAN", document, lease.token):
            raise LeaseLost(plan.link_id, lease.token)

    def open_plan(self, link_id: str) -> Plan | None:
        """The plan that was begun and neither finished nor undone; what a crash leaves behind."""
        values = self._get(link_id, "PLAN")
        if not values or values.get("status") != "open":
            return None
        return Plan.from_dict(json.loads(values["plan"]))

    def close_plan(self, plan: Plan, status: str, lease: Lease) -> None:
        """Mark the plan `done`, `undone` or `abandoned`.

        Raises:
            LeaseLost: a holder with a newer token has written since.
        """
        document = {"plan": canonical_json(plan.to_dict()), "status": status}
        if not self._put_fenced(plan.link_id, "PLAN", document, lease.token):
            raise LeaseLost(plan.link_id, lease.token)

    def save_approval(self, link_id: str, execution: str, document: dict[str, Any]) -> None:
        """Remember a waiting approval under its execution's name, and as the link's latest question."""
        stored = canonical_json({**document, "execution": execution})
        for sort in (f"APPROVAL#{execution}", "APPROVAL"):
            item = _item({**link_key(link_id, sort), "document": stored})
            with calling("dynamodb:PutItem"):
                self._db.put_item(TableName=self._table, Item=item)

    def latest_question(self, link_id: str) -> dict[str, Any] | None:
        """The latest approval that was asked for and not carried out, with its `execution`."""
        values = self._get(link_id, "APPROVAL")
        return dict(json.loads(values["document"])) if values else None

    def close_question(self, link_id: str) -> None:
        """Forget the latest question: it was answered with yes, and the next one is a new one."""
        with calling("dynamodb:DeleteItem"):
            self._db.delete_item(TableName=self._table, Key=_item(link_key(link_id, "APPROVAL")))

    def approval(self, link_id: str, execution: str) -> dict[str, Any] | None:
        """A waiting approval: its task token, decision and expiry."""
        values = self._get(link_id, f"APPROVAL#{execution}")
        return dict(json.loads(values["document"])) if values else None

    def _get(self, link_id: str, sort: str) -> dict[str, Any]:
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(
                TableName=self._table,
                Key=_item(link_key(link_id, sort)),
                ConsistentRead=True,
            )
        return _values(answer.get("Item", {}))

    def _put_fenced(self, link_id: str, sort: str, values: dict[str, Any], token: int) -> bool:
        item = _item({**link_key(link_id, sort), "token": token, **values})
        with calling("dynamodb:PutItem"):
            try:
                self._db.put_item(
                    TableName=self._table,
                    Item=item,
                    ConditionExpression="attribute_not_exists(pk) OR #token <= :token",
                    ExpressionAttributeNames={"#token": "token"},
                    ExpressionAttributeValues=_item({":token": token}),
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True


class EvidenceStore:
    """Content-addressed evidence: the same content has the same reference, and is stored once."""

    def __init__(self, session: AwsSession, table: str, bucket: str) -> None:
        self._db, self._table = session.client("dynamodb"), table
        self._session, self._bucket = session, bucket

    def put(self, document: Any) -> str:
        """Store a JSON document; returns its SHA-256 in hex."""
        content = canonical_json(document).encode()
        reference = hashlib.sha256(content).hexdigest()
        body = gzip.compress(content, mtime=0)
        if len(body) > INLINE_EVIDENCE_BYTES:
            with calling("s3:PutObject"):
                self._session.client("s3").put_object(
                    Bucket=self._bucket, Key=f"evidence/{reference}.json.gz", Body=body
                )
            body = b""
        with calling("dynamodb:PutItem"):
            self._db.put_item(
                TableName=self._table,
                Item=_item({"pk": f"EVIDENCE#{reference}", "sk": "BODY", "body": body}),
            )
        return reference

    def get(self, reference: str) -> Any:
        """The document with this reference.

        Raises:
            KeyError: there is none.
            ValueError: what is stored no longer has that hash.
        """
        key = _item({"pk": f"EVIDENCE#{reference}", "sk": "BODY"})
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        if "Item" not in answer:
            raise KeyError(reference)
        body = bytes(_values(answer["Item"])["body"])
        if not body:
            with calling("s3:GetObject"):
                stored = self._session.client("s3").get_object(
                    Bucket=self._bucket, Key=f"evidence/{reference}.json.gz"
                )
            body = stored["Body"].read()
        content = gzip.decompress(body)
        if hashlib.sha256(content).hexdigest() != reference:
            raise ValueError(f"evidence {reference} was changed after it was stored")
        return json.loads(content)
