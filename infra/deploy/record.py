"""The deployment's record: what it found before it changed anything, and how far it came.

It lies in the artifact bucket, beside what it leads back to, and outlives both stacks. With it an interrupted
deployment is continued by whoever repeats it, and what it undoes is then still what was there before the
*first* attempt, not what that one left half done. The bucket keeps its versions, so earlier records stay.

Not guaranteed: two deployments of one link at once. CloudFormation refuses the second change of a stack, the
record does not.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from botocore.exceptions import ClientError

from infra.deploy.progress import DeploymentError
from infra.deploy.run import Run
from infra.deploy.settings import GOVCLOUD

_SCHEMA_VERSION = 1
_ABSENT = ("NoSuchKey", "NoSuchBucket", "404")


class RecordState(StrEnum):
    """How a deployment stands. One that is under way when it is read was interrupted."""

    UNDER_WAY = "under-way"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled-back"


@dataclass(slots=True)
class Record:
    """`before`: by phase in the order they began, what `Phase.undo` goes back to. `done`: phases that kept their
    promise. `failure`: the last one, for people."""

    link_id: str
    deployment_id: str
    begun_at: str
    state: RecordState = RecordState.UNDER_WAY
    before: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    failure: str | None = None

    @classmethod
    def new(cls, link_id: str) -> Self:
        """Of a deployment that begins now."""
        return cls(link_id, uuid.uuid4().hex[:12], datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def is_first(self) -> bool:
        """Whether the link had no GovCloud stack before."""
        return not self.before.get(GOVCLOUD, {}).get("existed", False)


def load(run: Run) -> Record | None:
    """The link's last record, None if there is none.

    Raises:
        DeploymentError: it cannot be read, or a newer Twinspan wrote it.
    """
    key = _key(run)
    try:
        answer = run.client("s3", GOVCLOUD).get_object(Bucket=run.bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return None
        raise
    try:
        value = json.loads(answer["Body"].read())
        version = value.pop("schema_version")
        if version != _SCHEMA_VERSION:
            raise ValueError(f"schema_version is {version}, {_SCHEMA_VERSION} is understood")
        return Record(**{**value, "state": RecordState(value["state"])})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeploymentError(
            "preflight", f"s3://{run.bucket}/{key} is no record of a deployment: {error}"
        ) from None


def save(run: Run, record: Record) -> None:
    """Store the record."""
    text = json.dumps({"schema_version": _SCHEMA_VERSION, **asdict(record)}, indent=1)
    run.client("s3", GOVCLOUD).put_object(Bucket=run.bucket, Key=_key(run), Body=text.encode())


def _key(run: Run) -> str:
    return f"deployments/{run.settings.link_id}.json"
