"""Reading events: each source and variant, by its golden event, and what is left alone."""

import copy
from typing import Any

import pytest

from control_plane.domain.signals import READERS, Ignored, Signal, parse_event, read_log_payload
from tests.events.reading import GOLDEN, LINKS, event, pack, unpack


@pytest.mark.parametrize(
    ("name", "kind", "path", "about"),
    [
        ("alarm-single-metric", "alarm", "tunnel-1", "twinspan-bedrock-tunnel-1-down is ALARM"),
        ("alarm-insufficient-data", "alarm", "tunnel-1", "is INSUFFICIENT_DATA"),
        ("alarm-metric-math", "canary", "tunnel-2", "ops-share-of-lost-probes is ALARM"),
        ("alarm-canary-probe", "canary", "tunnel-2", "twinspan-bedrock-tunnel-2-probe is ALARM"),
        ("alarm-composite", "alarm", "tunnel-2", "twinspan-bedrock-tunnel-2-path is ALARM"),
        ("alarm-composite-suppressed", "alarm", "tunnel-2", "suppressed by WaitPeriod"),
        ("alarm-contributor", "alarm", "tunnel-1", "twinspan-bedrock-tunnel-1-down is ALARM"),
        ("network-manager-ipsec-down", "tunnel-event", "tunnel-1", "IPSEC-DOWN on vpn-1 tunnel"),
        ("network-manager-ipsec-up", "tunnel-event", "tunnel-1", "VPN-CONNECTION-IPSEC-UP on"),
        ("network-manager-bgp-down", "tunnel-event", "tunnel-1", "tunnel 203.0.113.71"),
        ("network-manager-bgp-establish", "tunnel-event", "tunnel-1", "BGP-ESTABLISH on vpn-1"),
        ("network-manager-kebab-case", "tunnel-event", "tunnel-1", "tunnel 203.0.113.71"),
        ("network-manager-cloud-wan-bgp-down", "tunnel-event", "tunnel-2", "BGP-DOWN on vpn-2"),
        (
            "network-manager-route-installed",
            "routing-event",
            "tunnel-2",
            "TGW-ROUTE-INSTALLED in tgw-rtb-1: 172.16.3.0/24 active",
        ),
        (
            "network-manager-route-uninstalled",
            "routing-event",
            None,
            "TGW-ROUTE-UNINSTALLED in tgw-rtb-1: 172.16.1.0/24 blackhole",
        ),
        (
            "cloudtrail-replace-route",
            "api-call",
            None,
            "ReplaceRoute on rtb-gov 172.16.0.0/16 by j.doe",
        ),
        (
            "cloudtrail-delete-transit-gateway-route",
            "api-call",
            None,
            "DeleteTransitGatewayRoute on tgw-rtb-1 172.16.1.0/24 by j.doe",
        ),
        ("cloudtrail-delete-vpc-endpoints", "api-call", None, "DeleteVpcEndpoints on vpce-0 by"),
        (
            "cloudtrail-modify-vpn-tunnel-options",
            "api-call",
            "tunnel-2",
            "ModifyVpnTunnelOptions on vpn-2 by j.doe",
        ),
        ("parameter-change-policy", "parameter-change", None, "Update of /twinspan/bedrock/policy"),
        (
            "parameter-change-routing-config",
            "parameter-change",
            None,
            "Update of /twinspan/bedrock/routing-config",
        ),
        ("vpn-log-ike-down", "tunnel-log", "tunnel-1", "IKE phase 1 is down on vpn-1 tunnel"),
        ("vpn-log-bgp-down", "tunnel-log", "tunnel-2", "BGP is DOWN on vpn-2 tunnel 203.0.113.72"),
        ("vpn-log-route-withdrawn", "tunnel-log", "tunnel-2", "route 172.16.3.0/24 was withdrawn"),
        ("tunnel-log", "tunnel-log", "tunnel-1", "IKE phase 1 is down on vpn-1"),
        (
            "path-report-open",
            "path-report",
            "tunnel-1",
            "proxy breaker open on tunnel-1: connect_timeout",
        ),
        ("path-report-closed", "path-report", "tunnel-1", "proxy breaker closed on tunnel-1"),
        ("canary-result-failed", "canary", "tunnel-1", "canary failed on tunnel-1: 0 of 2"),
        ("sweep", "sweep", None, "the periodic sweep"),
    ],
)
def test_each_golden_event_names_its_link_and_what_to_look_at(
    name: str, kind: str, path: str | None, about: str
) -> None:
    """Every source and variant that we subscribe to is understood."""
    signal = parse_event(event(name), LINKS)
    assert isinstance(signal, Signal)
    assert (signal.link_id, signal.kind, signal.path) == ("bedrock", kind, path)
    assert about in signal.about


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cloudtrail-replace-route-own", "was our own, by twinspan-bedrock-apply"),
        ("cloudtrail-delete-route-failed", "DeleteRoute failed: Client.UnauthorizedOperation"),
        ("canary-result-passed", "the canary's probe of tunnel-1 passed"),
        ("vpn-log-established", "no line speaks of a loss"),
        ("vpn-log-control-message", "a message of the subscription itself"),
    ],
)
def test_what_changes_nothing_is_left_alone_and_out_of_the_journal(name: str, reason: str) -> None:
    """Our own echo, a refused call and a routine log line wake nobody, and are no news."""
    read = parse_event(event(name), LINKS)
    assert isinstance(read, Ignored)
    assert reason in read.reason
    assert (read.malformed, read.unmatched, read.audit) == (None, None, None)


def test_aws_health_is_kept_for_the_record_and_never_followed() -> None:
    """Health comes hours late: it is an entry for each status of an occurrence, and no signal."""
    opened = parse_event(event("health-vpn-redundancy-loss"), LINKS)
    assert isinstance(opened, Ignored)
    assert opened.audit is not None and opened.audit.endswith(" open")
    closing = event("health-vpn-redundancy-loss")
    closing["detail"]["statusCode"] = "closed"
    closed = parse_event(closing, LINKS)
    assert isinstance(closed, Ignored) and closed.audit != opened.audit


def test_there_is_a_golden_event_for_every_reader_and_a_reader_for_every_event() -> None:
    """A reader without a golden event, or a golden event without a reader, would go unnoticed."""
    sources = {
        (document["source"], document["detail-type"])
        for document in map(event, GOLDEN)
        if "source" in document
    }
    assert sources == set(READERS)


# -- resources and links -----------------------------------------------------------------------------


def _elsewhere(name: str) -> dict[str, Any]:
    """The golden event with all its resources replaced by a stranger's."""
    document = event(name)
    if "awslogs" in document:
        return pack(_renamed(unpack(document)))
    return {**document, **_renamed({k: document[k] for k in ("resources", "detail")})}


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if isinstance(value, str):
        for ours in ("vpn-1", "vpn-2", "tgw-rtb-1", "tgw-1", "rtb-gov", "vpce-0"):
            value = value.replace(ours, f"{ours[:-1]}99")
        return value.replace("bedrock", "granite")
    return value


@pytest.mark.parametrize(
    ("name", "unmatched"),
    [
        ("alarm-single-metric", "alarm twinspan-granite-tunnel-1-down"),
        ("alarm-composite", "alarm twinspan-granite-tunnel-2-path"),
        ("network-manager-bgp-down", "vpn-99"),
        ("network-manager-kebab-case", "vpn-99"),
        ("network-manager-connect-peer-down", "core-network-0123456789abcdef0"),
        ("network-manager-route-uninstalled", "tgw-99"),
        ("health-vpn-redundancy-loss", "vpn-99"),
        ("cloudtrail-replace-route", "rtb-go99"),
        ("cloudtrail-delete-transit-gateway-route", "tgw-rtb-99"),
        ("cloudtrail-delete-vpc-endpoints", "vpce-9"),
        ("parameter-change-policy", "/twinspan/granite/policy"),
        ("vpn-log-ike-down", "vpn-99"),
        ("tunnel-log", "vpn-99"),
        ("path-report-open", "link granite"),
        ("canary-result-failed", "link granite"),
    ],
)
def test_what_belongs_to_no_known_link_is_named(name: str, unmatched: str) -> None:
    """A stranger's resource is no signal, and its name is there for the journal."""
    read = parse_event(_elsewhere(name), LINKS)
    assert isinstance(read, Ignored)
    assert (read.unmatched, read.malformed) == (unmatched, None)


def test_the_topology_says_which_link_a_resource_belongs_to() -> None:
    """With two links known, an event leads to the one whose topology has the connection."""
    both = {**LINKS, "granite": _granite()}
    ours = parse_event(event("network-manager-bgp-down"), both)
    theirs = parse_event(_elsewhere("network-manager-bgp-down"), both)
    assert isinstance(ours, Signal) and isinstance(theirs, Signal)
    assert (ours.link_id, theirs.link_id) == ("bedrock", "granite")


def _granite() -> Any:
    ours = LINKS["bedrock"]
    paths = tuple(p.model_copy(update={"vpn_connection_id": "vpn-99"}) for p in ours.paths[:1])
    return ours.model_copy(update={"link_id": "granite", "paths": paths})


def test_a_resource_of_one_path_tells_more_than_one_that_paths_share() -> None:
    """A route of the shared table towards one path's router is about that path."""
    call = event("cloudtrail-replace-route")
    call["detail"]["requestParameters"]["networkInterfaceId"] = "eni-router-b"
    read = parse_event(call, LINKS)
    assert isinstance(read, Signal)
    assert (read.path, read.resource) == ("tunnel-2", "eni-router-b")


def test_an_alarm_of_a_link_with_a_longer_name_is_that_links() -> None:
    """Link `bedrock-tunnel` is not link `bedrock` with an alarm `tunnel-…`."""
    longer = LINKS["bedrock"].model_copy(update={"link_id": "bedrock-tunnel"})
    alarm = event("alarm-composite")
    alarm["detail"]["alarmName"] = "twinspan-bedrock-tunnel-tunnel-1-path"
    read = parse_event(alarm, {**LINKS, "bedrock-tunnel": longer})
    assert isinstance(read, Signal)
    assert (read.link_id, read.path) == ("bedrock-tunnel", "tunnel-1")


def test_a_composite_alarm_with_an_unreadable_reason_is_known_by_its_rule() -> None:
    """What triggered it may be nested beyond reading; the alarms in its rule still tell the path."""
    alarm = event("alarm-composite-suppressed")
    alarm["detail"]["state"]["reasonData"] = "[" * 100_000
    read = parse_event(alarm, LINKS)
    assert isinstance(read, Signal)
    assert read.path == "tunnel-2"


@pytest.mark.parametrize(
    ("time", "read_as"),
    [
        ("2026-03-01T12:00:23Z", "2026-03-01T12:00:23+00:00"),
        ("2019-10-02T17:04:40.989+0000", "2019-10-02T17:04:40.989000+00:00"),
        ("2026-03-01T12:00:23", "2026-03-01T12:00:23+00:00"),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("yesterday", None),
        (1772366423, None),
    ],
)
def test_an_absurd_time_leaves_a_signal_undated(time: Any, read_as: str | None) -> None:
    """A time that cannot be right makes a signal neither stale nor everlasting."""
    read = parse_event({**event("path-report-open"), "time": time}, LINKS)
    assert isinstance(read, Signal)
    assert (read.occurred_at.isoformat() if read.occurred_at else None) == read_as


# -- who changed it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("function", ["apply", "recover", "roll-back"])
def test_the_calls_of_every_function_that_writes_routes_are_our_own(function: str) -> None:
    """What the workflow writes does not start the workflow."""
    echo = event("cloudtrail-replace-route-own")
    echo["detail"]["userIdentity"]["arn"] = (
        f"arn:aws-us-gov:sts::111111111111:assumed-role/SomeRole/twinspan-bedrock-{function}"
    )
    assert isinstance(parse_event(echo, LINKS), Ignored)


@pytest.mark.parametrize(
    ("identity", "who"),
    [
        ({"type": "IAMUser", "userName": "j.doe"}, "j.doe"),
        (
            {"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/R/twinspan-other-apply"},
            "twinspan-other-apply",
        ),
        (
            {"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/R/twinspan-bedrock-canary"},
            "twinspan-bedrock-canary",
        ),
        ({"type": "AWSService", "invokedBy": "vpn.amazonaws.com"}, "AWSService vpn.amazonaws.com"),
        ({"type": "FederatedUser", "arn": "twinspan-bedrock-apply"}, "FederatedUser twinspan"),
        (None, "unknown ?"),
        ("twinspan-bedrock-apply", "unknown ?"),
    ],
)
def test_anybody_elses_call_is_followed_and_says_who(identity: Any, who: str) -> None:
    """Only the link's own writers are filtered out; of others the signal tells the name."""
    call = event("cloudtrail-replace-route")
    call["detail"]["userIdentity"] = identity
    read = parse_event(call, LINKS)
    assert isinstance(read, Signal)
    assert f"by {who}" in read.about


def test_the_commercial_sides_own_user_is_filtered_out() -> None:
    """Events of the commercial account, where they are forwarded, know our calls by the user."""
    call = event("cloudtrail-replace-route")
    call["detail"]["userIdentity"] = {
        "type": "IAMUser",
        "userName": "twinspan-bedrock-cross-partition",
    }
    assert isinstance(parse_event(call, LINKS), Ignored)


def test_both_shapes_of_request_parameters_lead_to_the_same_signal() -> None:
    """A call is understood whether its parameters lie flat or under the request's name."""
    flat = event("cloudtrail-replace-route")
    nested = copy.deepcopy(flat)
    nested["detail"]["requestParameters"] = {
        "ReplaceRouteRequest": {
            "RouteTableId": {"tag": 1, "content": "rtb-gov"},
            "DestinationCidrBlock": "172.16.0.0/16",
        }
    }
    assert parse_event(nested, LINKS) == parse_event(flat, LINKS)


# -- logs --------------------------------------------------------------------------------------------


def test_many_lines_about_a_tunnel_make_one_signal_and_carry_its_time() -> None:
    """A tunnel that logs its loss ten times in a batch is looked at once, as of the first line."""
    payload = unpack(event("vpn-log-ike-down"))
    payload["logEvents"] = [
        {**item, "timestamp": item["timestamp"] + second * 1000}
        for second in range(10)
        for item in payload["logEvents"]
    ]
    (read,) = read_log_payload(pack(payload), LINKS)
    assert isinstance(read, Signal)
    assert read.occurred_at is not None
    assert read.occurred_at.isoformat() == "2026-03-01T12:00:23.001000+00:00"


@pytest.mark.parametrize("data", [None, 7, "", "%%%", "aGVsbG8=", "é"])
def test_a_payload_that_does_not_unpack_is_malformed(data: Any) -> None:
    """Something else than base64 of gzip of JSON is named as such."""
    read = parse_event({"awslogs": {"data": data}}, LINKS)
    assert isinstance(read, Ignored)
    assert read.malformed == "awslogs.data"


def test_a_payload_that_unpacks_without_end_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small packet that unpacks to more than a log batch can hold is refused, not unpacked."""
    monkeypatch.setattr("control_plane.domain.signals.vpn_logs.MAXIMUM_UNPACKED_BYTES", 1000)
    payload = unpack(event("vpn-log-ike-down"))
    payload["logEvents"] *= 1000
    read = parse_event(pack(payload), LINKS)
    assert isinstance(read, Ignored)
    assert read.malformed == "awslogs.data"


# -- malformed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "source"),
        ({"source": 5}, "source"),
        ({"source": "aws.ec2"}, "detail"),
        ({"source": "aws.ec2", "detail": {}, "detail-type": "?"}, "detail-type"),
        (
            {"source": "twinspan.sweep", "detail-type": "Twinspan Sweep", "detail": {}},
            "detail.link_id",
        ),
    ],
)
def test_an_unknown_shape_names_the_field(document: dict[str, Any], field: str) -> None:
    """What is wrong with an event is said by field."""
    read = parse_event(document, LINKS)
    assert isinstance(read, Ignored)
    assert read.malformed == field


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("alarm-single-metric", "alarmName"),
        ("network-manager-bgp-down", "changeType"),
        ("network-manager-route-installed", "changeType"),
        ("health-vpn-redundancy-loss", "eventTypeCode"),
        ("cloudtrail-replace-route", "eventName"),
        ("parameter-change-policy", "name"),
        ("parameter-change-policy", "operation"),
        ("tunnel-log", "vpn_connection_id"),
        ("path-report-open", "link_id"),
        ("canary-result-failed", "link_id"),
        ("canary-result-failed", "passed"),
        ("sweep", "link_id"),
    ],
)
def test_an_event_without_its_essential_field_says_which(name: str, without: str) -> None:
    """Each reader names the field that it cannot do without."""
    document = event(name)
    del document["detail"][without]
    read = parse_event(document, LINKS)
    assert isinstance(read, Ignored)
    assert read.malformed == f"detail.{without}"
