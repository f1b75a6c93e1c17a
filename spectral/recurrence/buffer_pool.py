"""Memory for the states of a sequence, used again: fresh pages cost as much in faults as the arithmetic on them.

An allocator hands arrays of this size back to the system when they are freed, so every training step would touch new
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
"""Bytes below which the allocator's own reuse is as good."""
KEPT = 16
"""Regions that wait at most, more than the layers of a step need; they are kept until the process ends."""
ROOM = 1.25
"""A region is taken for an array of at least its size over this."""

_waiting: deque[mmap.mmap] = deque(maxlen=KEPT)


def empty(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """As torch.empty of `like`'s dtype and device; large ones on the CPU in a region that waited, where one fits."""
    count = math.prod(shape)
    size = count * like.element_size()
    if like.device.type != "cpu" or size < SMALLEST:
        return like.new_empty(shape)
    region = _take(size)
    holder = (ctypes.c_char * len(region)).from_buffer(region)
    weakref.finalize(holder, _waiting.append, region).atexit = False
    laid_out = torch.frombuffer(holder, dtype=like.dtype, count=count).view(shape)
    # a view could not be written to in place, so the array gets the storage itself
    return like.new_empty(0).set_(laid_out.untyped_storage(), 0, laid_out.shape, laid_out.stride())


def _take(size: int) -> mmap.mmap:
    """One that fits, or a new one in place of one that does not, so that sizes no longer used do not gather."""
    for _ in range(len(_waiting)):
        try:
            region = _waiting.popleft()  # one atomic step: a freed tensor may append from any thread at any time
        except IndexError:
            break
        if size <= len(region) <= ROOM * size:
            return region
        _waiting.append(region)
    with suppress(IndexError):
        _waiting.popleft()
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        region.madvise(mmap.MADV_HUGEPAGE)  # a hint: one fault and one line of the page table for 2 MB
    return region
