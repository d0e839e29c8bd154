"""Phase `credential`: a commercial access key in GovCloud's secret, made anew when it has grown old.

A key that was replaced goes on working, so that no call fails which was begun with it, and functions that hold it have
time to read the secret again. The first deployment a day later deletes it.

Partitions share no roles, so this key is what the control plane and the proxy act with over there. It is never
shown, and never stored but in the secret.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from infra.deploy import secret_values
from infra.deploy.progress import DeploymentError
from infra.deploy.run import Before, Run
from infra.deploy.settings import COMMERCIAL, GOVCLOUD

NAME = "credential"
# A new access key is not known everywhere in AWS at once.
_KEY_SETTLES_SECONDS = 30.0
_MAXIMUM_ACCESS_KEYS = 2
# Functions read the secret again within minutes.
_REPLACED_FOR = timedelta(days=1)


class Credential:
    """See the module's description."""

    name = NAME
    needs: tuple[str, ...] = ("commercial", "govcloud")

    def require(self, run: Run) -> None:
        """The stored key is usable, or there is room for another."""
        keys, stored = _keys(run), _stored(run)
        if not _is_active(keys, stored) and len(keys) >= _MAXIMUM_ACCESS_KEYS:
            raise DeploymentError(
                NAME,
                f"{run.commercial['CrossPartitionUserName']} has {len(keys)} access keys and the secret "
                "holds none of them: delete one",
            )

    def before(self, run: Run) -> Before:
        """Which keys there were, and which version of the secret was current."""
        secrets = run.client("secretsmanager", GOVCLOUD)
        _, version_id = secret_values.current(secrets, run.govcloud["CommercialCredentialArn"])
        return {"version_id": version_id, "keys": sorted(_keys(run))}

    def act(self, run: Run) -> None:
        """Make a key and store it, unless the stored one is active and young enough."""
        user = run.commercial["CrossPartitionUserName"]
        stored, keys = _stored(run), _keys(run)
        iam = run.client("iam", COMMERCIAL)
        if _is_active(keys, stored):
            in_use = keys.pop(stored["aws_access_key_id"])
            age = datetime.now(UTC) - in_use.created_at
            is_old = age >= timedelta(days=run.settings.credential_days)
            if is_old or age >= _REPLACED_FOR:
                for key_id in [k for k, one in keys.items() if one.created_at <= in_use.created_at]:
                    iam.delete_access_key(UserName=user, AccessKeyId=key_id)
                    del keys[key_id]
                    run.say(NAME, f"{user}: a key that was replaced is deleted")
            if not is_old or keys:
                stays = f", and stays while {', '.join(keys)} is there" if is_old else ""
                run.say(NAME, f"{user}: the stored key is active, {age.days} days old{stays}")
                return
        key = iam.create_access_key(UserName=user)["AccessKey"]
        try:
            run.client("secretsmanager", GOVCLOUD).put_secret_value(
                SecretId=run.govcloud["CommercialCredentialArn"],
                SecretString=json.dumps(
                    {
                        **stored,
                        "aws_access_key_id": key["AccessKeyId"],
                        "aws_secret_access_key": key["SecretAccessKey"],
                        # IAM's own client may say `aws-global`.
                        "region": run.client("ec2", COMMERCIAL).meta.region_name,
                    }
                ),
            )
        except ClientError:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
            raise
        run.say(NAME, f"{user}: new access key stored as {run.govcloud['CommercialCredentialId']}")

    def check(self, run: Run) -> None:
        """IAM knows the stored key as our user's."""
        iam = run.client("iam", COMMERCIAL)
        user = run.commercial["CrossPartitionUserName"]
        key_id = _stored(run)["aws_access_key_id"]

        def unknown() -> str | None:
            answer = iam.get_access_key_last_used(AccessKeyId=key_id)
            return None if answer.get("UserName") == user else "the key is not known yet"

        run.until(NAME, _KEY_SETTLES_SECONDS, unknown)

    def undo(self, run: Run, before: Before) -> str:
        """The secret's earlier version again, if it had one, and the key of this deployment deleted."""
        iam = run.client("iam", COMMERCIAL)
        if not run.commercial:
            return "no commercial stack, so no key"
        user = run.commercial["CrossPartitionUserName"]
        if before["version_id"] is not None:
            secret_values.move_back(
                run.client("secretsmanager", GOVCLOUD),
                run.govcloud["CommercialCredentialArn"],
                before["version_id"],
            )
        ours = sorted(set(_keys(run)) - set(before["keys"]))
        for key_id in ours:
            iam.delete_access_key(UserName=user, AccessKeyId=key_id)
        return f"{len(ours)} access key(s) of this deployment deleted"


@dataclass(frozen=True, slots=True)
class _Key:
    active: bool
    created_at: datetime


def _keys(run: Run) -> dict[str, _Key]:
    """The user's access keys by id."""
    user = run.commercial["CrossPartitionUserName"]
    found = run.client("iam", COMMERCIAL).list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {
        item["AccessKeyId"]: _Key(item["Status"] == "Active", item["CreateDate"]) for item in found
    }


def _is_active(keys: dict[str, _Key], stored: dict[str, Any]) -> bool:
    key = keys.get(stored.get("aws_access_key_id", ""))
    return key is not None and key.active


def _stored(run: Run) -> dict[str, Any]:
    secret_id = run.govcloud["CommercialCredentialArn"]
    text, _ = secret_values.current(run.client("secretsmanager", GOVCLOUD), secret_id)
    if text is None:
        return {}
    try:
        value: dict[str, Any] = json.loads(text)
    except ValueError:
        raise DeploymentError(NAME, f"{secret_id} holds no JSON") from None
    return value
