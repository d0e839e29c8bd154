"""The lab's fixtures. Where it cannot run its tests are skipped, or fail with TWINSPAN_LAB=required."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from infra.local.lab import requirements

REQUIRED = "required"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/lab/" in item.nodeid:
            item.add_marker("lab")


@pytest.fixture(scope="session", autouse=True)
def possible() -> None:
    """Says in one line what the machine lacks."""
    missing = requirements.missing()
    if missing is None:
        return
    if os.environ.get("TWINSPAN_LAB") == REQUIRED:
        pytest.exit(missing, returncode=1)
    pytest.skip(missing, allow_module_level=True)


@pytest.fixture(scope="module")
def network(possible: None) -> Iterator[object]:
    """Tunnels, routers and endpoints of the templates' default network, all up."""
    from infra.local.lab.network import LabNetwork
    from infra.local.lab.plan import example

    with LabNetwork() as network:
        network.build(example())
        network.with_routes()
        network.wait_until_up()
        yield network
