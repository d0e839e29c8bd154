"""Whatever a snapshot holds, the model answers or refuses by name: it never fails otherwise."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.domain.route_model import InvalidQuestion, InvalidSnapshot, Network, Snapshot
from tests.unit.test_route_model_link import commercial, govcloud
from tests.unit.test_route_model_rules import (
    acl_ports,
    appliance_endpoint,
    edge_table,
    internet,
    peered_gateways,
    peered_vpcs,
    routers,
    vpn_gateway,
)

WHOLE = [
    cloud().data
    for cloud in (
        acl_ports,
        appliance_endpoint,
        commercial,
        edge_table,
        govcloud,
        internet,
        peered_gateways,
        peered_vpcs,
        routers,
        vpn_gateway,
    )
]
WRONG = st.sampled_from(
    [None, 7, -1, "", "x", "10.0.0.0/8", "::/0", [], [None], ["x"], {}, {"State": 1}, True, 1.5]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found += places(item, (*path, index))
    return found


PLACES = [places(data) for data in WHOLE]


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A whole snapshot with a few places missing or wrong."""
    number = draw(st.integers(0, len(WHOLE) - 1))
    data = copy.deepcopy(WHOLE[number])
    for path in draw(st.lists(st.sampled_from(PLACES[number]), min_size=1, max_size=4)):
        target: Any = data
        try:
            for step in path[:-1]:
                target = target[step]
            if draw(st.booleans()):
                del target[path[-1]]
            else:
                target[path[-1]] = draw(WRONG)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage took this place away
    return data


@settings(max_examples=400)
@given(damaged(), st.data())
def test_damaged_snapshots_are_answered_or_refused(
    data: dict[str, Any], draw: st.DataObject
) -> None:
    """Building refuses with InvalidSnapshot, or every question is answered or refused with InvalidQuestion."""
    try:
        network = Network.build(Snapshot.from_describe(data))
    except InvalidSnapshot:
        return
    facts = network.facts
    ends = [*facts.subnets, *facts.interfaces, *facts.instances, *facts.vpn_connections, "internet"]
    targets = [*facts.interfaces, "10.1.1.5", "8.8.8.8", "3.3.3.1", "2600::1", "192.168.1.1"]
    for _ in range(4):
        source, target = draw.draw(st.sampled_from(ends)), draw.draw(st.sampled_from(targets))
        try:
            trace = network.trace(source, target)
        except InvalidQuestion:
            continue
        assert trace.outcome.arrives or trace.blocked_by
        assert trace.describe()
        assert trace.to_dict()
    network.audit()
    network.isolation_violations(facts.subnets)
