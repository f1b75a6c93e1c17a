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
    waited = _waited()
    while True:
        now, before = time.perf_counter(), waited
        waited = _waited()
        if waited == before:  # else the thread has waited just then, before or after it looked at the time
            return now - waited


def _waited() -> float:
    """Return the seconds for which this thread has waited for a processor; 0 where the system does not tell."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
