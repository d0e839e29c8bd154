"""One run of a deployment: its tools, what it has found and made so far, and what a phase is.

A phase reads the world rather than its own memory, so that it can be run again and undone by another process
than the one that began it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from infra.deploy.clients import Clients
from infra.deploy.progress import DeploymentError, Progress, Report, Trigger
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.documents import SideFacts
from infra.stacks import Approve, Stacks, StackSource, without_asking
from infra.waiting import REAL, Clock, TimedOut, until

# JSON: what a phase found before it changed anything.
Before = Mapping[str, Any]


@dataclass(kw_only=True)
class Run:
    """A run under way. `commercial` and `govcloud` are the stacks' outputs, once there are any.

    `source`: what the GovCloud stack is to be. `directory`: where packages are built. `topology`, `policy`,
    `routing_config`: the documents in force.
    """

    clients: Clients
    settings: DeploySettings
    report: Report
    directory: Path
    approve: Approve = without_asking
    clock: Clock = REAL
    sides: dict[str, SideFacts] = field(default_factory=dict)
    commercial: dict[str, str] = field(default_factory=dict)
    govcloud: dict[str, str] = field(default_factory=dict)
    source: StackSource | None = None
    topology: dict[str, Any] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    routing_config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stacks = {
            side: Stacks(
                self.clients.client("cloudformation", side),
                self.settings.poll_seconds,
                clock=self.clock,
            )
            for side in (COMMERCIAL, GOVCLOUD)
        }

    @property
    def bucket(self) -> str:
        """The artifact bucket."""
        return self.settings.bucket(self.sides[GOVCLOUD])

    @property
    def bucket_url(self) -> str:
        """Where CloudFormation finds what is in the artifact bucket."""
        return f"https://{self.bucket}.s3.{self.sides[GOVCLOUD].region}.amazonaws.com"

    def client(self, service: str, side: str) -> Any:
        """A boto3 client."""
        return self.clients.client(service, side)

    def stacks(self, side: str) -> Stacks:
        """The stacks of a side."""
        return self._stacks[side]

    def say(self, phase: str, message: str) -> None:
        """Tell progress."""
        self.report(Progress(phase, message))

    def until(
        self,
        phase: str,
        seconds: float,
        look: Callable[[], str | None],
        trigger: Trigger | None = None,
    ) -> None:
        """Wait until `look` finds nothing missing.

        Raises:
            DeploymentError: with `trigger`, after `seconds`, naming what is missing.
        """
        try:
            until(
                look,
                seconds,
                self.settings.poll_seconds,
                self.clock,
                lambda missing: self.say(phase, f"waiting: {missing}"),
            )
        except TimedOut as error:
            raise DeploymentError(phase, str(error), trigger) from None


class Phase(Protocol):
    """One phase. `needs`: the phases whose work this one stands on."""

    name: str
    needs: tuple[str, ...]

    def require(self, run: Run) -> None:
        """Check that the phase can begin. Raises DeploymentError without a trigger: nothing was changed."""

    def before(self, run: Run) -> Before:
        """What `undo` goes back to; holds no secrets, since it is stored."""

    def act(self, run: Run) -> None:
        """Bring the phase about, or up to date."""

    def check(self, run: Run) -> None:
        """Check what the phase promised. Raises DeploymentError with its trigger."""

    def undo(self, run: Run, before: Before) -> str:
        """Go back; returns what was done, for people."""
