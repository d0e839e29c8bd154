"""What a check finds: a plain result, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

BOTH = "both"


class Result(StrEnum):
    """FAILED stands in the way of a deployment, WARNING may, UNKNOWN could not be found out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `side`: govcloud, commercial or both. `remedy`: empty for a result that needs none."""

    check: str
    side: str
    result: Result
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON-shaped."""
        return {key: str(value) for key, value in asdict(self).items()}
