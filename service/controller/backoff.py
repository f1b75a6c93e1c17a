"""Growing pauses between tries that fail in a row, and the point at which more of the same is pointless."""

from __future__ import annotations

import time


class Backoff:
    """Counts failures in a row, says how long to pause after each, and when to give up.

    A failure counts as the first one again if the try before it went well for longer than ``steady`` seconds. All times
    are on the monotonic clock, so that a clock that is set changes nothing.

    Args:
        first: The pause after the first failure, in seconds; it doubles with each further one in a row.
        longest: The longest pause, in seconds.
        steady: How long a try has to go well, in seconds, for the failures before it to be forgotten.
    """

    def __init__(self, first: float = 1.0, longest: float = 30.0, steady: float = 60.0) -> None:
        self._first, self._longest, self._steady = first, longest, steady
        self.failures = 0
        self._began = self._retry_at = 0.0

    def fail(self) -> float:
        """Count a failure, and return the pause before the next try, in seconds."""
        now = time.monotonic()
        if self.failures == 0 or now - self._retry_at > self._steady:
            self.failures, self._began = 0, now
        pause = min(self._first * 2.0 ** min(self.failures, 30), self._longest)
        self.failures += 1
        self._retry_at = now + pause
        return pause

    def succeed(self) -> None:
        """Forget the failures: the next one is the first again, and no pause is left."""
        self.failures = 0

    @property
    def pause_left(self) -> float:
        """The seconds until the next try; 0 if it may be made now."""
        return max(0.0, self._retry_at - time.monotonic()) if self.failures else 0.0

    def exhausted(self, tries: int, seconds: float) -> bool:
        """Return whether at least ``tries`` tries have failed in a row, and have done so for ``seconds`` seconds."""
        return self.failures >= tries and time.monotonic() - self._began >= seconds
