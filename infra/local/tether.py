"""Child processes that end when their parent does, however it ends.

`Child` starts a Python module in a process group of its own, tied to this process by a pipe. When the pipe
closes, because `stop()` was called or because this process died (a SIGKILL included), the whole group is
killed. Run as a module, this is the child's side of it.

Not guaranteed: a child that leaves its process group is not followed.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 5.0


class Child:
    """A module running as `python -m module arguments…` in its own process.

    `environment` is the child's whole environment, but for the way to find this project. What it writes
    goes to `log_file`. `command` is put before the interpreter's own; it must replace itself by what follows
    it, as `nsenter` does.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        command: Sequence[str] = (),
    ) -> None:
        self.log_file = log_file
        read_end, self._tether = os.pipe()
        try:
            with log_file.open("ab") as log:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, our module
                    [*command, sys.executable, "-m", __name__, str(read_end), module, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[read_end],
                    start_new_session=True,
                    cwd=_ROOT,
                    env={**environment, "PYTHONPATH": str(_ROOT)},
                )
        except BaseException:
            os.close(self._tether)
            raise
        finally:
            os.close(read_end)
        self._stopped = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to end, then make it. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)
        finally:
            os.close(self._tether)  # whatever of the group is left ends with this


def _run_tethered(tether: int, module: str, arguments: list[str]) -> None:
    def watch() -> None:
        os.read(tether, 1)  # returns when the parent's end is closed
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="tether", daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run_tethered(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
