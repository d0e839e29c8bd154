"""Brings a link to both partitions, and takes it down again.

CloudFormation cannot cross partitions, so a deployment is a row of phases over two stacks (`runner`). Each can be
run again: what is there already is left as it is or brought up to date, so an interrupted deployment is continued
by repeating it. Nothing here knows where the clients lead; the embedded cloud is deployed by the same code as AWS.

Not guaranteed: that a deployment which fails without a trigger leaves nothing behind. What its phases made stays,
and the next run goes on from there.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from infra.deploy import runner
from infra.deploy.clients import AwsClients, Clients
from infra.deploy.destruction import Destruction
from infra.deploy.progress import DeploymentError, Progress, Report, Trigger, silent
from infra.deploy.run import Run
from infra.deploy.runner import PHASES
from infra.deploy.settings import (
    COMMERCIAL,
    GOVCLOUD,
    TEMPLATES,
    Deployment,
    DeploySettings,
    OnFailure,
)
from infra.stacks import Approve, Plan, without_asking
from infra.waiting import REAL, Clock

__all__ = [
    "COMMERCIAL",
    "GOVCLOUD",
    "PHASES",
    "TEMPLATES",
    "AwsClients",
    "Clients",
    "DeploySettings",
    "Deployment",
    "DeploymentError",
    "OnFailure",
    "Progress",
    "Trigger",
    "deploy",
    "destroy",
    "plan",
    "would_destroy",
]


def deploy(
    clients: Clients,
    settings: DeploySettings,
    report: Report = silent,
    *,
    approve: Approve = without_asking,
    clock: Clock = REAL,
) -> Deployment:
    """Deploy a link, or bring a deployed one up to date. `approve` is shown each change set first.

    Raises:
        DeploymentError: naming the phase; for a stack also the resource and CloudFormation's reason.
    """
    with tempfile.TemporaryDirectory(prefix="twinspan-") as directory:
        run = Run(
            clients=clients,
            settings=settings,
            report=report,
            directory=Path(directory),
            approve=approve,
            clock=clock,
        )
        return runner.carry_out(run)


def plan(clients: Clients, settings: DeploySettings, report: Report = silent) -> list[Plan]:
    """What `deploy` would change, as change sets that are shown and dropped.

    The artifact bucket is made and the packages are put there, because CloudFormation reads a template of
    this size only from a bucket.

    Raises:
        DeploymentError: naming the phase and the reason.
    """
    with tempfile.TemporaryDirectory(prefix="twinspan-") as directory:
        run = Run(clients=clients, settings=settings, report=report, directory=Path(directory))
        return runner.look_ahead(run)


def would_destroy(clients: Clients, settings: DeploySettings) -> list[str]:
    """What `destroy` would take down, a line each.

    Raises:
        DeploymentError: it could not be read.
    """
    return Destruction(clients, settings, silent).planned()


def destroy(
    clients: Clients, settings: DeploySettings, *, delete_data: bool, report: Report = silent
) -> list[str]:
    """Take a link down, in the reverse order; goes on past what fails, and returns what it was.

    Raises:
        DeploymentError: without `delete_data`, since state, audit, evidence and policy go too.
    """
    if not delete_data:
        raise DeploymentError(
            "destroy", "this deletes state, audit, evidence and policy: confirm with delete_data"
        )
    return Destruction(clients, settings, report).run()
