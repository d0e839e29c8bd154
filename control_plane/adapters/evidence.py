"""What decisions were made from, kept under its hash: small in DynamoDB, large in the bucket."""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Any

from control_plane.adapters.aws import AwsSession, calling
from control_plane.adapters.items import from_item, to_item
from control_plane.domain.documents import canonical_json

# DynamoDB's limit is 400 KB an item; larger evidence goes to the bucket.
INLINE_EVIDENCE_BYTES = 300_000


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
                Item=to_item({"pk": f"EVIDENCE#{reference}", "sk": "BODY", "body": body}),
            )
        return reference

    def get(self, reference: str) -> Any:
        """The document with this reference.

        Raises:
            KeyError: there is none.
            ValueError: what is stored no longer has that hash.
        """
        key = to_item({"pk": f"EVIDENCE#{reference}", "sk": "BODY"})
        with calling("dynamodb:GetItem"):
            answer = self._db.get_item(TableName=self._table, Key=key, ConsistentRead=True)
        if "Item" not in answer:
            raise KeyError(reference)
        body = bytes(from_item(answer["Item"])["body"])
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
