"""Start one process of a stack, restart it when it ends, and stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from service.stack import without_terminal
from service.stack.log_file import append_to, keep_short, last_lines
from service.stack.private_files import UMASK
from service.stack.processes import ManagedProcess

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY_SECONDS = 60.0
"""If a process has run for longer than this, its next end counts as the first one, and so does the pause after it."""
LAST_LINES = 15
"""How many lines of a log an error message quotes."""


class Child:
    """Starts, restarts and ends one process of a stack, and all that this process starts in its process group.

    The process leads a group of its own, so that Ctrl-C in the terminal reaches only the supervisor, and does not have
    that terminal. It stays in the supervisor's session, since Linux may divide processors among sessions first: in one
    of its own, a busy process of the service would get as much as all trainers together, whatever their niceness.

    Args:
        part: The process's name, command and environment.
        log: The file to which its output is appended. The file's folder is the process's working directory.
        say: Called with a line of text whenever the process has ended and will be restarted.

    Attributes:
        ends: How often the process has ended in a row, without running for longer than ``STEADY_SECONDS`` in between.
    """

    def __init__(self, part: ManagedProcess, log: Path, say: Callable[[str], None]) -> None:
        self.part, self.log, self._say = part, log, say
        self.ends = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._start_after = 0.0

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start, after ``finish``, and while a restart is awaited.

        A process that has ended keeps its id until ``look_after`` has noticed the end.
        """
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process. It must not be running.

        Raises:
            OSError: The log cannot be written, or no process can be created.
        """
        self._started_at = time.monotonic()
        with append_to(self.log) as log:
            self._process = subprocess.Popen(
                without_terminal.command(self.part.command),
                env=dict(self.part.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                cwd=self.log.parent,
                umask=UMASK,
            )

    def look_after(self) -> None:
        """Keep the log short, notice the end of the process, and start it again after a pause. Return at once.

        The pause begins with ``FIRST_PAUSE`` seconds and doubles with each end in a row, up to ``LONGEST_PAUSE``. A
        start that fails counts as an end.
        """
        with suppress(OSError):  # the process is worth more than its log
            keep_short(self.log)
        if self._process is not None and self._process.poll() is not None:
            self._signal(signal.SIGKILL)  # its children, left behind, would hold its port
            code, self._process = self._process.returncode, None
            self._pause(f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}")
        if self._process is None and time.monotonic() >= self._start_after:
            try:
                self.start()
            except OSError as error:
                self._pause(f"could not be started ({error})")

    def _pause(self, what_happened: str) -> None:
        if time.monotonic() - self._started_at > STEADY_SECONDS:
            self.ends = 0
        pause = min(FIRST_PAUSE * 2 ** min(self.ends, 10), LONGEST_PAUSE)
        self.ends += 1
        self._start_after = time.monotonic() + pause
        self._say(f"{self.part.name} {what_happened}; restarting it in {pause:g} s (its log: {self.log})")

    def terminate(self) -> None:
        """Ask the process and its group to end, by SIGTERM, and return at once."""
        self._signal(signal.SIGTERM)

    def finish(self, deadline: float) -> None:
        """Wait for the process to end until ``deadline`` (on the monotonic clock), then kill the rest of its group."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def last_words(self) -> str:
        """Return the last ``LAST_LINES`` lines of the process's log, indented; empty if there is no log."""
        return "\n".join(f"    {line}" for line in last_lines(self.log, LAST_LINES))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
