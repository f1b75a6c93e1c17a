"""``python without_terminal.py PROGRAM ARGUMENT ...``: give up the terminal, and become another program.

A process of the stack shares the session of the supervisor, and with it the terminal of the user. If a program that it
starts asked there for a password, the kernel would stop its whole process group; without a terminal the program is told
that there is none. This module imports nothing of ours, so that it takes no time.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

TERMINAL = "/dev/tty"


def leave() -> None:
    """Let this process, and what it starts later, have no terminal; nothing happens if it has none."""
    with suppress(OSError):
        terminal = os.open(TERMINAL, os.O_RDWR)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)


def command(program: Sequence[str]) -> list[str]:
    """Return the command that runs a program without a terminal.

    It is the program's own if this process has no terminal, or if there is no such program: then whoever starts it
    learns of that.
    """
    try:
        os.close(os.open(TERMINAL, os.O_RDWR))
    except OSError:
        return list(program)
    if shutil.which(program[0]) is None:
        return list(program)
    return [sys.executable, "-S", "-E", __file__, *program]


if __name__ == "__main__":
    leave()
    os.execvp(sys.argv[1], sys.argv[1:])
