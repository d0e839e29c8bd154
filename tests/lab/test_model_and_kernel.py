"""The route model's verdict against what packets do: generated links, carried out in the kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from control_plane.domain.route_model import Network, Snapshot
from tests.lab.conftest import FIGURES
from tests.lab.kernel_links import (
    COMMERCIAL,
    ENDPOINT_ADDRESSES,
    GOVCLOUD,
    KernelLink,
    Link,
    TransitRoute,
    describe,
)

LINKS = 300
AT_LEAST_OF_EACH = 30

destinations = st.sampled_from([COMMERCIAL, "172.16.1.0/24", "172.16.3.0/24", "172.16.1.10/32"])
mostly = st.sampled_from([True] * 9 + [False])


def one_row_per_destination(rows: st.SearchStrategy[tuple]) -> st.SearchStrategy[tuple]:
    return st.lists(rows, max_size=3, unique_by=lambda row: row[0]).map(tuple)


function_tables = st.one_of(
    st.just(((COMMERCIAL, "tgw", True),)),
    one_row_per_destination(st.tuples(destinations, st.just("tgw"), mostly)),
)
ways_back = st.one_of(
    st.just(TransitRoute(GOVCLOUD, "vpc", static=False)),
    st.sampled_from(
        [
            TransitRoute(GOVCLOUD, "vpc", static=True),
            TransitRoute(GOVCLOUD, None, static=True),
            TransitRoute("10.0.1.0/24", "vpc", static=True),
            TransitRoute("10.0.2.0/24", "vpc", static=True),
        ]
    ),
)
to_the_commercial_side = st.builds(
    TransitRoute,
    destinations,
    st.sampled_from([1, 1, 2, 2, None]),
    st.booleans(),
).map(lambda row: TransitRoute(row.destination, row.to, row.static or row.to is None))
usual = (
    TransitRoute("172.16.1.0/24", 1, static=False),
    TransitRoute("172.16.3.0/24", 2, static=False),
    TransitRoute(COMMERCIAL, 1, static=False),
)
transit_tables = st.tuples(
    st.lists(ways_back, max_size=2, unique_by=lambda row: row.destination),
    st.sampled_from([usual, usual[:2], usual[2:], ()]),
    st.lists(to_the_commercial_side, max_size=2),
).map(
    # A static row and a propagated one may share a destination; two of one kind may not.
    lambda parts: tuple(
        {(row.destination, row.static): row for group in parts for row in group}.values()
    )
)


def endpoint_table(own: int) -> st.SearchStrategy[tuple]:
    return st.one_of(
        st.just(((GOVCLOUD, own, True),)),
        one_row_per_destination(
            st.tuples(st.sampled_from([GOVCLOUD, "10.0.1.0/24"]), st.sampled_from([1, 2]), mostly)
        ),
    )


tunnels_up = st.sampled_from([2, 2, 2, 1, 0])
links = st.builds(
    Link,
    function_table=function_tables,
    transit=transit_tables,
    attached_zones=st.sampled_from([frozenset("ab")] * 6 + [frozenset("a"), frozenset("b")]),
    tunnels_up=st.tuples(tunnels_up, tunnels_up),
    checks=st.tuples(mostly, mostly).map(lambda off: (not off[0], not off[1])),
    endpoint_tables=st.tuples(endpoint_table(1), endpoint_table(2)),
)


@pytest.fixture(scope="module")
def kernel(possible: None) -> Iterator[KernelLink]:
    """The lab's tunnels without BGP: every route is the generated one."""
    from infra.local.lab.network import LabNetwork
    from infra.local.lab.plan import example

    with LabNetwork() as network:
        network.build(example(), routing=False)
        assert network.wait_for(lambda: all(end.is_up() for end in network.amazon.values()), 20)
        kernel = KernelLink(network)
        yield kernel
        kernel.close()


def test_the_models_verdict_is_what_packets_do(
    kernel: KernelLink, record_property: Callable[[str, object], None]
) -> None:
    """For hundreds of links, sound and broken, there and back: delivered by the model is delivered by the kernel."""
    seen: Counter[tuple[bool, bool]] = Counter()

    @settings(
        max_examples=LINKS,
        phases=[Phase.generate],
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(links, st.sampled_from([0, 1]))
    def agree(link: Link, endpoint: int) -> None:
        documents = describe(link)
        trace = Network.build(Snapshot.from_describe(documents)).trace(
            "eni-function", ENDPOINT_ADDRESSES[endpoint]
        )
        arrives = trace.outcome.arrives
        returns = trace.delivered_both_ways
        kernel.become(documents)
        packets = kernel.delivers(endpoint)
        if packets != (arrives, returns):
            packets = kernel.delivers(endpoint, patient=True)  # a busy machine is no verdict
        assert packets == (arrives, returns), f"{link}\n{trace.describe()}"
        seen[packets] += 1

    agree()
    record_property(
        FIGURES,
        f"{sum(seen.values())} generated links: {seen[True, True]} delivered there and back, "
        f"{seen[True, False]} there only, {seen[False, False]} not at all",
    )
    assert seen[True, True] >= AT_LEAST_OF_EACH, seen
    assert seen[True, False] >= AT_LEAST_OF_EACH, seen
    assert seen[False, False] >= AT_LEAST_OF_EACH, seen
