"""The link's data: where it lies, whether there is any, and the lifting of what protects it.

Data is what nobody can make again: state and journal, the audit of requests, callers' keys, evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.deploy.clients import Clients
from infra.deploy.settings import GOVCLOUD

TABLES = ("StateTableName", "AuditTableName", "KeysTableName")
BUCKET = "EvidenceBucketName"


def holds_data(clients: Clients, outputs: Mapping[str, str]) -> str | None:
    """The name of a table or bucket of the GovCloud stack that holds something, or None."""
    dynamodb = clients.client("dynamodb", GOVCLOUD)
    for name in TABLES:
        if name in outputs:
            # A page may be empty with more to come only under a filter, and there is none.
            found = dynamodb.scan(TableName=outputs[name], Limit=1, ConsistentRead=True)
            if found["Items"]:
                return f"table {outputs[name]}"
    if BUCKET in outputs:
        s3 = clients.client("s3", GOVCLOUD)
        found = s3.list_object_versions(Bucket=outputs[BUCKET], MaxKeys=1)
        if found.get("Versions") or found.get("DeleteMarkers"):
            return f"bucket {outputs[BUCKET]}"
    return None


def kept(outputs: Mapping[str, str]) -> list[str]:
    """The tables and the bucket of the GovCloud stack, in words."""
    tables = [f"table {outputs[name]}" for name in TABLES if name in outputs]
    return tables + ([f"bucket {outputs[BUCKET]}"] if BUCKET in outputs else [])


def lift(clients: Clients, outputs: Mapping[str, str]) -> None:
    """Let tables be deleted, and empty the bucket, which otherwise could not be."""
    dynamodb = clients.client("dynamodb", GOVCLOUD)
    for name in TABLES:
        if name in outputs:
            dynamodb.update_table(TableName=outputs[name], DeletionProtectionEnabled=False)
            dynamodb.get_waiter("table_exists").wait(TableName=outputs[name])
    if BUCKET in outputs:
        _empty(clients.client("s3", GOVCLOUD), outputs[BUCKET])


def _empty(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        entries = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if entries:
            objects = [{"Key": e["Key"], "VersionId": e["VersionId"]} for e in entries]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects, "Quiet": True})
