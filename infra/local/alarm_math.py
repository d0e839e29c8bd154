"""Metric math of alarms, as far as arithmetic goes: numbers, metrics by their ids, `+ - * /` and parentheses.

A period for which a metric has no datapoint, or in which something would be divided by nothing, has no value,
as in CloudWatch. Functions (`FILL`, `IF`, `ANOMALY_DETECTION_BAND` …) are refused.

Source: CloudWatch user guide, "Using math expressions with CloudWatch metrics".
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class InvalidExpression(ValueError):
    """An expression that is not arithmetic over known metrics. The text says what is not."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression."""

    text: str
    tree: ast.expr

    @property
    def metrics(self) -> frozenset[str]:
        """Ids of the metrics that it is made of."""
        return frozenset(node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name))

    def value(self, metrics: Mapping[str, float]) -> float | None:
        """The value for one period; None where there is none."""
        try:
            return _value(self.tree, metrics)
        except (KeyError, ZeroDivisionError):
            return None


def parse(text: str) -> Expression:
    """Parse an expression.

    Raises:
        InvalidExpression: if it is not arithmetic.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise InvalidExpression(f"{text!r} is no arithmetic expression") from None
    _check(tree, text)
    return Expression(text, tree)


def _check(node: ast.expr, text: str) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        _check(node.left, text)
        _check(node.right, text)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return
    elif not isinstance(node, ast.Name):
        raise InvalidExpression(f"{ast.unparse(node)} in {text!r}")


def _value(node: ast.expr, metrics: Mapping[str, float]) -> float:
    if isinstance(node, ast.BinOp):
        operate = _OPERATIONS[type(node.op)]
        return operate(_value(node.left, metrics), _value(node.right, metrics))
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float), "parsing let only numbers through"
        return float(node.value)
    assert isinstance(node, ast.Name), "parsing let only names through"
    return metrics[node.id]
