"""The numbers of published routing configs: each is claimed before it is used, and claimed once.

Parameter Store has no compare-and-swap, and what it holds can be deleted, overwritten or put back by anybody.
The claim is neither: a conditional write that only ever grows the number. It is made before the publication,
so a run that dies in between leaves a gap, and never a number that is used twice.
"""

from __future__ import annotations

from botocore.exceptions import ClientError

from control_plane.adapters.aws import AwsSession, calling, error_code


class Generations:
    """The highest generation that any run of a link has claimed."""

    def __init__(self, session: AwsSession, table: str) -> None:
        self._db, self._table = session.client("dynamodb"), table

    def highest(self, link_id: str) -> int:
        """The newest claim; 0 where none was ever made."""
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(
                TableName=self._table, Key=self._key(link_id), ConsistentRead=True
            )
        return int(answer["Item"]["generation"]["N"]) if "Item" in answer else 0

    def claim(self, link_id: str, generation: int) -> bool:
        """Take this number; False when it, or a higher one, was taken already."""
        with calling("dynamodb:PutItem"):
            try:
                self._db.put_item(
                    TableName=self._table,
                    Item={**self._key(link_id), "generation": {"N": str(generation)}},
                    ConditionExpression="attribute_not_exists(pk) OR generation < :claimed",
                    ExpressionAttributeValues={":claimed": {"N": str(generation)}},
                )
            except ClientError as error:
                if error_code(error) == "ConditionalCheckFailedException":
                    return False
                raise
        return True

    def _key(self, link_id: str) -> dict[str, dict[str, str]]:
        return {"pk": {"S": f"LINK#{link_id}"}, "sk": {"S": "GENERATION"}}
