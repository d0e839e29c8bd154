"""A reader at a terminal: a shell whose exports last, beside an embedded cloud that is up."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.documentation.commands import answers, is_endless
from tests.documentation.reading import ROOT

_COMMAND_SECONDS = 120
_UP_SECONDS = 90
_STATE_SECONDS = 90
_SAYS_YES = "y\n" * 3


class Reader:
    """Runs commands one after another in a folder of its own; `with` brings the cloud up and takes it down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        private = folder / "control"
        private.mkdir(mode=0o700)
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
            "PYTHONPATH": str(ROOT),
            "TWINSPAN_LOCAL_DIRECTORY": str(private),
        }
        (folder / "docs").symlink_to(ROOT / "docs")

    def __enter__(self) -> Reader:
        log = self.folder / "up.log"
        with log.open("w") as out:
            self._up = subprocess.Popen(
                [sys.executable, "-m", "infra.local", "up"],
                cwd=self.folder,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + _UP_SECONDS
            while "Ctrl-C ends it" not in log.read_text():
                assert self._up.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            self.run('eval "$(python -m infra.local env)"')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._up.send_signal(signal.SIGINT)
        self._up.wait(60)

    # -- typing -----------------------------------------------------------------------------------

    def run(self, command: str) -> str:
        """Run a command to an end that the documentation announces; returns what it printed."""
        if is_endless(command):
            return self._interrupt(command)
        done = subprocess.run(
            self._shell(command),
            cwd=self.folder,
            env=self._environment,
            input=_SAYS_YES,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        said = f"$ {command}\n{done.stdout}{done.stderr}\nexit code {done.returncode}"
        assert done.returncode in answers(command), said
        assert "Traceback" not in done.stderr, said
        return done.stdout + done.stderr

    def _interrupt(self, command: str) -> str:
        """Let a command run on a terminal until it has said something, then press Ctrl-C."""
        terminal, its_end = pty.openpty()
        running = subprocess.Popen(
            self._shell(f"exec {command}"),
            cwd=self.folder,
            env=self._environment | {"TERM": "xterm"},
            stdin=its_end,
            stdout=its_end,
            stderr=its_end,
            start_new_session=True,
        )
        os.close(its_end)
        said, deadline = b"", time.monotonic() + _COMMAND_SECONDS
        try:
            while b"bedrock" not in said and b"http://" not in said:
                assert time.monotonic() < deadline, f"$ {command}\n{said.decode()}"
                if select.select([terminal], [], [], 1.0)[0]:
                    said += os.read(terminal, 65536)
            os.killpg(running.pid, signal.SIGINT)
            while running.poll() is None:
                assert time.monotonic() < deadline, f"$ {command}\n{said.decode()}"
                if select.select([terminal], [], [], 0.1)[0]:
                    with contextlib.suppress(OSError):  # the other end is closed
                        said += os.read(terminal, 65536)
        finally:
            running.kill()
            os.close(terminal)
        text = said.decode(errors="replace")
        assert running.returncode in (0, 130), f"$ {command}\n{text}"
        assert "Traceback" not in text, text
        return text

    @staticmethod
    def _shell(command: str) -> list[str]:
        """A shell that begins with the exports of the one before."""
        remembered = "[ ! -f exports ] || . ./exports"
        return ["bash", "-c", f"{remembered}\n{command}\ncode=$?; export -p > exports; exit $code"]

    # -- looking ----------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """`twinspan status --json`."""
        return dict(json.loads(self.run("twinspan status --json")))

    def wait(self, condition: str) -> None:
        """Wait for a state as a page writes it: `active_path is tunnel-2`, `question.execution`."""
        name, _, wanted = condition.partition(" is ")
        deadline = time.monotonic() + _STATE_SECONDS
        while not _holds(found := self.status(), name, wanted):
            assert time.monotonic() < deadline, f"{condition}: {json.dumps(found, indent=1)}"

    def is_at_home(self) -> bool:
        """Whether nothing is broken and traffic is on the preferred path, as the embedded cloud sees it."""
        said = self.run("python -m infra.local status")
        return "active path tunnel-1" in said and not re.search(r"^fault", said, re.MULTILINE)

    def file(self, name: str, text: str) -> None:
        """Something that the reader has written."""
        (self.folder / name).write_text(text)

    def forget(self, name: str) -> None:
        """Remove a folder that the reader would not write again."""
        shutil.rmtree(self.folder / name, ignore_errors=True)


def _holds(document: dict[str, Any], name: str, wanted: str) -> bool:
    value: Any = document
    for key in name.split("."):
        value = value[int(key) if key.isdigit() else key] if value else None
    return str(value) == wanted if wanted else bool(value)
