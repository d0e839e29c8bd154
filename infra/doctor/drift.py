"""Check `drift`: what was changed by hand since the link was deployed. Asked for by `--drift`, for it takes AWS minutes.

A drift stands in no deployment's way, and a deployment does not mend it: CloudFormation changes what the template changes.
The routes of managed tables are the workflow's to change, and are told of as such.
"""

from __future__ import annotations

from collections.abc import Iterator

from botocore.exceptions import ClientError

from infra import stack_drift
from infra.deploy.clients import Clients
from infra.deploy.settings import COMMERCIAL, DeploySettings
from infra.doctor.findings import Finding, Result
from infra.waiting import TimedOut

NAME = "drift"
_ROUTE = "AWS::EC2::Route"


def check(clients: Clients, side: str, settings: DeploySettings) -> Iterator[Finding]:
    """A warning for each resource that is not as its stack made it; nothing is changed."""
    stack = settings.commercial_stack if side == COMMERCIAL else settings.govcloud_stack
    try:
        looked = stack_drift.look(
            clients.client("cloudformation", side), stack, settings.poll_seconds
        )
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        yield Finding(NAME, side, Result.OK, f"there is no stack {stack} yet")
        return
    except TimedOut as error:
        yield Finding(NAME, side, Result.UNKNOWN, str(error), "look again in some minutes")
        return
    for item in looked.drifted:
        yield Finding(NAME, side, Result.WARNING, f"{item.stack}: {item}", _remedy(item))
    for name, reason in looked.unread:
        yield Finding(
            NAME, side, Result.UNKNOWN, f"{name}: {reason}", "allow reading what the stack holds"
        )
    if not looked.drifted and not looked.unread:
        detail = f"nothing was changed by hand in {stack} and the {looked.stacks - 1} stacks in it"
        yield Finding(NAME, side, Result.OK, detail)


def _remedy(item: stack_drift.Drifted) -> str:
    if item.type_name == _ROUTE:
        return "see `twinspan status`: a repair changes routes, and a failback or repair puts them back"
    return "put it back by hand, or take it into the template; a deployment alone does not"
