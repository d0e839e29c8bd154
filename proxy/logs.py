"""Log lines as JSON objects on stderr, in the shape that CloudWatch Logs Insights reads.

A line holds the message, the level, the logger and the `extra` fields that were given with it. Nothing
else is ever added: no arguments, no locals, no exception messages, which could quote a caller.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """See logging."""
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "timestamp": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: v for name, v in vars(record).items() if name not in _STANDARD}
        return json.dumps(line, default=str)


def log_to_stderr() -> None:
    """Set up the process's logging; `LOG_LEVEL` decides how much of it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    chosen = {"proxy": level if level in logging.getLevelNamesMapping() else "INFO"}
    # Libraries speak up when something is wrong; their debug lines show whole requests.
    chosen |= {"uvicorn": "WARNING", "botocore": "WARNING"}
    for name, threshold in chosen.items():
        package = logging.getLogger(name)
        package.handlers[:] = [handler]
        package.propagate = False
        package.setLevel(threshold)
