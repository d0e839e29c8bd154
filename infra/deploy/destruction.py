"""Taking a link down, in the reverse order; a step that fails is noted, and the next one is tried."""

from __future__ import annotations

from control_plane.settings import parameter_name
from infra.deploy import protection
from infra.deploy.clients import Clients
from infra.deploy.link import KINDS
from infra.deploy.progress import DeploymentError, Progress, Report, phase_failures
from infra.deploy.settings import COMMERCIAL, GOVCLOUD, DeploySettings
from infra.stacks import Stacks


class Destruction:
    """One taking down of a link. The artifact bucket stays: other links may run from it."""

    def __init__(self, clients: Clients, settings: DeploySettings, report: Report) -> None:
        self._clients, self._settings, self._report = clients, settings, report
        self._names = {
            GOVCLOUD: settings.govcloud_stack,
            COMMERCIAL: settings.commercial_stack,
        }

    def planned(self) -> list[str]:
        """What there is to take down, a line each; nothing is touched."""
        with phase_failures("plan"):
            outputs = self._outputs(GOVCLOUD)
            lines = [
                f"{side}: stack {name}"
                for side, name in self._names.items()
                if self._stacks(side).describe(name) is not None
            ]
            names = [parameter_name(self._settings.link_id, kind) for kind in KINDS]
            found = self._clients.client("ssm", GOVCLOUD).get_parameters(Names=names)
            lines += [f"{GOVCLOUD}: parameter {one['Name']}" for one in found["Parameters"]]
            lines += [
                f"{GOVCLOUD}: {what}, with what it holds" for what in protection.kept(outputs)
            ]
            user = self._outputs(COMMERCIAL).get("CrossPartitionUserName")
            if user is not None:
                lines.append(f"{COMMERCIAL}: access keys of {user}")
        return lines

    def run(self) -> list[str]:
        """Returns what failed; run again, it goes on with that."""
        failures = []
        for name, step in (
            ("documents", self._delete_documents),
            ("protection", self._lift_protection),
            ("credential", self._delete_access_keys),
            ("govcloud", lambda: self._delete_stack(GOVCLOUD)),
            ("commercial", lambda: self._delete_stack(COMMERCIAL)),
        ):
            try:
                with phase_failures(name):
                    step()
            except DeploymentError as error:
                failures.append(str(error))
                self._report(Progress(name, f"failed: {error.reason}"))
            else:
                self._report(Progress(name, "gone"))
        return failures

    def _stacks(self, side: str) -> Stacks:
        client = self._clients.client("cloudformation", side)
        return Stacks(client, self._settings.poll_seconds)

    def _outputs(self, side: str) -> dict[str, str]:
        return self._stacks(side).outputs(self._names[side]) or {}

    def _delete_documents(self) -> None:
        names = [parameter_name(self._settings.link_id, kind) for kind in KINDS]
        self._clients.client("ssm", GOVCLOUD).delete_parameters(Names=names)

    def _lift_protection(self) -> None:
        protection.lift(self._clients, self._outputs(GOVCLOUD))

    def _delete_access_keys(self) -> None:
        user = self._outputs(COMMERCIAL).get("CrossPartitionUserName")
        if user is None:
            return
        iam = self._clients.client("iam", COMMERCIAL)
        for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])

    def _delete_stack(self, side: str) -> None:
        stacks = self._stacks(side)
        if stacks.describe(self._names[side]) is not None:
            stacks.protect(self._names[side], False)
        stacks.delete(self._names[side])
