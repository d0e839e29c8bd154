"""What is watched is published: alarms, dashboard and documentation know the metrics by their real names."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from control_plane.domain.observation import ProbeResult
from control_plane.functions import canary
from infra import permissions_page, router_watching
from infra.rendering import EVERYTHING, render
from proxy.audit_rows import RequestRecord
from proxy.messages import Refused, Request
from proxy.metrics import Metrics
from state_machine import runtime
from tests.infrastructure.test_compliance import ROOT
from tests.proxy.worlds import run, world

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
OURS = ("Twinspan", "CrossPartition", router_watching.NAMESPACE)
Named = tuple[str, str, frozenset[str]]


def embedded(lines: list[str]) -> set[Named]:
    """Namespace, name and dimensions of each metric in lines of the embedded format."""
    found = set()
    for line in lines:
        for directive in json.loads(line)["_aws"]["CloudWatchMetrics"]:
            for metric in directive["Metrics"]:
                for dimensions in directive["Dimensions"]:
                    found.add((directive["Namespace"], metric["Name"], frozenset(dimensions)))
    return found


def reported(root: Path) -> list[str]:
    """The lines of metrics that an edge router writes in a minute."""
    peers = ["169.254.1.1", "169.254.2.1"]
    for path, text in router_watching.files("bedrock", "twinspan-bedrock-router-a", peers).items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    subprocess.run(
        [sys.executable, str(root / "etc/twinspan/report")],
        env={"TWINSPAN_ROOT": str(root), "PATH": ""},
        check=True,
        timeout=60,
    )
    return (root / "var/log/twinspan/metrics.log").read_text().splitlines()


@pytest.fixture
def published(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> set[Named]:
    """What proxy, canary, steps and routers print, each with the environment that it has."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "its own")
    canary.publish(
        "bedrock",
        ProbeResult(path="tunnel-1", attempts=2, answered=2, required=2, median_latency_ms=12.0),
    )
    runtime.measure(SimpleNamespace(link_id="bedrock", execution="a run"), "observe", 1.0)  # type: ignore[arg-type]
    metrics = Metrics("bedrock")
    at = datetime(2026, 3, 1, tzinfo=UTC)
    metrics.observe(RequestRecord("a", "converse", "10.0.1.7", "anybody", at, 0.0))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return embedded([*lines, *metrics.embedded(1), *reported(tmp_path)])


def watched() -> Iterator[Named]:
    """Metrics of ours that alarms and the dashboard name."""
    for side, parameters in EVERYTHING.items():
        for item in render(side, parameters).values():
            if item.type_name == "AWS::CloudWatch::Alarm":
                stats = [
                    m["MetricStat"]["Metric"]
                    for m in item.properties.get("Metrics", [])
                    if "MetricStat" in m
                ]
                for metric in stats or [item.properties]:
                    names = frozenset(d["Name"] for d in metric.get("Dimensions", []))
                    yield metric["Namespace"], metric["MetricName"], names
            if item.type_name == "AWS::CloudWatch::Dashboard":
                yield from drawn(json.loads(item.properties["DashboardBody"]))


def drawn(dashboard: dict[str, Any]) -> Iterator[Named]:
    """What the widgets of a dashboard draw, searches included."""
    for widget in dashboard["widgets"]:
        for namespace, *rest in widget["properties"].get("metrics", []):
            if isinstance(namespace, str):
                words = [word for word in rest if isinstance(word, str)]
                yield namespace, words[0], frozenset(words[1::2])
                continue
            search = re.search(r"\{([^}]+)\} MetricName=\"(\w+)\"", namespace["expression"])
            if search is not None:
                schema, *names = search[1].split(",")
                yield schema, search[2], frozenset(names)


def test_what_is_watched_of_ours_is_published_by_that_name(published: set[Named]) -> None:
    """An alarm on a namespace, a name or a dimension that nothing publishes would never ring."""
    asked = {metric for metric in watched() if metric[0] in OURS}
    assert len(asked) >= 10
    assert asked <= published


def test_the_stages_of_a_switch_are_drawn_from_what_its_runs_publish() -> None:
    """Detect, decide, validate, switch and adopt, each made of steps that there are and of the two measured spans."""
    (board,) = (
        item.properties["DashboardBody"]
        for item in render("govcloud", EVERYTHING["govcloud"]).values()
        if item.type_name == "AWS::CloudWatch::Dashboard"
    )
    (widget,) = (
        w["properties"] for w in json.loads(board)["widgets"] if "time of a switch" in str(w)
    )
    measured = {m[-1]["id"]: m[5] for m in widget["metrics"] if m[0] == "Twinspan"}
    drawn = {m[0]["label"]: m[0]["expression"] for m in widget["metrics"] if len(m) == 1}
    steps = {path.stem for path in (ROOT / "state_machine" / "steps").glob("[a-z]*.py")}
    assert set(measured.values()) <= steps | {"detect", "adopt"}
    made_of = {
        label: [measured[name] for name in re.findall(r"FILL\((\w+),0\)", expression)]
        for label, expression in drawn.items()
    }
    assert made_of == {
        "detect": ["detect"],
        "decide": ["acquire_lease", "observe", "decide"],
        "validate": ["plan", "probe_target"],
        "switch": ["apply", "publish"],
        "adopt": ["adopt"],
    }


def test_the_page_of_metrics_knows_what_is_published_and_what_is_watched(
    published: set[Named],
) -> None:
    """By every name in CloudWatch, and of AWS's own by namespace too."""
    names = {name for _, name, _ in published}
    names |= {name.rpartition("-")[2] for namespace, name, _ in watched() if namespace not in OURS}
    names |= {namespace for namespace, _, _ in watched() if namespace not in OURS}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()


@run
async def test_the_page_of_metrics_knows_what_the_server_exposes() -> None:
    """Every family of the text exposition, and no other."""
    async with world() as w:
        await w.call()
        w.core.api.refusal(Refused(401, "AccessDeniedException", "a test"), {})
        w.core.carrier.counters.attempts_failed["tunnel-1", "reset"] = 1
        answer = await w.core.handle(Request("GET", "/metrics", {}, b"", "", "anonymous"))
    assert isinstance(answer.body, bytes)
    exposed = set(re.findall(r"^# TYPE (\w+)", answer.body.decode(), re.MULTILINE))
    assert exposed == set(re.findall(r"`(twinspan_proxy_\w+)`", PAGE))


def test_the_page_of_roles_is_made_from_the_templates() -> None:
    """`python -m infra.permissions_page` has been run since a role changed."""
    assert (ROOT / "docs" / "reference" / "iam.md").read_text() == permissions_page.page()
