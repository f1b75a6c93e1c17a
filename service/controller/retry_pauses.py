"""Pauses before a trial is tried again: they grow with the attempts that went wrong in a row.

A retry that follows at once finds what the attempt before it found, and a budget of retries is used up in a second. The
pauses are kept in memory, on the monotonic clock: they are no part of what must not be lost. After a restart of the
controller a trial waits once more, or is tried a little early.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from service.store import attempts
from service.store.tables import Attempt

LOST_PAUSE, LONGEST_LOST_PAUSE = 1.0, 5.0
"""The pause in seconds after the second loss of a runner in a row; it doubles. The first loss is followed at once."""
FAILED_PAUSE, LONGEST_FAILED_PAUSE = 5.0, 300.0
"""The pause in seconds after a failure that is not the user's (a disk, a file, a GPU). It is tripled each time."""


class RetryPauses:
    """Says which trials may be tried again now."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def left(self, history: Sequence[Attempt]) -> float:
        """Return how many seconds are left of the pause of a waiting trial; 0 if it is over.

        Args:
            history: All attempts of the trial, in their order; empty if it has had none.
        """
        seconds = pause_after(history)
        if not seconds:
            return 0.0
        last, now = history[-1], time.monotonic()
        number, since = self._since.get(last.trial_id, (0, now))
        if number != last.number:
            since = now
        self._since[last.trial_id] = last.number, since
        return max(0.0, seconds - (now - since))

    def is_over(self, history: Sequence[Attempt]) -> bool:
        """Return whether the pause of a waiting trial is over; ``history`` is as for ``left``."""
        return self.left(history) <= 0

    def forget(self, sweep_id: str) -> None:
        """Drop what is kept of the trials of a sweep that has ended."""
        self._since = {name: kept for name, kept in self._since.items() if not name.startswith(f"{sweep_id}-")}


def pause_after(history: Sequence[Attempt]) -> float:
    """Return how many seconds a trial waits after its last attempt: 0 unless that went wrong by nobody's wish."""
    if not history or not _went_wrong(history[-1]):
        return 0.0
    row = 0
    while row < len(history) and _went_wrong(history[-1 - row]):
        row += 1
    if history[-1].outcome == attempts.LOST:
        return min(LOST_PAUSE * 2.0 ** min(row - 2, 30), LONGEST_LOST_PAUSE) if row > 1 else 0.0
    if history[-1].cause == "memory":  # a smaller pack follows, for which it may do
        return 0.0
    return min(FAILED_PAUSE * 3.0 ** min(row - 1, 30), LONGEST_FAILED_PAUSE)


def _went_wrong(attempt: Attempt) -> bool:
    if attempt.outcome == attempts.LOST:
        return attempt.cause != "cluster"
    return attempt.outcome == attempts.FAILED and attempt.cause != "user"
