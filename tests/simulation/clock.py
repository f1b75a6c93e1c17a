"""The virtual clock: while it is installed, ``time.time`` and ``time.monotonic`` depend on the simulation alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

EPOCH = 1_700_000_000.0
"""What the wall clock shows when a simulation begins."""


class VirtualClock:
    """A clock that stands still until the simulation moves it.

    Attributes:
        now: The monotonic time in seconds. It never goes back.
        wall_offset: What is added for the wall clock, which may be set forward and back.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = EPOCH

    def advance_to(self, moment: float) -> None:
        """Move on to a moment; do nothing if that has passed."""
        self.now = max(self.now, moment)

    def monotonic(self) -> float:
        """Return the monotonic time."""
        return self.now

    def wall(self) -> float:
        """Return the time that the wall clock shows."""
        return self.now + self.wall_offset

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Replace the clocks of the whole process during the block."""
        with (
            mock.patch.object(time, "time", self.wall),
            mock.patch.object(time, "monotonic", self.monotonic),
        ):
            yield
