"""DynamoDB's items to and from plain values, and how the state table's keys are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize


def to_item(plain: Mapping[str, Any]) -> dict[str, Any]:
    """As DynamoDB wants it; what is None is left out."""
    return {key: _serialize(value) for key, value in plain.items() if value is not None}


def from_item(stored: Mapping[str, Any]) -> dict[str, Any]:
    """As plain values; numbers come as Decimal."""
    return {key: _deserialize(value) for key, value in stored.items()}


def link_key(link_id: str, sort: str) -> dict[str, str]:
    """The key of one of a link's items: `LEASE`, `HISTORY`, `PLAN`, …"""
    return {"pk": f"LINK#{link_id}", "sk": sort}
