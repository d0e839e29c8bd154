"""Values of secrets by their versions: read, and moved back, without ever being stored elsewhere."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

_CURRENT = "AWSCURRENT"


def current(secrets: Any, secret_id: str) -> tuple[str | None, str | None]:
    """A secret's text and the id of its version; twice None while no value was ever put into it."""
    try:
        answer = secrets.get_secret_value(SecretId=secret_id)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ResourceNotFoundException":
            return None, None  # the secret exists, and no value was ever put into it
        raise
    return str(answer["SecretString"]), str(answer["VersionId"])


def move_back(secrets: Any, secret_id: str, version_id: str) -> bool:
    """Make an earlier version the current one again; False when it is that already.

    Secrets Manager keeps the version before the last as `AWSPREVIOUS`; an older one may be gone.
    """
    _, now = current(secrets, secret_id)
    if now == version_id:
        return False
    arguments = {"RemoveFromVersionId": now} if now else {}
    secrets.update_secret_version_stage(
        SecretId=secret_id, VersionStage=_CURRENT, MoveToVersionId=version_id, **arguments
    )
    return True
