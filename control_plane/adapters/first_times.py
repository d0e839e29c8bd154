"""Remembering what was met before, so that it is journaled once and not with every repetition.

A marker for each key, written on the condition that there is none. The marker is written before what it
guards: the execution that wrote it may do so again, so a step that is tried anew after a crash in between still
journals, and everyone else finds the marker. Markers are never deleted.
"""

from __future__ import annotations

import hashlib

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code


class FirstTimes:
    """What each link has met, by key."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def claim(self, link_id: str, key: str, execution: str) -> bool:
        """True for the execution that met `key` first; False for all others.

        Raises:
            AwsUnavailable, AwsRefused: DynamoDB did not take or refuse the marker.
        """
        # Keys come from others' documents and may be longer than DynamoDB's sort keys.
        digest = hashlib.sha256(key.encode()).hexdigest()
        with calling("dynamodb:PutItem"):
            try:
                self._db.put_item(
                    TableName=self._table,
                    Item={
                        "pk": {"S": f"LINK#{link_id}"},
                        "sk": {"S": f"MET#{digest}"},
                        "met": {"S": key},
                        "execution": {"S": execution},
                    },
                    ConditionExpression="attribute_not_exists(pk) OR #execution = :me",
                    ExpressionAttributeNames={"#execution": "execution"},
                    ExpressionAttributeValues={":me": {"S": execution}},
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True
