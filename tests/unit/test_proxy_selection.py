from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing_config import RoutingConfig
from proxy.selection import UnknownDataClass, allowed_paths, next_path
from tests.proxy.worlds import ADDRESSES, Upstream, config_document


def config(active: str = "tunnel-1", excluded: tuple[str, ...] = ()) -> RoutingConfig:
    upstreams = {name: Upstream(address) for name, address in ADDRESSES.items()}
    for upstream in upstreams.values():
        upstream.port = 443
    document = config_document(
        upstreams,
        active,
        excluded=excluded,
        data_classes={"default": ["vpn"], "public": ["vpn", "internet"], "none": []},
    )
    return RoutingConfig.from_json(json.dumps(document))


def names(active: str, data_class: str, excluded: tuple[str, ...] = ()) -> list[str]:
    return [path.name for path in allowed_paths(config(active, excluded), data_class)]


def test_the_active_path_comes_first_and_policy_limits_the_rest() -> None:
    """Order is the active path, then the others as published; only methods of the class appear."""
    assert names("tunnel-1", "default") == ["tunnel-1", "tunnel-2"]
    assert names("tunnel-2", "default") == ["tunnel-2", "tunnel-1"]
    assert names("tunnel-2", "public") == ["tunnel-2", "tunnel-1", "internet"]
    assert names("internet", "default") == ["tunnel-1", "tunnel-2"]
    assert names("tunnel-1", "none") == []


def test_an_excluded_path_is_never_offered() -> None:
    """Exclusion holds for every data class."""
    assert names("tunnel-1", "public", excluded=("tunnel-2", "internet")) == ["tunnel-1"]


def test_an_unknown_data_class_is_an_error() -> None:
    """A class that is not in the config gets no default's rights."""
    with pytest.raises(UnknownDataClass):
        allowed_paths(config(), "secret")


@given(
    tried=st.sets(st.sampled_from(sorted(ADDRESSES))),
    ejected=st.sets(st.sampled_from(sorted(ADDRESSES))),
)
def test_no_allowed_path_is_lost_to_ejection(tried: set[str], ejected: set[str]) -> None:
    """While an allowed path is untried it is offered: as a choice, or among the ejected."""
    allowed = allowed_paths(config(), "public")
    choice = next_path(allowed, tried, lambda name: name not in ejected)
    untried = [path.name for path in allowed if path.name not in tried]
    good = [name for name in untried if name not in ejected]
    if good:
        assert choice.path is not None
        assert choice.path.name == good[0]
    else:
        assert choice.path is None
        assert [path.name for path in choice.ejected] == untried
