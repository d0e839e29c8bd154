"""parliament over rendered policies, with exceptions that name what they excuse.

    python infra/linting/policies.py DIRECTORY

Run by the linters' own environment, since parliament pins an older boto3 than the project. parliament's own way
of excusing findings by place does not look at the place (1.6.4), and could not tell one statement from another. An
exception here is for one finding about these actions in these policies; one that excuses nothing is an error.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parliament


@dataclass(frozen=True)
class Excused:
    """One kind of finding in some policies. `about`: exactly the actions that parliament names."""

    issue: str
    policies: str
    about: frozenset[str]
    why: str


EXCUSED = (
    Excused(
        "RESOURCE_STAR",
        "govcloud-*",
        frozenset(
            f"ec2:{action}"
            for action in (
                "AssignPrivateIpAddresses",
                "CreateNetworkInterface",
                "DeleteNetworkInterface",
                "UnassignPrivateIpAddresses",
            )
        ),
        "Lambda makes a function's interfaces with the function's role, before they have names",
    ),
    Excused(
        "RESOURCE_STAR",
        "govcloud-*",
        frozenset({"cloudwatch:DescribeAlarms"}),
        "a narrower scope shows no composite alarms (CloudWatch's API reference, DescribeAlarms)",
    ),
    Excused(
        "RESOURCE_STAR",
        "commercial-CrossPartitionUser-call-bedrock",
        frozenset({"bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"}),
        "which models may be called is a parameter; its default is all, through the endpoint alone",
    ),
    Excused(
        "RESOURCE_MISMATCH",
        "govcloud-ChangeManagedRoutes",
        frozenset({"ec2:CreateTransitGatewayRoute", "ec2:ReplaceTransitGatewayRoute"}),
        "EC2 asks for what a route leads to besides its table; the tables have a statement, and a condition, of their own",
    ),
    Excused(
        "RESOURCE_MISMATCH",
        "govcloud-SweepMachineRole-sweep",
        frozenset({"states:DescribeExecution"}),
        "parliament wants express executions too; the batches of a distributed map here are standard ones",
    ),
)


def findings(directory: Path) -> Iterator[tuple[str, Any]]:
    """Each finding with the name of its policy."""
    for path in sorted(directory.glob("*.json")):
        for finding in parliament.analyze_policy_string(path.read_text(), str(path)).findings:
            yield path.stem, parliament.enhance_finding(finding)


def _actions(detail: Any) -> Iterator[str]:
    """The actions that a finding names, in either of the forms that parliament has for it."""
    for one in detail if isinstance(detail, list) else ():
        yield one["action"] if isinstance(one, dict) else one


def main(directory: Path) -> int:
    """Print what is found and not excused, and exceptions that excuse nothing; the exit code."""
    used: set[Excused] = set()
    wrong = 0
    for policy, finding in findings(directory):
        about = frozenset(_actions(finding.detail))
        excuse = next(
            (
                one
                for one in EXCUSED
                if (one.issue, one.about) == (finding.issue, about)
                and fnmatch.fnmatchcase(policy, one.policies)
            ),
            None,
        )
        if excuse is not None:
            used.add(excuse)
            continue
        wrong += 1
        print(f"{policy}: {finding.issue}: {finding.title} {finding.detail}")
    for unused in set(EXCUSED) - used:
        wrong += 1
        print(f"nothing to excuse any more: {unused.issue} in {unused.policies}: {unused.why}")
    if not wrong:
        print(f"parliament: {len(list(directory.glob('*.json')))} policies, nothing found")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
