"""What the two phases that are a stack have in common: the way back.

CloudFormation undoes by itself an operation that failed. What is left to do is the rest: delete the shell of a
stack that never came to be, continue a rollback that got stuck, and take a stack back whose operation went well
but whose check did not. The last needs what the stack was before: its template goes into the artifact bucket and
its parameters into the deployment's record.
"""

from __future__ import annotations

import hashlib

from infra.deploy.progress import DeploymentError
from infra.deploy.run import Before, Run
from infra.deploy.settings import GOVCLOUD
from infra.stacks import MAXIMUM_BODY_BYTES, StackSource


def remember(run: Run, side: str, stack: str) -> Before:
    """Where `go_back` leads: JSON without secrets."""
    source = run.stacks(side).source_of(stack)
    if source is None:
        return {"existed": False}
    assert source.body is not None, "an existing stack has its template's text"
    content = source.body.encode()
    key = f"previous/{stack}-{hashlib.sha256(content).hexdigest()[:16]}.yaml"
    run.client("s3", GOVCLOUD).put_object(Bucket=run.bucket, Key=key, Body=content)
    return {
        "existed": True,
        "template_key": key,
        "parameters": dict(source.parameters),
        "tags": dict(source.tags or {}),
    }


def go_back(run: Run, side: str, stack: str, before: Before) -> str:
    """Take an existing stack back to what it was; returns what was done.

    Raises:
        StackError, botocore.exceptions.ClientError: it could not be done.
    """
    stacks = run.stacks(side)
    described = stacks.describe(stack)
    if described is None:
        raise DeploymentError(side, f"stack {stack} is gone; deploying again makes it anew")
    if described["StackStatus"] == "UPDATE_ROLLBACK_FAILED":
        status = stacks.go_on_rolling_back(stack)
        if status != "UPDATE_ROLLBACK_COMPLETE":
            raise DeploymentError(
                side,
                f"stack {stack} is {status}: mend what its events name, or continue the rollback "
                "in CloudFormation leaving those resources out",
            )
    plan = stacks.plan(_source(run, side, stack, before))
    if plan.change_set_id is None:
        return f"stack {stack} is as it was before"
    stacks.execute(plan)
    return f"stack {stack} went back to its previous template and parameters"


def remove_failed(run: Run, side: str, stack: str) -> str | None:
    """Delete the shell of a stack that failed to be created; None if there is more than a shell."""
    stacks = run.stacks(side)
    described = stacks.describe(stack)
    if described is None:
        return f"stack {stack}: nothing was made"
    if described["StackStatus"] in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "REVIEW_IN_PROGRESS"):
        stacks.delete(stack)
        return f"stack {stack}: what its failed creation left is deleted"
    return None


def _source(run: Run, side: str, stack: str, before: Before) -> StackSource:
    key = str(before["template_key"])
    stored = run.client("s3", GOVCLOUD).get_object(Bucket=run.bucket, Key=key)
    body = stored["Body"].read().decode()
    # The bucket is GovCloud's, and CloudFormation of the other partition cannot read it.
    by_url = side == GOVCLOUD and len(body.encode()) > MAXIMUM_BODY_BYTES
    return StackSource(
        name=stack,
        parameters=dict(before["parameters"]),
        tags=dict(before["tags"]),
        body=None if by_url else body,
        url=f"{run.bucket_url}/{key}" if by_url else None,
    )
