"""How many threads the compiled code uses, which may be more than torch's own operators use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_set: int | None = None


def count() -> int:
    """Return the threads of the compiled code: as many as torch has, or had before ``torch_on_one_thread``."""
    return torch.get_num_threads() if _set is None else _set


@contextmanager
def torch_on_one_thread() -> Iterator[None]:
    """Run torch's operators on one thread inside a ``with`` block, and the compiled code on as many as torch had.

    The compiled code has the same bits at every number of threads. torch's operators do not: where a sum or the end of
    a vector loop falls depends on it.
    """
    global _set
    before, outer = torch.get_num_threads(), _set
    _set = count()
    if before != 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        _set = outer
        if before != 1:
            torch.set_num_threads(before)
