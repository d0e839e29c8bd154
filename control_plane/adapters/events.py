"""Telling the account's default event bus: how a function outside the workflow has it look at a link."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from control_plane.adapters.aws import AwsSession, calling
from control_plane.errors import AwsUnavailable


class EventBus:
    """The default bus of one account and region."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def tell(
        self, source: str, detail_type: str, detail: dict[str, Any], at: datetime | None
    ) -> None:
        """Put one event; `at` is when it happened, None for now.

        Raises:
            AwsUnavailable, AwsRefused: the bus did not take it.
        """
        entry: dict[str, Any] = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": json.dumps(detail),
        }
        if at is not None:
            entry["Time"] = at
        with calling("events:PutEvents"):
            answer = self._session.client("events").put_events(Entries=[entry])
        for refused in answer.get("Entries", []):
            if "ErrorCode" in refused:
                raise AwsUnavailable("events:PutEvents", str(refused["ErrorCode"]))
