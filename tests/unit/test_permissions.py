"""Conditions of policies, as IAM evaluates them."""

from __future__ import annotations

from typing import Any

import pytest

from infra.permissions import UnknownOperator, of_documents


def permits(condition: dict[str, Any], context: dict[str, Any], effect: str = "Allow") -> bool:
    """Whether a policy with one conditional statement, beside a plain one if that denies, permits."""
    statement = {
        "Effect": effect,
        "Action": "s3:GetObject",
        "Resource": "*",
        "Condition": condition,
    }
    plain = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    statements = [statement] if effect == "Allow" else [plain, statement]
    return of_documents([{"Statement": statements}]).allow("s3:GetObject", "any", context)


LEADING = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "GLANCE#*"}}


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({"StringEquals": {"a": ["x", "y"]}}, {"a": ("y",)}, True),
        ({"StringEquals": {"a": "x"}}, {"A": ("x",)}, True),
        ({"StringEquals": {"a": "x*"}}, {"a": ("xy",)}, False),
        ({"StringEquals": {"a": "x"}}, {}, False),
        ({"StringEquals": {"a": "x", "b": "y"}}, {"a": ("x",)}, False),
        ({"StringLike": {"a": "x*"}}, {"a": ("xy",)}, True),
        ({"StringNotEquals": {"a": "x"}}, {"a": ("x",)}, False),
        ({"StringNotEquals": {"a": "x"}}, {}, True),
        (LEADING, {"dynamodb:LeadingKeys": ("GLANCE#a", "GLANCE#b")}, True),
        (LEADING, {"dynamodb:LeadingKeys": ("GLANCE#a", "LINK#b")}, False),
        (LEADING, {}, True),
        ({"ArnLike": {"a": "arn:aws:s3:::x*"}}, {"a": ("arn:aws:s3:::xy",)}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, {"aws:SecureTransport": ("false",)}, False),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": ("1.1",)}, True),
        ({"NumericLessThan": {"s3:TlsVersion": "1.2"}}, {"s3:TlsVersion": ("1.3",)}, False),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, Any], expected: bool) -> None:
    """Keys know no case and all must hold; a missing key fails a plain operator, and passes a negated or set one."""
    assert permits(condition, context) is expected
    assert permits(condition, context, "Deny") is not expected


def test_without_a_context_a_permission_counts_and_a_denial_does_not() -> None:
    """Who asks what a role could do at best is not told less than that."""
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": LEADING}
    denied = {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": LEADING}
    assert of_documents([{"Statement": [allowed, denied]}]).allow("s3:GetObject")


def test_an_operator_that_is_not_known_is_an_error() -> None:
    """It is neither taken for fulfilled nor for failed."""
    with pytest.raises(UnknownOperator, match="IpAddress"):
        permits({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {})
