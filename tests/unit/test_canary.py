"""What the canary publishes is what its alarms watch."""

import json
from pathlib import Path

import pytest
from cfnlint.decode.cfn_yaml import load

from control_plane.domain.observation import ProbeResult
from control_plane.functions.canary import NAMESPACE, publish

TEMPLATE = Path(__file__).parent.parent.parent / "infra/templates/govcloud/monitoring.yaml"


def seen(answered: int) -> ProbeResult:
    latency_ms = 12.5 if answered else None
    return ProbeResult(
        path="tunnel-1", attempts=2, answered=answered, required=2, median_latency_ms=latency_ms
    )


@pytest.fixture
def published(monkeypatch, capsys):
    """What a deployed canary, which is told its service's name, writes about a result."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "canary")

    def write(result):
        publish("bedrock", result)
        return json.loads(capsys.readouterr().out)

    return write


def watched() -> list[tuple[str, frozenset[str]]]:
    """Metric and dimensions of every alarm on what the canary publishes."""
    resources = load(str(TEMPLATE))["Resources"].values()
    alarms = [r["Properties"] for r in resources if r["Type"] == "AWS::CloudWatch::Alarm"]
    return [
        (alarm["MetricName"], frozenset(one["Name"] for one in alarm["Dimensions"]))
        for alarm in alarms
        if alarm.get("Namespace") == NAMESPACE and alarm["MetricName"].startswith("PathProbe")
    ]


def test_alarms_watch_the_very_dimensions_that_are_published(published):
    """CloudWatch knows a metric by all of its dimensions: one too many, and the alarm sees no data."""
    directive = published(seen(2))["_aws"]["CloudWatchMetrics"][0]
    assert directive["Namespace"] == NAMESPACE
    metrics = {one["Name"] for one in directive["Metrics"]}
    assert watched()
    for metric, dimensions in watched():
        assert metric in metrics
        assert dimensions == frozenset(directive["Dimensions"][0])


@pytest.mark.parametrize(("answered", "success"), [(2, 1.0), (1, 0.0), (0, 0.0)])
def test_a_path_counts_as_working_when_enough_probes_were_answered(published, answered, success):
    """The metric is 1 or 0, by the policy's own measure."""
    document = published(seen(answered))
    assert document["PathProbeSuccess"] in (success, [success])
    assert (document["LinkId"], document["Path"]) == ("bedrock", "tunnel-1")
    assert ("PathProbeLatency" in document) == (answered > 0)
