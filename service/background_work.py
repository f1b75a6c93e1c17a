"""Work that may come late: what does it gets a processor when training, and those who wait for an answer, leave one.

On a machine with idle processors this changes nothing. Where a sweep needs all of them, its trainers would otherwise
wait a quarter of their time, for what writes to MLflow.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

NICENESS = 10
"""By how much the niceness is raised. By Linux's weights such a thread gets a tenth of a processor for which another
one competes; it comes late, but it never stands still."""
MOST = 19
"""The highest niceness that there is."""


def lower_process(pid: int) -> None:
    """Raise the niceness of a process that has just been started; what it starts later inherits it.

    Nothing happens if the process has ended.
    """
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, min(MOST, os.getpriority(os.PRIO_PROCESS, pid) + NICENESS))


def lower_this_thread() -> None:
    """Raise the niceness of the calling thread, and of those that it starts later.

    Only on Linux: elsewhere a process has one priority for all of its threads, and nothing happens.
    """
    if sys.platform == "linux":
        lower_process(threading.get_native_id())  # to Linux, the number of a thread is that of a process
