"""Passes on what a process prints and logs, line by line, while everything still goes where it went before."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TextIO

from workers.output_bounds import LINE_CHARACTERS
from workers.protocol import OutputStream
from workers.runtime.unread_lines import PrintedLine

Take = Callable[[PrintedLine], None]

OWN = ("workers", "spectral")
"""The loggers of these packages are not named in their lines."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROL = dict.fromkeys([*range(9), *range(10, 32), *range(127, 160)])


class OutputCapture:
    """While this context is open, ``take`` is called with every line that any thread of the process prints or logs.

    These are the lines of ``sys.stdout`` and ``sys.stderr``, log records from the level INFO on, and warnings. All of
    them are still written to the streams that were there before. What is not written by Python, such as the last words
    of a process that crashes, goes to the file descriptors alone, and is not seen here.

    Args:
        take: Called with each line, by the thread that has printed it.
    """

    def __init__(self, take: Take) -> None:
        self._take = take

    def __enter__(self) -> Self:
        self._before = sys.stdout, sys.stderr
        self._streams = _Tee(sys.stdout, "stdout", self._take), _Tee(sys.stderr, "stderr", self._take)
        sys.stdout, sys.stderr = self._streams
        root = logging.getLogger()
        self._level, self._handler = root.level, _LogLines(*self._before, self._take)
        root.addHandler(self._handler)
        root.setLevel(min(root.level or logging.INFO, logging.INFO))
        self._show = warnings.showwarning
        warnings.showwarning = self._show_warning
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore what was there before; the ends of lines that were not ended are passed on."""
        warnings.showwarning = self._show
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level)
        sys.stdout, sys.stderr = self._before
        for stream in self._streams:
            stream.end_lines()

    def _show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or self._before[1]).write(text)
        if file is None:
            for part in text.rstrip("\n").split("\n"):
                self._take(PrintedLine(time.time(), "warning", plain(part), "WARNING"))


class _Tee:
    """A stream that writes to another one, and passes the lines on. Whatever else it is asked for, the other one does.

    Each thread has its own unfinished line, so that two threads that print at the same time do not mix their lines.
    """

    def __init__(self, stream: TextIO, name: OutputStream, take: Take) -> None:
        self._stream, self._name, self._take = stream, name, take
        self._begun: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text to the other stream, and pass on the lines that it ends."""
        written = self._stream.write(text)
        thread = threading.get_ident()
        *lines, rest = (self._begun.pop(thread, "") + text).split("\n")
        for line in lines:
            self._pass_on(line)
        # a bar of progress writes over its line again and again
        rest = rest[rest.rfind("\r", 0, -1) + 1 :]
        if len(rest) > LINE_CHARACTERS:
            self._pass_on(rest)
        elif rest:
            self._begun[thread] = rest
        return written

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def end_lines(self) -> None:
        """Pass on the lines that have begun and not ended."""
        for thread in list(self._begun):
            self._pass_on(self._begun.pop(thread))

    def _pass_on(self, line: str) -> None:
        line = line.rstrip("\r")
        self._take(PrintedLine(time.time(), self._name, plain(line[line.rfind("\r") + 1 :])))


class _LogLines(logging.Handler):
    """Writes log records to a stream and passes their lines on, those of a traceback too.

    Warnings and errors go to ``stderr``, as they do where nothing is set up, and what only informs to ``stdout``: the
    end of what a process wrote to its standard error is read when it is lost, and is to say what went wrong.
    """

    def __init__(self, stdout: TextIO, stderr: TextIO, take: Take) -> None:
        super().__init__(logging.INFO)
        self._stdout, self._stderr, self._take = stdout, stderr, take

    def emit(self, record: logging.LogRecord) -> None:
        """Write and pass on one record. It is about one trial if it has an attribute ``trial_id``."""
        try:
            text = self.format(record)
            if record.name.partition(".")[0] not in OWN:
                text = f"{record.name}: {text}"
            (self._stderr if record.levelno >= logging.WARNING else self._stdout).write(f"{text}\n")
            trial_id = getattr(record, "trial_id", None)
            for line in text.split("\n"):
                self._take(PrintedLine(record.created, "log", plain(line), record.levelname, trial_id))
        except Exception:
            self.handleError(record)


def plain(line: str) -> str:
    """Return a line without colours and control characters, and with nothing in it that is not Unicode text."""
    return _ESCAPES.sub("", line).translate(_CONTROL).encode("utf-8", "replace").decode()
