"""The VPN tunnels' logs: a line that speaks of a loss becomes an event, which starts the workflow.

Behind the subscription of the tunnels' log group. A loss is told within seconds, where an alarm takes minutes.
It decides nothing, and a line that is delivered twice wakes the workflow twice, which does no harm. What
cannot be sent makes the invocation fail, so that Lambda tries it again; what Lambda gives up on is lost, and
left to alarms and sweep.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from control_plane.domain.signals import (
    TUNNEL_LOG_DETAIL_TYPE,
    TUNNEL_LOG_SOURCE,
    Signal,
    read_log_payload,
    to_detail,
)
from control_plane.operations.begin import note_once
from control_plane.settings import Settings
from control_plane.wiring import Control


@cache
def _control() -> Control:
    return Control.from_settings(Settings.load())


def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, list[str]]:
    """Read one payload of the subscription; returns what was told, and why the rest was not."""
    return follow(_control(), event, f"vpn-logs {context.aws_request_id}")


def follow(control: Control, event: dict[str, Any], execution: str) -> dict[str, list[str]]:
    """Tell the event bus of each tunnel's loss; what matches no link is journaled once, for `execution`.

    Raises:
        AwsUnavailable, AwsRefused: an event or an entry could not be written.
    """
    link_id = control.settings.link_id
    topology = control.documents.topology(link_id)
    told, ignored = [], []
    for read in read_log_payload(event, {link_id: topology}):
        if isinstance(read, Signal):
            detail = to_detail(read)
            control.events.tell(TUNNEL_LOG_SOURCE, TUNNEL_LOG_DETAIL_TYPE, detail, read.occurred_at)
            told.append(read.about)
        else:
            note_once(control, link_id, read, execution, control.now())
            ignored.append(read.reason)
            if read.malformed is not None:
                Logger().warning("a payload of the log subscription", extra={"why": read.reason})
    return {"told": told, "ignored": ignored}
