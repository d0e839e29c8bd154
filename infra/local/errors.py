"""Errors of the embedded cloud.

EmbeddedCloudError
├── UnsupportedMotoVersion   the extensions were written for other versions of moto
├── CloudAlreadyRunning      moto's state is per process, so only one cloud can run in it
├── CloudStopped             something of a cloud went on after it was stopped
├── WorkerStartFailed        the process that forks function workers could not start
└── PatchPointMissing        moto no longer has something that an extension replaces

NotEmulated (a moto ServiceException, so that an API caller sees it as an AWS error)
"""

from __future__ import annotations

from moto.core.exceptions import ServiceException


class EmbeddedCloudError(Exception):
    """Parent of the errors that stop the embedded cloud itself."""


class UnsupportedMotoVersion(EmbeddedCloudError):
    """The extensions were written for other versions of moto."""

    def __init__(self, found: str, supported: tuple[str, ...]) -> None:
        self.found = found
        self.supported = supported
        super().__init__(
            f"moto {found} is installed, but the embedded cloud's extensions are written for "
            f"{', '.join(supported)}: install a supported version"
        )


class CloudAlreadyRunning(EmbeddedCloudError):
    """moto's state is per process, so only one cloud can run in it."""

    def __init__(self) -> None:
        super().__init__("an embedded cloud is already running in this process: stop it first")


class CloudStopped(EmbeddedCloudError):
    """Something of a cloud, such as an execution, went on after the cloud was stopped."""

    def __init__(self) -> None:
        super().__init__("the embedded cloud has been stopped")


class WorkerStartFailed(EmbeddedCloudError):
    """No process to run a function in could be started."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the function worker process could not start: {reason}")


class PatchPointMissing(EmbeddedCloudError):
    """moto no longer has something that an extension replaces."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"moto has no {name}: the extension that replaces it needs an update")


class NotEmulated(ServiceException):
    """AWS has the feature, the embedded cloud has not: refused when it is set up.

    A moto `ServiceException`, because it must reach an API caller as an AWS error and a CloudFormation
    deployment as a failed resource.
    """

    code = "NotEmulated"

    def __init__(self, feature: str) -> None:
        self.feature = feature
        super().__init__(f"the embedded cloud does not emulate {feature}")
