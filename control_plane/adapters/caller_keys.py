"""The DynamoDB table of callers' keys. It is read whole for a list: keys are few."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code
from control_plane.adapters.items import from_item, to_item
from control_plane.domain.caller_keys import CallerKey


class CallerKeyTable:
    """Keys by their digest."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._client = session.client("dynamodb")
        self._table = table

    def add(self, key: CallerKey) -> None:
        """Store a new key."""
        with calling("dynamodb:PutItem"):
            self._client.put_item(
                TableName=self._table,
                Item=_item(key),
                ConditionExpression="attribute_not_exists(keyDigest)",
            )

    def all(self) -> list[CallerKey]:
        """Every key, oldest first."""
        found: list[CallerKey] = []
        with calling("dynamodb:Scan"):
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table, ConsistentRead=True
            )
            for page in pages:
                found += [_key(from_item(stored)) for stored in page["Items"]]
        return sorted(found, key=lambda key: (key.created_at, key.key_id))

    def revoke(self, key_digest: str, now: datetime) -> bool:
        """Mark a key revoked; False when it is not there or was revoked before."""
        with calling("dynamodb:UpdateItem"):
            try:
                self._client.update_item(
                    TableName=self._table,
                    Key={"keyDigest": {"S": key_digest}},
                    UpdateExpression="SET revokedAt = :now",
                    ConditionExpression=(
                        "attribute_exists(keyDigest) AND attribute_not_exists(revokedAt)"
                    ),
                    ExpressionAttributeValues={":now": {"N": str(int(now.timestamp()))}},
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True


def _item(key: CallerKey) -> dict[str, Any]:
    return to_item(
        {
            "keyDigest": key.key_digest,
            "keyId": key.key_id,
            "principal": key.principal,
            "dataClass": key.data_class,
            "allowedModels": list(key.allowed_models) or None,
            "usagePlan": key.usage_plan,
            "createdAt": int(key.created_at.timestamp()),
            "expiresAt": int(key.expires_at.timestamp()),
        }
    )


def _key(stored: dict[str, Any]) -> CallerKey:
    revoked = stored.get("revokedAt")
    return CallerKey(
        key_digest=stored["keyDigest"],
        key_id=stored["keyId"],
        principal=stored["principal"],
        created_at=_moment(stored["createdAt"]),
        expires_at=_moment(stored["expiresAt"]),
        data_class=stored.get("dataClass"),
        allowed_models=tuple(stored.get("allowedModels") or ()),
        usage_plan=stored.get("usagePlan"),
        revoked_at=None if revoked is None else _moment(revoked),
    )


def _moment(seconds: Any) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
