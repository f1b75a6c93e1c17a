"""How many requests an owner may make: a bucket of tokens for each, in the memory of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

BURST_SECONDS = 2.0
"""An owner who was quiet may make the requests of so many seconds at once."""


class RateLimits:
    """Counts requests by owner.

    Args:
        clock: Returns seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, owner: str, per_second: float) -> float:
        """Count a request if the owner may make it now, and return 0; else return after how many seconds they may."""
        most, now = max(1.0, BURST_SECONDS * per_second), self._clock()
        with self._lock:
            left, since = self._left.get(owner, (most, now))
            left = min(most, left + (now - since) * per_second)
            admitted = left >= 1.0
            self._left[owner] = (left - admitted, now)
        return 0.0 if admitted else (1.0 - left) / per_second
