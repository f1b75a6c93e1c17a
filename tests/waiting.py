"""Waiting for what another thread or process does, where it tells nobody that it has done it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(what: Callable[[], T], seconds: float = 120.0) -> T:
    """Return what ``what`` returns as soon as that is true; it is called again and again, for so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds:.0f} s"
        time.sleep(0.02)
