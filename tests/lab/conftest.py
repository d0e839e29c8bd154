"""The lab's fixtures. Where it cannot run its tests are skipped, or fail with TWINSPAN_LAB=required."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from infra.local.lab import requirements

if TYPE_CHECKING:
    from infra.local.environment import Environment

REQUIRED = "required"
FIGURES = "figures"
"""The property under which a test records a line that is shown when all are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/lab/" in item.nodeid:
            item.add_marker("lab")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, line in getattr(report, "user_properties", ()):
            if name == FIGURES:
                terminalreporter.write_line(str(line))


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


@pytest.fixture(scope="session")
def cloud(possible: None) -> Iterator[Environment]:
    """The embedded cloud with its functions and its proxy in the lab; every test leaves it whole."""
    from infra.local.environment import Environment
    from infra.local.lab.report import LAB_POLICY

    with Environment(policy=LAB_POLICY, lab=True) as environment:
        yield environment
        assert environment.failures == []


@pytest.fixture
def whole(cloud: Environment) -> Iterator[Environment]:
    """The cloud, healed and whole before the test and after it."""
    yield cloud
    cloud.faults.heal("all")
    assert cloud.plane.wait_until(lambda plane: plane.is_whole(), 90)
