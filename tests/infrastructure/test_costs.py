"""What the statement of costs counts in the templates is there, and nothing else is."""

from __future__ import annotations

from collections import Counter

from infra import costs
from infra.rendering import EVERYTHING, render


def test_every_alarm_is_paid_for() -> None:
    """CloudWatch bills a metric alarm by the metrics that it looks at, and a composite alarm as one."""
    counted: Counter[str] = Counter()
    for side, parameters in EVERYTHING.items():
        for item in render(side, parameters).values():
            if item.type_name == "AWS::CloudWatch::CompositeAlarm":
                counted["composite"] += 1
            elif item.type_name == "AWS::CloudWatch::Alarm":
                kind = "sweep" if item.logical_id.endswith("NotSweptAlarm") else "link"
                queries = item.properties.get("Metrics", [{"MetricStat": "the only one"}])
                counted[kind] += sum("MetricStat" in query for query in queries)
    assert counted == {
        "composite": costs.COMPOSITE_ALARMS_A_LINK,
        "link": costs.ALARMED_METRICS_A_LINK,
        "sweep": costs.ALARMED_METRICS_OF_THE_SWEEP,
    }
