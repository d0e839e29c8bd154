"""What a deployment tells the link's journal, if the link has one: that it changed the link, or went back.

An entry stands in the chain beside the control plane's decisions, so that whoever asks why the link behaves
differently since yesterday finds the deployment there. A first deployment makes the table that the journal is in,
and leaves it empty.
"""

from __future__ import annotations

from datetime import UTC, datetime

from control_plane.adapters.journal import Journal
from control_plane.domain.journal import EntryKind
from infra.deploy.progress import DeploymentError
from infra.deploy.record import Record
from infra.deploy.run import Run
from infra.deploy.settings import GOVCLOUD


class _Session:
    """Only as much of a session as the journal needs: a client of the GovCloud side."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def client(self, service: str) -> object:
        return self._run.client(service, GOVCLOUD)


def note(run: Run, ours: Record, event: str, error: DeploymentError | None = None) -> None:
    """Append an entry; no error if there is no table.

    Raises:
        TwinspanError, botocore.exceptions.ClientError: the entry could not be written.
    """
    outputs = run.stacks(GOVCLOUD).outputs(run.settings.govcloud_stack) or {}
    if "StateTableName" not in outputs:
        return
    data: dict[str, object] = {
        "event": event,
        "deployment_id": ours.deployment_id,
        "begun_at": ours.begun_at,
    }
    if error is not None:
        data |= {
            "phase": error.phase,
            "trigger": str(error.trigger),
            "reason": error.reason[:2_000],
            "undone": list(error.undone),
            "left": list(error.left),
        }
    Journal(_Session(run), outputs["StateTableName"]).append(  # type: ignore[arg-type]
        run.settings.link_id,
        EntryKind.NOTED,
        f"deployment-{ours.deployment_id}",
        {"deployment": data},
        datetime.now(UTC),
    )
