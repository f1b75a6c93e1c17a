"""One process of a stack: started, restarted when it ends, and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.stack.processes import ManagedProcess

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY_SECONDS = 60.0
"""A process that has run this long has recovered: its next end counts as the first one."""
LAST_LINES = 15
"""How much of a log an error message quotes."""


class Child:
    """A managed process. It runs in a session of its own, so that Ctrl-C in the terminal reaches only the supervisor.

    Args:
        part: How to start the process.
        log: The file for its output.
        say: Called with a line of text when something happens to the process.
    """

    def __init__(self, part: ManagedProcess, log: Path, say: Callable[[str], None]) -> None:
        self.part, self.log, self._say = part, log, say
        self.ends = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_after = 0.0

    @property
    def pid(self) -> int | None:
        """The process id, or None between the process's end and its next start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.part.command,
                env=dict(self.part.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.log.parent,
            )
        self._started_at = time.monotonic()

    def restart_if_ended(self) -> None:
        """Start the process again if it has ended, after a pause that doubles with each end in a row."""
        if self._process is not None and self._process.poll() is not None:
            self._has_ended(self._process.returncode)
        if self._process is None and time.monotonic() >= self._start_after:
            self.start()

    def _has_ended(self, code: int) -> None:
        self._signal(signal.SIGKILL)  # its children, left behind, would hold its port
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self.ends = 0
        pause = min(FIRST_PAUSE * 2**self.ends, LONGEST_PAUSE)
        self.ends += 1
        self._process, self._start_after = None, time.monotonic() + pause
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say(f"{self.part.name} {how}; restarting it in {pause:g} s (its log: {self.log})")

    def terminate(self) -> None:
        """Ask the process to end."""
        self._signal(signal.SIGTERM)

    def finish(self, deadline: float) -> None:
        """Wait for its end until ``deadline`` (on the monotonic clock), then kill what is left of its group."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def last_words(self) -> str:
        """Return the end of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
