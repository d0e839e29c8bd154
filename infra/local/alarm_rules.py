"""The rule expressions of composite alarms: parsed, then evaluated over the states of other alarms. Pure.

Grammar (CloudWatch API reference, PutCompositeAlarm): `ALARM(name)`, `OK(name)`, `INSUFFICIENT_DATA(name)` with a
name or ARN, quoted or not; `TRUE`, `FALSE`; `AND`, `OR`, `NOT` and parentheses. `AT_LEAST` is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from infra.local.alarm_evaluation import AlarmState

StateOf = Callable[[str], AlarmState | None]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<state>ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"(?P<quoted>[^"]+)"|(?P<plain>[^\s()"]+))\s*\)
      | (?P<word>AND|OR|NOT|TRUE|FALSE)\b
      | (?P<paren>[()])
    )""",
    re.VERBOSE,
)


class InvalidAlarmRule(ValueError):
    """A composite alarm's rule that cannot be parsed. The text says where."""


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """A parsed rule. `alarms`: the names it refers to, in order, ARNs reduced to names."""

    expression: str
    alarms: tuple[str, ...]
    _evaluate: Callable[[StateOf], bool]

    def evaluate(self, state_of: StateOf) -> bool:
        """Whether the rule holds; an alarm that does not exist (None) is in no state."""
        return self._evaluate(state_of)


def parse_rule(expression: str) -> AlarmRule:
    """Parse a rule. Raises `InvalidAlarmRule`."""
    parser = _Parser(expression)
    evaluate = parser.disjunction()
    parser.require_end()
    return AlarmRule(expression, tuple(dict.fromkeys(parser.alarms)), evaluate)


def alarm_name(reference: str) -> str:
    """The name in a reference that is a name or an ARN."""
    return reference.split(":alarm:", 1)[1] if reference.startswith("arn:") else reference


class _Parser:
    def __init__(self, expression: str) -> None:
        self._text = expression
        self._position = 0
        self.alarms: list[str] = []

    def disjunction(self) -> Callable[[StateOf], bool]:
        terms = [self._conjunction()]
        while self._take("OR"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda s: any(term(s) for term in terms)

    def _conjunction(self) -> Callable[[StateOf], bool]:
        terms = [self._negation()]
        while self._take("AND"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda s: all(term(s) for term in terms)

    def _negation(self) -> Callable[[StateOf], bool]:
        if self._take("NOT"):
            term = self._negation()
            return lambda s: not term(s)
        return self._primary()

    def _primary(self) -> Callable[[StateOf], bool]:
        token = self._match()
        if token is None:
            raise self._error(
                "expected ALARM(…), OK(…), INSUFFICIENT_DATA(…), TRUE, FALSE, NOT or ("
            )
        self._position = token.end()
        if token["state"]:
            wanted = AlarmState(token["state"])
            name = alarm_name(token["quoted"] or token["plain"])
            self.alarms.append(name)
            return lambda s: s(name) is wanted
        if token["word"] in ("TRUE", "FALSE"):
            value = token["word"] == "TRUE"
            return lambda _: value
        if token["paren"] == "(":
            inner = self.disjunction()
            if not self._take(")"):
                raise self._error("expected )")
            return inner
        raise self._error(f"unexpected {token[0].strip()}")

    def require_end(self) -> None:
        if self._text[self._position :].strip():
            raise self._error("expected the end, AND or OR")

    def _take(self, wanted: str) -> bool:
        token = self._match()
        if token is None or wanted not in (token["word"], token["paren"]):
            return False
        self._position = token.end()
        return True

    def _match(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._position)

    def _error(self, reason: str) -> InvalidAlarmRule:
        return InvalidAlarmRule(f"AlarmRule {self._text!r} at character {self._position}: {reason}")
