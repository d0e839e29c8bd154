"""The reference page of roles: what each may do, made from the rendered templates.

    python -m infra.permissions_page

prints docs/reference/iam.md; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from infra.permissions import Statement, of_role
from infra.rendering import EVERYTHING, Rendered, render

_HEAD = """# Roles

Made from the templates by `python -m infra.permissions_page`, rendered with every option on and the default names. Every
function and state machine has a role of its own. What Lambda needs of any function in a VPC (network interfaces, its
log group, X-Ray) and what Step Functions needs to deliver logs is left out. Each of those, the container's and the
commercial user's are held against the calls that were recorded while the scenarios ran: they suffice for them, and permit
nothing that was never called. The other roles are those that AWS's services and the routers act in, whose calls cannot be
recorded here: `tests/infrastructure/test_templates_service_roles.py` has the reason of each of their actions, and of the
policies of AWS's own that three of them hold besides.
"""
_OF_EVERY_FUNCTION = frozenset(
    {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
    }
)


def page() -> str:
    """The page's text."""
    return "\n".join([_HEAD, *_sides()])


def _sides() -> Iterator[str]:
    for side, parameters in EVERYTHING.items():
        resources = render(side, parameters)
        yield f"## {'GovCloud' if side == 'govcloud' else 'Commercial'}\n"
        yield "| who | may | on | if |\n|---|---|---|---|"
        for name, statements in _principals(resources):
            tells_all = not _is_told_of_together(resources[name])
            found = (_row(statement, tells_all) for statement in statements)
            rows = [row for row in found if row is not None]
            for number, row in enumerate(rows):
                yield f"| {f'`{name}`' if number == 0 else ''} | {row} |"
        yield ""


def _principals(
    resources: Mapping[str, Rendered],
) -> Iterator[tuple[str, tuple[Statement, ...]]]:
    for item in sorted(resources.values(), key=lambda item: item.logical_id):
        if item.type_name in ("AWS::IAM::Role", "AWS::IAM::User"):
            yield item.logical_id, of_role(resources, item.logical_id).statements


def _is_told_of_together(item: Rendered) -> bool:
    """Whether it is a function's or a state machine's role, which all have the same rights to log and trace."""
    trusted = str(item.properties.get("AssumeRolePolicyDocument", ""))
    return "lambda.amazonaws.com" in trusted or "states.amazonaws.com" in trusted


def _row(statement: Statement, tells_all: bool) -> str | None:
    actions = sorted(statement.actions)
    if not tells_all:
        actions = [a for a in actions if not a.startswith(("logs:", "xray:"))]
        if set(actions) <= _OF_EVERY_FUNCTION:
            return None
    conditions = [
        f"`{key}` {operator} {', '.join(f'`{value}`' for value in values)}"
        for operator, keys in statement.conditions.items()
        for key, values in keys.items()
    ]
    may = "<br>".join(f"`{action}`" for action in actions)
    if statement.effect == "Deny":
        may = f"**not** {may}"
    on = "<br>".join(f"`{resource}`" for resource in statement.resources)
    return f"{may} | {on} | {'; '.join(conditions)}"


if __name__ == "__main__":
    sys.stdout.write(page())
