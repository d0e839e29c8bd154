"""The states of CloudWatch alarms, as they are now."""

from __future__ import annotations

from collections.abc import Sequence

from control_plane.adapters.aws import AwsSession, calling


class Alarms:
    """Alarms of one account and region."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    def ringing(self, prefix: str, names: Sequence[str]) -> tuple[str, ...]:
        """Names of the alarms in ALARM, metric and composite: all that begin with `prefix`, and these.

        Raises:
            AwsUnavailable, AwsRefused: the states could not be read.
        """
        wanted = [{"AlarmNamePrefix": prefix}]
        found = set()
        if names:
            wanted.append({"AlarmNames": list(names)})  # type: ignore[dict-item]
        with calling("cloudwatch:DescribeAlarms"):
            pages = self._session.client("cloudwatch").get_paginator("describe_alarms")
            for one in wanted:
                both = {"StateValue": "ALARM", "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
                for page in pages.paginate(**one, **both):
                    alarms = page.get("MetricAlarms", []) + page.get("CompositeAlarms", [])
                    found |= {str(alarm["AlarmName"]) for alarm in alarms}
        return tuple(sorted(found))
