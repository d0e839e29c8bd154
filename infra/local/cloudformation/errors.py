"""Why a stack operation did not go through.

CloudFormationProblem
├── TemplateProblem              the template or a parameter is wrong, in AWS's eyes too
├── NestedStackFailed            a stack inside the stack did not come about
└── UnsupportedByEmbeddedCloud   right for AWS, but not emulated here: refused, never ignored
"""

from __future__ import annotations


class CloudFormationProblem(Exception):
    """A template cannot be deployed as it stands."""


class TemplateProblem(CloudFormationProblem):
    """`where` is a place in the template such as `Resources.Vpc.Properties.CidrBlock`."""

    def __init__(self, where: str, reason: str) -> None:
        self.where = where
        self.reason = reason
        super().__init__(f"{where}: {reason}")


class UnsupportedByEmbeddedCloud(CloudFormationProblem):
    """`what` is a type, property, attribute or function that only AWS has."""

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what
        super().__init__(f"{where}: the embedded cloud does not emulate {what}")


class NestedStackFailed(CloudFormationProblem):
    """A nested stack did not come to the state that its parent wanted; its own events say why."""

    def __init__(self, stack_id: str, reason: str) -> None:
        self.stack_id = stack_id
        super().__init__(reason)
