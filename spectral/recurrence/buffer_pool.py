"""A pool of memory for the states of a sequence: fresh pages cost as much in faults as the arithmetic on them.

An allocator returns arrays of this size to the system when they are freed, so every training step would touch new
pages. Here a freed region waits for the next array of about its size.
"""

import ctypes
import math
import mmap
import weakref
from collections import deque
from contextlib import suppress

import torch
from torch import Tensor

SMALLEST = 2**20
"""Size in bytes below which the pool is not used: the allocator itself reuses small arrays well."""
KEPT = 16
"""The most regions that wait, which is more than the layers of a step need. They are kept until the process ends."""
SLACK = 1.25
"""A region is reused for an array if it is at most this many times as large."""

_waiting: deque[mmap.mmap] = deque(maxlen=KEPT)


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return an uninitialised array, as ``torch.empty`` does; a large one on the CPU uses the pool.

    Args:
        shape: The shape of the array.
        like: A tensor that shows the dtype and the device.
    """
    count = math.prod(shape)
    size = count * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST:
        return like.new_empty(shape)
    region = _take(size)
    holder = (ctypes.c_char * len(region)).from_buffer(region)
    weakref.finalize(holder, _waiting.append, region).atexit = False
    array = torch.frombuffer(holder, dtype=like.dtype, count=count).view(shape)
    # A view could not be written to in place, so the result gets the storage itself.
    return like.new_empty(0).set_(array.untyped_storage(), 0, array.shape, array.stride())


def _take(size: int) -> mmap.mmap:
    """Return a waiting region of a fitting size, or else a new one.

    A new region takes the place of a waiting one that does not fit, so that regions of sizes that are no longer used do
    not accumulate.
    """
    for _ in range(len(_waiting)):
        try:
            region = _waiting.popleft()  # one atomic step: a freed tensor may append from any thread at any time
        except IndexError:
            break
        if size <= len(region) <= SLACK * size:
            return region
        _waiting.append(region)
    with suppress(IndexError):
        _waiting.popleft()
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        region.madvise(mmap.MADV_HUGEPAGE)  # a hint: one fault and one entry of the page table for each 2 MB
    return region
