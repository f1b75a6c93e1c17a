"""End all processes of a stack, even if its supervisor was killed.

Run as a program, this file waits until its standard input is closed, and then ends the processes that are left. The
kernel closes it as soon as the supervisor has ended, for whatever reason. Every process of a stack, and every process
started by one, carries the stack's home in its environment. The file needs only psutil, so that it starts fast.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

MARK = "SPECTRAL_STACK"
"""The environment variable that holds the resolved path of the stack's home, in each of the stack's processes."""
GRACE_SECONDS = 5.0
"""How long processes have to end after SIGTERM, before they are killed."""
STARTING_SECONDS = 2.0
"""How old a process is at the most whose environment the kernel may not show yet, because it loads its program."""
LOOK_SECONDS = 0.01
"""How long to wait before a look at processes that were starting at the one before."""


def members(home: str) -> list[psutil.Process]:
    """Return the living processes that belong to the stack in ``home``, and their descendants, except this process.

    A process belongs to the stack if its environment variable ``SPECTRAL_STACK`` is ``home``.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == home:
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
    found.pop(os.getpid(), None)
    return [p for p in found.values() if p.is_running()]


def end_all(home: str, grace: float = GRACE_SECONDS) -> int:
    """End the processes of the stack in ``home``: SIGTERM first, then SIGKILL for those left after ``grace`` seconds.

    Processes that the others start meanwhile are ended too: it looks for them again until it finds none. A process that
    is still there ``grace`` seconds after SIGKILL, because it hangs in the kernel, is left.

    Returns:
        How many processes there were.
    """
    left = members(home)
    ended = {process.pid for process in left}
    _send(left, psutil.Process.terminate, grace)
    until = None
    while (left := members(home)) or starting():
        ended |= {process.pid for process in left}
        until = until or time.monotonic() + grace
        _send(left, psutil.Process.kill, max(0.0, until - time.monotonic()))
        if not left:
            time.sleep(LOOK_SECONDS)
        if time.monotonic() > until:
            break
    return len(ended)


def starting() -> bool:
    """Return whether a process has just been started, so that the kernel does not show its environment yet.

    Whoever started it may have gone on, and ended, by then: a process is told to belong to nobody in this moment.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            young = time.time() - process.create_time() < STARTING_SECONDS
            # kernel threads, whose parent is process 2, and those that have ended never show any
            if young and process.ppid() != 2 and process.status() != psutil.STATUS_ZOMBIE and not process.environ():
                return True
    return False


def _send(processes: list[psutil.Process], signal_by: Callable[[psutil.Process], None], seconds: float) -> None:
    """Signal all processes, and wait for their end, at most for some seconds."""
    for process in processes:
        with suppress(psutil.Error):
            signal_by(process)
    psutil.wait_procs(processes, timeout=seconds)


def main() -> None:
    """Wait for the end of standard input, then end the processes of the stack whose home is the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(sys.argv[1])


if __name__ == "__main__":
    main()
