"""Who may act on a link: a lease in DynamoDB, with a fencing token that only grows.

Every write is conditional. Times in conditions are epoch milliseconds of the writer's clock; a lease is taken
over only `SKEW_ALLOWANCE_MS` after it ran out, so that clocks of two writers may differ by that much without
two of them holding it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.adapters.items import from_item, link_key, to_item
from control_plane.errors import LeaseLost

SKEW_ALLOWANCE_MS = 2_000


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
                    ExpressionAttributeValues=to_item(
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
        values = from_item(answer["Attributes"])
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
        return (current.get("holder"), current.get("token")) != (lease.holder, lease.token)

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
        return from_item(answer.get("Item", {}))

    def _key(self, link_id: str) -> dict[str, Any]:
        return to_item(link_key(link_id, "LEASE"))

    def _conditional(
        self, link_id: str, update: str, condition: str, values: dict[str, Any]
    ) -> bool:
        arguments: dict[str, Any] = {}
        if values:
            arguments["ExpressionAttributeValues"] = to_item(values)
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
