"""A clock that stands still while the thread that reads it waits for a processor which others use."""

from __future__ import annotations

import time
from pathlib import Path

_SCHEDULED = Path("/proc/thread-self/schedstat")
"""Where Linux says how many nanoseconds the thread has run, how many it has waited for a processor, and how often."""


def running_seconds() -> float:
    """Return seconds of ``time.perf_counter`` less those in which this thread could have run, but had no processor.

    The difference of two readings is the time that the same work takes beside nothing else, but for caches and memory
    that others use: waits for a disk, a device or another thread count, since they belong to the work. Both readings
    are to be made by one thread. Where the system does not tell how long a thread waited, all of the time counts.
    """
    now = time.perf_counter()
    try:
        waited = int(_SCHEDULED.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return now
    return now - waited / 1e9
