"""Work that may come late. The threads that do it get a processor when training and requests leave one free.

On a machine with idle processors this changes nothing. Where a sweep needs all of them, its trainers would otherwise
wait for what writes to MLflow.
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


def lower_this_thread() -> None:
    """Raise the niceness of the calling thread, and of the threads and processes that it starts later.

    Only on Linux: elsewhere a process has one priority for all of its threads, and nothing happens. Nor does it where
    the system forbids it.
    """
    if sys.platform == "linux":
        number = threading.get_native_id()  # to Linux, the number of a thread is like that of a process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, number, min(MOST, os.getpriority(os.PRIO_PROCESS, number) + NICENESS))
