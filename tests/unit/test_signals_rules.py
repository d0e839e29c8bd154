"""The template's event rules let through what is a signal, and nothing that can be told apart before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.decode.cfn_yaml import load

from control_plane.domain.signals import READERS, Signal, parse_event
from infra.local.event_patterns import matches
from state_machine import picture
from tests.events.reading import GOLDEN, LINKS, event

TEMPLATE = Path(__file__).parents[2] / "infra" / "templates" / "govcloud" / "signals.yaml"
# EventBridge's quota for the text of a pattern.
MAXIMUM_PATTERN_CHARACTERS = 2048

# What the functions of the template stand for in the golden events' link.
_KNOWN = {
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "us-gov-west-1",
    "AWS::AccountId": "111111111111",
    "LinkId": "bedrock",
    "VpnConnection1Id": "vpn-1",
    "VpnConnection2Id": "vpn-2",
    "FunctionRouteTableId": "rtb-gov",
    "TransitGatewayRouteTableId": "tgw-rtb-1",
    **{
        f"{name}RoleArn": f"arn:aws-us-gov:iam::111111111111:role/twinspan-bedrock-govcloud-{name}Role-1ABCDEF"
        for name in ("Apply", "Recover", "RollBack")
    },
}


def _resolved(value: Any) -> Any:
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return _KNOWN[value["Ref"]]
    if "Fn::Sub" in value:
        return re.sub(r"\$\{([\w:]+)\}", lambda found: _KNOWN[found[1]], value["Fn::Sub"])
    return {key: _resolved(item) for key, item in value.items()}


PATTERNS = {
    name: json.loads(json.dumps(_resolved(resource["Properties"]["EventPattern"])))
    for name, resource in load(str(TEMPLATE))["Resources"].items()
    if resource["Type"] == "AWS::Events::Rule" and "EventPattern" in resource["Properties"]
}


def _let_through(document: dict[str, Any]) -> list[str]:
    return [name for name, pattern in PATTERNS.items() if matches(pattern, document)]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("alarm-single-metric", "AlarmsRule"),
        ("alarm-composite", "AlarmsRule"),
        ("alarm-canary-probe", "AlarmsRule"),
        ("network-manager-ipsec-down", "VpnStatusRule"),
        ("network-manager-ipsec-up", "VpnStatusRule"),
        ("network-manager-bgp-down", "VpnStatusRule"),
        ("network-manager-bgp-establish", "VpnStatusRule"),
        ("network-manager-kebab-case", "VpnStatusRule"),
        ("network-manager-route-installed", "RoutingUpdatesRule"),
        ("network-manager-route-uninstalled", "RoutingUpdatesRule"),
        ("health-vpn-redundancy-loss", "HealthRule"),
        ("cloudtrail-replace-route", "RouteChangesRule"),
        ("cloudtrail-delete-transit-gateway-route", "RouteChangesRule"),
        ("cloudtrail-modify-vpn-tunnel-options", "TunnelChangesRule"),
        ("parameter-change-policy", "ParameterChangesRule"),
        ("parameter-change-routing-config", "ParameterChangesRule"),
        ("tunnel-log", "VpnLogsRule"),
        ("canary-result-failed", "CanaryResultsRule"),
        ("path-report-open", "PathReportsRule"),
        ("path-report-closed", "PathReportsRule"),
    ],
)
def test_a_signal_starts_the_workflow_once(name: str, rule: str) -> None:
    """Exactly one rule lets the event through, so that it starts one execution."""
    assert _let_through(event(name)) == [rule]


@pytest.mark.parametrize(
    "name",
    [
        "cloudtrail-replace-route-own",
        "cloudtrail-delete-route-failed",
        "alarm-insufficient-data",
        "canary-result-passed",
    ],
)
def test_an_own_or_failed_call_starts_nothing(name: str) -> None:
    """What would only be ignored starts no execution where the rule can tell."""
    assert _let_through(event(name)) == []


def test_a_call_without_a_session_is_let_through() -> None:
    """A user's call has no session whose role could be compared, and is another's."""
    call = event("cloudtrail-replace-route")
    call["detail"]["userIdentity"] = {"type": "IAMUser", "userName": "j.doe"}
    assert _let_through(call) == ["RouteChangesRule"]


@pytest.mark.parametrize("name", [name for name in GOLDEN if "source" in event(name)])
def test_no_event_about_another_links_resources_starts_the_workflow(name: str) -> None:
    """Rules name this link's resources, so that the rest of the account causes no executions."""
    text = json.dumps(event(name)).replace("bedrock", "granite")
    for ours in ("vpn-1", "vpn-2", "tgw-rtb-1", "rtb-gov"):
        text = text.replace(ours, f"{ours[:-1]}99")
    assert _let_through(json.loads(text)) == []


def test_every_rule_waits_for_something_that_a_reader_reads() -> None:
    """A rule for an event without a reader would start executions that fail."""
    waited_for = {
        (source, kind)
        for pattern in PATTERNS.values()
        for source in pattern["source"]
        for kind in pattern["detail-type"]
    }
    assert waited_for <= set(READERS)


@pytest.mark.parametrize("rule", sorted(PATTERNS))
def test_a_pattern_is_no_longer_than_eventbridge_takes(rule: str) -> None:
    """A pattern that is too long fails only when it is deployed to AWS."""
    pattern = json.dumps(PATTERNS[rule], separators=(",", ":"))
    # Real ids are longer than the golden events' ones, by some 17 characters each.
    ids = sum(pattern.count(f'"{short}"') for short in _KNOWN.values())
    assert len(pattern) + 20 * ids <= MAXIMUM_PATTERN_CHARACTERS


def test_the_sweep_is_a_signal() -> None:
    """What a sweep starts a run with is read as the sweep of that link."""
    tasks = dict(picture.states(picture.definition("sweep")))
    event = tasks["StartRemediation"]["Parameters"]["Input"]
    event["AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"] = "arn:aws-us-gov:states:::execution:x"
    read = parse_event({**event, "detail": {"link_id": "bedrock"}}, LINKS)
    assert event["detail"] == {"link_id.$": "$.link_id"}
    assert isinstance(read, Signal)
    assert (read.kind, read.link_id) == ("sweep", "bedrock")
