"""One process of a stack: started, looked after, ended."""

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
"""After running this long a part has recovered, and its next end is a first one again."""
LAST_LINES = 15


class Child:
    """A part's process in a session of its own, so that a Ctrl-C in the terminal reaches the supervisor alone."""

    def __init__(self, part: ManagedProcess, log: Path, say: Callable[[str], None]) -> None:
        self.part, self.log, self._say = part, log, say
        self.ends = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_after = 0.0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.part.command, env=dict(self.part.environment), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, cwd=self.log.parent,
            )  # fmt: skip
        self._started_at = time.monotonic()

    def look(self) -> None:
        """Start it again if it has ended, ever more patiently."""
        if self._process is not None and self._process.poll() is not None:
            self._has_ended(self._process.returncode)
        if self._process is None and time.monotonic() >= self._start_after:
            self.start()

    def _has_ended(self, code: int) -> None:
        self._signal(signal.SIGKILL)  # what it leaves behind would hold its port
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self.ends = 0
        pause = min(FIRST_PAUSE * 2**self.ends, LONGEST_PAUSE)
        self.ends += 1
        self._process, self._start_after = None, time.monotonic() + pause
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._say(f"{self.part.name} {how}; started again in {pause:g} s (its log: {self.log})")

    def terminate(self) -> None:
        """Ask it to end."""
        self._signal(signal.SIGTERM)

    def finish(self, deadline: float) -> None:
        """Wait for its end until ``deadline`` (monotonic), then end all of its group."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def last_words(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
