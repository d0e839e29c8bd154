"""What the infrastructure tests share: an embedded cloud with timers standing still, and a deployed link."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.deploy import Deployment, DeploySettings, deploy
from infra.local import ec2_facts
from infra.local.server import EmbeddedCloud

# An image that the embedded EC2 knows; nothing boots from it.
IMAGE_ID = "ami-03cf127a"


def settings(**changes: object) -> DeploySettings:
    """Deploy settings that suit the embedded cloud."""
    values: dict[str, object] = {
        "commercial_parameters": {"RouterImageId": IMAGE_ID},
        "with_dependencies": False,
        "tunnels_up_seconds": 0,
        "connectivity_seconds": 0,
        "prove_routes": False,
        "poll_seconds": 0.01,
        **changes,
    }
    return DeploySettings(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cloud() -> Iterator[EmbeddedCloud]:
    """One cloud for a module's tests; they keep apart by names."""
    ec2_facts.install()
    with EmbeddedCloud(timers=False) as running:
        yield running


@pytest.fixture(scope="module")
def deployment(cloud: EmbeddedCloud) -> Deployment:
    """A link, deployed from the project's own templates."""
    return deploy(cloud, settings())
