"""What a deployment tells: progress, and failures by the phase and the trigger that they are.

A failure with a trigger is undone; one without (no permission, a busy stack, an answer that never came) is
left as it stands, because going on from there is what repeating the deployment does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError

from control_plane.errors import TwinspanError
from infra.documents import IncompleteNetwork
from infra.packaging import PackagingError
from infra.stacks import StackError, StackFailed


class Trigger(StrEnum):
    """What makes a deployment go back."""

    TUNNEL_NOT_UP = "tunnel-not-up"
    CONNECTIVITY_TEST_FAILED = "connectivity-test-failed"
    ENDPOINT_CREATION_FAILED = "endpoint-creation-failed"
    FUNCTION_DEPLOYMENT_FAILED = "function-deployment-failed"
    SECURITY_GROUP_ERROR = "security-group-error"
    STACK_FAILED = "stack-failed"


_TRIGGER_OF_TYPE = {
    "AWS::EC2::VPCEndpoint": Trigger.ENDPOINT_CREATION_FAILED,
    "AWS::Lambda::": Trigger.FUNCTION_DEPLOYMENT_FAILED,
    "AWS::EC2::SecurityGroup": Trigger.SECURITY_GROUP_ERROR,
}


class DeploymentError(Exception):
    """A phase could not keep its promise.

    `trigger`: why it is to be undone, None if it is left to be continued. `undone`: after a rollback, what
    each step of it did. `left`: what it could not undo.
    """

    def __init__(self, phase: str, reason: str, trigger: Trigger | None = None) -> None:
        self.phase, self.reason, self.trigger = phase, reason, trigger
        self.undone: tuple[str, ...] = ()
        self.left: tuple[str, ...] = ()
        super().__init__(f"{phase}: {reason}")


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of what a deployment does."""

    phase: str
    message: str


Report = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """A report that nobody reads."""


@contextmanager
def phase_failures(name: str) -> Iterator[None]:
    """Name the failures of a phase."""
    try:
        yield
    except DeploymentError:
        raise
    except StackFailed as error:
        raise DeploymentError(name, str(error), trigger_of(error)) from error
    except ClientError as error:
        inner = error.response.get("Error", {})
        reason = f"{error.operation_name}: {inner.get('Code')}: {inner.get('Message')}"
        raise DeploymentError(name, reason) from error
    except (
        BotoCoreError,
        StackError,
        TwinspanError,
        IncompleteNetwork,
        PackagingError,
        ValueError,
    ) as error:
        raise DeploymentError(name, str(error)) from error


def trigger_of(failure: StackFailed) -> Trigger:
    """Which trigger a failed stack is, by the type of the resource that failed first."""
    for prefix, trigger in _TRIGGER_OF_TYPE.items():
        if (failure.type_name or "").startswith(prefix):
            return trigger
    return Trigger.STACK_FAILED
