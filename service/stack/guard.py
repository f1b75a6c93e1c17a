"""Ending all processes of a stack, also when its supervisor was killed.

Run as a program it waits for its standard input to close, which the kernel does when the supervisor is gone however
that came about, and ends what is left. Every process of a stack, and all they start, carry the stack's home in their
environment. Needs nothing but psutil, so that it is small and starts fast.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import psutil

MARK = "SPECTRAL_STACK"
GRACE_SECONDS = 5.0


def members(home: str) -> list[psutil.Process]:
    """The living processes of the stack of this home, and their children, this process and its guard left out."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == home:
                found |= {p.pid: p for p in (process, *process.children(recursive=True))}
    found.pop(os.getpid(), None)
    return [p for p in found.values() if p.is_running()]


def end_all(home: str, grace: float = GRACE_SECONDS) -> int:
    """End them: asked first, killed after ``grace`` seconds. Gives how many there were."""
    left = members(home)
    for send in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                send(process)
        _, left_now = psutil.wait_procs(left, timeout=grace)
        if not left_now and not members(home):
            break
    return len(left)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(sys.argv[1])


if __name__ == "__main__":
    main()
