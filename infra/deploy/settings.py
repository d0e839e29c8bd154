"""What is deployed where: the operator's choices, and what a deployed link is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.documents import EndpointOverride, SideFacts

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
GOVCLOUD, COMMERCIAL = "govcloud", "commercial"


class OnFailure(StrEnum):
    """What a trigger undoes: the failing phase and what depends on it, all of this deployment, or nothing."""

    PHASE = "phase"
    ALL = "all"
    KEEP = "keep"


@dataclass(frozen=True, kw_only=True)
class DeploySettings:
    """What to deploy.

    `commercial_parameters`, `govcloud_parameters`: template parameters that differ from their defaults.
    `artifact_bucket`: made if absent; None names it after account and region. `endpoint_overrides`: by
    path, where endpoints are reached instead of at their zonal names. `extra_paths`: further paths of the
    topology. `policy`: the first policy, if the schema's defaults are not wanted. `tunnels_up_seconds`:
    how long to wait for the VPN tunnels; 0 does not wait. `connectivity_seconds`: how long the functions have
    to answer and each VPN path to carry a request; 0 asks neither. `prove_routes`: whether the route model has to
    find every path delivered both ways; it is asked only when tunnels were waited for. `credential_days`: how
    old the commercial access key may be before another is made; 0 makes one. `poll_seconds`: between two looks.
    """

    link_id: str = "bedrock"
    commercial_parameters: Mapping[str, str] = field(default_factory=dict)
    govcloud_parameters: Mapping[str, str] = field(default_factory=dict)
    artifact_bucket: str | None = None
    with_dependencies: bool = True
    distributed_sweep: bool = False
    endpoint_overrides: Mapping[str, EndpointOverride] = field(default_factory=dict)
    extra_paths: Sequence[Mapping[str, Any]] = ()
    policy: Mapping[str, Any] | None = None
    tunnels_up_seconds: float = 1800.0
    connectivity_seconds: float = 300.0
    prove_routes: bool = True
    credential_days: int = 90
    on_failure: OnFailure = OnFailure.PHASE
    poll_seconds: float = 5.0

    @property
    def commercial_stack(self) -> str:
        return f"twinspan-{self.link_id}-commercial"

    @property
    def govcloud_stack(self) -> str:
        return f"twinspan-{self.link_id}-govcloud"

    @property
    def tags(self) -> dict[str, str]:
        return {"twinspan:link": self.link_id}

    def bucket(self, govcloud: SideFacts) -> str:
        """The artifact bucket's name."""
        named = f"twinspan-artifacts-{govcloud.account_id}-{govcloud.region}"
        return self.artifact_bucket or named


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployed link: both stacks' outputs by name, and the documents that are in force."""

    link_id: str
    sides: Mapping[str, SideFacts]
    commercial: Mapping[str, str]
    govcloud: Mapping[str, str]
    topology: Mapping[str, Any]
    policy: Mapping[str, Any]
    routing_config: Mapping[str, Any]
