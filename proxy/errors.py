"""How an attempt over one path can end badly, named by what may be done next.

    AttemptFailed
    ├── NotSent        nothing of the request left: another path may always be tried
    ├── Unanswered     sent, no byte came back, the path died: another path, unless forbidden
    └── BrokenAnswer   a byte came back and then the answer broke: never sent again

`reason` is one short word for metrics and path reports; it never holds anything a caller sent.
"""

from __future__ import annotations


class AttemptFailed(Exception):
    """One attempt over one path did not bring a whole answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class NotSent(AttemptFailed):
    """The connection was not made, or nothing was written on it."""


class Unanswered(AttemptFailed):
    """The request was written and the path died before the first byte of an answer.

    `stale` is set when the connection had been idle in the pool: its peer may have closed it just as the
    request left, which says nothing about the path.
    """

    def __init__(self, reason: str, *, stale: bool = False) -> None:
        super().__init__(reason)
        self.stale = stale


class BrokenAnswer(AttemptFailed):
    """The answer began and cannot be completed. The request may have been acted upon."""


class DeadlinePassed(Exception):
    """The caller's time ran out while the upstream was still silent."""


class InvalidSettings(ValueError):
    """An environment variable is missing or malformed; the message is `NAME: reason`."""


class InvalidCredential(ValueError):
    """The secret holds no usable credential; the message is `field: reason`, never a value."""
