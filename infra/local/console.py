"""The operator's console on the embedded cloud: the product's own, as a process of its own.

It gets what a user's shell gets from `python -m infra.local env`, and nothing else.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.local.environment import Environment, NotReady
from infra.local.tether import Child

_READY_SECONDS = 30.0
_POLL_SECONDS = 0.05
_LISTENING = re.compile(r"^console listening on (http://\S+)$", re.MULTILINE)


class LocalConsole:
    """A running console with buttons; a context manager. `url`: the address to open, with its key."""

    def __init__(self, environment: Environment, arguments: Sequence[str] = ()) -> None:
        self._environment, self._arguments = environment, arguments

    def __enter__(self) -> Self:
        self._directory = Path(tempfile.mkdtemp(prefix="twinspan-console-"))
        period = max(1, round(self._environment.seconds_per_minute))
        self._process = Child(
            "control_plane.console",
            ["--port=0", "--allow-actions", f"--chart-period-seconds={period}", *self._arguments],
            {"PATH": os.environ.get("PATH", os.defpath), **self._environment.exports()},
            self._directory / "console.log",
        )
        try:
            self.url = self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it."""
        self._process.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def said(self) -> str:
        """What it wrote."""
        return self._process.log_file.read_text(errors="replace")

    def _wait(self) -> str:
        deadline = time.monotonic() + _READY_SECONDS
        while not (found := _LISTENING.findall(self.said())):
            if self._process.exit_code is not None or time.monotonic() > deadline:
                raise NotReady(f"the console did not come up; it said:\n{self.said()[-2000:]}")
            time.sleep(_POLL_SECONDS)
        return str(found[-1])
