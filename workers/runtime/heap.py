"""The heap of a process that trains: what tensors free is kept for the next step, and not returned to the system.

By default, glibc takes large blocks from the kernel and returns them when they are freed. A step that allocates 20 MB
then causes 5,000 page faults each time, which took up to half of the CPU time of a step of ``torch.nn.LSTM``.
"""

from __future__ import annotations

import ctypes

MOST_FREE_BYTES = 2**31 - 1
"""So much free memory at the end of the heap is kept; what is beyond is returned."""
GROWTH_BYTES = 64 * 2**20
"""The heap grows by at least so much at a time."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8  # malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next allocations.

    All threads share one arena from here on, because those of further threads are limited to 64 MB each.

    Returns:
        False where the C library is not glibc; nothing is changed then.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    options = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, MOST_FREE_BYTES), (_M_TOP_PAD, GROWTH_BYTES))
    return all(mallopt(option, value) == 1 for option, value in options)
